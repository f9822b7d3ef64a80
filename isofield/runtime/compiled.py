"""Modules of CPU kernels, loaded at their first need. How a kernel is compiled: jit.py.

Kernels serve many shapes. For one or a few of them the plain formulation beside a kernel can be done before the kernel
is compiled, or before numba is loaded. So a command that was given a few files, or a call from Python, spares kernels:
it takes the plain way until that has cost as much as the kernels would, which is never more than twice the best.
Both ways agree, so that no result depends on which was taken.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType

from isofield.runtime.kernel_folder import are_compiled

# CPU seconds of a module's kernels (measured, tests/benchmarks/LOG.md): compiling them, and reading what was compiled.
# The first module pays for numba too.
PRICES = {
    "data_processing.occupancy.winding_number_kernels": (10.6, 0.4),
    "data_processing.occupancy.scan_conversion_kernels": (2.8, 0.1),
    "data_processing.occupancy.surface_voxels_kernels": (2.0, 0.05),
    "data_processing.occupancy.grid_crossings_kernels": (1.0, 0.05),
    "data_processing.geometry.edge_kernels": (1.8, 0.05),
    "data_processing.geometry.surface_sampling_kernels": (1.0, 0.1),
}
NUMBA = 0.5
_spares: ContextVar[bool] = ContextVar("spares", default=False)
_spent: dict[str, float] = {}  # CPU seconds of plain work, by module


@functools.cache
def compiled_module(name: str) -> ModuleType | None:
    """The module of this name, which imports numba at its top; None where numba cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@contextlib.contextmanager
def sparing_kernels() -> Iterator[None]:
    """In this context, and thread, kernels are loaded only where they pay."""
    token = _spares.set(True)
    try:
        yield
    finally:
        _spares.reset(token)


def spares_kernels() -> bool:
    """Whether this is such a context."""
    return _spares.get()


def is_spared(name: str, seconds: float, *, ahead: float = 0.0) -> bool:
    """Whether work of so many CPU seconds is to be done without the kernels of this module; then they are counted.

    `ahead`: of the work on the same shape that follows.
    """
    if not _spares.get() or name in sys.modules:
        return False
    compiling, reading = PRICES[name]
    price = reading if _are_kept(name) else compiling
    price += 0.0 if "numba" in sys.modules else NUMBA
    if _spent.get(name, 0.0) + seconds + ahead > price:
        return False
    _spent[name] = _spent.get(name, 0.0) + seconds
    return True


@functools.cache
def _are_kept(name: str) -> bool:
    return importlib.util.find_spec("numba") is not None and are_compiled(name)
