"""Writing files so that a kill at any moment leaves the old file or the new one, never half of one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".partial-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix); on success fsync it and rename it to `path`.

    On an exception the temporary file is removed and `path` stays as it was. A kill leaves a `.partial-*` file behind,
    which no reader of ours looks at.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_temporary(path: Path) -> bool:
    """True for the left-overs of a killed writer, and for hidden files."""
    return path.name.startswith(".")
