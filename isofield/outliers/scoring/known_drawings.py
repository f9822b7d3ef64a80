"""Whether a mask is drawn as masks are that its judge knows: by the finest numbers of its surface, of whatever shape.

A source whose drawing nothing in training resembles makes every clean mask look strange. One mask cannot tell that
from a fault that roughens its surface; most masks of a folder can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.mahalanobis import Mahalanobis, fit_mahalanobis, held_out

Array = NDArray[np.float64]
# Neighbourhoods of one and two voxels: voxels, steps and smoothing show in them, the organ hardly does.
OF_DRAWING = ("surface_fullness_1_", "surface_fullness_2_")
DRAWING_ARRAYS = ("mean", "spread", "inverse", "distances")


@dataclass(frozen=True, eq=False)
class KnownDrawings:
    """`usual`: of training masks as they are and redrawn alike; `distances_K`: ascending, of such masks left out."""

    usual: Mahalanobis
    distances_K: Array

    def p_values(self, values_ND: Array) -> Array:
        """(N,) in (0, 1]: the share of known drawings that lie as far off or farther, itself counted."""
        below_N = np.searchsorted(self.distances_K, self.usual.distances(values_ND), side="left")
        count = len(self.distances_K)
        return np.asarray((1 + count - below_N) / (count + 1), dtype=np.float64)


def drawing_columns(names: Sequence[str]) -> NDArray[np.int64]:
    """Which numbers of a mask say how it is drawn."""
    return np.array([number for number, name in enumerate(names) if name.startswith(OF_DRAWING)], dtype=np.int64)


def fit_known_drawings(values_NRD: Array) -> KnownDrawings:
    """Of N training masks, each as it is and redrawn: R drawings of D numbers."""

    def off_others(others_NRD: Array, rows_NRD: Array) -> Array:
        return _fitted(others_NRD).distances(_one_by_one(rows_NRD)).reshape(rows_NRD.shape[:2])

    # Whole masks are left out, all drawings of one together: otherwise its shape would be known.
    return KnownDrawings(_fitted(values_NRD), np.sort(held_out(values_NRD, off_others).ravel()))


def _fitted(values_NRD: Array) -> Mahalanobis:
    return fit_mahalanobis(_one_by_one(values_NRD))


def _one_by_one(values_NRD: Array) -> Array:
    return values_NRD.reshape(-1, values_NRD.shape[2])


def drawing_arrays(drawings: KnownDrawings) -> dict[str, NDArray[Any]]:
    """To be stored, by DRAWING_ARRAYS."""
    usual = drawings.usual
    parts = usual.mean_D, usual.spread_D, usual.inverse_DD, drawings.distances_K
    return dict(zip(DRAWING_ARRAYS, parts, strict=True))


def drawings_of(arrays: Mapping[str, NDArray[Any]]) -> KnownDrawings:
    """The inverse of `drawing_arrays`; sizes are the caller's to check. ValueError for distances out of order."""
    if (np.diff(arrays["distances"]) < 0).any():
        raise ValueError("the arrays of a judge do not fit each other: distances of drawings are not ascending")
    return KnownDrawings(Mahalanobis(arrays["mean"], arrays["spread"], arrays["inverse"]), arrays["distances"])
