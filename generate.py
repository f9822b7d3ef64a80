"""Generate meshes: of a split of the data set or of your own files, in the frame of the input; new ones; or a walk."""

import sys

from data_processing.commandline import DONE, SOME_FAILED, run, say
from engine import distributed
from engine.fitting import encoder_parameters
from engine.generation import generate, meshes_of
from engine.generation_options import arguments_of, settings_of
from engine.registry import load_run
from engine.run_dir import RunDir, manifest_file
from engine.sheets import write_overview
from engine.wanted import wanted


def main() -> int:
    arguments = arguments_of(sys.argv[1:], description=__doc__)
    run_dir = RunDir(arguments.run)
    with distributed.session(arguments.device) as group:
        loaded = load_run(run_dir, which=arguments.checkpoint, device=group.device)
        asked = wanted(arguments, loaded.model, loaded.config, run_dir, device=group.device)
        names = [item.name for item in asked.items]
        settings = settings_of(arguments, model_hash=loaded.model_hash, iso_level=loaded.model.iso_level)
        if settings.fit_steps:
            encoder_parameters(loaded.model)  # one error before any work, where it cannot be fitted
        folder = arguments.out or asked.folder
        rows = generate(
            loaded.model,
            asked.items[group.rank :: group.size],
            folder,
            settings=settings,
            batch_points=arguments.batch_points,
            group=group,
            header={"run": str(run_dir.path), "checkpoint": arguments.checkpoint, "step": loaded.step} | asked.about,
            only=names if asked.whole else None,
        )
        if asked.whole and group.is_first:
            files = meshes_of(folder, names)
            for picture in write_overview(folder, files, walk=bool(arguments.interpolate), up=arguments.up):
                say(f"{picture}")
        failed = [row for row in rows if row["status"] == "failed"]
        for row in failed:
            say(f"failed: {row['name']}: {row['reason']}")
        say(f"{len(rows) - len(failed)} meshes, {len(failed)} failed; {manifest_file(folder)}")
    return SOME_FAILED if failed else DONE


if __name__ == "__main__":
    run(main)
