"""Generate meshes: of a split of the data set, or of your own files, in the frame of the input file."""

import argparse
import sys
from pathlib import Path

from data_processing.commandline import DONE, SOME_FAILED, Parser, run, say
from data_processing.storage import open_shapes
from engine import distributed
from engine.fitting import encoder_parameters
from engine.generation import Settings, generate
from engine.inputs import items_of_files, items_of_split
from engine.registry import load_run
from engine.run_dir import RunDir, manifest_file


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run directory, such as runs/demo")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--split", help="all shapes of a split of the run's data set: train, val, test")
    what.add_argument("--input", type=Path, nargs="+", metavar="FILE", help="your own meshes, voxels, clouds, NIfTI")
    parser.add_argument("--out", type=Path, help="folder for the meshes [RUN/meshes/SPLIT, or RUN/meshes/input]")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step [best]")
    parser.add_argument("--resolution", type=int, default=256, help="samples along each edge of the cube [256]")
    parser.add_argument("--frame", type=int, default=32, help="coarse grid: finds parts thicker than 1/FRAME [32]")
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help="move vertices onto the level [0]")
    parser.add_argument("--format", default="ply", choices=("ply", "obj", "stl", "off", "glb"), help="[ply]")
    parser.add_argument("--data", type=Path, help="another data set than the run's own")
    parser.add_argument("--set", nargs="+", default=[], action="extend", metavar="K=V", help="preparation of --input")
    parser.add_argument("--with-input", action="store_true", help="write what the network saw beside each mesh")
    parser.add_argument("--fit-steps", type=int, default=0, metavar="N", help="tune the encoder on each input [0]")
    parser.add_argument("--fit-rate", type=float, default=1e-4, metavar="LR", help="of the fitting's Adam [1e-4]")
    parser.add_argument("--batch-points", type=int, default=1 << 16, help="points decoded at once: bounds memory")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    return parser.parse_args(argv)


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    run_dir = RunDir(arguments.run)
    with distributed.session(arguments.device) as group:
        loaded = load_run(run_dir, which=arguments.checkpoint, device=group.device)
        data = loaded.config.data
        if arguments.split:
            shapes = open_shapes(arguments.data or data.path)
            seed = loaded.config.training.seed
            items = items_of_split(shapes, arguments.split, data.categories, section=data.input, seed=seed)
        else:
            prepare = {"overrides": arguments.set, "device": group.device}
            items = items_of_files(arguments.input, run_dir, section=data.input, **prepare)
        mine = items[group.rank :: group.size]
        settings = Settings(
            model_hash=loaded.model_hash,
            resolution=arguments.resolution,
            frame=arguments.frame,
            refine_steps=arguments.refine,
            suffix=f".{arguments.format}",
            iso_level=loaded.model.iso_level,
            with_input=arguments.with_input,
            fit_steps=arguments.fit_steps,
            fit_rate=arguments.fit_rate,
        )
        if settings.fit_steps:
            encoder_parameters(loaded.model)  # one error before any work, where it cannot be fitted
        folder = arguments.out or run_dir.meshes(arguments.split or "input")
        header = {"run": str(run_dir.path), "checkpoint": arguments.checkpoint, "step": loaded.step}
        points = arguments.batch_points
        rows = generate(loaded.model, mine, folder, settings=settings, batch_points=points, group=group, header=header)
        failed = [row for row in rows if row["status"] == "failed"]
        for row in failed:
            say(f"failed: {row['name']}: {row['reason']}")
        say(f"{len(rows) - len(failed)} meshes, {len(failed)} failed; {manifest_file(folder)}")
    return SOME_FAILED if failed else DONE


if __name__ == "__main__":
    run(main)
