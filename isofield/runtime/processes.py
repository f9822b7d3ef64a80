"""Work over shapes in several processes, in order: the same results as in one, sooner. Ctrl-C ends all of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from data_processing.preparation.workers import worker_pool
from isofield.runtime.commandline import say

SHAPES_OF_A_WORKER = 16  # a process pays for its start when it has more to do than this


def own_cores() -> int:
    """Cores that this process may use, shared with the other ranks of torchrun on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def is_first_alone(what: str) -> bool:
    """Whether this process does what is not shared among ranks; the first says so, and the others have nothing to do.

    The others may leave: nobody waits for anybody.
    """
    size, rank = (int(os.environ.get(key, default)) for key, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    if size > 1 and rank == 0:
        say(f"{what} is not shared: the first of {size} processes does it alone")
    return rank == 0


class Named(Protocol):
    """What is worked on; the name is told when a process dies."""

    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=Named)
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Results in the order of the items. `work` and the items go to other processes: they must be picklable.

    `workers`: processes; 0 takes as many as there are cores, but none for a few shapes. Raises OSError when a process
    dies.
    """
    count = min(workers or min(own_cores(), len(items) // SHAPES_OF_A_WORKER), len(items))
    if count <= 1:
        yield from map(work, items)
        return
    with worker_pool(count) as pool:
        name = items[0].name
        try:
            results = [pool.submit(work, item) for item in items]
            for item, result in zip(items, results, strict=True):
                name = item.name
                yield result.result()
        except BrokenProcessPool as error:
            reason = f"an evaluation process died at or before {name} (out of memory?): use fewer --workers"
            raise OSError(f"{reason}. What is finished is kept: the same command goes on from there") from error
