"""`--part 3/16`: one of 16 calls that share the work of one, wherever and whenever each of them runs.

Schedulers start them as an array of jobs. Parts cannot wait for each other, as ranks of torchrun do: each makes its own
things, and who finds then that everything is there and nobody is at work joins: it does what the same call without
--part does, which finds nothing left to make but what belongs to all.

A hidden file in the folder of the results says how many parts there are; it goes when they are joined. Whoever starts,
or looks whether to join, holds one lock for that moment; while parts are joined no part starts.
"""

import argparse
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from isofield.runtime.atomic_files import write_text
from isofield.runtime.json_files import read_object
from isofield.runtime.locks import LOCK_STEM, TIDYING, NoLocksError, hold_lock, hold_rank_lock, try_lock

PARTS_FILE = ".parts.json"
JOINING = ".parts.lock"
PATIENCE = 60.0  # seconds in which a look at what is there is over
MOST_PARTS = 100_000
FOREVER = -1.0
HELP = "make only one of N shares, as a job array does: 3/16; the last one joins them"
Joined = TypeVar("Joined")


@dataclass(frozen=True)
class Part:
    """One of `total` parts; `number` counts from 1, as --part does."""

    number: int
    total: int

    @property
    def rank(self) -> int:
        """As ranks are counted, from 0."""
        return self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def part_of(text: str) -> Part:
    """What --part says. argparse.ArgumentTypeError, naming what is wrong, for what is no part."""
    words = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    number, total = (int(words[1]), int(words[2])) if words else (0, 0)
    if not 1 <= number <= total <= MOST_PARTS:
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N (3/16: the third of 16 parts), got {text!r}")
    return Part(number, total)


def without_part(words: Sequence[str]) -> list[str]:
    """The words of a command without --part and what it says: the same call, for all."""
    kept: list[str] = []
    skip = False
    for word in words:
        option, *value = word.split("=", 1)
        is_part = len(option) > 2 and "--part".startswith(option)  # argparse takes it shortened
        if not (skip or is_part):
            kept.append(word)
        skip = is_part and not value
    return kept


def refuse_ranks(part: Part | None) -> None:
    """ValueError for a part of a call that torchrun shares out already."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if part is not None and size > 1:
        raise ValueError(
            f"--part {part}: torchrun shares the work among {size} processes already; start each part by itself, "
            "with python, or leave --part out"
        )


@contextlib.contextmanager
def hold_folder(folder: Path, rank: int, *, what: str, part: Part | None = None) -> Iterator[None]:
    """One process a rank, or a part, works into a folder that is there.

    ValueError when another is at it, when parts are at work and this is none, and for a part of another total.
    """
    with contextlib.ExitStack() as stack:
        if part is not None:
            with hold_lock(folder / JOINING, what=what, wait=PATIENCE):
                _open_part(folder, part, what)
                stack.enter_context(hold_rank_lock(folder, part.rank, what=f"{what} of part {part}"))
        else:
            stack.enter_context(hold_rank_lock(folder, rank, what=what))
            if rank == 0 and (folder / PARTS_FILE).exists():
                with hold_lock(folder / JOINING, what=what, wait=PATIENCE):
                    _close_parts(folder, what)
        yield


def join_parts(
    folder: Path, part: Part, *, what: str, is_whole: Callable[[], bool], join: Callable[[], Joined]
) -> Joined | None:
    """What the call for all returns, when this part is the last one to have finished; None when it is not.

    To be called when the part has left the folder. `is_whole`: whether all that the parts make is there.
    """
    with hold_lock(folder / JOINING, what=what, wait=FOREVER):
        if not (folder / PARTS_FILE).exists():
            return None  # another part came between, and has joined them
        if _at_work(folder, part.total) or not is_whole():
            return None
        (folder / PARTS_FILE).unlink()
        return join()


def describe_part(part: Part, *, again: str = "") -> str:
    """The end of a part that is not the last. `again`: the option with which the command goes on."""
    instead = f" and with {again}" if again else ""
    return f"part {part} is done; the last to finish makes the results of all, or this command without --part{instead}"


def _open_part(folder: Path, part: Part, what: str) -> None:
    total = _total_of(folder)
    if total is None:
        if _held(folder, 0):
            raise ValueError(f"{folder}: another {what}, of all parts, is at work there; wait for it, or stop it")
        write_text(folder / PARTS_FILE, f'{{"parts": {part.total}}}\n')
    elif total != part.total:
        raise ValueError(
            f"--part {part}: the {what} in {folder} is under way in {total} parts: use --part K/{total}; to share it "
            "out anew, stop them and run it once without --part, or remove "
            f"{folder / PARTS_FILE}"
        )


def _close_parts(folder: Path, what: str) -> None:
    """A call for all goes on from what parts have left."""
    total = _total_of(folder)
    others = [number + 1 for number in _at_work(folder, total or 1) if number > 0]
    if others:
        named = ", ".join(f"{number}/{total}" for number in others)
        raise ValueError(f"{folder}: the {what} of part {named} is at work there; wait for it, or stop it")
    (folder / PARTS_FILE).unlink(missing_ok=True)


def _total_of(folder: Path) -> int | None:
    """In how many parts the work of a folder is shared out; None where it is not."""
    file = folder / PARTS_FILE
    if not file.exists():
        return None
    total = read_object(file, again="remove it, when no part is at work").get("parts")
    if type(total) is not int or not 1 <= total <= MOST_PARTS:
        raise ValueError(f"{file}: expected a number of parts, got {total!r}; remove it, when no part is at work")
    return total


def _at_work(folder: Path, total: int) -> list[int]:
    """Ranks of the parts that have not left the folder."""
    return [rank for rank in range(total) if _held(folder, rank)]


def _held(folder: Path, rank: int) -> bool:
    file = folder / f"{LOCK_STEM}{rank}"
    if not file.exists():
        return False
    with contextlib.suppress(NoLocksError):
        lock = try_lock(file, wait=TIDYING)
        if lock is None:
            return True
        lock.release()
    return False
