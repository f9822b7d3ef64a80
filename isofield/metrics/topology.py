"""How a solid hangs together: its pieces, its tunnels and its voids, and which of them the truth has not.

A solid is a grid of cells, each a closed cube: cells that share a corner are one piece, and air passes between cells
only through faces. Betti numbers b0, b1, b2 of that body; the Euler number is b0 - b1 + b2 (Kaczynski, Mischaikow and
Mrozek, Computational Homology, 2004, chapter 2). A hole in a table top is a tunnel; a slat that breaks takes one away.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray


@dataclass(frozen=True)
class Topology:
    """Betti numbers of a solid."""

    pieces: int  # b0
    tunnels: int  # b1: of a ring one; the number of handles of the surface, where there is no void
    voids: int  # b2: air that is shut in

    @property
    def euler(self) -> int:
        return self.pieces - self.tunnels + self.voids


def topology(solid_XYZ: NDArray[np.bool_]) -> Topology:
    """Of a grid (X, Y, Z), 0 or not; beyond it is air. An empty grid has no pieces. ValueError unless it has 3 axes."""
    solid = np.asarray(solid_XYZ) != 0
    if solid.ndim != 3:
        raise ValueError(f"topology: expected a grid of three axes, got shape {solid.shape}")
    padded = np.pad(solid, 1)
    pieces = scipy.ndimage.label(padded, np.ones((3, 3, 3)))[1]
    voids = scipy.ndimage.label(~padded)[1] - 1
    return Topology(pieces, pieces + voids - _euler(padded), voids)


def new_tunnels(prediction_XYZ: NDArray[np.bool_], truth_XYZ: NDArray[np.bool_]) -> int:
    """How many tunnels the prediction has more than the truth, at least 0; both are grids of one frame.

    Thin parts must be kept one cell thick in both (`solid_cells(..., keep_thin=True)`), or the truth itself has holes.
    A count: where a true tunnel is closed and another opened, it is 0. ValueError for grids of two shapes.
    """
    if np.shape(prediction_XYZ) != np.shape(truth_XYZ):
        raise ValueError(
            f"new_tunnels: expected grids of one shape, got {np.shape(prediction_XYZ)} and {np.shape(truth_XYZ)}"
        )
    return max(0, topology(prediction_XYZ).tunnels - topology(truth_XYZ).tunnels)


def _euler(padded: NDArray[np.bool_]) -> int:
    """Corners - edges + faces - cells, each counted once, of a grid with air around it."""
    total = 0
    # A corner belongs to the body where any of its eight cells does; an edge of four, a face of two. Joined along an
    # axis is "or" of neighbours there: with all axes joined what is left are corners, with none cells.
    for joined in np.ndindex(2, 2, 2):
        there = padded
        for axis, join in enumerate(joined):
            if join:
                first, second = np.arange(there.shape[axis] - 1), np.arange(1, there.shape[axis])
                there = there.take(first, axis) | there.take(second, axis)
        total += (-1) ** (3 - sum(joined)) * int(np.count_nonzero(there))
    return total
