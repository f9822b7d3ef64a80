"""Runs any model that keeps the contract: training, extraction, metrics, reports.

Knows no model by name, but for registry.py. Importing this pulls nothing up: what costs time is fetched on first use
(PEP 562). How threads wait is set here, as every entry of ours comes by before it loads torch.
"""

import isofield.runtime.thread_waiting  # noqa: F401 (sets the environment that torch reads when it is loaded)

__version__: str


def __getattr__(name: str) -> str:
    """The version that is installed."""
    if name == "__version__":
        from importlib.metadata import version

        return version("isofield")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
