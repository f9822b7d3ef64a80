"""Locks: one holder, given back by a kill, and no file of somebody else's touched."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from isofield.runtime import locks
from isofield.runtime.locks import NoLocksError, hold_lock, hold_rank_lock, try_lock
from tests.conftest import ROOT
from tests.tools.without import environment_without

HOLD = """
import sys, time
from pathlib import Path
from isofield.runtime.locks import hold_lock
with hold_lock(Path(sys.argv[1]), what="training"):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))
"""
MISSING = [(), ("fcntl",)]  # as it is, and where Python has no fcntl


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def command(file: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", HOLD, str(file), str(seconds)]


@contextmanager
def holder(file: Path, missing: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, until it is killed."""
    environment = environment_without(missing)
    with subprocess.Popen(command(file, 60), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def start(file: Path, missing: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = environment_without(missing)
    return subprocess.run(command(file, 0), cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", MISSING)
def test_a_second_start_is_refused_and_a_kill_gives_the_lock_back(tmp_path: Path, missing: tuple[str, ...]):
    with holder(tmp_path / ".lock", missing):
        second = start(tmp_path / ".lock", missing)
        assert second.returncode == 1 and f"{tmp_path}: another training is at work there" in second.stderr
    third = start(tmp_path / ".lock", missing)
    assert (third.returncode, third.stdout) == (0, "held\n"), third.stderr


def test_the_lock_of_another_process_is_seen_and_waited_for(tmp_path: Path):
    with holder(tmp_path / ".lock", ()) as process:
        assert try_lock(tmp_path / ".lock") is None
        process.kill()
        process.wait()  # its number is gone only then
        lock = try_lock(tmp_path / ".lock", wait=30)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def refuse(lock: filelock.BaseFileLock) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(locks.filelock.FileLock, "_acquire", refuse)
    with pytest.raises(NoLocksError):
        try_lock(tmp_path / ".lock")
    with hold_lock(tmp_path / ".lock", what="training"), hold_lock(tmp_path / ".lock", what="training"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(OSError, match=r"gone"), hold_lock(tmp_path / "gone" / ".lock", what="x"):
        pass


def test_a_lock_is_for_one_and_goes_with_it(tmp_path: Path):
    def lock():
        return hold_lock(tmp_path / ".lock", what="training")

    with lock(), pytest.raises(ValueError, match=f"{tmp_path}: .*training"), lock():
        pass
    with lock():
        pass


def test_no_lock_stays_when_the_work_is_done_or_failed(tmp_path: Path):
    """That of a killed process stays until a first rank is done, and keeps nobody out."""
    if not filelock.has_fcntl and sys.platform != "win32":
        pytest.skip("a file stands for the lock here, and has the number of its process in it")
    for rank in (0, 1, 12):
        (tmp_path / f".lock-{rank}").touch()
    with pytest.raises(OSError, match="disk"), hold_rank_lock(tmp_path, 0, what="analysis"):
        raise OSError("disk")
    assert names(tmp_path) == [".lock-1", ".lock-12"]
    with hold_rank_lock(tmp_path, 1, what="analysis"):
        with pytest.raises(ValueError, match="another analysis"), hold_rank_lock(tmp_path, 1, what="analysis"):
            pass
        with hold_rank_lock(tmp_path, 0, what="analysis"):
            pass
        assert names(tmp_path) == [".lock-1"]  # still at work
    assert names(tmp_path) == []


def test_a_lock_of_another_folder_is_not_removed(tmp_path: Path):
    """The folder is moved away in mid-work, and another process works in what took its place."""
    (tmp_path / "out").mkdir()
    with hold_lock(tmp_path / "out" / ".lock", what="x"):
        (tmp_path / "out").rename(tmp_path / "away")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / ".lock").touch()
    assert names(tmp_path / "out") == [".lock"]


CONTENDER = """
import sys, time
from pathlib import Path
from isofield.runtime.locks import hold_lock
folder, entered = Path(sys.argv[1]), 0
until = time.monotonic() + 60
while entered < 40 and time.monotonic() < until:
    try:
        with hold_lock(folder / ".lock", what="x"):
            with open(folder / "inside", "x"):  # FileExistsError when somebody else is inside
                pass
            (folder / "inside").unlink()
            entered += 1
    except ValueError:
        pass
assert entered == 40
"""


def test_one_at_a_time_although_the_file_comes_and_goes(tmp_path: Path):
    """Each takes and removes the lock many times: nobody gets in on a file that another has removed already."""
    words = [sys.executable, "-c", CONTENDER, str(tmp_path)]
    ends = [(*process.communicate(), process.returncode) for process in [contender(words) for _ in range(4)]]
    assert [(end[1], end[2]) for end in ends] == [("", 0)] * 4
    assert names(tmp_path) == []


def contender(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_lock_in_a_folder_from_elsewhere_empties_no_file_outside(tmp_path: Path):
    (tmp_path / "diary").write_text("mine")
    (tmp_path / "folder").mkdir()
    for number, target in enumerate(("diary", "new")):
        (tmp_path / "folder" / f".lock-{number}").symlink_to(tmp_path / target)
        with (
            pytest.raises(OSError, match=rf"\.lock-{number}"),
            hold_lock(tmp_path / "folder" / f".lock-{number}", what="x"),
        ):
            pass
    assert (tmp_path / "diary").read_text() == "mine" and names(tmp_path) == ["diary", "folder"]


def test_a_folder_that_was_away_when_its_lock_was_given_back_can_be_locked_again(tmp_path: Path):
    """Where a file stands for the lock it stays in the folder, and names a process that is alive."""
    folder, away = tmp_path / "run", tmp_path / "away"
    folder.mkdir()
    with hold_lock(folder / ".lock", what="training"):
        folder.rename(away)
    away.rename(folder)
    with hold_lock(folder / ".lock", what="training"):
        with pytest.raises(ValueError, match="another training"), hold_lock(folder / ".lock", what="training", wait=0):
            pass
        assert (folder / ".lock").exists()
    assert not (folder / ".lock").exists()
