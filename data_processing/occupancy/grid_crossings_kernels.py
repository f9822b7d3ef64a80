"""Crossings of faces with the lines through voxel centres, of scan_conversion.py, on a CPU, compiled by numba: the same
integers, the same heights, in the same order.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_part

Integers = NDArray[np.int64]


@compile_exact
def list_crossings(
    corners_F9: Integers,
    lines_F4: Integers,
    unit: int,
    begin: int,
    end: int,
    line_H2: Integers,
    height_H: NDArray[np.float64],
    sign_H: Integers,
    face_H: Integers,
) -> int:
    """Write the crossings of the faces begin to end; returns their number.

    `corners_F9`: x y z x y z x y z on the lattice, `unit` of it from line to line, z along the lines. `lines_F4`: first
    and last line that a face may cross, i and j.
    """
    found = 0
    for face in range(begin, end):
        c = corners_F9[face]
        turn = np.sign((c[3] - c[0]) * (c[7] - c[1]) - (c[4] - c[1]) * (c[6] - c[0]))
        if turn == 0:
            continue
        z0, z1, z2 = float(c[2]), float(c[5]), float(c[8])
        for i in range(lines_F4[face, 0], lines_F4[face, 2] + 1):
            for j in range(lines_F4[face, 1], lines_F4[face, 3] + 1):
                x, y = i * unit, j * unit
                over_c = _edge(c[0], c[1], c[3], c[4], turn, x, y)
                over_a = _edge(c[3], c[4], c[6], c[7], turn, x, y)
                over_b = _edge(c[6], c[7], c[0], c[1], turn, x, y)
                if over_c > 0 and over_a > 0 and over_b > 0:
                    rise = float(over_b) * (z1 - z0) + float(over_c) * (z2 - z0)
                    height = z0 + rise / (float(over_a) + float(over_b) + float(over_c))
                    line_H2[found, 0], line_H2[found, 1] = i, j
                    height_H[found], sign_H[found], face_H[found] = height / unit, turn, face
                    found += 1
    return found


@compile_part
def _edge(xa: int, ya: int, xb: int, yb: int, turn: int, x: int, y: int) -> int:
    """Edge function of a side, and 1 more where the side owns the lines through it: inside where positive."""
    dx, dy = (xb - xa) * turn, (yb - ya) * turn
    tie = 1 if dy < 0 or (dy == 0 and dx > 0) else 0
    return -dy * x + dx * y + (dy * xa - dx * ya + tie)
