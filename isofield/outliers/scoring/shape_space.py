"""Masks as signed distances on one small grid in mm, centred on their centroids: where shapes are compared as vectors.

Linear components (PCA) of the distances of clean masks span what shapes of this kind do; what lies off them, place by
place, is measured against how far clean masks that were left out lie off there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.masks import dice

Mask = NDArray[np.bool_]
CELLS = 40  # along the edge of the grid
CLIP = 4.0  # cells: distances beyond say nothing more
MODES = 80
ROOM = 1.25  # of the largest clean extent, that the grid spans


def signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Voxels to the surface, negative inside; the surface lies half-way between voxel centres on its two sides."""
    outside = scipy.ndimage.distance_transform_edt(~mask)
    inside = scipy.ndimage.distance_transform_edt(mask)
    return np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)


@dataclass(frozen=True)
class SdfGrid:
    """A cubic grid about the centroid: `cells` along an edge, `cell` mm each."""

    cell: float
    cells: int = CELLS

    def distances(
        self, inside: Mask, spacing: float, distance: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Signed distances (cells^3,) in cells, clipped; negative inside. `distance`: on the mask's grid, if known."""
        distance = signed_distance(inside) if distance is None else distance
        # Centroid to the middle of the grid: shapes are compared wherever the patient lay.
        centre = np.array(scipy.ndimage.center_of_mass(inside))
        step = self.cell / spacing
        start = centre - (self.cells - 1) / 2 * step
        limit = CLIP * step
        # Mean distance over a cell, where cells are larger than voxels: the grid does not alias.
        soft = scipy.ndimage.gaussian_filter(distance, step / 12**0.5) if step > 1 else distance
        grid = scipy.ndimage.affine_transform(
            np.clip(soft, -limit, limit), np.full(3, step), start, (self.cells,) * 3, order=1, cval=limit
        )
        return np.asarray(grid.ravel() / step, dtype=np.float32)


def sdf_grid_of(extents_mm: Sequence[float]) -> SdfGrid:
    """A grid that holds shapes of these largest extents (mm)."""
    return SdfGrid(cell=max(extents_mm) * ROOM / CELLS)


def overlap(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Dice of two shapes given by distances; the voxels at the border count by the share that is inside."""
    return dice(np.clip(0.5 - one, 0, 1), np.clip(0.5 - other, 0, 1))


@dataclass(frozen=True, eq=False)
class Components:
    """A linear model of distances: mean (D,), orthonormal modes (M, D), standard deviations of their weights (M,)."""

    mean_D: NDArray[np.float32]
    modes_MD: NDArray[np.float32]
    spread_M: NDArray[np.float32]

    def project(self, distances_D: NDArray[np.floating]) -> NDArray[np.float32]:
        """The nearest shape of the model."""
        weights_M = self.modes_MD @ (distances_D - self.mean_D)
        return np.asarray(self.mean_D + weights_M @ self.modes_MD, dtype=np.float32)


def fit_components(distances_ND: NDArray[np.floating], modes: int = MODES) -> Components:
    """Principal components of N shapes; at most N - 1 of them."""
    mean_D = distances_ND.mean(axis=0)
    centred = distances_ND - mean_D
    # Modes out of the Gram matrix (N, N): D is large.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(values)[::-1][: min(modes, len(distances_ND) - 1)]
    order = order[values[order] > 1e-8 * max(values.max(), 1e-30)]
    # An eigenvector v of X X^T with value s gives the mode X^T v / sqrt(s) of X^T X, of length 1.
    modes_MD = (vectors[:, order] / np.sqrt(values[order])).T @ centred
    spread_M = np.sqrt(values[order] / max(1, len(distances_ND) - 1))
    return Components(*(np.asarray(part, dtype=np.float32) for part in (mean_D, modes_MD, spread_M)))
