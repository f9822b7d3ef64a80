"""Triangles to silhouettes on a CPU, compiled by numba: the same pixels as the torch operators of silhouettes.py."""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

STEPS = 256  # lattice steps a pixel
HALF = 128  # the centre of pixel 0
WIDE = 4  # columns of a box above which rows are solved by a division instead of asked pixel by pixel


@compile_exact
def silhouette(
    vertices_V3: NDArray[np.float64], faces_F3: NDArray[np.int64], axes_23: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    """Pixels (size, size), 1 where a triangle covers the centre; the screen is [-1, 1], row 0 is the lowest."""
    corners_V2 = np.empty((len(vertices_V3), 2), dtype=np.int32)
    scale = size * STEPS / 2.0
    for v in range(len(vertices_V3)):
        for k in range(2):
            along = vertices_V3[v, 0] * axes_23[k, 0] + vertices_V3[v, 1] * axes_23[k, 1]
            along += vertices_V3[v, 2] * axes_23[k, 2]
            corners_V2[v, k] = np.int32(np.rint((along + 1.0) * scale))
    image = np.zeros((size, size), dtype=np.uint8)
    for f in range(len(faces_F3)):
        a, b, c = corners_V2[faces_F3[f, 0]], corners_V2[faces_F3[f, 1]], corners_V2[faces_F3[f, 2]]
        fill(np.int64(a[0]), np.int64(a[1]), np.int64(b[0]), np.int64(b[1]), np.int64(c[0]), np.int64(c[1]), image)
    return image


@compile_exact
def fill(xa: int, ya: int, xb: int, yb: int, xc: int, yc: int, image: NDArray[np.uint8]) -> None:
    """Set the pixels of one triangle given on the lattice."""
    first_column = (min(xa, xb, xc) - HALF + STEPS - 1) // STEPS
    last_column = (max(xa, xb, xc) - HALF) // STEPS
    first_row = (min(ya, yb, yc) - HALF + STEPS - 1) // STEPS
    last_row = (max(ya, yb, yc) - HALF) // STEPS
    if first_column > last_column or first_row > last_row:
        return
    area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
    if area == 0:
        return
    if area < 0:
        xb, yb, xc, yc = xc, yc, xb, yb
    # Coordinates relative to the first pixel centre of the box: edge functions there need no further terms.
    x0, y0 = first_column * STEPS + HALF, first_row * STEPS + HALF
    dx_ab, dy_ab, dx_bc, dy_bc, dx_ca, dy_ca = xb - xa, yb - ya, xc - xb, yc - yb, xa - xc, ya - yc
    start_ab = dx_ab * (y0 - ya) - dy_ab * (x0 - xa) + owns_edge(dx_ab, dy_ab)
    start_bc = dx_bc * (y0 - yb) - dy_bc * (x0 - xb) + owns_edge(dx_bc, dy_bc)
    start_ca = dx_ca * (y0 - yc) - dy_ca * (x0 - xc) + owns_edge(dx_ca, dy_ca)
    columns = last_column - first_column
    for row in range(first_row, last_row + 1):
        # A short line is walked; in a long one the ends are worked out and all between is set.
        if columns < WIDE:
            e_ab, e_bc, e_ca = start_ab, start_bc, start_ca
            for column in range(first_column, last_column + 1):
                if e_ab > 0 and e_bc > 0 and e_ca > 0:
                    image[row, column] = 1
                e_ab -= dy_ab * STEPS
                e_bc -= dy_bc * STEPS
                e_ca -= dy_ca * STEPS
        else:
            low_ab, high_ab = span(start_ab, dy_ab, columns)
            low_bc, high_bc = span(start_bc, dy_bc, columns)
            low_ca, high_ca = span(start_ca, dy_ca, columns)
            low, high = max(low_ab, low_bc, low_ca), min(high_ab, high_bc, high_ca)
            for column in range(first_column + low, first_column + high + 1):
                image[row, column] = 1
        start_ab += dx_ab * STEPS
        start_bc += dx_bc * STEPS
        start_ca += dx_ca * STEPS


@compile_exact
def owns_edge(dx: int, dy: int) -> int:
    """1 for a side that owns the pixel centres on it: left sides, and level ones with the triangle below."""
    return 1 if dy < 0 or (dy == 0 and dx < 0) else 0


@compile_exact
def span(start: int, dy: int, columns: int) -> tuple[int, int]:
    """Columns 0..columns at which `start - dy * STEPS * column` is positive: first, last."""
    if dy == 0:
        return (0, columns) if start > 0 else (0, -1)
    slope = dy * STEPS
    if slope > 0:
        return 0, min((start + slope - 1) // slope - 1, columns)
    return max((-start) // (-slope) + 1, 0), columns
