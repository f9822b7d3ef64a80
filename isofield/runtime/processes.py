"""Work over shapes in several processes, in order: the same results as in one, sooner. Ctrl-C ends all of them."""

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, ParamSpec, Protocol, TypeVar

import torch

from isofield.runtime.commandline import say
from isofield.runtime.cores import own_cores

SHAPES_OF_A_WORKER = 16  # a process pays for its start when it has more to do than this
Result = TypeVar("Result")
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


def in_order(work: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Results in the order of the items. `work` and the items go to other processes: they must be picklable.

    `workers`: processes; 0 takes as many as there are cores, but none for a few shapes. Raises OSError when a process
    dies.
    """
    # Processes have to be started: few shapes are done sooner here.
    count = min(workers or min(own_cores(), len(items) // SHAPES_OF_A_WORKER), len(items))
    if count <= 1:
        yield from map(work, items)
        return
    with worker_pool(count, preload=[getattr(work, "func", work).__module__]) as pool:
        name = items[0].name
        try:
            # A worker that dies breaks the pool for all: the first without a result is named.
            results = [pool.submit(work, item) for item in items]
            for item, result in zip(items, results, strict=True):
                name = item.name
                yield result.result()
        except BrokenProcessPool as error:
            reason = f"an evaluation process died at or before {name} (out of memory?): use fewer --workers"
            raise OSError(f"{reason}. What is finished is kept: the same command goes on from there") from error


class _Workers(ProcessPoolExecutor):
    """BrokenProcessPool also where the process that starts workers is gone."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except ConnectionError as error:
            raise BrokenProcessPool(f"no worker can be started: {error}") from error


@contextlib.contextmanager
def worker_pool(workers: int, *, preload: Sequence[str] = (), forked: bool = True) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, stopped at once when the block is left by an exception.

    `preload`: modules that the fork server imports once for all of them, if this call starts it; each worker that finds
    one missing imports it for itself. Not `forked`: without that server, so that a later call may say what it imports.
    """
    before = set(multiprocessing.active_children())
    with _thread_variables("1"):
        context = _context(preload) if forked else multiprocessing.get_context("spawn")
        pool = _Workers(workers, mp_context=context, initializer=_start_worker, initargs=(preload,))
        finished = False
        try:
            yield pool
            finished = True
        finally:
            # After an error nobody waits for work under way; those workers that this pool started are ended.
            pool.shutdown(wait=finished, cancel_futures=not finished)
            if not finished:
                for process in set(multiprocessing.active_children()) - before:
                    process.terminate()


def compile_without_forks(module: str) -> None:
    """Import a module of compiled kernels here where workers are not forked: each of them would compile for itself."""
    if not _can_fork():
        importlib.import_module(module)


def _can_fork() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _context(preload: Sequence[str]) -> Any:
    """Fork server: imports are paid once, and no thread or device handle of the parent is inherited."""
    if not _can_fork():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])
    return context


def _start_worker(modules: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for module in modules:
        importlib.import_module(module)


def _die_with_parent() -> None:
    """A parent killed by SIGKILL cannot stop its workers, and they would wait for it for ever."""
    # The sentinel becomes readable when the parent is gone, however it ended.
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
