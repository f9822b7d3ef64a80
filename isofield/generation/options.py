"""The command line of generate.py, and what of it decides how a mesh comes out. Imports nothing heavy at its top."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isofield.runtime.commandline import Parser
from isofield.runtime.invocation import as_typed
from isofield.runtime.parts import HELP, part_of

if TYPE_CHECKING:
    from data_processing.loading.network_inputs import InputConfig
    from isofield.generation.out_of_distribution import InputCalibration
    from isofield.generation.surfaces import GenerationConfig


def arguments_of(argv: Sequence[str] | None, *, description: str | None, prog: str | None = None) -> argparse.Namespace:
    parser = Parser(prog=prog, description=as_typed(description or ""))
    parser.add_argument("--run", type=Path, required=True, help="runs/NAME, or a packed run: folder, .zip, hf:...")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--split", help="all shapes of a split of the run's data set: train, val, test")
    what.add_argument(
        "--input",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="your own meshes, voxels, clouds, NIfTI, or folders of them",
    )
    what.add_argument("--samples", type=int, metavar="N", help="new shapes out of noise (latent GAN)")
    what.add_argument(
        "--interpolate", nargs=2, metavar=("A", "B"), help="a walk from A to B: names of shapes, or files"
    )
    parser.add_argument("--seed", type=int, default=0, help="of --samples: the same seed gives the same meshes [0]")
    parser.add_argument("--steps", type=int, default=9, help="shapes of a walk, both ends included [9]")
    parser.add_argument("--up", choices=("y", "z"), help="the axis that points up in pictures [as in the data]")
    parser.add_argument("--out", type=Path, help="folder for the meshes [RUN/meshes/SPLIT, or RUN/meshes/input]")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step [best]")
    parser.add_argument("--resolution", type=int, default=256, help="samples along each edge of the cube [256]")
    parser.add_argument("--frame", type=int, default=32, help="coarse grid: finds parts thicker than 1/FRAME [32]")
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help="move vertices onto the level [0]")
    parser.add_argument("--faces", type=int, metavar="N", help="simplify each mesh to at most N faces [all it has]")
    parser.add_argument("--format", default="ply", choices=("ply", "obj", "stl", "off", "glb"), help="[ply]")
    parser.add_argument("--data", type=Path, help="another data set than the run's own")
    parser.add_argument("--set", nargs="+", default=[], action="extend", metavar="K=V", help="preparation of --input")
    parser.add_argument("--points", type=int, metavar="N", help="show so many points of each cloud [as in training]")
    parser.add_argument("--poses", type=int, default=1, metavar="N", help="average the fields of N poses of each input")
    parser.add_argument("--keep-islands", action="store_true", help="of points: the field as it is, islands and tears")
    parser.add_argument("--with-input", action="store_true", help="write what the network saw beside each mesh")
    parser.add_argument("--sheet", action="store_true", help="a picture of all these meshes, sheet.png [of new ones]")
    parser.add_argument("--fit-steps", type=int, default=0, metavar="N", help="tune the encoder on each input [0]")
    parser.add_argument("--fit-rate", type=float, default=1e-4, metavar="LR", help="of the fitting's Adam [1e-4]")
    parser.add_argument("--batch-points", type=int, help="points decoded at once: bounds memory")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--part", type=part_of, metavar="K/N", help=HELP)
    return parser.parse_args(argv)


def settings_of(
    arguments: argparse.Namespace,
    *,
    model_hash: str,
    iso_level: float,
    section: "InputConfig",
    usual: "InputCalibration | None" = None,
) -> "GenerationConfig":
    """ValueError for numbers that make no sense. `usual`: what inputs are compared with, where there are any.

    `section`: the input that the run is shown.
    """
    from isofield.generation.islands import drops_islands
    from isofield.generation.posed_inputs import poses_of
    from isofield.generation.surfaces import GenerationConfig

    if arguments.poses != 1 and not (arguments.split or arguments.input):
        raise ValueError(
            f"--poses {arguments.poses}: poses are those of an input; give --split or --input, or leave it out"
        )
    poses_of(section, arguments.poses)  # one error before any work
    return GenerationConfig(
        model_hash=model_hash,
        resolution=arguments.resolution,
        frame=arguments.frame,
        refine_steps=arguments.refine,
        suffix=f".{arguments.format}",
        iso_level=iso_level,
        with_input=arguments.with_input,
        fit_steps=arguments.fit_steps,
        fit_rate=arguments.fit_rate,
        faces=arguments.faces,
        input_points=arguments.points if arguments.samples is None else None,
        islands="drop and fill" if drops_islands(section) and not arguments.keep_islands else None,
        poses=arguments.poses if arguments.poses > 1 else None,
        input_calibration=usual.fingerprint() if usual and (arguments.split or arguments.input) else None,
    )
