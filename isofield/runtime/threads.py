"""Plain threads for compiled loops, which release the interpreter's lock: no setting up, and they survive forks."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from isofield.runtime.contention import watch_contention
from isofield.runtime.cores import describe_cores, own_cores
from isofield.runtime.thread_waiting import describe_waiting

OPENMP_VARIABLE = "OMP_NUM_THREADS"
SMALL_MESH = 4 << 20  # bytes, of a file or in memory: some 100,000 faces
Item = TypeVar("Item")
Result = TypeVar("Result")


def limit_threads() -> None:
    """Let torch use no more threads than this process has cores, unless the user has said how many; watch them wait.

    Torch itself knows of no CPU quota, and not of the other ranks on this machine. More than torch would use there are
    never: it leaves out the second thread of each core.
    """
    if OPENMP_VARIABLE not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), own_cores()))
    watch_contention()


@contextlib.contextmanager
def threads_for_mesh(size: int) -> Iterator[None]:
    """In this context a mesh of `size` bytes is prepared: one that is small (SMALL_MESH) on one thread of torch.

    Inside or outside of it is a thousand short operators, after each of which the other threads spin until the next:
    that takes as long as with one thread and costs half as much again (tests/benchmarks/LOG.md). The answer is the same
    to the bit: where floating-point numbers are added up, as in a network, that holds for no other number of threads.
    """
    count = torch.get_num_threads()
    if count == 1 or size > SMALL_MESH:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def describe_threads(*, meshes: bool = False) -> str:
    """Cores, threads and how they wait, in one line. `meshes`: of a command that prepares some (threads_for_mesh)."""
    count = torch.get_num_threads()
    fewer = " (1 while a small mesh is prepared)" if meshes and count > 1 else ""
    return f"{describe_cores()}, {count} thread{'s' * (count > 1)} of torch{fewer}; {describe_waiting()}"


def in_parallel(part: Callable[[int, int], None]) -> None:
    """Run part(number, parts) on as many threads as torch uses; the calling thread takes the first part."""
    parts = torch.get_num_threads()
    # This thread works too: one fewer is started, and with one core none at all.
    others = [_threads(parts - 1, os.getpid()).submit(part, number, parts) for number in range(1, parts)]
    part(0, parts)
    for other in others:
        other.result()


def share(count: int, number: int, parts: int) -> tuple[int, int]:
    """First and last (exclusive) of the part's share of `count` things."""
    return count * number // parts, count * (number + 1) // parts


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in the order of the items, on as many threads as torch uses."""
    count = torch.get_num_threads()
    return map(work, items) if count == 1 else _threads(count, os.getpid()).map(work, items)


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Kept from call to call; of one process, because threads don't survive a fork."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"compiled-loops-{process}")
