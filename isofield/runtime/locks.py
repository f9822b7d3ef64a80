"""Locks between processes, by files beside what they guard: the second start is refused, and a kill gives a lock back.

By `filelock`: flock on Linux and macOS, a locked byte on Windows; the system takes either back from a process however
it ends. Over NFS they hold between machines as far as its server knows locks. Where Python has no fcntl, a file with
the number of the process stands for the lock, and one whose process is gone counts for nothing.
"""

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a file must stand for the lock here
    import filelock

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of file systems


class NoLocksError(OSError):
    """The file system has no locks: nobody is kept out there."""


@contextlib.contextmanager
def hold_lock(file: Path, *, what: str) -> Iterator[None]:
    """Hold a lock that goes with the process, however it ends. ValueError when another process has it.

    OSError that names the file where it cannot be opened. Nobody is kept out where the file system has no locks.
    """
    lock = None
    try:
        lock = try_lock(file)
        if lock is None:
            raise ValueError(f"{file.parent}: another {what} is at work there; wait for it, or stop it")
    except NoLocksError:
        pass
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def try_lock(file: Path, *, wait: float = 0.0) -> filelock.BaseFileLock | None:
    """The lock, to be released; None when another has it, for longer than `wait` seconds. NoLocksError.

    No link is followed: in a folder from elsewhere it may lead to any file of the user's.
    """
    if file.is_symlink():  # filelock refuses them too, but for its versions before 3.20.1
        raise OSError(errno.ELOOP, "a link stands where a lock is to be", str(file))
    if not file.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(file.parent))
    lock = filelock.FileLock(file, timeout=wait, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        return None
    except NotImplementedError as error:
        raise NoLocksError(errno.ENOSYS, str(error), str(file)) from error
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise NoLocksError(error.errno, error.strerror, str(file)) from error
        raise
    return lock
