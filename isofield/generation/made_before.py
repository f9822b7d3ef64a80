"""Which shapes have a mesh, or a reason why not, from an earlier start with the same settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isofield.generation.files_beside import FILES
from isofield.generation.manifest import made_from, read_line
from isofield.runtime.journal import FAILED, RECORD, Journal, stands

if TYPE_CHECKING:
    from isofield.generation.meshes import Item
    from isofield.generation.surfaces import GenerationConfig


def are_made(items: Sequence["Item"], folder: Path, settings: "GenerationConfig") -> bool:
    """Whether each item has a row of these settings, by whichever part: its mesh, or the reason why there is none."""
    journal, made_with = Journal(folder, read=read_line, record=RECORD), settings.made_with()
    # Names first: only when all are there, files are looked at.
    return all(item.name in journal.lines for item in items) and all(
        row_before(item, journal, made_with, folder, keep_failed=True) is not None for item in items
    )


def row_before(
    item: "Item", journal: Journal, made_with: dict[str, Any], folder: Path, *, keep_failed: bool
) -> dict[str, Any] | None:
    """The row of a shape that is not to be made again."""
    if item.name not in journal.lines:
        return None
    failed: dict[str, Any] | None = journal.row(item.name, made_from(made_with, None))
    if failed is not None and failed["status"] in FAILED:
        return failed if keep_failed else None
    row: dict[str, Any] | None = journal.row(item.name, made_from(made_with, origin_of(item)))
    return row if row is not None and stands(row, folder, FILES) else None


def origin_of(item: "Item") -> str | None:
    """None when the shape cannot be had: making it then says why."""
    try:
        return item.origin()
    except ValueError:
        return None
