"""The cells that triangles touch, of surface_voxels.py, on a CPU, compiled by numba: the same operations in the same
order, and so the same cells. A cell that nobody asks for is not tested.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_part

Floats = NDArray[np.float64]
MARGIN = 1e-6  # cells; rounding may only add a cell that a triangle just misses
LIMIT = 1e9  # cells; keeps infinities out of integers


@compile_exact
def mark_touched(
    corners_F9: Floats, normals_F3: Floats, size: int, skipped: NDArray[np.bool_], touched: NDArray[np.bool_]
) -> None:
    """Set the cells (R^3,) that triangles touch, corners in cells; `skipped` (R^3,), or empty: cells to leave alone."""
    low, high, order, stride = (
        np.empty(3, np.int64),
        np.empty(3, np.int64),
        np.empty(3, np.int64),
        np.empty(3, np.int64),
    )
    sides = np.empty((3, 9))
    skips = len(skipped) > 0
    for face in range(len(corners_F9)):
        c = corners_F9[face]
        single, empty = True, False
        for d in range(3):
            lowest, highest = min(c[d], c[3 + d], c[6 + d]), max(c[d], c[3 + d], c[6 + d])
            low[d] = int(max(np.floor(lowest - MARGIN), 0.0))
            high[d] = int(min(np.floor(highest + MARGIN), size - 1.0))
            single = single and low[d] == high[d]
            empty = empty or low[d] > high[d]
        if single:
            touched[(low[0] * size + low[1]) * size + low[2]] = True
            continue
        if empty:
            continue
        n = normals_F3[face]
        axis = 0
        for d in range(1, 3):
            if np.abs(n[d]) > np.abs(n[axis]):
                axis = d
        # Seen along the longest axis of the normal the triangle is a height over columns.
        for d in range(3):
            order[d] = (axis + 1 + d) % 3
            stride[d] = size ** (2 - order[d])
        a, b, e = order[0], order[1], order[2]
        _set_sides(c, n[e], a, b, sides[0])
        _set_sides(c, n[a], b, e, sides[1])
        _set_sides(c, n[b], e, a, sides[2])
        flat = n[e] == 0  # no area at all: the bounding box limits the depth
        slope_a = 0.0 if flat else -n[a] / n[e]
        slope_b = 0.0 if flat else -n[b] / n[e]
        middle = c[e] - (slope_a * (c[a] - 0.5) + slope_b * (c[b] - 0.5))
        half = np.inf if flat else (np.abs(slope_a) + np.abs(slope_b)) / 2 + MARGIN
        for i in range(low[a], high[a] + 1):
            for j in range(low[b], high[b] + 1):
                if not _meets(sides[0], i, j):
                    continue
                height = middle + slope_a * i + slope_b * j
                first = int(min(max(np.floor(height - half), -LIMIT), LIMIT))
                last = int(min(max(np.floor(height + half), -LIMIT), LIMIT))
                for k in range(max(first, low[e]), min(last, high[e]) + 1):
                    cell = i * stride[0] + j * stride[1] + k * stride[2]
                    if touched[cell] or (skips and skipped[cell]):
                        continue
                    if _meets(sides[1], j, k) and _meets(sides[2], k, i):
                        touched[cell] = True


@compile_part
def _set_sides(c: Floats, turn: float, first: int, second: int, sides: Floats) -> None:
    """The three sides of a triangle projected onto two axes: normal to the inside, and a constant, each."""
    flip = -1.0 if turn < 0 else 1.0
    for k in range(3):
        following = (k + 1) % 3
        x, y = c[3 * k + first], c[3 * k + second]
        nx, ny = (y - c[3 * following + second]) * flip, (c[3 * following + first] - x) * flip
        farthest = max(nx, 0.0) + max(ny, 0.0) + MARGIN * (np.abs(nx) + np.abs(ny))
        sides[3 * k], sides[3 * k + 1], sides[3 * k + 2] = nx, ny, farthest - nx * x - ny * y


@compile_part
def _meets(sides: Floats, i: int, j: int) -> bool:
    """Whether the square [i, i+1] x [j, j+1] lies outside no side of the projected triangle."""
    first, second = sides[0] * i + sides[1] * j + sides[2], sides[3] * i + sides[4] * j + sides[5]
    return first >= 0 and second >= 0 and sides[6] * i + sides[7] * j + sides[8] >= 0
