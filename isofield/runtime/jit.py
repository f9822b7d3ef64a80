"""CPU kernels by numba: nothing is compiled at installation, each kernel at its first call.

Modules of kernels (occupancy/scan_conversion_kernels.py, ...) import numba at their top and are imported where they are
used, on first use. Compiled code is kept on disk where numba finds a folder that it may write (beside the module, or
the user's cache).
"""

from collections.abc import Callable
from typing import Any

import numba


def compile_exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call, on one thread: every operation is rounded as numpy rounds it."""
    return _compiled(function, set())


def compile_vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call, on one thread, without the interpreter's lock.

    A product and a sum may become one operation with one rounding; nothing else is reordered or assumed. Compiled code
    is kept on disk where numba finds a folder that it may write.
    """
    return _compiled(function, {"contract"})


def compile_reassociating(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but sums may add up in several lanes: another order, one and the same on a processor."""
    return _compiled(function, {"contract", "reassoc"})


def _compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    try:
        return numba.njit(function, cache=True, nogil=True, error_model="numpy", fastmath=fastmath)
    except RuntimeError:  # no folder for a cache can be written
        return numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)
