"""Distances between the surfaces of two masks, as DeepMind's surface-distance defines them.

A surface element sits at the corner shared by 2x2x2 voxels that are not all alike. Its area is that of the triangles
which marching cubes draws there, in the given spacing; averages and percentiles are weighted with it. A distance is
from the place of an element to the nearest place of an element of the other surface.

Outside of the array there is nothing: a mask that touches its border has a surface there.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.spatial
from numpy.typing import NDArray

PERCENT = 95.0
WITHIN = 1 + 1e-5  # by which a distance may exceed a tolerance that it is meant to equal: grids are stored as float32

# Normals (times 8; length: area for unit spacing; the overall sign has no meaning) of the triangles of one
# neighbourhood of each kind; all 254 follow by turning, mirroring and complement. Bit 4 dx + 2 dy + dz of a code is the
# voxel (dx, dy, dz). These are the triangles of the published table: a few are not those of plain marching cubes.
KINDS: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b00000001: ((1, 1, 1),),
    0b00000011: ((-2, -2, 0), (-2, -2, 0)),
    0b00000110: ((-1, -1, 1), (1, -1, 1)),
    0b00000111: ((-4, 0, 0), (-1, -1, -1), (-2, -2, -2)),
    0b00001111: ((4, 0, 0), (4, 0, 0)),
    0b00010110: ((-1, 1, 1), (1, -1, 1), (-1, -1, 1)),
    0b00010111: ((-1, -1, -1), (-2, -2, -2), (2, 2, 2), (1, 1, 1)),
    0b00011000: ((-1, 1, 1), (1, -1, -1)),
    0b00011001: ((0, 2, 2), (0, 2, 2), (1, -1, -1)),
    0b00011011: ((-3, -3, 3), (0, 2, 2), (1, 1, -1), (-2, 0, -2)),
    0b00011110: ((4, 0, 0), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
    0b00111100: ((2, -2, 0), (-2, 2, 0), (2, -2, 0), (2, -2, 0)),
    0b01101001: ((-1, 1, 1), (1, -1, 1), (-1, -1, 1), (1, 1, 1)),
}


@dataclass(frozen=True)
class SurfaceElements:
    """Elements of one surface: places (N, 3) in mm and areas (N,) in square mm."""

    places_N3: NDArray[np.float64]
    areas_N: NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """For each element of one surface the distance to the other, ascending, and its area."""

    distances_N: NDArray[np.float64]
    areas_N: NDArray[np.float64]

    def mean(self) -> float:
        """Weighted with area; NaN without elements."""
        total = self.areas_N.sum()
        return float((self.distances_N * self.areas_N).sum() / total) if total else float("nan")

    def percentile(self, percent: float) -> float:
        """The distance below which that share of the area lies; infinite without elements."""
        if not len(self.distances_N):
            return float("inf")
        # Elements are sorted by distance: the percentile is where the summed area passes its share.
        share = np.cumsum(self.areas_N) / self.areas_N.sum()
        return float(self.distances_N[min(int(np.searchsorted(share, percent / 100)), len(share) - 1)])

    def area_within(self, tolerance: float) -> float:
        """Area of the elements no further away than `tolerance`, but for the rounding of grids (WITHIN)."""
        return float(self.areas_N[self.distances_N <= tolerance * WITHIN].sum())


def surface_elements(mask: NDArray[np.bool_ | np.uint8], axes_33: NDArray[np.floating]) -> SurfaceElements:
    """The surface of a mask (X, Y, Z). `axes_33`: its columns are the steps along its axes in mm, of any affine."""
    # Only the box of the mask, with a voxel around it, in which all elements lie.
    (box,) = scipy.ndimage.find_objects(mask.astype(bool, copy=False).view(np.uint8), 1)
    start = np.array([0, 0, 0] if box is None else [side.start for side in box])
    filled = np.pad(mask[box or (slice(0, 0),) * 3].astype(bool, copy=False).view(np.uint8), 1)
    shape = [size - 1 for size in filled.shape]
    # The code of each corner says which of its eight voxels are inside; all or none is no surface.
    codes = np.zeros(shape, np.uint8)
    for bit, (x, y, z) in enumerate(itertools.product((0, 1), repeat=3)):
        codes |= filled[x : x + shape[0], y : y + shape[1], z : z + shape[2]] << bit
    index_N3 = np.argwhere((codes > 0) & (codes < 255))
    areas_256 = element_areas(axes_33)
    return SurfaceElements(
        (index_N3 + start - 0.5) @ np.asarray(axes_33, np.float64).T, areas_256[codes[tuple(index_N3.T)]]
    )


def element_areas(axes_33: NDArray[np.floating]) -> NDArray[np.float64]:
    """Area of each of the 256 neighbourhoods in square mm."""
    axes = np.asarray(axes_33, dtype=np.float64)
    cofactor = np.linalg.det(axes) * np.linalg.inv(axes).T  # what a linear map does to area vectors
    return np.array([np.linalg.norm(normals @ cofactor.T, axis=1).sum() for normals in _normals()])


def distances_between(one: SurfaceElements, other: SurfaceElements) -> tuple[SurfaceDistances, SurfaceDistances]:
    """From each surface to the other; infinite towards a surface without elements."""
    return _to_nearest(one, other), _to_nearest(other, one)


def _to_nearest(here: SurfaceElements, there: SurfaceElements) -> SurfaceDistances:
    if not len(there.areas_N):
        return SurfaceDistances(np.full(len(here.areas_N), np.inf), here.areas_N)
    distances_N, _ = scipy.spatial.cKDTree(there.places_N3).query(here.places_N3)
    # Ties by area: percentiles are then the same in whatever order the voxels were listed.
    order = np.lexsort((here.areas_N, distances_N))
    return SurfaceDistances(distances_N[order], here.areas_N[order])


@functools.cache
def _normals() -> tuple[NDArray[np.float64], ...]:
    """Normals of the triangles of all 256 neighbourhoods."""
    found: dict[int, NDArray[np.float64]] = {0: np.zeros((1, 3)), 255: np.zeros((1, 3))}
    corners = list(itertools.product((0, 1), repeat=3))
    for code, rows in KINDS.items():
        normals = np.array(rows) / 8
        # All 48 turns and mirrorings of a cube; a neighbourhood and its complement have the same triangles.
        for axes in itertools.permutations(range(3)):
            for flips in itertools.product((0, 1), repeat=3):
                moved = [tuple(corner[axes[k]] ^ flips[k] for k in range(3)) for corner in corners]
                turned = sum(1 << corners.index(place) for bit, place in enumerate(moved) if code >> bit & 1)
                found[turned] = found[255 - turned] = normals[:, axes] * np.where(flips, -1, 1)
    return tuple(found[code] for code in range(256))
