"""Processes that prepare shapes. A worker that dies costs at most the shape that killed it, never the job."""

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_processing.preparation.config import DataConfig, layout_of
from data_processing.preparation.shape import Stages, attempt, failure, files_of, size_of
from data_processing.preparation.sources import Source
from data_processing.store.shards import ShapeRecord, write_shard
from isofield.runtime.compiled import sparing_kernels
from isofield.runtime.kernel_folder import PREPARATION, are_called
from isofield.runtime.processes import compile_without_forks, worker_pool
from isofield.runtime.side_by_side import run_side_by_side

DIED = "the worker process died on this shape: out of memory, or a crash inside a library"
KERNELS = "data_processing.preparation.compiled_kernels"
FEW = 4  # shapes that are prepared without kernels sooner than those are compiled
AT_ONCE = 32  # shapes side by side on a device: launches are shared, and what is under way is lost with the process
BYTES_OF_SHAPE = 768 << 20  # of a device's memory at the most, at 256^3 and with grids of 128^3
BYTES_AT_ONCE = 256 << 20  # of files
Make = Callable[["Task", DataConfig, dict[str, Any], str], "Outcome"]
NO_START = "worker processes die as soon as they start: memory or process limits?"


@dataclass(frozen=True)
class Task:
    """One shape to make into a part file."""

    source: Source
    part: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the part file is written."""

    task: Task
    record: ShapeRecord
    wall: dict[str, float]  # seconds of each stage
    cpu: dict[str, float]


def run_tasks(
    tasks: Iterable[Task], config: DataConfig, *, settings: dict[str, Any], device: str, workers: int
) -> Generator[Outcome]:
    """Outcomes in the order in which they come. OSError when a part cannot be written (disk full)."""
    waiting = deque(tasks)
    # Kernels are compiled once in the server that workers are forked from, not in each of them. That takes longer than
    # a few shapes do without: the first is there before, and a few are all made so.
    preload, make = [__name__], make_part
    if device == "cpu" and any(task.source.kind == "mesh" for task in waiting):
        is_cold = not are_called(PREPARATION)
        if is_cold and len(waiting) <= FEW:
            make = make_sparing
        else:
            if is_cold:
                yield from _first_alone(waiting, config, settings, device)
            preload.append(KERNELS)
            compile_without_forks(KERNELS)
    while waiting:
        running: dict[Future[list[Outcome]], list[Task]] = {}
        try:
            with worker_pool(min(workers, len(waiting)), preload=preload) as pool:
                # Two more than there are workers: none waits for its next shape, and a broken pool leaves few suspects.
                while waiting or running:
                    while waiting and len(running) < workers + (2 if device == "cpu" else 0):
                        tasks = _next(waiting, config, 1 if device == "cpu" else AT_ONCE)
                        try:
                            running[pool.submit(_make_all, make, tasks, config, settings, device)] = tasks
                        except BrokenProcessPool:
                            waiting.extendleft(reversed(tasks))  # refused, not under way: the next pool makes them
                            raise
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcomes = future.result()
                        del running[future]
                        yield from outcomes
        except BrokenProcessPool as error:
            # One of those that ran killed its worker (memory, a crash of a library), and the pool does not say which.
            suspects = [task for tasks in running.values() for task in tasks]
            if not suspects and isinstance(error.__cause__, ConnectionError):
                raise OSError(NO_START) from error  # else a worker died between two shapes: others go on
        else:
            suspects = []
        # Each alone in a process of its own: the culprit is recorded as failed, the others are made.
        for task in suspects:
            yield _run_alone(task, config, settings, device)


def _next(waiting: deque[Task], config: DataConfig, most: int) -> list[Task]:
    """The next tasks, at least one, taken from those that wait: what one process makes together."""
    tasks: list[Task] = []
    size = 0
    while waiting and len(tasks) < most:
        size += max(size_of(*files_of(waiting[0].source, config)), 0) if most > 1 else 0
        if tasks and size > BYTES_AT_ONCE:
            break
        tasks.append(waiting.popleft())
    return tasks


def _make_all(
    make: Make, tasks: list[Task], config: DataConfig, settings: dict[str, Any], device: str
) -> list[Outcome]:
    """Parts of several tasks; on a device side by side, as many at once as its memory holds."""
    most = _most(device, config.workers or 1)
    outcomes: list[Outcome] = []
    for start in range(0, len(tasks), most):
        works = [functools.partial(make, task, config, settings, device) for task in tasks[start : start + most]]
        outcomes += run_side_by_side(works) if len(works) > 1 else [works[0]()]
    return outcomes


def shapes_within(free_bytes: int) -> int:
    """Shapes that are prepared side by side where so much memory of a device is free: half of it is left to others."""
    return max(1, min(AT_ONCE, free_bytes // 2 // BYTES_OF_SHAPE))


def _most(device: str, workers: int) -> int:
    """Shapes that this process prepares side by side; on a CPU nothing is won by that."""
    return 1 if device == "cpu" else shapes_within(int(torch.cuda.mem_get_info(device)[0]) // workers)


def make_part(task: Task, config: DataConfig, settings: dict[str, Any], device: str) -> Outcome:
    """Prepare one shape and write its part, whether it was done or failed."""
    stages = Stages()
    rows, record = attempt(task.source, config, device=device, stages=stages)
    write_shard(task.part, rows, [record], layout=layout_of(config), settings=settings)
    stages.end("write")
    return Outcome(task, record, stages.wall, stages.cpu)


def make_sparing(task: Task, config: DataConfig, settings: dict[str, Any], device: str) -> Outcome:
    """The same part, by kernels only where they pay."""
    with sparing_kernels():
        return make_part(task, config, settings, device)


def _first_alone(waiting: deque[Task], config: DataConfig, settings: dict[str, Any], device: str) -> Generator[Outcome]:
    """The first shape in a process of its own, without kernels; it stays in the queue where that process dies."""
    with contextlib.suppress(BrokenProcessPool), worker_pool(1, preload=[__name__], forked=False) as pool:
        outcome = pool.submit(make_sparing, waiting[0], config, settings, device).result()
        waiting.popleft()
        yield outcome


def _run_alone(task: Task, config: DataConfig, settings: dict[str, Any], device: str) -> Outcome:
    """A shape that was under way when a worker died, in a process of its own: if that dies too, it is to blame."""
    started = False
    try:
        with worker_pool(1, preload=[__name__]) as pool:
            pool.submit(os.getpid).result()
            started = True
            return pool.submit(make_part, task, config, settings, device).result()
    except BrokenProcessPool as error:
        if not started:
            raise OSError(NO_START) from error
    record = failure(task.source, config, ValueError(DIED))
    write_shard(task.part, [], [record], layout=layout_of(config), settings=settings)
    return Outcome(task, record, {}, {})
