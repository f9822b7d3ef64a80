"""The last lines of a generation: what failed and why, how much was made, and what to type next."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isofield.run_dir import manifest_file
from isofield.runtime.commandline import first_of
from isofield.runtime.invocation import next_command, same_command
from isofield.runtime.parts import Part, describe_part


def describe_end(
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    options: argparse.Namespace,
    pictures: Sequence[Path] = (),
    unfinished: str = "",
) -> list[str]:
    """The first failed shapes and notes by name, then one line that says that it is done.

    `pictures`: of all shapes. `unfinished`: of a model whose training did not come to its end, in words; each failed
    shape that it draws nothing of says it already.
    """
    manifest = str(manifest_file(folder))
    failed = [row for row in rows if row["status"] == "failed"]
    failures = [f"failed: {row['name']}: {row['reason']}" for row in failed]
    notes = [f"note: {row['name']}: {row['note']}" for row in rows if row.get("note")]
    done = f"{len(rows) - len(failed)} meshes, {len(failed)} failed; {manifest}"
    return [
        *first_of(failures, rest=manifest),
        *first_of(notes, rest=manifest),
        *([f"note: {unfinished}"] if unfinished and len(failed) < len(rows) else []),
        f"{done}; {_next(rows, folder, options, pictures)}",
    ]


def describe_part_end(rows: Sequence[Mapping[str, Any]], part: Part) -> list[str]:
    """The same of one part, which is not the last."""
    failed = [f"failed: {row['name']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    made = f"{len(rows) - len(failed)} meshes, {len(failed)} failed"
    return [*first_of(failed, rest="the manifest, when all parts are done"), f"{made}; {describe_part(part)}"]


def _next(
    rows: Sequence[Mapping[str, Any]], folder: Path, options: argparse.Namespace, pictures: Sequence[Path]
) -> str:
    """What shows how good they are; what to look at, where there is nothing to compare with."""
    made = [row for row in rows if row["status"] == "done"]
    if not made:
        again = same_command()
        return (
            f"nothing could be made: mend what the reasons name, then run the same command again{again and ': '}{again}"
        )
    protocol = ["--protocol", "masks"] if all("mask_file" in row for row in made) else []
    data = ["--data", options.data] if options.data else []
    if options.split and not options.out:
        return f"next: {next_command('evaluate', '--run', options.run, '--split', options.split, *data, *protocol)}"
    if options.samples is not None and not options.out:
        return f"next: {next_command('evaluate', '--run', options.run, '--samples', *data)}"
    if options.split or options.samples is not None:
        protocol = ["--protocol", "generative"] if options.samples is not None else protocol
        return f"next: {next_command('evaluate', '--pred', folder, '--gt', 'FOLDER', *protocol)}"
    return f"next: open {pictures[0] if pictures else folder / made[0]['file']}"
