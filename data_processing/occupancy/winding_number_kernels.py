"""The winding number of an open surface from its boundary, on a CPU, compiled by numba.

What the surface and its boundary make of the number: solid_angle_kernels.py. The derivation, with the bound on the far
field: docs/explanation/winding-number.md.

One descent of an octree serves points and the centres of a grid. A cell inherits from its parent the faces that touch
it, the edges that are near, a bound on what all others can turn, and the number at a reference point. Cells whose
rounded number cannot change are filled; places of others are reached from the reference point. Where the bound leaves
two answers the boundary decides, exactly. All in units of the longest side of the surface.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.occupancy.solid_angle_kernels import (
    Floats,
    Integers,
    boundary_turn,
    count_crossings,
    exact_number,
    set_planes,
    sum_over_faces,
)
from isofield.runtime.jit import compile_exact, compile_part

SKEW = (0.137, -0.093, 0.171)  # of half a cell: reference points keep off planes of symmetry
FAR_EDGE = 0.2  # what a single edge may change within a cell to count as far
FAR_EDGES = 0.36  # and all far edges: times 1.18, the way to a corner, and with STALE less than a half
STALE = 0.05  # bound on the error of a reference point from which its number is taken anew
LIMITS = 8  # of the change of far edges, each half of the one before
FEW = 32  # places of a cell that are not split further
DEPTH = 40
SURE = 0.5 - 1e-7


class Surface(NamedTuple):
    """Triangles, their planes and the edges of their boundary, and room for one complex number an edge."""

    corners_F9: Floats
    planes_F4: Floats
    edges_7E: Floats  # both ends and the length
    factors_3E: Floats
    sums_L: Floats  # room for the changes below each limit


class Places(NamedTuple):
    """Where the number is asked: at points, sorted into cells on the way, or (none) at the centres of a cube's cells.

    A span of places is six integers: first and last of the sorted points, or the lower and upper corner of a block.
    """

    points_N3: Floats
    order_N: Integers  # the number that each point had before sorting
    spare_N3: Floats
    spare_order_N: Integers
    octant_N: NDArray[np.uint8]
    ends_9: Integers  # where the points of each eighth of a cell begin
    next_8: Integers
    origin_3: Floats
    step: float  # between two centres
    resolution: int  # centres along an edge of the cube; 0 for points


class Stack(NamedTuple):
    """Cells to visit, each with what its parent knew, and one more row for the cell that is visited.

    At most seven siblings wait on every level.
    """

    boxes_S6: Floats
    spans_S6: Integers
    states_S6: Floats
    parents_S5: Integers  # lists of the parent, and depth


class Numbers(NamedTuple):
    """What is written: numbers of all places as they are, or rounded; the other one is empty."""

    exact_N: Floats
    rounded_N: NDArray[np.int16]


def at_points(
    corners_F9: Floats, edges_7E: Floats, points_N3: Floats, low_3: Floats, high_3: Floats, exact: bool
) -> NDArray:
    """Winding numbers (N,) at finite points of the box low..high, which holds the surface too.

    Int16 and rounded; with `exact` float64 as they are. `edges_7E`: ends of edges and their lengths.
    """
    count = len(points_N3)
    places = _places(points_N3, np.zeros(3), 0.0, 0)
    span_6 = np.array([0, count, 0, 0, 0, 0])
    return _number(corners_F9, edges_7E, places, np.concatenate([low_3, high_3]), span_6, count, exact)


def at_centres(corners_F9: Floats, edges_7E: Floats, low_3: Floats, side: float, resolution: int) -> NDArray[np.int16]:
    """Rounded winding numbers (R, R, R) at the centres of the cells of a cube from `low`; the surface lies in it."""
    places = _places(np.empty((0, 3)), low_3, side / resolution, resolution)
    box_6, span_6 = np.concatenate([low_3, low_3 + resolution * places.step]), np.array([0, 0, 0, *(resolution,) * 3])
    number_N = _number(corners_F9, edges_7E, places, box_6, span_6, resolution**3, False, low_3 + side)
    return number_N.reshape((resolution,) * 3)


def _places(points_N3: Floats, origin_3: Floats, step: float, resolution: int) -> Places:
    count = len(points_N3)
    order, spare = np.arange(count), np.empty(count, np.int64)
    octant, ends, following = np.empty(count, np.uint8), np.empty(9, np.int64), np.empty(8, np.int64)
    return Places(
        points_N3.copy(), order, np.empty((count, 3)), spare, octant, ends, following, origin_3, step, resolution
    )


def _number(
    corners_F9: Floats,
    edges_7E: Floats,
    places: Places,
    box_6: Floats,
    span_6: Integers,
    count: int,
    exact: bool,
    high_3: Floats | None = None,
) -> NDArray:
    """Numbers (count,) of all places. Memory is asked for here: what does that in a kernel takes long to compile."""
    faces, edges = len(corners_F9), edges_7E.shape[1]
    surface = Surface(corners_F9, np.zeros((faces, 4)), edges_7E, np.empty((3, edges)), np.empty(LIMITS))
    size = 8 * DEPTH + 1
    stack = Stack(
        np.empty((size, 6)), np.zeros((size, 6), np.int64), np.zeros((size, 6)), np.empty((size, 5), np.int64)
    )
    # The whole box: all faces, all edges, and a reference point whose number the kernel asks of all faces.
    low_3, high_3 = box_6[:3], box_6[3:] if high_3 is None else high_3
    stack.boxes_S6[0], stack.spans_S6[0], stack.parents_S5[0] = box_6, span_6, (0, faces, 0, edges, 0)
    stack.states_S6[0, :3] = (low_3 + high_3) / 2 + np.array(SKEW) * (high_3 - low_3) / 2
    stack.states_S6[0, 4] = 1e-9
    numbers = Numbers(np.empty(count if exact else 0), np.empty(0 if exact else count, np.int16))
    _descend(surface, places, stack, np.arange(4 * faces + 64), np.arange(4 * edges + 64), exact, numbers)
    return numbers.exact_N if exact else numbers.rounded_N


@compile_exact
def _descend(
    surface: Surface, places: Places, stack: Stack, faces: Integers, near: Integers, exact: bool, numbers: Numbers
) -> None:
    """Write the number of all places, from the whole box down to cells that are uniform or hold few places.

    Rounded numbers unless `exact`. `faces`, `near`: room for the lists of all cells from the box down to one.
    """
    boxes, spans, states, parents = stack
    box, span, state, lists = boxes[-1], spans[-1], states[-1], parents[-1]
    set_planes(surface.corners_F9, surface.planes_F4)
    states[0, 3] = sum_over_faces(surface.corners_F9, states[0, 0], states[0, 1], states[0, 2])
    height = 1
    while height:
        height -= 1
        for d in range(6):
            box[d], span[d], state[d] = boxes[height, d], spans[height, d], states[height, d]
        for d in range(5):
            lists[d] = parents[height, d]
        depth = lists[4]
        # Lists of a cell lie behind its parent's. Whatever lies there already belongs to siblings that are done.
        if depth:
            faces = _grow(faces, 2 * lists[1] - lists[0])
            near = _grow(near, 2 * lists[3] - lists[2])
            _enter_cell(surface, faces, near, lists, state, box)
        # Most of the volume ends here: nothing touches the cell and the bound excludes every other integer.
        if not exact and _is_uniform(lists, state, box):
            _fill(places, span, np.int16(np.rint(state[3])), numbers.rounded_N)
        # A few places are cheaper to reach one by one than eight more cells are to enter.
        elif depth == DEPTH - 2 or _count_places(places, span) <= FEW:
            _ask(surface, places, span, faces, near, lists, state, exact, numbers)
        else:
            first, height = height, _split(places, span, box, boxes, spans, height)
            for child in range(first, height):
                for d in range(6):
                    states[child, d] = state[d]
                for d in range(4):
                    parents[child, d] = lists[d]
                parents[child, 4] = depth + 1


@compile_part
def _enter_cell(surface: Surface, faces: Integers, near: Integers, lists: Integers, state: Floats, box: Floats) -> None:
    """From a parent to the cell `box` in it; `lists` and `state` are the parent's and become the cell's.

    `lists`: where its faces and its near edges begin and end. `state`: reference point, its number, a bound on that
    number's error, a bound on what far edges change for a unit of length anywhere in the cell.
    """
    x, y, z = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2, (box[2] + box[5]) / 2
    u, v, w = box[3] - x, box[4] - y, box[5] - z
    reach = np.sqrt(u * u + v * v + w * w)
    # The number at the cell's reference point, from the parent's: what is crossed, and what near edges turn.
    to_x, to_y, to_z = x + SKEW[0] * u, y + SKEW[1] * v, z + SKEW[2] * w
    number, error = _reach(surface, faces, near, lists, state, to_x, to_y, to_z)
    # Errors of far edges add up from level to level. Before they matter the number is asked of the whole boundary.
    if error > STALE:
        number, error = exact_number(surface.edges_7E, surface.factors_3E, to_x, to_y, to_z, number), 1e-9
    # What is kept serves all places of the cell, which are within `reach` of its middle.
    f0, f1 = lists[0], lists[1]
    lists[0], lists[1] = f1, _keep_faces(surface.corners_F9, surface.planes_F4, faces, f0, f1, box)
    state[5] = _keep_edges(surface, near, lists, x, y, z, reach, state[5])
    state[0], state[1], state[2], state[3], state[4] = to_x, to_y, to_z, number, error


@compile_part
def _reach(
    surface: Surface, faces: Integers, near: Integers, lists: Integers, state: Floats, x: float, y: float, z: float
) -> tuple[float, float]:
    """The number at a place, from that of the reference point, and a bound on its error."""
    number = state[3] - count_crossings(surface.corners_F9, surface.planes_F4, faces, lists, state, x, y, z)
    number += boundary_turn(surface.edges_7E, surface.factors_3E, near, lists, state, x, y, z)
    a, b, c = x - state[0], y - state[1], z - state[2]
    return number, state[4] + state[5] * np.sqrt(a * a + b * b + c * c)


@compile_part
def _ask(
    surface: Surface,
    places: Places,
    span: Integers,
    faces: Integers,
    near: Integers,
    lists: Integers,
    state: Floats,
    exact: bool,
    numbers: Numbers,
) -> None:
    """Write the numbers at the places of a cell one by one: exact, or rounded."""
    resolution, step, origin = places.resolution, places.step, places.origin_3
    columns, rows = span[5] - span[2], span[4] - span[1]
    for n in range(_count_places(places, span)):
        # Where its number belongs, and its coordinates.
        if resolution:
            i, j, k = span[0] + n // (columns * rows), span[1] + n // columns % rows, span[2] + n % columns
            target = (i * resolution + j) * resolution + k
            x, y, z = origin[0] + (i + 0.5) * step, origin[1] + (j + 0.5) * step, origin[2] + (k + 0.5) * step
        else:
            at = span[0] + n
            target = places.order_N[at]
            x, y, z = places.points_N3[at, 0], places.points_N3[at, 1], places.points_N3[at, 2]
        number, error = _reach(surface, faces, near, lists, state, x, y, z)
        # Rounding is safe as long as the error cannot reach the next half-integer; else the whole boundary is asked.
        if exact or np.abs(number - np.rint(number)) + error >= SURE:
            number = exact_number(surface.edges_7E, surface.factors_3E, x, y, z, number)
        if exact:
            numbers.exact_N[target] = number
        else:
            numbers.rounded_N[target] = np.int16(np.rint(number))


@compile_part
def _is_uniform(lists: Integers, state: Floats, box: Floats) -> bool:
    """Whether the rounded number is one and the same in a whole cell."""
    if lists[0] < lists[1] or lists[2] < lists[3]:
        return False
    u, v, w = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    reach = np.sqrt(u * u + v * v + w * w) / 2 * 1.25  # from the reference point
    return np.abs(state[3] - np.rint(state[3])) + state[4] + state[5] * reach < SURE


@compile_part
def _keep_faces(corners_F9: Floats, planes_F4: Floats, faces: Integers, f0: int, f1: int, box: Floats) -> int:
    """List the faces of faces[f0:f1] that may touch the box behind them, from f1 on; returns the end."""
    end = f1
    x, y, z = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2, (box[2] + box[5]) / 2
    u, v, w = box[3] - x, box[4] - y, box[5] - z
    for at in range(f0, f1):
        face = faces[at]
        c, p = corners_F9[face], planes_F4[face]
        apart = np.abs(p[0] * x + p[1] * y + p[2] * z - p[3])
        if apart > np.abs(p[0]) * u + np.abs(p[1]) * v + np.abs(p[2]) * w + 1e-12:
            continue
        meets = True
        for d in range(3):
            meets &= min(c[d], c[3 + d], c[6 + d]) <= box[3 + d] and max(c[d], c[3 + d], c[6 + d]) >= box[d]
        if meets:
            faces[end] = face
            end += 1
    return end


@compile_part
def _keep_edges(
    surface: Surface, near: Integers, lists: Integers, x: float, y: float, z: float, reach: float, bound: float
) -> float:
    """List those of a parent's near edges that are near a ball, behind them; returns the bound with the others in it.

    The farther ones count as far, as many as the bound bears.
    """
    # What each edge can change for a unit of length anywhere in the ball, by its distance (Biot and Savart).
    edges_7E, sums, change_E = surface.edges_7E, surface.sums_L, surface.factors_3E[0]
    e0, e1 = lists[2], lists[3]
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = edges_7E[0], edges_7E[1], edges_7E[2], edges_7E[3], edges_7E[4], edges_7E[5]
    length_E = edges_7E[6]
    for at in range(e1 - e0):
        e = near[e0 + at]
        ax, ay, az = ax_E[e] - x, ay_E[e] - y, az_E[e] - z
        ux, uy, uz = bx_E[e] - x - ax, by_E[e] - y - ay, bz_E[e] - z - az
        squared = ux * ux + uy * uy + uz * uz
        share = min(max(-(ax * ux + ay * uy + az * uz) / (squared + 1e-300), 0.0), 1.0)
        px, py, pz = ax + share * ux, ay + share * uy, az + share * uz
        apart = max(np.sqrt(px * px + py * py + pz * pz) - reach, 1e-12)
        change_E[at] = min(length_E[e] / (4 * np.pi * apart * apart), 1 / (2 * np.pi * apart))
    # The highest limit below which all edges together stay within the bound; sorting them would cost more.
    for k in range(LIMITS):
        sums[k] = 0.0
    for at in range(e1 - e0):
        change, limit = change_E[at], FAR_EDGE / reach
        for k in range(LIMITS):
            sums[k] += change if change < limit else 0.0
            limit *= 0.5
    limit, end = FAR_EDGE / reach, e1
    for k in range(LIMITS):
        if (bound + sums[k]) * reach < FAR_EDGES:
            bound += sums[k]
            break
        limit = limit / 2 if k < LIMITS - 1 else 0.0
    for at in range(e1 - e0):
        if change_E[at] >= limit:
            near[end] = near[e0 + at]
            end += 1
    lists[2], lists[3] = e1, end
    return bound


@compile_part
def _grow(array: Integers, needed: int) -> Integers:
    """The array, or a longer copy."""
    if len(array) >= needed:
        return array
    longer = np.empty(2 * needed, dtype=np.int64)
    for at in range(len(array)):
        longer[at] = array[at]
    return longer


@compile_part
def _count_places(places: Places, span: Integers) -> int:
    if places.resolution:
        return (span[3] - span[0]) * (span[4] - span[1]) * (span[5] - span[2])
    return span[1] - span[0]


@compile_part
def _fill(places: Places, span: Integers, value: int, rounded_N: NDArray[np.int16]) -> None:
    """Give all places of a span one number."""
    if places.resolution:
        size = places.resolution
        for i in range(span[0], span[3]):
            for j in range(span[1], span[4]):
                row = (i * size + j) * size
                for k in range(span[2], span[5]):
                    rounded_N[row + k] = value
    else:
        for at in range(span[0], span[1]):
            rounded_N[places.order_N[at]] = value


@compile_part
def _split(places: Places, span: Integers, box: Floats, boxes: Floats, spans: Integers, height: int) -> int:
    """Put the eighths of a cell that hold places on the stack; returns its new height."""
    # Blocks are halved in whole cells of the grid, so that no centre is ever in two of them.
    if places.resolution:
        for part in range(8):
            empty = False
            for d in range(3):
                middle = (span[d] + span[3 + d] + 1) // 2
                lower, upper = (middle, span[3 + d]) if part >> d & 1 else (span[d], middle)
                spans[height, d], spans[height, 3 + d] = lower, upper
                boxes[height, d] = places.origin_3[d] + lower * places.step
                boxes[height, 3 + d] = places.origin_3[d] + upper * places.step
                empty |= lower >= upper
            if not empty:
                height += 1
        return height
    # Points are sorted into eighths in place: each eighth is again a run of them.
    _sort_octants(places, span[0], span[1], box)
    for part in range(8):
        if places.ends_9[part] < places.ends_9[part + 1]:
            for d in range(3):
                middle_d, is_upper = (box[d] + box[3 + d]) / 2, part >> d & 1
                boxes[height, d] = middle_d if is_upper else box[d]
                boxes[height, 3 + d] = box[3 + d] if is_upper else middle_d
            spans[height, 0], spans[height, 1] = places.ends_9[part], places.ends_9[part + 1]
            height += 1
    return height


@compile_part
def _sort_octants(places: Places, first: int, last: int, box: Floats) -> None:
    """Sort points first..last by the eighth of their cell that they are in, and note where the eighths begin."""
    points, spare, order, other = places.points_N3, places.spare_N3, places.order_N, places.spare_order_N
    ends, at = places.ends_9, places.next_8
    for part in range(9):
        ends[part] = 0
    x, y, z = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2, (box[2] + box[5]) / 2
    for n in range(first, last):  # coordinate by coordinate: assigning rows costs five times as much
        code = (points[n, 0] > x) + 2 * (points[n, 1] > y) + 4 * (points[n, 2] > z)
        places.octant_N[n] = code
        ends[code + 1] += 1
        spare[n, 0], spare[n, 1], spare[n, 2], other[n] = points[n, 0], points[n, 1], points[n, 2], order[n]
    ends[0] = first
    for part in range(8):
        ends[part + 1] += ends[part]
        at[part] = ends[part]
    for n in range(first, last):
        to = at[places.octant_N[n]]
        points[to, 0], points[to, 1], points[to, 2], order[to] = spare[n, 0], spare[n, 1], spare[n, 2], other[n]
        at[places.octant_N[n]] = to + 1
