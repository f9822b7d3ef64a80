"""Locks between processes, by files beside what they guard: the second start is refused, and a kill gives a lock back.

By `filelock`: flock on Linux and macOS, a locked byte on Windows; the system takes either back from a process however
it ends. Over NFS they hold between machines as far as its server knows locks. Where Python has no fcntl, a file with
the number of the process stands for the lock, and one whose process is gone counts for nothing.
"""

import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a file must stand for the lock here
    import filelock

LOCK_STEM = ".lock-"  # of a rank, in the folder that it works into
TIDYING = 0.2  # seconds in which another process, which is done, gives its lock back
_held: set[tuple[int, int]] = set()  # files that stand for locks of this process: device and number
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems


class NoLocksError(OSError):
    """The file system has no locks: nobody is kept out there."""


@dataclass(frozen=True)
class Lock:
    """A lock that is held, and the file that stands for it."""

    file: Path
    held: filelock.BaseFileLock
    opened: os.stat_result

    def release(self) -> None:
        """Give it back; its file goes, unless it is one of another process in a folder that took the place of ours."""
        if not isinstance(self.held, filelock.SoftFileLock):  # which removes its own
            with contextlib.suppress(OSError):  # Windows keeps what is open
                # Removed before it is given back: afterwards the file may be another's.
                if os.path.samestat(self.opened, self.file.lstat()):
                    self.file.unlink()
        self.held.release()
        _held.discard(_identity(self.opened))
        if os.name == "nt":
            with contextlib.suppress(OSError):  # another has it by now
                self.file.unlink()


@contextlib.contextmanager
def hold_lock(file: Path, *, what: str, wait: float = TIDYING) -> Iterator[None]:
    """Hold a lock that goes with the process, however it ends. ValueError when another process has it.

    The file goes when the block is left. That of a killed process stays, and keeps nobody out. OSError that names the
    file where it cannot be opened. Nobody is kept out where the file system has no locks.
    """
    lock = None
    with contextlib.suppress(NoLocksError):
        lock = try_lock(file, wait=wait)
        if lock is None:
            raise ValueError(f"{file.parent}: another {what} is at work there; wait for it, or stop it")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextlib.contextmanager
def hold_rank_lock(folder: Path, rank: int, *, what: str) -> Iterator[None]:
    """One process a rank at a time works into a folder that is there. ValueError when another is at it.

    When the first rank has done its work, no lock stays behind: those of killed ranks go with its own.
    """
    with hold_lock(folder / f"{LOCK_STEM}{rank}", what=what):
        yield
        for file in folder.glob(f"{LOCK_STEM}*") if rank == 0 else ():
            with contextlib.suppress(ValueError, OSError), hold_lock(file, what=what, wait=0):
                pass  # nobody had it: it goes


def try_lock(file: Path, *, wait: float = 0.0) -> Lock | None:
    """The lock, to be released; None when another has it, for longer than `wait` seconds. NoLocksError.

    No link is followed: in a folder from elsewhere it may lead to any file of the user's.
    """
    if file.is_symlink():  # filelock refuses them too, but for its versions before 3.20.1
        raise OSError(errno.ELOOP, "a link stands where a lock is to be", str(file))
    if not file.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(file.parent))
    # Not by thread: what one thread takes, another may give back.
    lock = filelock.FileLock(file, timeout=wait, thread_local=False)
    try:
        try:
            lock.acquire()
        except filelock.Timeout:
            if not (isinstance(lock, filelock.SoftFileLock) and _was_moved(file)):
                return None
            file.unlink(missing_ok=True)
            lock.acquire()
        opened = file.lstat()
        _held.add(_identity(opened))
        return Lock(file, lock, opened)
    except filelock.Timeout:
        return None
    except NotImplementedError as error:
        raise NoLocksError(errno.ENOSYS, str(error), str(file)) from error
    except OSError as error:
        lock.release()
        if error.errno in NO_LOCKS:
            raise NoLocksError(error.errno, error.strerror, str(file)) from error
        raise


def _was_moved(file: Path) -> bool:
    """Whether a file that stands for a lock is of this process, which has given it back.

    Its folder was moved away meanwhile, so that the file could not go, and is here again.
    """
    try:
        owner, kept = file.read_text(encoding="utf-8").split("\n")[:2], file.lstat()
    except (OSError, ValueError):
        return False
    return owner == [str(os.getpid()), socket.gethostname()] and _identity(kept) not in _held


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino
