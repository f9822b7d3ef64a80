"""Runs any model that keeps the contract: training, extraction, metrics, reports.

Knows no model by name, but for registry.py. Importing this pulls nothing up: what costs time is fetched on first use
(PEP 562): `load`, `evaluate`, `occupancy`, `Run`. They are in api.py. How threads wait is set here, as every entry of
ours comes by before it loads torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

import isofield.runtime.thread_waiting  # noqa: F401 (sets the environment that torch reads when it is loaded)

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
