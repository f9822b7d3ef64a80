"""Commands on disks that are full or read-only, in folders that vanish, ended by signals: then the cause goes away.

    OMP_NUM_THREADS=1 python -m tests.faults [prepare train gan generate evaluate analyse] [--only full vanished ...]

Each must end with a status that means something and one clear line, never with a traceback or a hang; started again,
the result is that of an undisturbed run. Disks are small ones in memory, mounted below a temporary folder: for that
the process has to be root; without, `full` and `read-only` are left out, and it says so.
"""

import argparse
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from data_processing import commandline
from tests.kills import PAGE, Disturbed, Trials, changes_below, command_of, dies_at, start
from tests.victims import VICTIMS

PATIENCE = 240  # seconds after which a command hangs
SHARES = (0.05, 0.35, 0.65, 0.9)  # of the room that the command needs
AWAY = "away"


def attempt(trials: Trials, folder: Path, prelude: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Status of the command, and what it said."""
    trials.said.unlink(missing_ok=True)
    return waited(trials, start(command_of(trials.victim, prelude), folder, trials.said))


def waited(trials: Trials, process: int) -> tuple[int, str]:
    """Status and words of a started command. Disturbed when it hangs or shows a traceback."""
    end = time.monotonic() + PATIENCE
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            break
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            raise Disturbed(f"{trials.victim.name} hangs: {trials.said.read_text()[-2000:]}")
        time.sleep(0.01)
    said = trials.said.read_text(errors="replace") if trials.said.exists() else ""
    if "Traceback" in said:
        raise Disturbed(f"{trials.victim.name} shows a traceback: {said[-3000:]}")
    return os.waitstatus_to_exitcode(status), said


def expect_error(trials: Trials, status: int, said: str, reason: str) -> None:
    """It ended with the status of errors, or well; its last line says why."""
    victim = trials.victim
    lines = said.strip().splitlines() or [""]
    if status not in {victim.error, *victim.statuses}:
        raise Disturbed(f"{victim.name} ended with {status}: {said[-2000:]}")
    if status not in victim.statuses and not (lines[-1].startswith("error: ") and reason in lines[-1]):
        raise Disturbed(f"{victim.name} did not say {reason!r} in the end: {lines[-1]}")


def full(trials: Trials) -> int:
    """The disk is full after a part of the work; then it grows."""
    need = trials.room
    for share in SHARES:
        with disk(trials, size=trials.input_room + int(share * need) // PAGE * PAGE) as folder:
            expect_error(trials, *attempt(trials, folder), "No space left on device")
            remount(folder, "size=512m")
            trials.finish(folder)
    return len(SHARES)


def read_only(trials: Trials) -> int:
    """Before the first start, and after a killed one."""
    for began in (False, True):
        with disk(trials, size=1 << 29) as folder:
            if began:
                attempt(trials, folder, dies_at(trials.changes // 2))
            remount(folder, "ro")
            expect_error(trials, *attempt(trials, folder), "Read-only file system")
            remount(folder, "rw")
            trials.finish(folder)
    return 2


def vanished(trials: Trials) -> int:
    """What it writes to is moved away in mid-work, and comes back."""
    return _moved(trials, trials.victim.output)


def input_vanished(trials: Trials) -> int:
    """What it reads is."""
    return _moved(trials, trials.victim.input)


def ended(trials: Trials) -> int:
    """SIGTERM and SIGINT in mid-work: 143 and 130, within seconds, and nothing half-written stays."""
    for number, wanted in ((signal.SIGTERM, commandline.TERMINATED), (signal.SIGINT, commandline.INTERRUPTED)):
        for share in (0.3, 0.6):
            with trials.trial() as folder:
                trials.said.unlink(missing_ok=True)
                prelude = _at_change(
                    max(1, int(share * trials.changes)), functools.partial(signal.raise_signal, number)
                )
                began = time.monotonic()
                status, said = attempt(trials, folder, prelude)
                if status not in (wanted, *trials.victim.statuses):
                    raise Disturbed(f"{trials.victim.name} ended with {status}: {said[-2000:]}")
                if status == wanted and "run the same command again" not in said.strip().splitlines()[-1]:
                    raise Disturbed(f"{trials.victim.name} does not say how to go on: {said[-500:]}")
                if time.monotonic() - began > trials.seconds + 20 or list(folder.rglob(".partial-*")):
                    raise Disturbed(f"{trials.victim.name} ended late, or left something half-written")
                trials.finish(folder)
    return 4


def _moved(trials: Trials, name: str) -> int:
    """At moments spread over all changes of files."""
    moments = sorted({max(1, int(share * trials.changes)) for share in SHARES})
    for number in moments:
        with trials.trial() as folder:
            there, away = folder / name, folder / AWAY

            def move(there: Path = there, away: Path = away) -> None:
                if there.exists():
                    there.rename(away)

            status, said = attempt(trials, folder, _at_change(number, move))
            if status not in {0, commandline.ERROR, commandline.SOME_FAILED}:
                raise Disturbed(f"{trials.victim.name} ended with {status}: {said[-2000:]}")
            told = "error: " in said.strip().splitlines()[-1] or (
                status == commandline.SOME_FAILED and "failed: " in said
            )
            if status not in trials.victim.statuses and not told:
                raise Disturbed(f"{trials.victim.name} does not say what happened: {said[-500:]}")
            if away.exists():
                shutil.rmtree(there, ignore_errors=True)
                away.rename(there)
            trials.finish(folder)
    return len(moments)


def _at_change(number: int, act: Callable[[], object]) -> Callable[[], object]:
    """Do it once, before the `number`-th change of a file."""

    def hear(seen: int) -> None:
        if seen == number:
            act()

    return changes_below(hear)


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


FAULTS: dict[str, Callable[[Trials], int]] = {
    "full": full,
    "read-only": read_only,
    "vanished": vanished,
    "input-vanished": input_vanished,
    "ended": ended,
}
NEED_ROOT = ("full", "read-only")


def main() -> int:
    parser = commandline.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victims", nargs="*", metavar="COMMAND", help=", ".join(VICTIMS))
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    chosen = [name for name in options.only if name not in NEED_ROOT or can_mount()]
    for name in set(options.only) - set(chosen):
        commandline.say(f"{name}: left out, disks cannot be mounted here (not root)")
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    for victim in options.victims or VICTIMS:
        trials = Trials(VICTIMS[victim], folder / victim, seed=0)
        for name in chosen:
            began = time.monotonic()
            count = FAULTS[name](trials)
            commandline.say(f"{victim}: {name} {count} times, the same result; {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder)
    return commandline.DONE


if __name__ == "__main__":
    commandline.run(main)
