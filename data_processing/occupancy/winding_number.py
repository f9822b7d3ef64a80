"""The winding number of open triangle soups, rounded or not, on a grid or at points. Closed parts: see
scan_conversion.py.

Holes, overlaps and flipped or doubled faces give fractions: the rounded number says how often a place is enclosed, and
0 is outside. Two ways that agree but for places within some thousandths of a half:

- exact: from the few boundary edges of a soup and crossings of its faces, compiled (winding_number_kernels.py), or for
  one shape, of which compiling would take longer, by tensors (winding_number_sums.py);
- Barill et al., "Fast Winding Numbers for Soups and Clouds" (SIGGRAPH 2018), coarse to fine, for soups of many thousand
  boundary edges (winding_tree_kernels.py). No matter how many threads, here too.
"""

from functools import partial
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, walk_surplus
from data_processing.occupancy.scan_conversion import UNKNOWN, PointFrame
from data_processing.occupancy.surface_voxels import touched_cells
from data_processing.occupancy.winding_number_sums import sum_at_points, sum_on_grid
from isofield.runtime.compiled import compiled_module, is_spared
from isofield.runtime.threads import in_parallel, share

KERNELS = "data_processing.occupancy.winding_number_kernels"
compiled_kernels = partial(compiled_module, KERNELS)

MANY_EDGES = 6144  # of the boundary: there the tree over faces is as fast
FAR_AWAY = 1e6  # longest sides of the surface; nothing is inside there
COARSEST = 32  # cells along an edge; parts are found by the cells that they touch, so none is too small
UNSURE = 0.25  # a cell free of triangles is refined when its number is this close to a half-integer
SECONDS_OF_GRID, SECONDS_OF_EDGE = 0.1, 0.005  # CPU, by tensors, of a grid of 256^3: about (measured, LOG.md)
SECONDS_OF_PAIR = 3e-8  # and of a point and an edge
POINT_CELLS = 64  # grid that decides points far from the surface
FEW_POINTS = 100_000  # fewer are evaluated directly
CHUNK = 1 << 21  # points at once: bounds the memory; each chunk builds the tree again


def winding_numbers(triangles_F33: NDArray[np.float64], points_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Fast winding number (N,) of triangles (F, 3, 3) at points (N, 3). One call builds one tree: pass all points."""
    from data_processing.occupancy.winding_tree_kernels import build_tree, numbers_at

    # Threads share the points, not the sum at one point: their number changes no bit.
    corners_F9 = np.ascontiguousarray(triangles_F33, dtype=np.float64).reshape(-1, 9)
    points_N3 = np.ascontiguousarray(points_N3, dtype=np.float64)
    number_N = np.zeros(len(points_N3))
    if len(points_N3) and len(corners_F9):
        tree = build_tree(corners_F9)
        in_parallel(
            lambda number, parts: numbers_at(
                corners_F9, *tree, points_N3, *share(len(points_N3), number, parts), number_N
            )
        )
    return number_N


def winding_values(
    triangles_F33: NDArray[np.float64],
    points_N3: NDArray[np.floating],
    *,
    boundary_E23: NDArray[np.float64] | None = None,
    quarters: bool = False,
) -> NDArray[np.float64]:
    """Winding number (N,) of triangles (F, 3, 3) at points (N, 3), exact where the kernels are there.

    `boundary_E23`: as `boundary_edges` finds it, where it is known. `quarters`: it is enough that each value lies on
    the side of 1/4, 3/4, -1/4, ... on which the exact one lies; that spares most of them the sum over the boundary.
    """
    boundary_E23 = boundary_edges(_mesh_of(triangles_F33)) if boundary_E23 is None else boundary_E23
    edges = len(boundary_E23)
    # What follows is mostly a grid of 96^3, by which the method is judged, and one of 256^3.
    ahead = _seconds_of_grid(edges, 96) + _seconds_of_grid(edges)
    if _spares_kernels(edges, len(points_N3) * edges * SECONDS_OF_PAIR, ahead=ahead):
        return _summed_values(triangles_F33, boundary_E23, points_N3)
    surface = _compiled_surface(triangles_F33, boundary_E23)
    if surface is None:
        return winding_numbers(triangles_F33, points_N3)
    return surface.at(points_N3, surface.kernels.QUARTERS if quarters else surface.kernels.EXACT)


def winding_grid(
    triangles_F33: NDArray[np.float64], resolution: int, *, boundary_E23: NDArray[np.float64] | None = None
) -> NDArray[np.int16]:
    """Rounded winding number (R, R, R) at the voxel centres, of triangles (F, 3, 3) in cube coordinates."""
    boundary_E23 = boundary_edges(_mesh_of(triangles_F33)) if boundary_E23 is None else boundary_E23
    if _spares_kernels(len(boundary_E23), _seconds_of_grid(len(boundary_E23), resolution)):
        return sum_on_grid(triangles_F33, boundary_E23, resolution)
    kernels = compiled_kernels()
    if kernels is None or len(boundary_E23) > MANY_EDGES:
        return cells_grid(triangles_F33, resolution)
    corners_F9 = np.ascontiguousarray(triangles_F33, dtype=np.float64).reshape(-1, 9)
    low, edges_6E = np.full(3, -0.5), _edge_columns(boundary_E23)
    return kernels.at_centres(corners_F9, edges_6E, low, 1.0, resolution)


def winding_points(
    triangles_F33: NDArray[np.float64],
    points_N3: NDArray[np.floating],
    *,
    boundary_E23: NDArray[np.float64] | None = None,
) -> NDArray[np.int16]:
    """Rounded winding number (N,) at points (N, 3) of the frame of the triangles."""
    boundary_E23 = boundary_edges(_mesh_of(triangles_F33)) if boundary_E23 is None else boundary_E23
    if _spares_kernels(len(boundary_E23), len(points_N3) * len(boundary_E23) * SECONDS_OF_PAIR):
        return np.rint(_summed_values(triangles_F33, boundary_E23, points_N3)).astype(np.int16)
    surface = _compiled_surface(triangles_F33, boundary_E23)
    if surface is None:
        return cells_points(triangles_F33, points_N3)
    return np.rint(surface.at(points_N3, surface.kernels.ROUNDED)).astype(np.int16)


def _spares_kernels(edges: int, seconds: float, *, ahead: float = 0.0) -> bool:
    return edges <= MANY_EDGES and is_spared(KERNELS, seconds, ahead=ahead)


def _seconds_of_grid(edges: int, resolution: int = 256) -> float:
    """CPU, by tensors, about."""
    return (SECONDS_OF_GRID + SECONDS_OF_EDGE * edges) * resolution / 256


def _summed_values(
    triangles_F33: NDArray[np.float64], boundary_E23: NDArray[np.float64], points_N3: NDArray[np.floating]
) -> NDArray[np.float64]:
    """`winding_values` by tensors."""
    values_N = np.zeros(len(points_N3))
    if len(triangles_F33) == 0:
        return values_N
    frame = PointFrame(triangles_F33, POINT_CELLS)
    placed_N3 = frame.to_cube(points_N3)
    near = np.flatnonzero((np.abs(placed_N3) < FAR_AWAY).all(axis=1))  # a NaN is not
    edges_E23 = frame.to_cube(boundary_E23)
    values_N[near] = sum_at_points(frame.to_cube(triangles_F33), edges_E23, placed_N3[near])
    return values_N


def boundary_edges(mesh: TriangleMesh) -> NDArray[np.float64]:
    """Ends (E, 2, 3) of the edges that faces walk more often one way than the other, each as often as that is more.

    They run the way the faces walk.
    """
    # Only edges between vertices of unbalanced ones are looked at: of a nearly closed mesh that is a small share.
    faces, width = mesh.merged_faces, int(mesh.merged_faces.max(initial=0)) + 1
    met = np.zeros(width, dtype=bool)
    met[mesh.unbalanced_edges] = True
    walked_W2 = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    walked_W2 = walked_W2[met[walked_W2].all(axis=1)]
    # What remains of the walks after those back is the boundary.
    keys, surplus = walk_surplus(walked_W2[:, 0] * width + walked_W2[:, 1], width)
    keys = np.repeat(keys, surplus.clip(min=0))
    positions_W3 = np.empty((width, 3))
    positions_W3[faces] = mesh.triangles()
    return np.stack([positions_W3[keys // width], positions_W3[keys % width]], axis=1)


class _CompiledSurface:
    """Triangles and their boundary in units of the longest side, from the middle."""

    def __init__(
        self, kernels: ModuleType, triangles_F33: NDArray[np.float64], boundary_E23: NDArray[np.float64]
    ) -> None:
        corners_3C = np.ascontiguousarray(triangles_F33.reshape(-1, 3).T)
        lower, upper = corners_3C.min(axis=1), corners_3C.max(axis=1)
        self.kernels, self.middle, self.side = kernels, (lower + upper) / 2, float((upper - lower).max())
        self.corners_F9 = np.ascontiguousarray(self._to_unit(triangles_F33)).reshape(-1, 9)
        self.edges_6E = _edge_columns(self._to_unit(boundary_E23))

    def at(self, points_N3: NDArray[np.floating], way: int) -> NDArray[np.float64]:
        """Winding numbers (N,), as right as `way` says (`at_points` of the kernels)."""
        placed_N3, number = np.ascontiguousarray(self._to_unit(points_N3)), np.zeros(len(points_N3))
        near = np.flatnonzero((np.abs(placed_N3) < FAR_AWAY).all(axis=1))  # a NaN is not
        if len(near) == 0:
            return number
        placed_N3 = placed_N3 if len(near) == len(number) else placed_N3[near]
        rows_3N = np.ascontiguousarray(placed_N3.T)
        # The descent starts with every face in its box, so the box holds the surface as well as the points.
        low, high = np.minimum(rows_3N.min(axis=1), -0.5), np.maximum(rows_3N.max(axis=1), 0.5)
        number[near] = self.kernels.at_points(self.corners_F9, self.edges_6E, placed_N3, low, high, way)
        return number

    def _to_unit(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        return (np.asarray(points, dtype=np.float64) - self.middle) / self.side


def _compiled_surface(
    triangles_F33: NDArray[np.float64], boundary_E23: NDArray[np.float64] | None
) -> _CompiledSurface | None:
    """None where the other way is to be taken."""
    kernels = compiled_kernels()
    if kernels is None or len(triangles_F33) == 0:
        return None
    boundary_E23 = boundary_edges(_mesh_of(triangles_F33)) if boundary_E23 is None else boundary_E23
    return None if len(boundary_E23) > MANY_EDGES else _CompiledSurface(kernels, triangles_F33, boundary_E23)


def _edge_columns(boundary_E23: NDArray[np.float64]) -> NDArray[np.float64]:
    """Both ends of edges, (6, E)."""
    return np.ascontiguousarray(boundary_E23.reshape(-1, 6).T)


def _mesh_of(triangles_F33: NDArray[np.float64]) -> TriangleMesh:
    vertices = np.ascontiguousarray(triangles_F33, dtype=np.float64).reshape(-1, 3)
    return TriangleMesh(vertices, np.arange(len(vertices)).reshape(-1, 3))


def cells_grid(triangles_F33: NDArray[np.float64], resolution: int, *, keep_unknown: bool = False) -> NDArray[np.int16]:
    """`winding_grid` by the tree over faces, coarse to fine.

    Each level halves the cells that a triangle touches, and those whose number is near a half-integer; all other cells
    have one rounded number. With `keep_unknown` the cells that would be halved next are UNKNOWN instead.
    """
    levels = _levels(resolution)
    number = np.zeros((1, 1, 1), dtype=np.int16)
    cells = np.arange(levels[0] ** 3)
    for level in levels:
        factor = level // len(number)
        number = number.repeat(factor, axis=0).repeat(factor, axis=1).repeat(factor, axis=2)
        values = _at_centres(triangles_F33, cells, level)
        flat = number.reshape(-1)
        flat[cells] = np.rint(values)
        last = level == levels[-1]
        if last and not keep_unknown:
            break
        # Elsewhere the number changes slowly: far from a half-integer it stays on its side in the whole cell.
        touched = touched_cells(torch.from_numpy(triangles_F33), level).numpy().reshape(-1)
        cells = cells[touched[cells] | (np.abs(values - np.rint(values)) > 0.5 - UNSURE)]
        if last:
            flat[cells] = UNKNOWN
        cells = _split_cells(cells, level)
    return number


def cells_points(triangles_F33: NDArray[np.float64], points_N3: NDArray[np.floating]) -> NDArray[np.int16]:
    """`winding_points` by the tree over faces; far points by a grid of cells."""
    if len(points_N3) <= FEW_POINTS:
        return np.rint(winding_numbers(triangles_F33, points_N3)).astype(np.int16)
    # Many points: the cells of a coarse grid that no face touches answer for all points in them.
    frame = PointFrame(triangles_F33, POINT_CELLS)
    known = cells_grid(frame.to_cube(triangles_F33), frame.resolution, keep_unknown=True)
    number = frame.look_up(torch.from_numpy(known), points_N3)
    near = np.flatnonzero(number == UNKNOWN)
    number[near] = np.rint(winding_numbers(triangles_F33, points_N3[near]))
    return number


def _levels(resolution: int) -> list[int]:
    levels = [resolution]
    while levels[0] % 2 == 0 and levels[0] // 2 >= COARSEST:
        levels.insert(0, levels[0] // 2)
    return levels


def _at_centres(triangles: NDArray[np.float64], cells_N: NDArray[np.int64], level: int) -> NDArray[np.float64]:
    """Winding numbers at the centres of cells of a grid, numbered in C order; a bounded number of points at once."""
    values = np.empty(len(cells_N))
    for start in range(0, len(cells_N), CHUNK):
        index = np.unravel_index(cells_N[start : start + CHUNK], (level,) * 3)
        values[start : start + CHUNK] = winding_numbers(triangles, (np.stack(index, axis=1) + 0.5) / level - 0.5)
    return values


def _split_cells(cells_N: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """The 8 cells of the next level in each cell, numbered in C order."""
    i, j, k = np.unravel_index(cells_N, (level,) * 3)
    first = (2 * i * 2 * level + 2 * j) * 2 * level + 2 * k
    a, b, c = np.indices((2, 2, 2)).reshape(3, 8)
    return (first[:, None] + (a * 2 * level + b) * 2 * level + c).reshape(-1)
