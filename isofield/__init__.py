"""Runs any model that keeps the contract: training, extraction, metrics, reports.

Knows no model by name, but for registry.py. Importing this pulls nothing up: what costs time is fetched on first use
(PEP 562): `load`, `evaluate`, `occupancy`, `Run`. They are in api.py.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isofield.api import Run, evaluate, load, occupancy

__all__ = ["Run", "evaluate", "load", "occupancy"]
__version__: str


def __getattr__(name: str) -> Any:
    """A public name, or the version that is installed."""
    if name in __all__:
        return getattr(importlib.import_module("isofield.api"), name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("isofield")
        except PackageNotFoundError:  # a checkout on the path
            return "not installed"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
