"""Small disks in memory: full, full at a moment, read-only. Mounting them takes root."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.attempts import SHARES, at_change, attempt, failed, moments
from tests.kills import PAGE, Disturbed, Trials, dies_at

LARGE = 1 << 29  # bytes
BALLAST = ".ballast"
NEED_ROOT = ("full", "full-at", "read-only")
LATE = 6  # of the last changes: tables, pages, manifests
FULL, READ_ONLY = "No space left on device", "Read-only file system"


def full(trials: Trials) -> int:
    """The disk is full after a part of the work; then it grows."""
    errors = 0
    for share in SHARES:
        size = trials.input_room + int(share * trials.room) // PAGE * PAGE
        with disk(trials, size=size) as folder:
            errors += failed(trials, *attempt(trials, folder), FULL)
            remount(folder, f"size={LARGE}")
            trials.finish(folder)
    return refuse_none(trials, errors, len(SHARES))


def full_at(trials: Trials) -> int:
    """The disk is full from a change of a file on, among them the last ones; then there is room again."""
    numbers = sorted({*moments(trials), *range(max(1, trials.changes - LATE), trials.changes + 1)})
    errors = 0
    for number in numbers:
        with disk(trials, size=LARGE) as folder:
            errors += failed(trials, *attempt(trials, folder, at_change(number, fill)), FULL)
            (folder / BALLAST).unlink(missing_ok=True)
            trials.finish(folder)
    return refuse_none(trials, errors, len(numbers))


def read_only(trials: Trials) -> int:
    """Before the first start, and after a killed one."""
    for begun in (False, True):
        with disk(trials, size=LARGE) as folder:
            if begun:
                attempt(trials, folder, dies_at(trials.changes // 2))
            remount(folder, "ro")
            refuse_none(trials, int(failed(trials, *attempt(trials, folder), READ_ONLY)), 1)
            remount(folder, "rw")
            trials.finish(folder)
    return 2


def refuse_none(trials: Trials, errors: int, count: int) -> int:
    """Disturbed where no fault was felt; else how many there were."""
    if not errors:
        raise Disturbed(f"{trials.victim.name} felt nothing of it")
    return count


def fill() -> None:
    """Take all room that is left on the disk below."""
    there = os.statvfs(".")
    with open(BALLAST, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize)


@contextlib.contextmanager
def disk(trials: Trials, *, size: int) -> Iterator[Path]:
    """A copy of the input on a disk of so many bytes, at the place of all trials."""
    folder = trials.folder / "trial"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        shutil.copytree(trials.input, folder, symlinks=True, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def can_mount() -> bool:
    """Whether this process may mount a disk in memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        with contextlib.suppress(OSError):
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                subprocess.run(["umount", folder], check=True)
                return True
    return False
