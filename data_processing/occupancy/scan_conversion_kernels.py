"""The point test of scan_conversion.py on a CPU, compiled by numba: the same integers, the same heights, the same
answers.

Vertices and points lie on one lattice of integers, 2^LATTICE_BITS along the edge of a cube around the mesh. Columns
along z hold the faces that may cross a line. A grid of cells knows the number of every cell that no face touches, where
"touches" may err to the safe side; a point in a touched cell counts crossings up to the next cell that is known.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

LATTICE_BITS = 28
HALF = 1 << (LATTICE_BITS - 1)  # from the middle of the cube to its sides
UNKNOWN = 32767
SLACK = 2  # lattice units; rounding moves vertices and points by half of one
KEY_SHIFT = 21  # points are sorted by slices of this width
SMALL = 8  # cells of a box that are marked without another test


@compile_exact
def to_lattice(triangles_F33: NDArray[np.float64], middle_3: NDArray[np.float64], side: float) -> NDArray[np.int32]:
    """Corners (F, 9), x y z x y z x y z, of triangles in the frame of the cube."""
    corners_F9 = np.empty((len(triangles_F33), 9), dtype=np.int32)
    for face in range(len(triangles_F33)):
        for k in range(3):
            for d in range(3):
                unit = (triangles_F33[face, k, d] - middle_3[d]) / side
                corners_F9[face, 3 * k + d] = np.int32(np.rint(unit * (2.0 * HALF)))
    return corners_F9


@compile_exact
def _range(corners_F9: NDArray[np.int32], face: int, axis: int) -> tuple[int, int]:
    """Lowest and highest coordinate of a face, from the lower side of the cube."""
    a = np.int64(corners_F9[face, axis])
    b = np.int64(corners_F9[face, 3 + axis])
    c = np.int64(corners_F9[face, 6 + axis])
    return int(min(a, b, c) + HALF), int(max(a, b, c) + HALF)


@compile_exact
def _turn(corners_F9: NDArray[np.int32], face: int) -> int:
    """+1 where the face looks up, -1 down, 0 where it is vertical."""
    x, y = np.int64(corners_F9[face, 0]), np.int64(corners_F9[face, 1])
    area = (corners_F9[face, 3] - x) * (corners_F9[face, 7] - y) - (corners_F9[face, 4] - y) * (corners_F9[face, 6] - x)
    return 1 if area > 0 else (-1 if area < 0 else 0)


@compile_exact
def _edge(xa: int, ya: int, xb: int, yb: int, turn: int, x: int, y: int) -> int:
    """Edge function of a side, and 1 more where the side owns the lines through it: inside where positive."""
    dx, dy = (xb - xa) * turn, (yb - ya) * turn
    tie = 1 if dy < 0 or (dy == 0 and dx > 0) else 0
    return dx * (y - ya) - dy * (x - xa) + tie


@compile_exact
def _crossing(corners_F9: NDArray[np.int32], face: int, turn: int, x: int, y: int) -> float:
    """Height where the line (x, y) crosses a face that is not vertical; NaN where it misses it."""
    c = corners_F9
    xa, ya = np.int64(c[face, 0]), np.int64(c[face, 1])
    xb, yb = np.int64(c[face, 3]), np.int64(c[face, 4])
    xc, yc = np.int64(c[face, 6]), np.int64(c[face, 7])
    opposite_c = _edge(xa, ya, xb, yb, turn, x, y)
    opposite_a = _edge(xb, yb, xc, yc, turn, x, y)
    opposite_b = _edge(xc, yc, xa, ya, turn, x, y)
    if opposite_a <= 0 or opposite_b <= 0 or opposite_c <= 0:
        return np.nan
    share_a, share_b, share_c = float(opposite_a), float(opposite_b), float(opposite_c)
    za, zb, zc = float(c[face, 2]), float(c[face, 5]), float(c[face, 8])
    return za + (share_b * (zb - za) + share_c * (zc - za)) / (share_a + share_b + share_c)


@compile_exact
def _box_holds(corners_F9: NDArray[np.int32], face: int, x: int, y: int) -> bool:
    """Whether the line (x, y) meets the bounding box of the face."""
    c = corners_F9
    xa, xb, xc = c[face, 0], c[face, 3], c[face, 6]
    ya, yb, yc = c[face, 1], c[face, 4], c[face, 7]
    return min(xa, xb, xc) <= x <= max(xa, xb, xc) and min(ya, yb, yc) <= y <= max(ya, yb, yc)


@compile_exact
def count_in_columns(corners_F9: NDArray[np.int32], bits: int) -> int:
    """Entries that columns() will make."""
    # Counted before anything is stored: large faces in narrow columns would take gigabytes.
    shift, count = LATTICE_BITS - bits, 0
    for face in range(len(corners_F9)):
        low_x, high_x = _range(corners_F9, face, 0)
        low_y, high_y = _range(corners_F9, face, 1)
        count += ((high_x >> shift) - (low_x >> shift) + 1) * ((high_y >> shift) - (low_y >> shift) + 1)
    return count


@compile_exact
def columns(corners_F9: NDArray[np.int32], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Faces sorted into 2^bits x 2^bits columns: start (columns + 1,), entries (E, 3) of face, lowest and highest z."""
    size, shift = 1 << bits, LATTICE_BITS - bits
    # First how many entries each column gets, so that all share one array without gaps.
    start = np.zeros(size * size + 2, dtype=np.int64)
    for face in range(len(corners_F9)):
        if _turn(corners_F9, face) != 0:
            low_x, high_x = _range(corners_F9, face, 0)
            low_y, high_y = _range(corners_F9, face, 1)
            for i in range(low_x >> shift, (high_x >> shift) + 1):
                for j in range(low_y >> shift, (high_y >> shift) + 1):
                    start[i * size + j + 2] += 1
    for column in range(2, size * size + 2):
        start[column] += start[column - 1]
    # Then the entries themselves; `start` runs on while a column fills, and ends where the next one starts.
    entries = np.empty((start[-1], 3), dtype=np.int32)
    for face in range(len(corners_F9)):
        if _turn(corners_F9, face) != 0:
            low_x, high_x = _range(corners_F9, face, 0)
            low_y, high_y = _range(corners_F9, face, 1)
            low_z, high_z = _range(corners_F9, face, 2)
            for i in range(low_x >> shift, (high_x >> shift) + 1):
                for j in range(low_y >> shift, (high_y >> shift) + 1):
                    at = start[i * size + j + 1]
                    entries[at, 0], entries[at, 1], entries[at, 2] = face, low_z - HALF, high_z - HALF
                    start[i * size + j + 1] = at + 1
    return start[:-1], entries


@compile_exact
def known_cells(corners_F9: NDArray[np.int32], bits: int) -> NDArray[np.int16]:
    """Winding number (R, R, R) of the cells of a grid of 2^bits cells that no face touches, UNKNOWN elsewhere."""
    size, shift = 1 << bits, LATTICE_BITS - bits
    middle = 1 << (shift - 1)  # of a cell
    number = np.zeros((size, size, size), dtype=np.int16)
    touched = np.zeros((size, size, size), dtype=np.bool_)
    for face in range(len(corners_F9)):
        # A cell that a face touches has no single number. Vertical faces are touched too, but cross no line.
        _mark(corners_F9, face, shift, touched)
        turn = _turn(corners_F9, face)
        if turn == 0:
            continue
        low_x, high_x = _range(corners_F9, face, 0)
        low_y, high_y = _range(corners_F9, face, 1)
        first_j, last_j = (low_y + middle - 1) >> shift, (high_y - middle) >> shift
        for i in range((low_x + middle - 1) >> shift, ((high_x - middle) >> shift) + 1):
            for j in range(first_j, last_j + 1):
                height = _crossing(corners_F9, face, turn, (i << shift) + middle - HALF, (j << shift) + middle - HALF)
                if not np.isnan(height):
                    above = (np.int64(np.ceil(height)) + HALF + middle - 1) >> shift
                    if above < size:
                        number[i, j, above] -= turn
    # Changes summed upwards are the number.
    for i in range(size):
        for j in range(size):
            here = np.int16(0)
            for k in range(size):
                here += number[i, j, k]
                number[i, j, k] = UNKNOWN if touched[i, j, k] else here
    return number


@compile_exact
def _mark(corners_F9: NDArray[np.int32], face: int, shift: int, touched: NDArray[np.bool_]) -> None:
    """Mark the cells that a face touches, and perhaps some beside it."""
    low_x, high_x = _range(corners_F9, face, 0)
    low_y, high_y = _range(corners_F9, face, 1)
    low_z, high_z = _range(corners_F9, face, 2)
    i0, i1 = (low_x - SLACK) >> shift, (high_x + SLACK) >> shift
    j0, j1 = (low_y - SLACK) >> shift, (high_y + SLACK) >> shift
    k0, k1 = (low_z - SLACK) >> shift, (high_z + SLACK) >> shift
    if (i1 - i0 + 1) * (j1 - j0 + 1) * (k1 - k0 + 1) > SMALL:
        _mark_along_plane(corners_F9[face], shift, (i0, j0, k0), (i1, j1, k1), touched)
        return
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            for k in range(k0, k1 + 1):
                touched[i, j, k] = True


@compile_exact
def _mark_along_plane(
    c: NDArray[np.int32],
    shift: int,
    low: tuple[int, int, int],
    high: tuple[int, int, int],
    touched: NDArray[np.bool_],
) -> None:
    """Mark the cells of the box low..high that meet the plane of a face, in columns that meet its projection."""
    # Columns run along the longest axis of the normal: there the plane is flat, and cells a column few.
    width = 1 << shift
    u0, u1, u2 = float(c[3]) - c[0], float(c[4]) - c[1], float(c[5]) - c[2]
    v0, v1, v2 = float(c[6]) - c[0], float(c[7]) - c[1], float(c[8]) - c[2]
    normal = (u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0)
    r = 0 if abs(normal[0]) >= max(abs(normal[1]), abs(normal[2])) else (1 if abs(normal[1]) >= abs(normal[2]) else 2)
    p, q = (r + 1) % 3, (r + 2) % 3
    flat = normal[r] == 0.0  # no area: the whole box
    slope_p = 0.0 if flat else -normal[p] / normal[r]
    slope_q = 0.0 if flat else -normal[q] / normal[r]
    # Over the square of a column the plane rises by no more than `reach` on either side of its middle.
    reach = (abs(slope_p) + abs(slope_q)) * width / 2 + SLACK
    turn = -1 if normal[r] < 0 else 1
    cell = np.empty(3, dtype=np.int64)
    for a in range(low[p], high[p] + 1):
        for b in range(low[q], high[q] + 1):
            x, y = (a << shift) - HALF, (b << shift) - HALF
            first, last = low[r], high[r]
            if not flat:
                if not _square_meets(c, p, q, turn, x - SLACK, y - SLACK, width + 2 * SLACK):
                    continue
                depth = c[r] + slope_p * (x + width / 2 - c[p]) + slope_q * (y + width / 2 - c[q]) + HALF
                first = max(first, int(np.floor(depth - reach)) >> shift)
                last = min(last, int(np.ceil(depth + reach)) >> shift)
            for d in range(first, last + 1):
                cell[p], cell[q], cell[r] = a, b, d
                touched[cell[0], cell[1], cell[2]] = True


@compile_exact
def _square_meets(c: NDArray[np.int32], p: int, q: int, turn: int, x: int, y: int, width: int) -> bool:
    """Whether the square from (x, y) lies outside no side of the face seen in axes p, q."""
    for k in range(3):
        n = 3 * ((k + 1) % 3)
        xa, ya = np.int64(c[3 * k + p]), np.int64(c[3 * k + q])
        dx, dy = (c[n + p] - xa) * turn, (c[n + q] - ya) * turn
        inmost_x, inmost_y = (x if dy > 0 else x + width), (y + width if dx > 0 else y)
        if dx * (inmost_y - ya) - dy * (inmost_x - xa) < 0:
            return False
    return True


@compile_exact
def look_up(
    known_RRR: NDArray[np.int16], points_N3: NDArray[np.float64], middle_3: NDArray[np.float64], side: float
) -> NDArray[np.int16]:
    """Winding number (N,) of the cells that hold points, UNKNOWN where a face touches the cell; 0 outside the cube."""
    shift = _shift(len(known_RRR))
    factor = 2.0 * HALF / side
    number = np.zeros(len(points_N3), dtype=np.int16)
    for n in range(len(points_N3)):
        x = (points_N3[n, 0] - middle_3[0]) * factor + HALF
        y = (points_N3[n, 1] - middle_3[1]) * factor + HALF
        z = (points_N3[n, 2] - middle_3[2]) * factor + HALF
        if x > 1 and y > 1 and z > 1 and x < 2 * HALF - 1 and y < 2 * HALF - 1 and z < 2 * HALF - 1:  # a NaN is not
            number[n] = known_RRR[np.int64(x) >> shift, np.int64(y) >> shift, np.int64(z) >> shift]
    return number


@compile_exact
def _shift(size: int) -> int:
    """Bits of a coordinate on the lattice within one of `size` cells, a power of two."""
    shift = LATTICE_BITS
    while 1 << (LATTICE_BITS - shift) < size:
        shift -= 1
    return shift


@compile_exact
def lattice_points(
    points_N3: NDArray[np.float64], chosen_K: NDArray[np.int64], middle_3: NDArray[np.float64], side: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Of the chosen points: x, y (K, 2) on the lattice, heights (K,) not rounded, and a key (K,) that sorts columns."""
    lines_K2, heights_K = np.empty((len(chosen_K), 2), dtype=np.int64), np.empty(len(chosen_K))
    key_K = np.empty(len(chosen_K), dtype=np.int64)
    for at in range(len(chosen_K)):
        n = chosen_K[at]
        x = np.int64(np.rint((points_N3[n, 0] - middle_3[0]) / side * (2.0 * HALF)))
        y = np.int64(np.rint((points_N3[n, 1] - middle_3[1]) / side * (2.0 * HALF)))
        lines_K2[at, 0], lines_K2[at, 1] = x, y
        heights_K[at] = (points_N3[n, 2] - middle_3[2]) / side * (2.0 * HALF)
        key_K[at] = (((x + HALF) >> KEY_SHIFT) << LATTICE_BITS) + y + HALF
    return lines_K2, heights_K, key_K


@compile_exact
def count_crossings(
    corners_F9: NDArray[np.int32],
    start: NDArray[np.int64],
    entries_E3: NDArray[np.int32],
    known_RRR: NDArray[np.int16],
    lines_K2: NDArray[np.int64],
    heights_K: NDArray[np.float64],
    order_K: NDArray[np.int64],
) -> NDArray[np.int16]:
    """Winding number (K,) at points: of the nearest known cell above or below, and of the faces up or down to it.

    Points are taken in the given order: those of one column share memory.
    """
    cell_shift, bits = _shift(len(known_RRR)), 0
    while 1 << (2 * bits) < len(start) - 1:
        bits += 1
    column_shift = LATTICE_BITS - bits
    number_K = np.empty(len(order_K), dtype=np.int16)
    for n in order_K:
        x, y, height = lines_K2[n, 0], lines_K2[n, 1], heights_K[n]
        # The nearest cell with a number, up or down: the way there crosses the fewest faces.
        stack = known_RRR[(x + HALF) >> cell_shift, (y + HALF) >> cell_shift]
        up = down = (np.int64(np.rint(height)) + HALF) >> cell_shift
        while stack[up] == UNKNOWN and stack[down] == UNKNOWN:
            up, down = up + 1, down - 1
        upwards = stack[up] != UNKNOWN
        cell = up if upwards else down
        centre = float((cell << cell_shift) + (1 << (cell_shift - 1)) - HALF)
        low, high = (height, centre) if upwards else (centre, height)
        # Its number, and what changes on the way.
        between = 0
        column = (((x + HALF) >> column_shift) << bits) + ((y + HALF) >> column_shift)
        for at in range(start[column], start[column + 1]):
            face, bottom, top = entries_E3[at, 0], entries_E3[at, 1], entries_E3[at, 2]
            if top > low and bottom <= high + 1 and _box_holds(corners_F9, face, x, y):
                turn = _turn(corners_F9, face)
                crossing = _crossing(corners_F9, face, turn, x, y)
                if low < (float(top) if crossing > top else crossing) <= high:  # not if it is NaN
                    between += turn
        number_K[n] = stack[cell] + (between if upwards else -between)
    return number_K
