"""CPU kernels by numba: nothing is compiled at installation, each kernel at its first call.

Modules of kernels (occupancy/scan_conversion_kernels.py, ...) import numba at their top and are imported where they are
used, on first use. Compiled code is kept on disk (kernel_folder.py), for this user, this processor and these sources:
the first command compiles, and says so in one line; the next ones read it in a tenth of a second.

What makes a kernel slow to compile (measured, tests/benchmarks/LOG.md): assigning an array to a slice (two seconds, for
the text of an error), zeros, arange and copy in a kernel (a quarter each), a door to Python for each inner function.
"""

import contextlib
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numba
from numba.core import event, options

from isofield.runtime.compiled import spares_kernels
from isofield.runtime.kernel_folder import FOLDER_VARIABLE, are_called, kernel_folder, mark_called
from isofield.runtime.locks import hold_lock

ARRAYS = "numba.np.arraymath"
WAIT = 300.0  # seconds for another process that compiles; then each for itself
# The option has no public name: where a numba does not know it, arrays are counted.
UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(options.DefaultOptions, "_nrt") else {}


def _load_without_blas() -> None:
    """Load the part of numba that looks for a BLAS when it is loaded, and let it look only when a kernel wants one.

    Looking is to import all of scipy.linalg: half as long as numba itself takes, and our kernels multiply no matrices.
    A kernel that does, of whomever, is compiled as ever: numba asks again where it needs to know. Only numba's own
    question is answered ahead, so that another thread may import scipy meanwhile.
    """
    if ARRAYS in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    linear_algebra: Any = importlib.import_module("numba.np.linalg")
    look = getattr(linear_algebra, "ensure_blas", None)
    if look is None:  # a numba that asks elsewhere: then it looks
        return
    linear_algebra.ensure_blas = lambda: None
    try:
        arrays: Any = importlib.import_module(ARRAYS)
    finally:
        linear_algebra.ensure_blas = look
    if hasattr(arrays, "ensure_blas"):  # its own name of the same question
        arrays.ensure_blas = look


def compile_exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call, on one thread: every operation is rounded as numpy rounds it."""
    return _compiled(function, set())


def compile_part(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, of a function that only kernels call: it cannot be called from Python, and compiles in half the time.

    Its code is kept with the kernels that call it.
    """
    without_doors: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(function, nogil=True, error_model="numpy", fastmath=set(), **without_doors)


def compile_inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, of a function that makes no arrays and returns none: it does not count who holds those that come in.

    Counting is two atomic operations an array and a call, which cost more than what a small function does.
    """
    return _inner(function, set())


def compile_inner_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but sums may add up in several lanes: for what no result depends on but within a bound."""
    return _inner(function, {"contract", "reassoc"})


def compile_filling(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compile_exact`, of a kernel that only fills arrays that it is given: rows of them are not counted either."""
    return _compiled(function, set(), **UNCOUNTED)


def compile_vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call, on one thread, without the interpreter's lock.

    A product and a sum may become one operation with one rounding; nothing else is reordered or assumed.
    """
    return _compiled(function, {"contract"})


def compile_reassociating(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but sums may add up in several lanes: another order, one and the same on a processor."""
    return _compiled(function, {"contract", "reassoc"})


def compile_once(name: str, call_kernels: Callable[[], None]) -> None:
    """Call kernels so that they are compiled: by one process, while the others that come here at the same time wait.

    `name`: of this set of kernels. What one process has compiled the others read from disk; where nothing can be
    kept, each compiles for itself.
    """
    folder = kernel_folder()
    if folder is None or are_called(name):
        call_kernels()
        return
    # Whoever waited finds the code on disk and calls the kernels all the same: reading it is quick.
    with _lock(folder / f"{name}.lock"):
        call_kernels()
        mark_called(name)


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Hold the lock, after waiting for whoever has it; without it where there is none to be had."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError, OSError):
            stack.enter_context(hold_lock(file, what="compilation", wait=WAIT))
        yield


def _inner(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    without_doors: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath, **without_doors, **UNCOUNTED)


def _compiled(function: Callable[..., Any], fastmath: set[str], **others: Any) -> Callable[..., Any]:
    settings: Any = numba.config
    # numba reads the folder of its cache while a function is decorated, from a global setting: changed for that moment.
    folder, before = kernel_folder(), settings.CACHE_DIR
    settings.CACHE_DIR = before if folder is None else str(folder)
    try:
        common: Any = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        return numba.njit(function, cache=folder is not None, **common, **others)
    finally:
        settings.CACHE_DIR = before  # other users of numba in this process keep theirs


class _Compilations(event.Listener):
    """Says once that kernels are compiled. Meanwhile nothing is garbage: collecting it takes a tenth of the time."""

    def __init__(self) -> None:
        self.depth, self.announced, self.collects = 0, False, False

    def on_start(self, event: event.Event) -> None:
        # Compilations nest: an inner function is compiled in the midst of its caller.
        if self.depth == 0:
            self.collects = gc.isenabled()
            gc.disable()
            self._announce()
        self.depth += 1

    def on_end(self, event: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and self.collects:
            gc.enable()

    def _announce(self) -> None:
        """In the process that the user has started (of several ranks the first), and in that which starts workers.

        In a worker only where it spares kernels: then nobody has compiled for it.
        """
        is_worker = parent_process() is not None and not spares_kernels()
        if self.announced or is_worker or os.environ.get("RANK", "0") != "0":
            return
        self.announced, folder = True, kernel_folder()
        kept = f"kept in {folder}" if folder else f"kept nowhere: no folder can be written; set {FOLDER_VARIABLE}"
        sys.stderr.write(f"compiling kernels for this processor, some seconds, once ({kept})\n")
        sys.stderr.flush()


_load_without_blas()
event.register("numba:compile", _Compilations())
