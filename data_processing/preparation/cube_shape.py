"""A shape in the cube, whatever it was read from: its voxels, its surface, and the test of what is inside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import voxel_index
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.occupancy.outer_surface import OuterSurface

LEVEL = 0.5  # inside is above: 0/1 voxels, or the resampled field of a mask


@dataclass(frozen=True)
class CubeShape:
    """Occupancy at the voxel centres, and how it was found. Surface and inside test belong to it, in cube coordinates.

    `inside` takes points (N, 3), all in one call, and gives (N,) bool. `scan` is the grid of the scan that a mask was
    cut from (scan_masks.ScanGrid).
    """

    grid_RRR: torch.Tensor  # (256, 256, 256) uint8 0/1 on the device
    to_world: NDArray[np.float64]  # 4x4, cube -> frame of the file
    method: str
    quality: str
    surface: Callable[[], TriangleMesh]
    inside: Callable[[NDArray[np.floating]], NDArray[np.bool_]]
    scan: Any = None
    outer: OuterSurface | None = None  # where samples are of that part of the surface alone

    def sample(self, count: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points (N, 3) uniform on the surface that is shown and judged, and the unit normals (N, 3) there."""
        return _sample(self, count, generator)


@dataclass(frozen=True)
class CubeSurface:
    """The surface of a mesh in the cube, of which nobody asks what is inside: points and pictures show it alone."""

    to_world: NDArray[np.float64]  # 4x4, cube -> frame of the file
    surface: Callable[[], TriangleMesh]
    outer: OuterSurface | None = None  # as of CubeShape

    def sample(self, count: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As of CubeShape."""
        return _sample(self, count, generator)


def _sample(
    shape: CubeShape | CubeSurface, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if shape.outer is not None:
        return shape.outer.sample(count, generator)
    return sample_surface(shape.surface(), count, generator)


def surface_of_grid(values_RRR: torch.Tensor) -> TriangleMesh:
    """The closed surface where values at the cell centres of the cube cross LEVEL, in cube coordinates.

    ValueError when nothing is above LEVEL.
    """
    inside = values_RRR > LEVEL
    planes = [inside.any(dim=b).any(dim=a).nonzero()[:, 0] for a, b in ((1, 2), (0, 2), (0, 1))]
    if not all(len(plane) for plane in planes):
        raise ValueError("an empty grid has no surface")
    # Only the box around the solid, with the layer of outside cells that the surface leans on.
    low = [max(int(plane[0]) - 1, 0) for plane in planes]
    box = tuple(slice(first, int(plane[-1]) + 2) for first, plane in zip(low, planes, strict=True))
    vertices_V3, faces_F3 = marching_cubes(pad_outside(values_RRR[box].float()), iso_level=LEVEL)
    index_V3 = vertices_V3.cpu().numpy() - 1 + np.array(low)
    return TriangleMesh((index_V3 + 0.5) / len(values_RRR) - 0.5, faces_F3.cpu().numpy())


def voxels_at(grid_RRR: torch.Tensor, points_N3: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether the voxel that holds each cube point (N, 3) is not 0: (N,). Beyond the cube nothing is."""
    points = torch.as_tensor(points_N3, device=grid_RRR.device)
    i, j, k = voxel_index(points, len(grid_RRR)).unbind(1)
    within = ((points >= -0.5) & (points < 0.5)).all(1)
    return ((grid_RRR[i, j, k] != 0) & within).cpu().numpy()
