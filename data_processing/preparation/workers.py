"""Processes that prepare shapes. A worker that dies costs at most the shape that killed it, never the job."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from data_processing.preparation.shape import DataConfig, Stages, attempt, failure, layout_of
from data_processing.preparation.sources import Source
from data_processing.store.shards import ShapeRecord, write_shard

T = TypeVar("T")
P = ParamSpec("P")

# Read by the libraries when they are loaded: one worker, one thread, so that workers do not fight for cores and sums
# are taken in the same order whatever the number of workers.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "IGL_NUM_THREADS",
)
DIED = "the worker process died on this shape: out of memory, or a crash inside a library"
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
    while waiting:
        running: dict[Future[Outcome], Task] = {}
        try:
            with worker_pool(min(workers, len(waiting))) as pool:
                while waiting or running:
                    while waiting and len(running) < workers + 2:
                        running[pool.submit(make_part, waiting[0], config, settings, device)] = waiting[0]
                        waiting.popleft()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcome = future.result()
                        del running[future]
                        yield outcome
        except BrokenProcessPool as error:
            suspects = list(running.values())
            if not suspects and isinstance(error.__cause__, ConnectionError):
                raise OSError(NO_START) from error  # else a worker died between two shapes: others go on
        else:
            suspects = []
        for task in suspects:
            yield _run_alone(task, config, settings, device)


def make_part(task: Task, config: DataConfig, settings: dict[str, Any], device: str) -> Outcome:
    """Prepare one shape and write its part, whether it was done or failed."""
    stages = Stages()
    rows, record = attempt(task.source, config, device=device, stages=stages)
    write_shard(task.part, rows, [record], layout=layout_of(config), settings=settings)
    stages.end("write")
    return Outcome(task, record, stages.wall, stages.cpu)


class _Workers(ProcessPoolExecutor):
    """BrokenProcessPool also where the process that starts workers is gone."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except ConnectionError as error:
            raise BrokenProcessPool(f"no worker can be started: {error}") from error


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, stopped at once when the block is left by an exception."""
    before = set(multiprocessing.active_children())
    with _thread_variables("1"):
        pool, finished = _Workers(workers, mp_context=_context(), initializer=_start_worker), False
        try:
            yield pool
            finished = True
        finally:
            pool.shutdown(wait=finished, cancel_futures=not finished)
            if not finished:
                for process in set(multiprocessing.active_children()) - before:
                    process.terminate()


def _run_alone(task: Task, config: DataConfig, settings: dict[str, Any], device: str) -> Outcome:
    """A shape that was under way when a worker died, in a process of its own: if that dies too, it is to blame."""
    started = False
    try:
        with worker_pool(1) as pool:
            pool.submit(os.getpid).result()
            started = True
            return pool.submit(make_part, task, config, settings, device).result()
    except BrokenProcessPool as error:
        if not started:
            raise OSError(NO_START) from error
    record = failure(task.source, config, RuntimeError(DIED))
    write_shard(task.part, [], [record], layout=layout_of(config), settings=settings)
    return Outcome(task, record, {}, {})


def _context() -> Any:
    """Fork server: imports are paid once, and no thread or device handle of the parent is inherited."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_processing.preparation.workers"])
    return context


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A parent killed by SIGKILL cannot stop its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _thread_variables(value: str) -> Iterator[None]:
    saved = {key: os.environ.get(key) for key in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, value))
    try:
        yield
    finally:
        for key, old in saved.items():
            if old is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = old
