"""Plain threads for compiled loops, which release the interpreter's lock: no setting up, and they survive forks."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(part: Callable[[int, int], None]) -> None:
    """Run part(number, parts) on as many threads as torch uses; the calling thread takes the first part."""
    parts = torch.get_num_threads()
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
