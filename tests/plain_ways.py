"""Short ways that only tests need: whole grids, all rows at once, one score against another, closed parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_processing.geometry.coordinates import voxel_centres
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import AnyProtocol
from isofield.evaluation.rows import Row, SampleCounts, by_protocol, each_pair
from isofield.extraction.isosurface import _mesh
from isofield.outliers.benchmark.ranking import _above


def grid_centres(resolution: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """All voxel centres of a cubic grid in C order: (R^3, 3) float32."""
    axis = voxel_centres(torch.arange(resolution, device=device), resolution)
    return torch.cartesian_prod(axis, axis, axis)


def mesh_of_grid(values_XYZ: torch.Tensor, *, iso_level: float) -> TriangleMesh:
    """The closed surface of a grid of values at voxel centres (0/1 occupancy, say), in cube coordinates.

    Raises ValueError when values are not finite.
    """
    bad = int((~torch.isfinite(values_XYZ)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {values_XYZ.numel()} values of the grid are NaN or infinite: no surface can be drawn"
        )
    index_V3, faces_F3 = marching_cubes(pad_outside(values_XYZ.float()), iso_level=iso_level)
    x, y, z = values_XYZ.shape
    return _mesh(index_V3, faces_F3, (x, y, z))


def evaluate_pairs(
    pairs: Sequence[Pair], protocols: Sequence[AnyProtocol], draws: SampleCounts, **options: Any
) -> dict[str, list[Row]]:
    """Rows of all shapes for each protocol, in the order of the pairs. `options`: those of `each_pair`."""
    return by_protocol(list(each_pair(pairs, protocols, draws, **options)), protocols)


def auroc(corrupted_N: NDArray[np.float64], clean_M: NDArray[np.float64]) -> float:
    """The chance that a corrupted mask scores above a clean one, ties half; NaN without either."""
    return float(_above(corrupted_N, clean_M).mean()) if len(corrupted_N) and len(clean_M) else float("nan")


def closed_faces(mesh: TriangleMesh) -> NDArray[np.bool_]:
    """Which faces (F,) belong to closed parts: pieces joined at vertices all of whose edges are balanced."""
    faces, unbalanced = mesh.merged_faces, mesh.unbalanced_edges
    if len(unbalanced) == 0:
        return np.ones(len(faces), dtype=bool)
    count = int(faces.max(initial=-1)) + 1
    links = coo_array((np.ones(2 * len(faces), dtype=np.int8), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())))
    links.resize((count, count))
    _, part = connected_components(links, directed=False)
    closed = np.ones(count, dtype=bool)
    closed[part[unbalanced[:, 0]]] = False
    return closed[part[faces[:, 0]]]
