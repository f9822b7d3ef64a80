"""Commands killed with -9 at many moments and started again: the result has to be that of an undisturbed run.

    OMP_NUM_THREADS=1 python -m tests.kills [prepare train gan generate evaluate analyse] [--rounds 20] [--kills 3]
    OMP_NUM_THREADS=1 python -m tests.kills train --at files
    OMP_NUM_THREADS=1 python -m tests.kills generate --at parts

At random moments, `kills` of them in each round; or once before each operation that changes a file or a folder (opened
for writing, renamed, removed, linked, made), one after the other; or one of three parts (--part) that work at once. The
commands are the real ones, started in processes forked from this one, which has loaded the libraries already: a start
costs milliseconds.

Compared are all files byte by byte, checkpoints tensor by tensor, but for what no two runs have in common: seconds,
logs of TensorBoard, timings.csv; and but for `previous.pt`, which every start replaces.
"""

import argparse
import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # every first optimiser loads it: here once for all starts

from isofield import checkpoint
from isofield.runtime import commandline
from tests.victims import VICTIMS, Victim

SECONDS = re.compile(r'"seconds":[^,}]*')
CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir")
CRASHED = 70  # with a traceback
PAGE = 4096
HIDDEN = (".partial-*", ".lock*", ".parts*", ".journal-*", ".rows-*")  # what no command leaves that came to its end
PARTS = 3
LATE = 1.1  # of the time that the command takes: some kills come too late


class Disturbed(AssertionError):
    """A result that differs, or a command that does not end well."""


def start(call: Callable[[], object], folder: Path, said: Path) -> int:
    """Call it in a forked process inside a folder; what it says goes to a file. Returns the process."""
    process = os.fork()
    if process:
        return process
    status = CRASHED
    try:
        os.chdir(folder)
        os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # of semaphores: os._exit tidies nothing up
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        call()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(process: int, *, within: float | None = None) -> int | None:
    """Its status; negative: the signal that killed it. None when it has not ended `within` so many seconds."""
    end = None if within is None else time.monotonic() + within
    while True:
        found, status = os.waitpid(process, 0 if end is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() > end:
            return None
        time.sleep(0.005)


def command_of(victim: Victim, prelude: Callable[[], object] = lambda: None) -> Callable[[], object]:
    """The command as it is called from a shell."""

    def call() -> None:
        prelude()
        commandline.run(functools.partial(victim.main, victim.words), error=victim.error)

    return call


def changes_below(hear: Callable[[int], object]) -> Callable[[], object]:
    """Before each change of a file or folder below the current one, `hear` its number: 1, 2, ..."""
    seen, inside = 0, False

    def prelude() -> None:
        below = os.getcwd() + os.sep

        def heard(event: str, details: tuple[Any, ...]) -> None:
            nonlocal seen, inside
            writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
            if not (writes or event in CHANGES) or inside:
                return
            if os.path.abspath(str(details[0])).startswith(below):
                seen, inside = seen + 1, True
                try:
                    hear(seen)
                finally:
                    inside = False

        sys.addaudithook(heard)

    return prelude


def dies_at(number: int) -> Callable[[], object]:
    """Kill this process before its `number`-th change of a file."""
    return changes_below(lambda seen: os.kill(os.getpid(), signal.SIGKILL) if seen == number else None)


class Trials:
    """One victim: its input, its undisturbed result, and what became of it when it was killed."""

    def __init__(self, victim: Victim, folder: Path, *, seed: int) -> None:
        self.victim, self.folder, self.moments = victim, folder, random.Random(seed)
        self.said, self.input = folder / "said.txt", folder / "input"
        self.rounds = self.kills = self.too_late = 0
        self.input.mkdir(parents=True)
        status = ended(start(lambda: victim.write(Path(".")), self.input, self.said))
        if status:
            raise Disturbed(f"input of {victim.name}: {self.said.read_text()[-2000:]}")
        self.input_room = room(self.input)
        tally = os.open(folder / "tally", os.O_RDWR | os.O_CREAT)
        count = changes_below(lambda seen: os.pwrite(tally, str(seen).encode(), 0))
        with self.trial() as trial:
            began = time.monotonic()
            self._run(trial, count)
            self.seconds = time.monotonic() - began
            self.changes, self.room = int(os.pread(tally, 20, 0)), room(trial) - self.input_room
            self.expected = dict(results(trial))

    @contextlib.contextmanager
    def trial(self) -> Iterator[Path]:
        """A fresh copy of the input, always at the same place: paths are part of results."""
        folder = self.folder / "trial"
        shutil.copytree(self.input, folder, symlinks=True)
        yield folder
        shutil.rmtree(folder)  # not after an error: somebody will want to look at it

    def at_random(self, kills: int) -> None:
        """Killed so many times, then finished."""
        with self.trial() as trial:
            for number in range(kills):
                process, began = start(command_of(self.victim), trial, self.said), time.monotonic()
                status = ended(process, within=self.moments.uniform(0, LATE * self.seconds))
                if status is None:
                    os.kill(process, signal.SIGKILL)
                    status = ended(process)
                elif number == 0:  # all of the work: the machine was busier when it was measured
                    self.seconds = min(self.seconds, time.monotonic() - began)
                self._count(status)
            self.finish(trial)

    def before_change(self, number: int) -> None:
        """Killed before its `number`-th change of a file, then finished."""
        with self.trial() as trial:
            self._count(ended(start(command_of(self.victim, dies_at(number)), trial, self.said)))
            self.finish(trial)

    def in_parts(self, killed: int, *, plain: bool) -> None:
        """By three parts at once, one of which is killed at work; then it is started again, or the call for all."""
        with self.trial() as trial:
            parts = [f"{number}/{PARTS}" for number in range(1, PARTS + 1)]
            words = [(*self.victim.words, "--part", part) for part in parts]
            calls = [replace(self.victim, words=each, statuses=(0, *self.victim.statuses)) for each in words]
            dies = [dies_at(max(2, self.changes // (2 * PARTS))) if n == killed else lambda: None for n in range(PARTS)]
            at_once = [start(command_of(call, die), trial, self.said) for call, die in zip(calls, dies, strict=True)]
            for number, status in enumerate([ended(process) for process in at_once]):
                if status not in ((-signal.SIGKILL,) if number == killed else calls[number].statuses):
                    said = self.said.read_text()[-2000:]
                    raise Disturbed(f"{self.victim.name}: part {parts[number]} ended with {status}: {said}")
            self.kills += 1
            self.finish(trial, self.victim if plain else replace(calls[killed], statuses=self.victim.statuses))

    def _count(self, status: int | None) -> None:
        self.kills += status == -signal.SIGKILL
        self.too_late += status in self.victim.statuses
        if status != -signal.SIGKILL and status not in self.victim.statuses:
            raise Disturbed(f"{self.victim.name} ended with {status}: {self.said.read_text()[-2000:]}")

    def _run(self, trial: Path, prelude: Callable[[], object] = lambda: None, *, victim: Victim | None = None) -> None:
        status = ended(start(command_of(victim or self.victim, prelude), trial, self.said))
        if status not in self.victim.statuses:
            raise Disturbed(f"{self.victim.name} ended with {status}: {self.said.read_text()[-2000:]}")

    def finish(self, trial: Path, victim: Victim | None = None) -> None:
        """Run it (or `victim`) to the end: the result is that of an undisturbed run. Disturbed where it is not."""
        self._run(trial, victim=victim)
        self.rounds += 1
        found = dict(results(trial))
        differ = [name for name in {**self.expected, **found} if self.expected.get(name) != found.get(name)]
        if differ:
            raise Disturbed(f"{self.victim.name} differs in {', '.join(sorted(differ))}; look at {trial}")
        left = [str(path) for kind in HIDDEN for path in trial.rglob(kind)]
        if left:
            raise Disturbed(f"{self.victim.name} leaves {', '.join(left)}")


def room(folder: Path) -> int:
    """Bytes that a disk in memory needs for it."""
    return sum(-(-path.lstat().st_size // PAGE) * PAGE + PAGE for path in folder.rglob("*"))


def results(folder: Path) -> Iterator[tuple[str, str]]:
    """A digest of every file that two equal runs have in common, by its path."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "logs" for part in name.parts)
        if path.is_file() and not hidden and not name.name.startswith("timings") and name.name != "previous.pt":
            yield str(name), hashlib.blake2b(comparable(path), digest_size=16).hexdigest()


def comparable(file: Path) -> bytes:
    """Its content without seconds."""
    if file.suffix == ".pt":
        return b"".join(flat(timeless(checkpoint.load(file))))
    if file.suffix == ".json":
        return json.dumps(timeless(json.loads(file.read_text()))).encode()
    if file.suffix == ".jsonl":  # lines of a record, which count starts
        lines = [timeless(json.loads(line)) | {"start": 0} for line in file.read_text().splitlines()]
        return json.dumps(lines).encode()
    if file.suffix == ".html":
        return SECONDS.sub("", file.read_text()).encode()
    if file.suffix == ".csv":
        return json.dumps(timeless(list(csv.DictReader(io.StringIO(file.read_text()))))).encode()
    return file.read_bytes()


def timeless(content: Any) -> Any:
    """Without what `seconds` hold, wherever they are nested."""
    if isinstance(content, dict):
        return {key: timeless(value) for key, value in content.items() if key != "seconds"}
    return [timeless(value) for value in content] if isinstance(content, list | tuple) else content


def flat(content: Any) -> Iterator[bytes]:
    """Keys, values and the bytes of tensors, in their order."""
    if isinstance(content, torch.Tensor):
        yield f"{content.dtype} {tuple(content.shape)}".encode()
        yield content.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(content, dict):
        for key, value in content.items():
            yield repr(key).encode()
            yield from flat(value)
    elif isinstance(content, list):
        for value in content:
            yield from flat(value)
    else:
        yield repr(content).encode()


def campaign(names: Iterable[str], folder: Path, *, at: str, rounds: int, kills: int, seed: int = 0) -> list[Trials]:
    """Rounds of all these victims, told as they end. Raises Disturbed at the first result that differs."""
    every = []
    for name in names:
        trials, began = Trials(VICTIMS[name], folder / name, seed=seed), time.monotonic()
        numbers = range(1, trials.changes + 1) if at == "files" else range(rounds)
        for number in numbers:
            if at == "files":
                trials.before_change(number)
            elif at == "parts":
                trials.in_parts((number + 1) % PARTS, plain=number % PARTS == 1)
            else:
                trials.at_random(kills)
        every.append(trials)
        told = f"{trials.rounds} rounds, {trials.kills} kills, {trials.too_late} too late, all {len(trials.expected)}"
        commandline.say(
            f"{name}: {told} files equal; {trials.seconds:.1f} s undisturbed, {time.monotonic() - began:.0f} s"
        )
    return every


def main() -> int:
    parser = commandline.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victims", nargs="*", choices=[*VICTIMS, []], default=[])
    parser.add_argument("--at", choices=("random", "files", "parts"), default="random")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="in each round, at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the trials; in memory (/dev/shm) they are quick")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=options.folder))
    chosen = options.victims or list(VICTIMS)
    campaign(chosen, folder, at=options.at, rounds=options.rounds, kills=options.kills, seed=options.seed)
    shutil.rmtree(folder)
    return commandline.DONE


if __name__ == "__main__":
    commandline.run(main)
