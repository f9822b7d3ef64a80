"""The point test of scan_conversion.py on a CPU, compiled by numba: the same integers, the same heights, the same
answers.

Vertices and points lie on one lattice of integers, 2^LATTICE_BITS along the edge of a cube around the mesh. Columns
along z hold the faces that may cross a line. A grid of cells knows the number of every cell that no face touches, where
"touches" may err to the safe side; a point in a touched cell counts crossings up to the next cell that is known.

What allocates memory, or is one step over an array, is numpy: in a kernel it would take long to compile.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_filling, compile_inner

LATTICE_BITS = 28
HALF = 1 << (LATTICE_BITS - 1)  # from the middle of the cube to its sides
UNKNOWN = 32767
SLACK = 2  # lattice units; rounding moves vertices and points by half of one
KEY_SHIFT = 21  # points are sorted by slices of this width
BLOCK = 4096  # faces that are put on the lattice at once
SMALL = 8  # cells of a box that are marked without another test

Integers = NDArray[np.int64]


class Faces(NamedTuple):
    """Triangles on the lattice."""

    corners_F9: Integers  # x y z x y z x y z, from the middle of the cube
    box_F6: Integers  # lowest and highest x y z, from the lower side of the cube
    turn_F: Integers  # +1 where the face looks up, -1 down, 0 where it is vertical


def to_lattice(triangles_F33: NDArray[np.float64], middle_3: NDArray[np.float64], side: float) -> Faces:
    """Triangles in the frame of the cube."""
    # Some faces at once, one coordinate a row: numpy loops over three numbers are ten times slower than over thousands,
    # and arrays of all faces would leave the cache at every step.
    count = len(triangles_F33)
    corners_F9, box_F6 = np.empty((count, 9), np.int64), np.empty((count, 6), np.int64)
    turn_F, middle_91 = np.empty(count, np.int64), np.tile(middle_3, 3)[:, None]
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        corners_9B = np.ascontiguousarray(triangles_F33[block].reshape(-1, 9).T)
        c = np.rint((corners_9B - middle_91) / side * (2.0 * HALF)).astype(np.int64)
        corners_F9[block] = c.T
        box_F6[block, :3] = np.minimum(np.minimum(c[:3], c[3:6]), c[6:]).T
        box_F6[block, 3:] = np.maximum(np.maximum(c[:3], c[3:6]), c[6:]).T
        turn_F[block] = np.sign((c[3] - c[0]) * (c[7] - c[1]) - (c[4] - c[1]) * (c[6] - c[0]))
    box_F6 += HALF
    return Faces(corners_F9, box_F6, turn_F)


def count_in_columns(faces: Faces, bits: int) -> int:
    """Entries that columns() will make, and those of vertical faces."""
    first_F6 = faces.box_F6 >> (LATTICE_BITS - bits)
    return int(((first_F6[:, 3] - first_F6[:, 0] + 1) * (first_F6[:, 4] - first_F6[:, 1] + 1)).sum())


def columns(faces: Faces, bits: int) -> tuple[Integers, NDArray[np.int32]]:
    """Faces sorted into 2^bits x 2^bits columns: start (columns + 1,), entries (E, 3) of face, lowest and highest z."""
    # First how many entries each column gets, so that all share one array without gaps.
    # Counts go two places further on than their column, so that their sum leaves at start[column + 1] where the column
    # begins: the entry that the second pass may run on.
    start = np.zeros((1 << 2 * bits) + 2, dtype=np.int64)
    entries = np.empty((0, 3), dtype=np.int32)
    _fill_columns(faces, bits, start, entries)
    np.cumsum(start, out=start)
    # Then the entries themselves; `start` runs on while a column fills, and ends where the next one starts.
    entries = np.empty((start[-1], 3), dtype=np.int32)
    _fill_columns(faces, bits, start, entries)
    return start[:-1], entries


def known_cells(faces: Faces, bits: int) -> NDArray[np.int16]:
    """Winding number (R, R, R) of the cells of a grid of 2^bits cells that no face touches, UNKNOWN elsewhere."""
    size = 1 << bits
    number_RRR = np.zeros((size, size, size), dtype=np.int16)
    _number_cells(faces, size, LATTICE_BITS - bits, number_RRR, np.zeros(size**3, dtype=np.bool_))
    return number_RRR


def look_up(
    known_RRR: NDArray[np.int16], points_N3: NDArray[np.float64], middle_3: NDArray[np.float64], side: float
) -> NDArray[np.int16]:
    """Winding number (N,) of the cells that hold points, UNKNOWN where a face touches the cell; 0 outside the cube."""
    number_N = np.zeros(len(points_N3), dtype=np.int16)
    _look_up(known_RRR.reshape(-1), len(known_RRR), points_N3, middle_3, 2.0 * HALF / side, number_N)
    return number_N


def lattice_points(
    points_N3: NDArray[np.float64], chosen_K: Integers, middle_3: NDArray[np.float64], side: float
) -> tuple[Integers, NDArray[np.float64], Integers]:
    """Of the chosen points: x, y (K, 2) on the lattice, heights (K,) not rounded, and a key (K,) that sorts columns."""
    # Axis by axis: numpy loops over three numbers are ten times slower than over thousands.
    x, y, z = ((points_N3[:, d][chosen_K] - middle_3[d]) / side * (2.0 * HALF) for d in range(3))
    lines_K2 = np.stack([np.rint(x), np.rint(y)], axis=1).astype(np.int64)
    key_K = (((lines_K2[:, 0] + HALF) >> KEY_SHIFT) << LATTICE_BITS) + lines_K2[:, 1] + HALF
    return lines_K2, z, key_K


def count_crossings(
    faces: Faces,
    start: Integers,
    entries_E3: NDArray[np.int32],
    known_RRR: NDArray[np.int16],
    lines_K2: Integers,
    heights_K: NDArray[np.float64],
    order_K: Integers,
) -> NDArray[np.int16]:
    """Winding number (K,) at points: of the nearest known cell above or below, and of the faces up or down to it.

    Points are taken in the given order: those of one column share memory.
    """
    number_K = np.empty(len(order_K), dtype=np.int16)
    shifts = _shift(len(known_RRR)), (len(start) - 2).bit_length() // 2
    _count_crossings(faces, start, entries_E3, known_RRR, *shifts, lines_K2, heights_K, order_K, number_K)
    return number_K


def _shift(size: int) -> int:
    """Bits of a coordinate on the lattice within one of `size` cells, a power of two."""
    return LATTICE_BITS - (size - 1).bit_length()


@compile_filling
def _fill_columns(faces: Faces, bits: int, start: Integers, entries_E3: NDArray[np.int32]) -> None:
    """Count the entries of each column, without room for entries; with it write them."""
    size, shift, box_F6 = 1 << bits, LATTICE_BITS - bits, faces.box_F6
    # One kernel for both passes, since each takes seconds to compile. Vertical faces cross no line along z.
    is_counting = len(entries_E3) == 0
    for face in range(len(box_F6)):
        if faces.turn_F[face] != 0:
            for i in range(box_F6[face, 0] >> shift, (box_F6[face, 3] >> shift) + 1):
                for j in range(box_F6[face, 1] >> shift, (box_F6[face, 4] >> shift) + 1):
                    column = i * size + j
                    if is_counting:
                        start[column + 2] += 1
                    else:
                        at = start[column + 1]
                        entries_E3[at, 0] = face
                        entries_E3[at, 1], entries_E3[at, 2] = box_F6[face, 2] - HALF, box_F6[face, 5] - HALF
                        start[column + 1] = at + 1


@compile_inner
def _edge(xa: int, ya: int, xb: int, yb: int, turn: int, x: int, y: int) -> int:
    """Edge function of a side, and 1 more where the side owns the lines through it: inside where positive."""
    # A face that looks down is walked the other way round, so that inside is positive for both kinds. Coordinates are
    # below 2^27, so that products are below 2^58: exact.
    dx, dy = (xb - xa) * turn, (yb - ya) * turn
    # A line right on an edge counts as moved by +e along x and +e^2 along y. Two faces walk their common edge in
    # opposite directions, so exactly one of them owns it: no crossing is lost, none counted twice.
    tie = 1 if dy < 0 or (dy == 0 and dx > 0) else 0
    return dx * (y - ya) - dy * (x - xa) + tie


@compile_inner
def _crossing(c: Integers, turn: int, x: int, y: int) -> float:
    """Height where the line (x, y) crosses a face that is not vertical, its corners `c`; NaN where it misses it."""
    opposite_c = _edge(c[0], c[1], c[3], c[4], turn, x, y)
    opposite_a = _edge(c[3], c[4], c[6], c[7], turn, x, y)
    opposite_b = _edge(c[6], c[7], c[0], c[1], turn, x, y)
    if opposite_a <= 0 or opposite_b <= 0 or opposite_c <= 0:
        return np.nan
    # The edge functions add up to twice the projected area: divided by that sum each is the weight of the corner that
    # lies opposite to the edge.
    share_a, share_b, share_c = float(opposite_a), float(opposite_b), float(opposite_c)
    za, zb, zc = float(c[2]), float(c[5]), float(c[8])
    return za + (share_b * (zb - za) + share_c * (zc - za)) / (share_a + share_b + share_c)


@compile_filling
def _number_cells(
    faces: Faces, size: int, shift: int, number_RRR: NDArray[np.int16], touched: NDArray[np.bool_]
) -> None:
    """Write the numbers of cells, from zeros. `touched`: room for a flag a cell, all False."""
    middle, box_F6 = 1 << (shift - 1), faces.box_F6  # the middle of a cell
    for face in range(len(box_F6)):
        # A cell that a face touches has no single number. Vertical faces are touched too, but cross no line.
        _mark(faces, face, size, shift, touched)
        turn = faces.turn_F[face]
        if turn == 0:
            continue
        # Only columns whose centre line may meet the face: the first centre not below its box, and the last not above.
        first_j, last_j = (box_F6[face, 1] + middle - 1) >> shift, (box_F6[face, 4] - middle) >> shift
        for i in range((box_F6[face, 0] + middle - 1) >> shift, ((box_F6[face, 3] - middle) >> shift) + 1):
            for j in range(first_j, last_j + 1):
                x, y = (i << shift) + middle - HALF, (j << shift) + middle - HALF
                height = _crossing(faces.corners_F9[face], turn, x, y)
                if not np.isnan(height):
                    # The first cell whose centre is not below the crossing. Whoever passes upwards through a face that
                    # looks up leaves the solid: from there on the number is one less.
                    above = (np.int64(np.ceil(height)) + HALF + middle - 1) >> shift
                    if above < size:
                        number_RRR[i, j, above] -= turn
    # Changes summed upwards are the number.
    for i in range(size):
        for j in range(size):
            here = 0
            for k in range(size):
                here += number_RRR[i, j, k]
                number_RRR[i, j, k] = UNKNOWN if touched[(i * size + j) * size + k] else here


@compile_inner
def _mark(faces: Faces, face: int, size: int, shift: int, touched: NDArray[np.bool_]) -> None:
    """Mark the cells that a face touches, and perhaps some beside it."""
    box = faces.box_F6[face]
    i0, i1 = (box[0] - SLACK) >> shift, (box[3] + SLACK) >> shift
    j0, j1 = (box[1] - SLACK) >> shift, (box[4] + SLACK) >> shift
    k0, k1 = (box[2] - SLACK) >> shift, (box[5] + SLACK) >> shift
    # For a few cells the plane is not worth a test: a cell marked without need only costs its points a count of
    # crossings.
    if (i1 - i0 + 1) * (j1 - j0 + 1) * (k1 - k0 + 1) > SMALL:
        _mark_along_plane(faces.corners_F9[face], box, size, shift, touched)
        return
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            for k in range(k0, k1 + 1):
                touched[(i * size + j) * size + k] = True


@compile_inner
def _mark_along_plane(c: Integers, box: Integers, size: int, shift: int, touched: NDArray[np.bool_]) -> None:
    """Mark the cells of a face's box that meet its plane, in columns that meet its projection."""
    # Columns run along the longest axis of the normal: there the plane is flat, and cells a column few.
    width = 1 << shift
    u0, u1, u2 = float(c[3] - c[0]), float(c[4] - c[1]), float(c[5] - c[2])
    v0, v1, v2 = float(c[6] - c[0]), float(c[7] - c[1]), float(c[8] - c[2])
    n0, n1, n2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    if abs(n0) >= max(abs(n1), abs(n2)):
        r, p, q, along, by_p, by_q = 0, 1, 2, n0, n1, n2
        stride_r, stride_p, stride_q = size * size, size, 1
    elif abs(n1) >= abs(n2):
        r, p, q, along, by_p, by_q = 1, 2, 0, n1, n2, n0
        stride_r, stride_p, stride_q = size, 1, size * size
    else:
        r, p, q, along, by_p, by_q = 2, 0, 1, n2, n0, n1
        stride_r, stride_p, stride_q = 1, size * size, size
    flat = along == 0.0  # no area: the whole box
    slope_p = 0.0 if flat else -by_p / along
    slope_q = 0.0 if flat else -by_q / along
    # Over the square of a column the plane rises by no more than `reach` on either side of its middle.
    reach = (abs(slope_p) + abs(slope_q)) * width / 2 + SLACK
    turn = -1 if along < 0 else 1
    lowest, highest = (box[r] - SLACK) >> shift, (box[3 + r] + SLACK) >> shift
    for a in range((box[p] - SLACK) >> shift, ((box[3 + p] + SLACK) >> shift) + 1):
        for b in range((box[q] - SLACK) >> shift, ((box[3 + q] + SLACK) >> shift) + 1):
            x, y = (a << shift) - HALF, (b << shift) - HALF
            first, last = lowest, highest
            if not flat:
                if not _square_meets(c, p, q, turn, x - SLACK, y - SLACK, width + 2 * SLACK):
                    continue
                # Where the plane passes the middle of the column, on the lattice's own scale from the lower side of the
                # cube.
                depth = c[r] + slope_p * (x + width / 2 - c[p]) + slope_q * (y + width / 2 - c[q]) + HALF
                first = max(first, np.int64(np.floor(depth - reach)) >> shift)
                last = min(last, np.int64(np.ceil(depth + reach)) >> shift)
            for d in range(first, last + 1):
                touched[a * stride_p + b * stride_q + d * stride_r] = True


@compile_inner
def _square_meets(c: Integers, p: int, q: int, turn: int, x: int, y: int, width: int) -> bool:
    """Whether the square from (x, y) lies outside no side of the face seen in axes p, q."""
    for k in range(3):
        n = 3 * ((k + 1) % 3)
        xa, ya = c[3 * k + p], c[3 * k + q]
        dx, dy = (c[n + p] - xa) * turn, (c[n + q] - ya) * turn
        # Of the square's corners the one that lies furthest inwards of this side: if even that is outside, the whole
        # square is.
        inmost_x, inmost_y = (x if dy > 0 else x + width), (y + width if dx > 0 else y)
        if dx * (inmost_y - ya) - dy * (inmost_x - xa) < 0:
            return False
    return True


@compile_filling
def _look_up(
    known_C: NDArray[np.int16],
    size: int,
    points_N3: NDArray[np.float64],
    middle_3: NDArray[np.float64],
    factor: float,
    number_N: NDArray[np.int16],
) -> None:
    """Write the numbers of the cells that hold points; what is beyond the cube stays as it is."""
    high, shift = 2.0 * HALF - 1, 0
    while (2 * HALF >> shift) > size:
        shift += 1
    middle_x, middle_y, middle_z = middle_3[0], middle_3[1], middle_3[2]
    for n in range(len(points_N3)):
        x = (points_N3[n, 0] - middle_x) * factor + HALF
        y = (points_N3[n, 1] - middle_y) * factor + HALF
        z = (points_N3[n, 2] - middle_z) * factor + HALF
        # One branch instead of six; a NaN is not inside.
        if (x > 1) & (y > 1) & (z > 1) & (x < high) & (y < high) & (z < high):
            cell = ((np.int64(x) >> shift) * size + (np.int64(y) >> shift)) * size + (np.int64(z) >> shift)
            number_N[n] = known_C[np.uint64(cell)]


@compile_filling
def _count_crossings(
    faces: Faces,
    start: Integers,
    entries_E3: NDArray[np.int32],
    known_RRR: NDArray[np.int16],
    cell_shift: int,
    bits: int,
    lines_K2: Integers,
    heights_K: NDArray[np.float64],
    order_K: Integers,
    number_K: NDArray[np.int16],
) -> None:
    """Write what count_crossings() returns. `bits`: of the number of columns along an axis."""
    column_shift = LATTICE_BITS - bits
    for number in range(len(order_K)):
        n = order_K[number]
        x, y, height = lines_K2[n, 0], lines_K2[n, 1], heights_K[n]
        # The nearest cell with a number, up or down: the way there crosses the fewest faces.
        stack = known_RRR[(x + HALF) >> cell_shift, (y + HALF) >> cell_shift]
        up = down = (np.int64(np.rint(height)) + HALF) >> cell_shift
        # No face touches the outermost cells (PointFrame leaves them empty), so the search ends before an index leaves
        # the stack.
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
            face, bottom, top = np.int64(entries_E3[at, 0]), float(entries_E3[at, 1]), float(entries_E3[at, 2])
            # A quick look first. Heights are rounded, which may carry one below the face's lowest corner: hence the one
            # unit.
            if top <= low or bottom > high + 1:
                continue
            box = faces.box_F6[face]
            if box[0] <= x + HALF <= box[3] and box[1] <= y + HALF <= box[4]:
                crossing = _crossing(faces.corners_F9[face], faces.turn_F[face], x, y)
                # Half open at the lower end: a face at the very height of a point counts as below it, whether the way
                # leads up or down. Held down to the top of the face, a rounded height cannot contradict the quick look.
                if low < (top if crossing > top else crossing) <= high:  # not if it is NaN
                    between += faces.turn_F[face]
        number_K[n] = stack[cell] + (between if upwards else -between)
