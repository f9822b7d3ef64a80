"""What the training loop knows of trackers: numbers, pictures, histograms and meshes at a step."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.runtime.commandline import say
from isofield.runtime.reasons import reason_of


class Tracker(Protocol):
    """One place for what is tracked. The config is given to it where it is opened.

    Whatever its library raises where it cannot write is one of `errors`.
    """

    errors: tuple[type[Exception], ...]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers by name; a slash in a name makes groups."""

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Grey (H, W), or red, green, blue (H, W, 3)."""

    def histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        """Of all numbers of a tensor."""

    def mesh(self, name: str, mesh: TriangleMesh, step: int) -> None:
        """In cube coordinates; nothing where a tracker has no meshes."""


def cannot_start(name: str, error: Exception) -> ValueError:
    """One line, whatever a library says; ISOFIELD_TRACEBACK shows that too."""
    reason = reason_of(error, otherwise=f"{type(error).__name__}; ISOFIELD_TRACEBACK=1 shows what it says")
    return ValueError(
        f"training.tracker: {name} cannot start ({reason}): is its server there, and are you known to it (the "
        f"environment's {name.upper()}_* variables name both)? Or without it: --set training.tracker=none"
    )


class Trackers:
    """Several at once. One that fails is left out from there on, and a line says so: training goes on without it."""

    errors: tuple[type[Exception], ...] = ()

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._each("scalars", values, step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._each("picture", name, pixels, step)

    def histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        self._each("histogram", name, values, step)

    def mesh(self, name: str, mesh: TriangleMesh, step: int) -> None:
        self._each("mesh", name, mesh, step)

    def _each(self, what: str, *values: object) -> None:
        # A copy, for the list loses the one that fails while it is walked. A full disk or a server that is gone must
        # not cost the training; what is none of the library's errors still ends it.
        for tracker in tuple(self._trackers):
            try:
                getattr(tracker, what)(*values)
            except tracker.errors as error:
                reason = reason_of(error, otherwise=f"it cannot write any more ({type(error).__name__})")
                say(f"{type(tracker).__name__}: {reason}; training goes on without it")
                self._trackers.remove(tracker)
