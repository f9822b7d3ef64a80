"""Real files of every kind, damaged at random: each reader answers with a value or a typed error, in time and memory.

    python -m tests.fuzz [--cases 200] [--seed 0] [--only ply nii ...]

Cases of one kind run in a process of their own with limits on memory and on the seconds of a case; a case that ends
the process (a crash, too much memory, a hang) is reported with its number, and made again by the same seed. A damaged
file may not touch anything outside its folder: the folder above is compared before and after.

Lines of ours that run are watched: a damaged file that reached a new one is kept and damaged further.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from tests.conftest import ROOT
from tests.fuzz_damages import INSIDE, damaged
from tests.fuzz_seeds import Reader, seeds

MEMORY = 2 << 30  # bytes of address space beyond what imports take
SECONDS = 20  # of the processor, for one case: another job on the machine takes none of them
PATIENCE = 600  # seconds of the clock, for what waits without work
TYPED = (ValueError, OSError)  # OSError: FileNotFoundError, PermissionError and the like
NOT_OPENED = (OSError, ValueError, LookupError, EOFError, ArithmeticError, RuntimeError, zipfile.BadZipFile, zlib.error)
MOST_KEPT = 100  # damaged files that reached new lines
OURS = tuple(str(ROOT / name) for name in ("data_processing", "isofield", "imnet", "ifnet"))


class Lines:
    """Which lines of our packages ran."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.new = False

    def watch(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        line = frame.f_code.co_filename, frame.f_lineno
        if line not in self.seen:
            self.seen.add(line)
            self.new = True
        return self.watch


def _limit_of_time(number: int, frame: FrameType | None) -> None:
    """End the process: a library's `except BaseException` could take an exception for a damaged file."""
    traceback.print_stack(frame)
    print("TooSlow", flush=True)
    os._exit(1)


def attack(kind: str, file: Path, reader: Reader, *, cases: int, seed: int) -> Counter[str]:
    """Damage one file again and again, in this process, under its limits. Prints a line before each case."""
    whole, around, kept = file.read_bytes(), file.parent.parent, list[bytes]()
    before = sorted(path.name for path in around.iterdir())
    lines = Lines()
    sys.settrace(lines.watch)
    reader(file)  # the undamaged one is read
    sys.settrace(None)
    import resource  # not on every system

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _limit_of_time)
    outcomes: Counter[str] = Counter()
    for case in range(cases):
        print(f"case {case}", flush=True)
        moments = random.Random(f"{seed} {kind} {case}")
        base = moments.choice(kept) if kept and case % 3 == 2 else whole
        content = _case(kind, base, moments)
        file.write_bytes(content)
        lines.new = False
        signal.alarm(PATIENCE)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        sys.settrace(lines.watch)
        try:
            reader(file)
            outcomes["read"] += 1
        except TYPED as error:
            outcomes[type(error).__name__] += 1
            _refuse_odd_message(error, f"{kind} case {case}")
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        if lines.new and len(kept) < MOST_KEPT:
            kept.append(content)
    outcomes["lines"] = len(lines.seen)
    outcomes["kept"] = len(kept)
    after = sorted(path.name for path in around.iterdir())
    assert before == after, f"{kind}: files outside the folder: {set(after) ^ set(before)}"
    return outcomes


def _case(kind: str, base: bytes, moments: random.Random) -> bytes:
    """A damaged file; of files in files half the time the inner one, with its checksum right."""
    if kind in INSIDE and moments.random() < 0.7:
        try:
            return INSIDE[kind](base, moments)
        except NOT_OPENED:  # a kept one
            return damaged(base, moments)
    return damaged(base, moments)


def _refuse_odd_message(error: BaseException, case: str) -> None:
    """A reason that can be read; nobody asked for memory that was only declared."""
    if not str(error).strip() or len(str(error)) > 20_000:
        raise AssertionError(f"{case}: a message of {len(str(error))} characters: {error!r:.500}") from error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            raise AssertionError(f"{case}: asked for memory: {error!r:.500}") from error
        cause = cause.__cause__ or cause.__context__


def fuzz(kinds: list[str], *, cases: int, seed: int) -> list[str]:
    """Attack each kind in a process forked for it; returns a line for each that failed."""
    failed = []
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "inside"
        folder.mkdir()
        found = seeds(folder)
        for kind in kinds:
            log = Path(outer) / f"{kind}.log"
            log.touch()
            file, reader = found[kind]
            whole = file.read_bytes()
            status = _forked(kind, file, reader, cases=cases, seed=seed, log=log)
            file.write_bytes(whole)  # others may read it
            lines = log.read_text(errors="replace").splitlines()
            if status:
                last = next((line for line in reversed(lines) if line.startswith("case")), "before the first case")
                failed.append(f"{kind}: {last}, status {status}: {lines[-1:]}")
            print(f"{kind:10} {failed[-1] if status else lines[-1]}", flush=True)
    return failed


def _forked(kind: str, file: Path, reader: Reader, *, cases: int, seed: int, log: Path) -> int:
    """The exit status of `attack` in a child; its output goes to a file, whatever ends it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        with open(log, "w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            sys.stdout = sys.stderr = os.fdopen(1, "w")
            outcomes = attack(kind, file, reader, cases=cases, seed=seed)
            print(", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())), flush=True)
            status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)


KINDS = [
    *(
        "ply",
        "ply_text",
        "ply_mixed",
        "obj",
        "stl",
        "stl_text",
        "off",
        "glb",
        "glb_parts",
        "gltf",
        "xyz",
        "pcd",
        "cloud",
        "cloud_npz",
    ),
    *("png", "jpg", "bmp", "webp", "tif", "gif", "renderings"),
    *("npy", "npz", "binvox", "mat", "mat_packed", "nii", "nii.gz", "nii2", "nrrd", "mha"),
    *(
        "yaml",
        "config",
        "json",
        "tsv",
        "csv",
        "ctbl",
        "pt",
        "pth",
        "tar",
        "organs",
        "codes",
        "hdf5",
        "shard",
        "dataset",
    ),
    *("calibration", "judge", "preparation", "manifest", "generated", "analysed"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # nothing but this thread may be alive when a child is made
    return bool(fuzz(arguments.only, cases=arguments.cases, seed=arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
