"""Told to end, once or twice, at many moments; beside a second one of its kind; robbed of one of its processes."""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from isofield.runtime import commandline
from tests.faults.attempts import PATIENCE, at_change, attempt, began, failed, moments, waited
from tests.kills import Disturbed, Trials, command_of, start
from tests.torchrun import descendants

STATUSES = {signal.SIGTERM: commandline.TERMINATED, signal.SIGINT: commandline.INTERRUPTED}
SOON = 20  # seconds more than the command takes undisturbed
APART = 2.2  # seconds after which a signal is a second one
PROCESSES = 4  # of a command with two workers: who counts semaphores, who starts workers, those
DIED = ("died", "die as soon as they start")


def ended(trials: Trials) -> int:
    """SIGTERM and SIGINT in mid-work: 143 and 130, within seconds, and nothing half-written stays."""
    numbers = [max(1, int(share * trials.changes)) for share in (0.3, 0.6)]
    return sum(_told(trials, numbers, functools.partial(signal.raise_signal, sign), sign) for sign in STATUSES)


def ended_everywhere(trials: Trials) -> int:
    """SIGTERM before each change of a file: before the first step, while a checkpoint is written, after the last."""
    term = functools.partial(signal.raise_signal, signal.SIGTERM)
    return _told(trials, range(1, trials.changes + 1), term, signal.SIGTERM, may_be_done=True)


def ended_twice(trials: Trials) -> int:
    """Twice at once, as a launcher and a scheduler do; and again later, by who lost patience."""

    def at_once() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    def later() -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(APART)
        signal.raise_signal(signal.SIGTERM)

    return sum(_told(trials, moments(trials)[1:3], act, signal.SIGTERM) for act in (at_once, later))


def _told(trials: Trials, numbers: Iterable[int], act, sign: signal.Signals, *, may_be_done: bool = False) -> int:
    """Do it before these changes of files; `may_be_done`: then all was done before it was heard."""
    count = 0
    for number in numbers:
        with trials.trial() as folder:
            since = time.monotonic()
            status, said = attempt(trials, folder, at_change(number, act))
            done = may_be_done and status in trials.victim.statuses
            if status != STATUSES[sign] and not done:
                raise Disturbed(f"{trials.victim.name} ended with {status} at {number}: {said[-2000:]}")
            if not done and "run the same command again" not in said.strip().splitlines()[-1]:
                raise Disturbed(f"{trials.victim.name} does not say how to go on: {said[-500:]}")
            if time.monotonic() - since > trials.seconds + SOON or list(folder.rglob(".partial-*")):
                raise Disturbed(f"{trials.victim.name} ended late, or left something half-written")
            trials.finish(folder)
            count += 1
    return count


def second(trials: Trials) -> int:
    """Another start while the first is at work: it is refused, and the first one does not notice."""
    numbers = moments(trials)
    for number in numbers:
        with trials.trial() as folder:
            said = trials.folder / "second.txt"
            said.unlink(missing_ok=True)
            here = at_change(number, functools.partial(_beside, trials, folder, said))
            status, words = attempt(trials, folder, here)
            if status not in trials.victim.statuses or "error: " in words:
                raise Disturbed(f"{trials.victim.name}, the first, ended with {status}: {words[-2000:]}")
            told = said.read_text()
            if "is at work there" not in told.strip().splitlines()[-1] and number != numbers[0]:
                raise Disturbed(f"{trials.victim.name}, the second, was not refused: {told[-2000:]}")
            trials.finish(folder)
    return len(numbers)


def _beside(trials: Trials, folder: Path, said: Path) -> None:
    """In the first one's process: a second one from its beginning to its end."""
    os.waitpid(start(command_of(trials.victim), folder, said), 0)


def child_killed(trials: Trials) -> int:
    """SIGKILL to one of its processes, as when memory runs out: an error that says so, or none.

    Not to the one that counts semaphores, a few MiB that hold nothing: the next one of Python complains about them.
    """
    errors = 0
    for which in range(1, PROCESSES):
        with trials.trial() as folder:
            process = began(trials, folder)
            end = time.monotonic() + PATIENCE
            while len(found := sorted(descendants(process))) < PROCESSES and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(trials.moments.uniform(0, trials.seconds / 2))
            with contextlib.suppress(ProcessLookupError):  # all is done
                os.kill(found[which], signal.SIGKILL)
            errors += failed(trials, *waited(trials, process), *DIED)
            trials.finish(folder)
    commandline.say(f"{trials.victim.name}: {errors} of {PROCESSES - 1} ended with an error")
    return PROCESSES - 1
