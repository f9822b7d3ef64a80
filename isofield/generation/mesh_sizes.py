"""How large the meshes of a request become, measured on the first of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isofield.generation.files_beside import FILES
from isofield.runtime.number_text import short

SUGGESTED_FACES = 10_000  # enough to look at a shape


def describe_sizes(row: Mapping[str, Any], folder: Path, *, count: int) -> str:
    """One line: faces of the first mesh, megabytes of its files and of all `count` shapes, and what --faces would do.

    What is said of all takes the first for their like.
    """
    mesh, size = (folder / row["file"]).stat().st_size, _size(row, folder)
    before = row.get("faces_before")
    of = f" (of {before:,})" if before else ""
    line = f"first mesh: {row['faces']:,} faces{of}, {_megabytes(size)}"
    if count > 1:
        line += f"; all {count:,} about {_megabytes(size * count)}"
    if before is None and row["faces"] > SUGGESTED_FACES:
        less = size - mesh + mesh * SUGGESTED_FACES / row["faces"]
        line += f"; with --faces {SUGGESTED_FACES} about {_megabytes(less * count)}"
    return line


def _size(row: Mapping[str, Any], folder: Path) -> int:
    return sum((folder / row[key]).stat().st_size for key in FILES if key in row)


def _megabytes(size: float) -> str:
    unit, divisor = ("MB", 1e6) if size < 1e8 else ("GB", 1e9)
    return f"{short(size / divisor, digits=2)} {unit}"
