"""Writing files so that a kill at any moment leaves the old file or the new one, never half of one.

And what is asked of a file before it is read whole: how large it is.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

TEMPORARY_PREFIX = ".partial-"
TOKEN = os.urandom(3).hex()  # processes in containers have the same number now and again


class WriteError(OSError):
    """A file of ours cannot be written: disk full, read-only, or its folder is gone. Not the fault of any shape."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix); on success fsync it and rename it to `path`.

    On an exception the temporary file is removed and `path` stays as it was; WriteError, naming `path`, where writing
    is what failed. A kill leaves a `.partial-*` file behind, which no reader of ours looks at.
    """
    path = Path(path)
    # In the same folder: a rename is atomic only within one file system. The number of the process, and the token, keep
    # two writers apart.
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{TOKEN}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # Without fsync a power cut may leave the new name on an empty file.
        with open(temporary, "r+b") as handle:  # Windows flushes only what is open for writing
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # The block may open other files: an error that names one of those is not about writing ours.
        folder = error.filename in map(str, path.parents)
        if error.errno is None or not (folder or error.filename in (None, str(temporary))):
            raise  # something else that failed in the block
        raise WriteError(error.errno, error.strerror, error.filename if folder else str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def refuse_large(path: Path, most: int) -> None:
    """ValueError for a file of more than `most` bytes, most of which may be a hole, where it is to be read whole."""
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{path}: a file of {size:,} bytes (limit {most:,})")


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically (UTF-8; what is no text in the names of files becomes \\udc80 and the like)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def is_temporary(path: Path) -> bool:
    """True for the left-overs of a killed writer, and for hidden files."""
    return path.name.startswith(".")


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what killed writers left in these folders (not below). Nobody may be writing there."""
    for folder in folders:
        for file in folder.glob(f"{TEMPORARY_PREFIX}*"):
            file.unlink(missing_ok=True)


def refuse_vanished(handle: IO[Any]) -> None:
    """WriteError when an opened file is no longer the one at its path: its folder was removed, or a disk is gone."""
    path = Path(handle.name)
    try:
        there, opened = path.stat(), os.fstat(handle.fileno())
    except OSError as error:
        raise WriteError(error.errno, "it vanished while it was written to", str(path)) from error
    # Writing to a file that lost its name succeeds, and is lost.
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino):
        raise WriteError(errno.ESTALE, "it was replaced while it was written to", str(path))
