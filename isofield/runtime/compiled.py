"""Modules of CPU kernels, loaded at their first need. How a kernel is compiled: jit.py."""

import functools
import importlib
from types import ModuleType


@functools.cache
def compiled_module(name: str) -> ModuleType | None:
    """The module of this name, which imports numba at its top; None where numba cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
