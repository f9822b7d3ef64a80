"""Generate meshes: of a split of the data set or of your own files, in the frame of the input; new ones; or a walk."""

import argparse
import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path

from isofield.generation.options import arguments_of, settings_of
from isofield.runtime.commandline import DONE, SOME_FAILED, command_of, say
from isofield.runtime.imports import without_collection


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    return generate_meshes(arguments_of(arguments, description=__doc__, prog=prog))


def generate_meshes(options: argparse.Namespace) -> int:
    """From a run to a folder of meshes; returns the exit status."""
    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    with without_collection():
        from isofield.extraction.lattice import BATCH_POINTS
        from isofield.generation.contact_sheets import write_overview
        from isofield.generation.ending import describe_end, describe_part_end
        from isofield.generation.made_before import are_made
        from isofield.generation.manifest import meshes_of, rows_of
        from isofield.generation.meshes import WHAT, generate
        from isofield.generation.out_of_distribution import load_input_calibration
        from isofield.generation.requests import requests_of
        from isofield.generation.test_time_fitting import encoder_parameters
        from isofield.packs.find_run import find_run
        from isofield.registry import load_run
        from isofield.runtime import distributed
        from isofield.runtime.compiled import sparing_kernels
        from isofield.runtime.parts import join_parts
        from isofield.runtime.precision import products_in
        from isofield.up_axis import describe_inputs, up_in_pictures, up_of_run

    run_dir = find_run(options.run)
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(
            distributed.session(options.device, collectives=False, part=options.part, meshes=bool(options.input))
        )
        loaded = load_run(run_dir, which=options.checkpoint, device=group.device)
        # As it was trained: weights that learned from TF32 products are asked by them.
        stack.enter_context(products_in(loaded.config.training.precision, group.device))
        # Which shapes, and where they go: a split, files, samples or a walk.
        asked = requests_of(options, loaded.model, loaded.config, run_dir, device=group.device)
        names = [item.name for item in asked.items]
        section, about = loaded.config.data.input, {"model_hash": loaded.model_hash}
        usual = load_input_calibration(run_dir, section=section, **about)
        settings = settings_of(options, iso_level=loaded.model.iso_level, section=section, usual=usual, **about)
        if settings.fit_steps:
            encoder_parameters(loaded.model)  # one error before any work, where it cannot be fitted
        folder = options.out or asked.folder
        stack.enter_context(sparing_kernels())
        if options.input and group.is_first:
            for line in describe_inputs(options.input, up_of_run(run_dir)):
                say(line)
        make = functools.partial(
            generate,
            loaded.model,
            folder=folder,
            settings=settings,
            batch_points=BATCH_POINTS if options.batch_points is None else options.batch_points,
            header={"run": str(run_dir.path), "checkpoint": options.checkpoint, "step": loaded.step}
            | ({"unfinished": loaded.unfinished} if loaded.unfinished else {})
            | asked.about,
            only=names if asked.whole else None,
            unfinished=loaded.unfinished,
            count=len(names),
            usual=usual,
            section=section,
        )
        # Each rank, or part, makes its own share; what is there already is kept.
        rows = make(asked.items[group.rank :: group.size], group=group)
        if group.part is not None:
            is_whole = functools.partial(are_made, asked.items, folder, settings)
            join = functools.partial(make, asked.items, group=group.alone(), keep_failed=True)
            joined = join_parts(folder, group.part, what=WHAT, is_whole=is_whole, join=join)
            if joined is None:
                for line in describe_part_end(rows, group.part):
                    say(line)
            else:
                rows, group = joined, group.alone()
        # Samples and walks belong together: a sheet or a strip shows them all.
        pictures: list[Path] = []
        if (asked.whole or options.sheet) and group.is_first:
            up, line = up_in_pictures(options.up, up_of_run(run_dir))
            if line:
                say(line)
            walk, alike = bool(options.interpolate), asked.whole
            pictures = write_overview(folder, meshes_of(folder, names), walk=walk, up=up, one_scale=alike)
        # The first rank tells of the shapes of all.
        if group.size > 1 and group.is_first:
            rows = rows_of(folder, names)
        end = describe_end(rows, folder, options, pictures, loaded.unfinished)
        for line in [*map(str, pictures), *end] if group.is_first else []:
            say(line)
    return SOME_FAILED if any(row["status"] == "failed" for row in rows) else DONE


command = command_of(main)
