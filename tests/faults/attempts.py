"""A command in the hands of a fault: started, waited for, and what it has to say in the end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.kills import Disturbed, Trials, changes_below, command_of, ended, start

PATIENCE = 240  # seconds after which a command hangs
SHARES = (0.05, 0.35, 0.65, 0.9)  # of the changes of files, or of the room that the command needs

Prelude = Callable[[], object]


def nothing() -> None:
    """Happens before an undisturbed command."""


def attempt(trials: Trials, folder: Path, prelude: Prelude = nothing) -> tuple[int, str]:
    """Status of the command, and what it said."""
    return waited(trials, began(trials, folder, prelude))


def began(trials: Trials, folder: Path, prelude: Prelude = nothing) -> int:
    """The process of the command; what was said before is gone."""
    trials.said.unlink(missing_ok=True)
    return start(command_of(trials.victim, prelude), folder, trials.said)


def waited(trials: Trials, process: int) -> tuple[int, str]:
    """Status and words of a started command. Disturbed when it hangs or shows a traceback."""
    status = ended(process, within=PATIENCE)
    said = trials.said.read_text(errors="replace") if trials.said.exists() else ""
    if status is None:
        os.kill(process, signal.SIGKILL)
        raise Disturbed(f"{trials.victim.name} hangs: {said[-2000:]}")
    if "Traceback" in said:
        raise Disturbed(f"{trials.victim.name} shows a traceback: {said[-3000:]}")
    return status, said


def failed(trials: Trials, status: int, said: str, *reasons: str) -> bool:
    """Whether it ended with an error, which its last line tells, with one of these reasons; else all was done."""
    victim, last = trials.victim, (said.strip().splitlines() or [""])[-1]
    if last.startswith("error: "):
        if status != victim.error or not any(reason in last for reason in reasons):
            raise Disturbed(f"{victim.name} ended with {status}, without one of {reasons}: {last}")
        return True
    if status not in victim.statuses:
        raise Disturbed(f"{victim.name} ended with {status}: {said[-2000:]}")
    return False


def moments(trials: Trials) -> list[int]:
    """Numbers of changes of files, spread over all of them."""
    return sorted({max(1, int(share * trials.changes)) for share in SHARES})


def at_change(number: int, act: Callable[[], object]) -> Prelude:
    """Do it once, before the `number`-th change of a file."""

    def hear(seen: int) -> None:
        if seen == number:
            act()

    return changes_below(hear)
