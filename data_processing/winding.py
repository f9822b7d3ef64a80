"""The winding number of open triangle soups, coarse to fine: evaluated only where it can change its rounded value.

Barill et al., "Fast Winding Numbers for Soups and Clouds" (SIGGRAPH 2018), by point-cloud-utils (CPU only; its result
does not depend on the number of threads). Holes, overlaps and flipped or doubled faces give fractions: the rounded
number says how often a place is enclosed, and 0 is outside. Closed parts need none of this: see scan.py.
"""

import numpy as np
import point_cloud_utils
import torch
from numpy.typing import NDArray

from data_processing.scan import UNKNOWN, PointFrame
from data_processing.surface_cells import touched_cells

COARSEST = 32  # cells along an edge; parts are found by the cells that they touch, so none is too small
UNSURE = 0.25  # a cell free of triangles is refined when its number is this close to a half-integer
POINT_CELLS = 64  # grid that decides points far from the surface
FEW_POINTS = 100_000  # fewer are evaluated directly
CHUNK = 1 << 21  # points at once: bounds the memory; each chunk builds the tree again


def winding_numbers(triangles_F33: NDArray[np.float64], points_N3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Fast winding number (N,) of triangles (F, 3, 3) at points (N, 3). One call builds one tree: pass all points."""
    vertices, faces = _indexed(triangles_F33)
    points = np.ascontiguousarray(points_N3, dtype=np.float64)
    if len(points) == 0 or len(faces) == 0:
        return np.zeros(len(points))
    return point_cloud_utils.triangle_soup_fast_winding_number(vertices, faces, points)


def winding_grid(
    triangles_F33: NDArray[np.float64], resolution: int, *, keep_unknown: bool = False
) -> NDArray[np.int16]:
    """Rounded winding number (R, R, R) at the voxel centres, of triangles (F, 3, 3) in cube coordinates.

    Each level halves the cells that a triangle touches, and those whose number is near a half-integer; all other cells
    have one rounded number. With `keep_unknown` the cells that would be halved next are UNKNOWN instead.
    """
    levels = _levels(resolution)
    number = np.zeros((1, 1, 1), dtype=np.int16)
    cells = np.arange(levels[0] ** 3)
    for level in levels:
        number = _repeated(number, level // len(number))
        values = _at_centres(triangles_F33, cells, level)
        flat = number.reshape(-1)
        flat[cells] = np.rint(values)
        last = level == levels[-1]
        if last and not keep_unknown:
            break
        touched = touched_cells(torch.from_numpy(triangles_F33), level).numpy().reshape(-1)
        cells = cells[touched[cells] | (np.abs(values - np.rint(values)) > 0.5 - UNSURE)]
        if last:
            flat[cells] = UNKNOWN
        cells = _halved(cells, level)
    return number


def winding_points(triangles_F33: NDArray[np.float64], points_N3: NDArray[np.floating]) -> NDArray[np.int16]:
    """Rounded winding number (N,) at points (N, 3) of the frame of the triangles; far points by a grid of cells."""
    if len(points_N3) <= FEW_POINTS:
        return np.rint(winding_numbers(triangles_F33, points_N3)).astype(np.int16)
    frame = PointFrame(triangles_F33, POINT_CELLS)
    number = frame.look_up(torch.from_numpy(_known(frame, triangles_F33)), points_N3)
    near = np.flatnonzero(number == UNKNOWN)
    number[near] = np.rint(winding_numbers(triangles_F33, points_N3[near]))
    return number


def _known(frame: PointFrame, triangles_F33: NDArray[np.float64]) -> NDArray[np.int16]:
    return winding_grid(frame.to_cube(triangles_F33), frame.resolution, keep_unknown=True)


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


def _halved(cells_N: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """The 8 cells of the next level in each cell, numbered in C order."""
    i, j, k = np.unravel_index(cells_N, (level,) * 3)
    first = (2 * i * 2 * level + 2 * j) * 2 * level + 2 * k
    a, b, c = np.indices((2, 2, 2)).reshape(3, 8)
    return (first[:, None] + (a * 2 * level + b) * 2 * level + c).reshape(-1)


def _repeated(grid: NDArray[np.int16], factor: int) -> NDArray[np.int16]:
    for axis in range(3):
        grid = np.repeat(grid, factor, axis=axis)
    return grid


def _indexed(triangles_F33: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    vertices = np.ascontiguousarray(triangles_F33, dtype=np.float64).reshape(-1, 3)
    return vertices, np.arange(len(vertices)).reshape(-1, 3)
