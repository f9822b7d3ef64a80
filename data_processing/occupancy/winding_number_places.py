"""Places that the descent of winding_number_kernels.py asks: points, or the centres of the cells of a grid.

A cell of the descent holds a span of them, which can be counted, listed, given one number, and split into eighths.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.occupancy.solid_angles import Floats, Integers
from isofield.runtime.jit import compile_inner, compile_part


class Places(NamedTuple):
    """Where the number is asked: at points, sorted into cells on the way, or (none) at the centres of a cube's cells.

    A span of places is six integers: first and last of the sorted points, or the lower and upper corner of a block.
    """

    points_N3: Floats
    order_N: Integers  # the number that each point had before sorting
    spare_N3: Floats
    spare_order_N: Integers
    octant_N: NDArray[np.uint8]
    origin_3: Floats
    step: float  # between two centres
    resolution: int  # centres along an edge of the cube; 0 for points


@compile_inner
def set_root(places: Places, low: Floats, high: Floats, count: int, box: Floats, span: Integers) -> None:
    """The box and the span of all places."""
    if places.resolution:
        span[3:] = places.resolution
        _set_box(places, span, box)
    else:
        span[1] = count
        for d in range(3):
            box[d], box[3 + d] = low[d], high[d]


@compile_inner
def count_places(places: Places, span: Integers) -> int:
    if places.resolution:
        return (span[3] - span[0]) * (span[4] - span[1]) * (span[5] - span[2])
    return span[1] - span[0]


@compile_inner
def list_places(places: Places, span: Integers, target_N: Integers, xyz_N3: Floats) -> None:
    """Of each place of a span: where its number belongs, and its coordinates."""
    # Numbers in C order, as the grid is stored.
    n, size, step, origin = 0, places.resolution, places.step, places.origin_3
    if size:
        for i in range(span[0], span[3]):
            for j in range(span[1], span[4]):
                for k in range(span[2], span[5]):
                    target_N[n] = (i * size + j) * size + k
                    xyz_N3[n, 0] = origin[0] + (i + 0.5) * step
                    xyz_N3[n, 1] = origin[1] + (j + 0.5) * step
                    xyz_N3[n, 2] = origin[2] + (k + 0.5) * step
                    n += 1
        return
    for at in range(span[0], span[1]):
        target_N[n] = places.order_N[at]
        for d in range(3):
            xyz_N3[n, d] = places.points_N3[at, d]
        n += 1


@compile_inner
def fill_places(places: Places, span: Integers, value: float, rounded_N: NDArray[np.int16]) -> None:
    """Give all places of a span one number."""
    rounded = np.int16(value)
    if places.resolution:
        size = places.resolution
        for i in range(span[0], span[3]):
            for j in range(span[1], span[4]):
                row = (i * size + j) * size
                for k in range(span[2], span[5]):
                    rounded_N[row + k] = rounded
    else:
        for at in range(span[0], span[1]):
            rounded_N[places.order_N[at]] = rounded


@compile_part
def split_places(places: Places, span: Integers, box: Floats, boxes: Floats, spans: Integers, stack: int) -> int:
    """Put the eighths of a cell that hold places on the stack; returns its new height."""
    # Blocks are halved in whole cells of the grid, so that no centre is ever in two of them.
    if places.resolution:
        for part in range(8):
            for d in range(3):
                # Rounded up: of a block one cell wide the lower half is the whole and the upper half empty.
                middle = (span[d] + span[3 + d] + 1) // 2
                spans[stack, d] = middle if part >> d & 1 else span[d]
                spans[stack, 3 + d] = span[3 + d] if part >> d & 1 else middle
            sizes = (
                spans[stack, 3] - spans[stack, 0],
                spans[stack, 4] - spans[stack, 1],
                spans[stack, 5] - spans[stack, 2],
            )
            if sizes[0] > 0 and sizes[1] > 0 and sizes[2] > 0:
                _set_box(places, spans[stack], boxes[stack])
                stack += 1
        return stack
    # Points are sorted into eighths in place: each eighth is again a run of them.
    middle_3, ends = (box[:3] + box[3:]) / 2, np.empty(9, np.int64)
    _sort_octants(places, span[0], span[1], middle_3, ends)
    for part in range(8):
        if ends[part] < ends[part + 1]:
            for d in range(3):
                upper = part >> d & 1
                boxes[stack, d] = middle_3[d] if upper else box[d]
                boxes[stack, 3 + d] = box[3 + d] if upper else middle_3[d]
            spans[stack, 0], spans[stack, 1] = ends[part], ends[part + 1]
            stack += 1
    return stack


@compile_inner
def _set_box(places: Places, span: Integers, box: Floats) -> None:
    """The box of a block of the grid."""
    for d in range(6):
        box[d] = places.origin_3[d % 3] + span[d] * places.step


@compile_part
def _sort_octants(places: Places, first: int, last: int, middle: Floats, ends: Integers) -> None:
    """Sort points first..last by the eighth of their cell that they are in; `ends`: where the eighths begin and end."""
    points, spare, order, other = places.points_N3, places.spare_N3, places.order_N, places.spare_order_N
    # A counting sort: how many in each octant, where each begins, then every point to its place. It keeps the order
    # within an octant, and needs no comparison.
    for part in range(9):
        ends[part] = 0
    x, y, z = middle[0], middle[1], middle[2]
    for n in range(first, last):  # coordinate by coordinate: assigning rows costs five times as much
        code = (points[n, 0] > x) + 2 * (points[n, 1] > y) + 4 * (points[n, 2] > z)
        places.octant_N[n] = code
        ends[code + 1] += 1
        spare[n, 0], spare[n, 1], spare[n, 2], other[n] = points[n, 0], points[n, 1], points[n, 2], order[n]
    ends[0] = first
    for part in range(8):
        ends[part + 1] += ends[part]
    at = ends[:8].copy()
    for n in range(first, last):
        to = at[places.octant_N[n]]
        points[to, 0], points[to, 1], points[to, 2], order[to] = spare[n, 0], spare[n, 1], spare[n, 2], other[n]
        at[places.octant_N[n]] = to + 1
