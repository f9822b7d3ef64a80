"""numba for loops that must become vector instructions.

numba is imported with this module: import it where a kernel is about to run.
"""

from collections.abc import Callable
from typing import Any

import numba


def vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled at its first call, on one thread, without the interpreter's lock.

    A product and a sum may become one operation with one rounding; nothing else is reordered or assumed. Compiled code
    is kept on disk where numba finds a folder that it may write.
    """
    try:
        return numba.njit(function, cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
    except RuntimeError:  # no folder for a cache can be written
        return numba.njit(function, nogil=True, error_model="numpy", fastmath={"contract"})
