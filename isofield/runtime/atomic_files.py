"""Writing files so that a kill at any moment leaves the old file or the new one, never half of one.

And what is asked of a file before it is read whole: how large it is.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

TEMPORARY_PREFIX = ".partial-"
LOCK_STEM = ".lock-"
MOST_ATTEMPTS, BETWEEN_ATTEMPTS = 4, 0.05  # at a lock; seconds
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # file systems without locks: nobody is kept out there


class WriteError(OSError):
    """A file of ours cannot be written: disk full, read-only, or its folder is gone. Not the fault of any shape."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix); on success fsync it and rename it to `path`.

    On an exception the temporary file is removed and `path` stays as it was; WriteError, naming `path`, where writing
    is what failed. A kill leaves a `.partial-*` file behind, which no reader of ours looks at.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # Without fsync a power cut may leave the new name on an empty file.
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
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
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino):
        raise WriteError(errno.ESTALE, "it was replaced while it was written to", str(path))


@contextlib.contextmanager
def hold_lock(file: Path, *, what: str) -> Iterator[None]:
    """Hold a lock that goes with the process, however it ends. ValueError when another process has it.

    The file goes when the block is left. That of a killed process stays, and keeps nobody out.
    """
    handle = _open_locked(file, what)
    try:
        yield
    finally:
        with handle, contextlib.suppress(OSError):
            if _is_at(handle, file):  # not one of another process, in a folder that took the place of ours
                file.unlink()


@contextlib.contextmanager
def hold_rank_lock(folder: Path, rank: int, *, what: str) -> Iterator[None]:
    """One process a rank at a time works into a folder that is there. ValueError when another is at it.

    When the first rank has done its work, no lock stays behind: those of killed ranks go with its own.
    """
    with hold_lock(folder / f"{LOCK_STEM}{rank}", what=what):
        yield
        for file in folder.glob(f"{LOCK_STEM}*") if rank == 0 else ():
            with contextlib.suppress(ValueError, OSError), hold_lock(file, what=what):
                pass  # nobody had it: it goes


def _open_locked(file: Path, what: str) -> IO[Any]:
    """The file, opened and locked, and still at its path: who had the lock before may have removed it meanwhile."""
    for attempt in itertools.count(1):
        # No link is followed: in a folder from elsewhere it may lead to any file of the user's.
        handle = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "w")
        try:
            _lock(handle)
            if _is_at(handle, file):
                return handle
        except BlockingIOError as error:
            # Somebody may only be tidying up: that takes no time.
            if attempt >= MOST_ATTEMPTS:
                handle.close()
                raise ValueError(f"{file.parent}: another {what} is at work there; wait for it, or stop it") from error
            time.sleep(BETWEEN_ATTEMPTS)
        except BaseException:
            handle.close()
            raise
        handle.close()
    raise AssertionError("unreachable")


def _lock(handle: IO[Any]) -> None:
    """BlockingIOError when another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _is_at(handle: IO[Any], file: Path) -> bool:
    """Whether an opened file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), file.lstat())
    except FileNotFoundError:
        return False
