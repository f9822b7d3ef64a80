"""Folders that vanish and come back, or are something else for a while; files damaged or dated between two starts."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from isofield.runtime import commandline
from tests.faults.attempts import at_change, attempt, failed, moments
from tests.kills import Disturbed, Trials, dies_at

AWAY = "away"
YEARS = 10 * 365 * 86400.0  # seconds
JOURNALS = (".journal-*.jsonl", ".rows-*.jsonl")
NULS = b"\0" * 4096


def vanished(trials: Trials) -> int:
    """What it writes to is moved away in mid-work, and comes back."""
    return _moved(trials, trials.victim.output, lambda there, away: None)


def input_vanished(trials: Trials) -> int:
    """What it reads is."""
    return _moved(trials, trials.victim.input, lambda there, away: None)


def replaced(trials: Trials) -> int:
    """In its place is a file, a link to nowhere, or a link to where it is now, which changes nothing."""
    count = _moved(trials, trials.victim.output, lambda there, away: there.write_bytes(b""))
    count += _moved(trials, trials.victim.output, lambda there, away: there.symlink_to("nowhere"))
    count += _moved(trials, trials.victim.output, lambda there, away: there.symlink_to(away.resolve()), works=True)
    for put in (lambda there: there.write_bytes(b""), lambda there: there.symlink_to("nowhere")):
        count += _not_a_folder(trials, put)
    return count


def _not_a_folder(trials: Trials, put: Callable[[Path], object]) -> int:
    """From the beginning: an error that names it."""
    with trials.trial() as folder:
        there = folder / trials.victim.output
        there.parent.mkdir(parents=True, exist_ok=True)
        put(there)
        if not failed(trials, *attempt(trials, folder), trials.victim.output):
            raise Disturbed(f"{trials.victim.name} takes a file for a folder")
        there.unlink()
        trials.finish(folder)
    return 1


def _moved(trials: Trials, name: str, put: Callable[[Path, Path], object], *, works: bool = False) -> int:
    """At moments spread over all changes of files; `put` something in its place."""
    numbers = moments(trials)
    for number in numbers:
        with trials.trial() as folder:
            there, away = folder / name, folder / AWAY

            def move(there: Path = there, away: Path = away) -> None:
                if there.exists():
                    there.rename(away)
                    put(there, away)

            status, said = attempt(trials, folder, at_change(number, move))
            _refuse_silence(trials, status, said, works)
            if away.exists():
                _remove(there)
                away.rename(there)
            trials.finish(folder)
    return len(numbers)


def _refuse_silence(trials: Trials, status: int, said: str, works: bool) -> None:
    name = trials.victim.name
    if status not in {0, commandline.ERROR, commandline.SOME_FAILED} or (
        works and status not in trials.victim.statuses
    ):
        raise Disturbed(f"{name} ended with {status}: {said[-2000:]}")
    told = "error: " in said.strip().splitlines()[-1] or (status == commandline.SOME_FAILED and "failed: " in said)
    if status not in trials.victim.statuses and not told:
        raise Disturbed(f"{name} does not say what happened: {said[-500:]}")


def _remove(there: Path) -> None:
    if there.is_dir() and not there.is_symlink():
        shutil.rmtree(there)
    else:
        there.unlink(missing_ok=True)


def clock(trials: Trials) -> int:
    """Set back by ten years between a kill and the next start: what is finished lies in the future."""
    numbers = moments(trials)
    for number in numbers:
        with trials.trial() as folder:
            attempt(trials, folder, dies_at(number))
            then = time.time() + YEARS
            for path in (folder / trials.victim.output).rglob("*"):
                os.utime(path, (then, then), follow_symlinks=False)
            trials.finish(folder)
    return len(numbers)


def journals(trials: Trials) -> int:
    """As after a power cut, after a kill: the last lines of journals are cut, or hold zeros, or zeros follow."""
    damages = (lambda text: text[: -len(text) // 3], lambda text: text + NULS, _hollow)
    found = 0
    for number in moments(trials)[1:]:
        for damage in damages:
            with trials.trial() as folder:
                attempt(trials, folder, dies_at(number))
                for file in (file for kind in JOURNALS for file in folder.rglob(kind)):
                    file.write_bytes(damage(file.read_bytes()))
                    found += 1
                trials.finish(folder)
    return found


def _hollow(text: bytes) -> bytes:
    """Zeros instead of the last third: the length reached the disk, the content did not."""
    kept = len(text) - len(text) // 3
    return text[:kept] + bytes(len(text) - kept)
