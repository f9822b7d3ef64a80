"""The winding number of an open surface from its boundary, on a CPU, compiled by numba.

What the surface and its boundary make of the number: solid_angles.py. The derivation, with the bound on the far field:
docs/explanation/winding-number.md.

One descent of an octree serves points and the centres of a grid. A cell inherits from its parent the faces that touch
it, the edges that are near, and at a reference point the number, its gradient by all other edges, and a bound on how
fast that gradient changes. Cells whose rounded number cannot change are filled; places of others are reached from the
reference point. Where the bounds leave two answers the boundary decides, exactly. All in units of the longest side of
the surface.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.occupancy.far_edges_kernels import (
    FRESH,
    REACH,
    SURE,
    bound_changes,
    far_change,
    farthest_edges,
    is_doubtful,
    keep_near_edges,
    move_field,
)
from data_processing.occupancy.solid_angles import (
    Floats,
    Integers,
    add_field,
    count_crossings,
    exact_number,
    planes,
    see_edges,
    sum_over_faces,
    turn_edges,
)
from data_processing.occupancy.winding_number_places import (
    Places,
    count_places,
    fill_places,
    list_places,
    set_root,
    split_places,
)
from isofield.runtime.jit import compile_exact, compile_inner, compile_part

SKEW = (0.137, -0.093, 0.171)  # of half a cell: reference points keep off planes of symmetry
STATE = 20  # reference point (3), number, bound on its error; of far edges: bound on the third derivative anywhere in
# the cell, at the reference point gradient (3) and its derivative (3, 3), bounds on the errors of both
FEW = 32  # places of a cell that are not split further
DEPTH = 40
ROUNDED, QUARTERS, EXACT = 0, 1, 2  # how right numbers are: at_points


class Surface(NamedTuple):
    """Triangles, their planes and the edges of their boundary, and room for some numbers an edge."""

    corners_F9: Floats
    planes_F4: Floats
    edges_6E: Floats  # both ends
    room_19E: Floats  # of the edges that a cell inherits: as seen from its reference point (9), how fast their field's
    # derivative may change, and room for products and terms


def at_points(
    corners_F9: Floats, edges_6E: Floats, points_N3: Floats, low_3: Floats, high_3: Floats, way: int
) -> Floats:
    """Winding numbers (N,) at finite points of the box low..high, which holds the surface too.

    `way`: ROUNDED, and they are right when rounded; QUARTERS, and they lie on the right side of every odd quarter, 1/4,
    3/4 and so on; or EXACT. `edges_6E`: both ends of edges.
    """
    # Points are sorted into octants in place on the way down, so that the caller's array is copied and the order
    # remembered.
    count = len(points_N3)
    order, octant = (np.arange(count), np.empty(count, np.int64)), np.empty(count, np.uint8)
    places = Places(points_N3.copy(), order[0], np.empty((count, 3)), order[1], octant, np.zeros(3), 0.0, 0)
    number_N, rounded_N = np.empty(count if way else 0), np.empty(0 if way else count, np.int16)
    _descend(_surface(corners_F9, edges_6E), places, low_3, high_3, count, way, number_N, rounded_N)
    return number_N if way else rounded_N.astype(np.float64)


def at_centres(corners_F9: Floats, edges_6E: Floats, low_3: Floats, side: float, resolution: int) -> NDArray[np.int16]:
    """Rounded winding numbers (R, R, R) at the centres of the cells of a cube from `low`; the surface lies in it."""
    points, order, octant = np.empty((0, 3)), np.empty(0, np.int64), np.empty(0, np.uint8)
    places = Places(points, order, points, order, octant, low_3, side / resolution, resolution)
    count, rounded_N = resolution**3, np.empty(resolution**3, np.int16)
    _descend(_surface(corners_F9, edges_6E), places, low_3, low_3 + side, count, ROUNDED, np.empty(0), rounded_N)
    return rounded_N.reshape((resolution,) * 3)


def _surface(corners_F9: Floats, edges_6E: Floats) -> Surface:
    return Surface(corners_F9, planes(corners_F9), edges_6E, np.empty((19, edges_6E.shape[1])))


@compile_exact
def _descend(
    surface: Surface,
    places: Places,
    low: Floats,
    high: Floats,
    count: int,
    way: int,
    number_N: Floats,
    rounded_N: NDArray[np.int16],
) -> None:
    """Write the number of all places, from the whole box low..high down to cells that are uniform or hold few places.

    Into `rounded_N` if that is the way; the other array is empty. (One kernel for all: a second takes seconds.)
    """
    # The stack holds cells to visit, each with what its parent knew: at most seven siblings wait on every level.
    boxes, spans = np.empty((8 * DEPTH, 6)), np.zeros((8 * DEPTH, 6), np.int64)
    states, parents = np.empty((8 * DEPTH, STATE)), np.empty((8 * DEPTH, 5), np.int64)  # lists of the parent, and depth
    faces, near, seen, lists, state = _start(surface, low, high)
    set_root(places, low, high, count, boxes[0], spans[0])
    _push(states, parents, 0, state, lists, 0)
    target_F, xyz_F3 = np.empty(FEW, np.int64), np.empty((FEW, 3))
    box, span, lists, stack = np.empty(6), np.empty(6, np.int64), lists.copy(), 1
    while stack:
        stack -= 1
        depth = parents[stack, 4]
        _pop(boxes, spans, states, parents, stack, box, span, state, lists)
        # Lists of a cell lie behind its parent's. Whatever lies there already belongs to siblings that are done.
        if depth:
            faces = _grow(faces, 2 * lists[1] - lists[0])
            near, seen = _grow(near, 2 * lists[3] - lists[2]), _grow_rows(seen, 2 * lists[3] - lists[2])
            _enter_cell(surface, faces, near, seen, lists, state, box)
        size = count_places(places, span)
        # Most of the volume ends here: nothing touches the cell and the bound excludes every other integer.
        if way == ROUNDED and _is_uniform(lists, state, box):
            fill_places(places, span, np.rint(state[3]), rounded_N)
        # A few places are cheaper to reach one by one than eight more cells are to enter.
        elif size <= FEW or depth == DEPTH - 2:
            if size > len(target_F):
                target_F, xyz_F3 = np.empty(size, np.int64), np.empty((size, 3))
            list_places(places, span, target_F, xyz_F3)
            _ask(surface, faces, seen, lists, state, way, target_F[:size], xyz_F3, number_N, rounded_N)
        else:
            first, stack = stack, split_places(places, span, box, boxes, spans, stack)
            for child in range(first, stack):
                _push(states, parents, child, state, lists, depth + 1)


@compile_inner
def _push(states: Floats, parents: Integers, row: int, state: Floats, lists: Integers, depth: int) -> None:
    """Note what a cell on the stack knows of its parent."""
    for d in range(STATE):
        states[row, d] = state[d]
    for d in range(4):
        parents[row, d] = lists[d]
    parents[row, 4] = depth


@compile_inner
def _pop(
    boxes: Floats,
    spans: Integers,
    states: Floats,
    parents: Integers,
    row: int,
    box: Floats,
    span: Integers,
    state: Floats,
    lists: Integers,
) -> None:
    """Take a cell from the stack, without new arrays."""
    for d in range(6):
        box[d], span[d] = boxes[row, d], spans[row, d]
    for d in range(STATE):
        state[d] = states[row, d]
    for d in range(4):
        lists[d] = parents[row, d]


@compile_part
def _start(surface: Surface, low: Floats, high: Floats) -> tuple[Integers, Integers, Floats, Integers, Floats]:
    """Faces, near edges and how they are seen, lists and state of the whole box."""
    count, edges = len(surface.corners_F9), surface.edges_6E.shape[1]
    faces, near = np.arange(4 * count + 64), np.arange(4 * edges + 64)
    state = np.zeros(STATE)
    for d in range(3):
        # Not in the middle: there models have planes of symmetry, and a reference point on a face has no clear number.
        state[d] = (low[d] + high[d]) / 2 + SKEW[d] * (high[d] - low[d]) / 2
    state[3] = sum_over_faces(surface.corners_F9, state[0], state[1], state[2])
    state[4] = FRESH
    seen = np.empty((9, len(near)))
    see_edges(surface.edges_6E, state[:3], seen)
    return faces, near, seen, np.array([0, count, 0, edges]), state


@compile_inner
def _enter_cell(
    surface: Surface,
    faces: Integers,
    near: Integers,
    seen: Floats,
    lists: Integers,
    state: Floats,
    box: Floats,
) -> None:
    """From a parent to the cell of a box in it; `lists` and `state` are the parent's and become the cell's.

    `lists`: where its faces and its near edges begin and end, those as seen from its reference point in `seen`.
    `state`: see STATE.
    """
    x, y, z = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2, (box[2] + box[5]) / 2
    u, v, w = box[3] - x, box[4] - y, box[5] - z
    reach = np.sqrt(u * u + v * v + w * w)
    # The number at the cell's reference point, from the parent's: what is crossed, what near edges turn, and what the
    # far ones change: gradient and derivative, within a sixth of the third derivative times the cube of the way.
    corners_F9, planes_F4, edges_6E, room_19E = surface
    to_x, to_y, to_z = x + SKEW[0] * u, y + SKEW[1] * v, z + SKEW[2] * w
    r, f0, f1, e0, e1 = state[:3], lists[0], lists[1], lists[2], lists[3]
    number = state[3] - count_crossings(corners_F9, planes_F4, faces, f0, f1, r, to_x, to_y, to_z)
    number += turn_edges(seen, e0, e1, to_x - r[0], to_y - r[1], to_z - r[2], room_19E)
    change, error = far_change(state, to_x, to_y, to_z)
    number += change
    move_field(state, to_x, to_y, to_z)
    # Errors of far edges add up from level to level. Before they matter the whole boundary is asked, first for the
    # number, which costs a fifth, then for the field.
    way = reach * REACH
    off = (state[18] + state[19] * way / 2) * way
    stale = False
    if is_doubtful(number, error + off):
        number, error = exact_number(edges_6E, room_19E[9:], to_x, to_y, to_z, number), FRESH
        stale = is_doubtful(number, error + off)
    if stale:
        state[18], state[19], off = FRESH, FRESH, (FRESH + FRESH * way / 2) * way
    # What is kept serves all places of the cell, which are within `way` of its reference point.
    lists[0], lists[1] = f1, _keep_faces(corners_F9, planes_F4, faces, f0, f1, box)
    bound_changes(room_19E, e1 - e0, SKEW[0] * u, SKEW[1] * v, SKEW[2] * w, reach)
    limit, state[5] = farthest_edges(room_19E, e1 - e0, state[5], (way * way * way) / 6, off)
    keep_near_edges(room_19E, limit, near, seen, lists)
    state[0], state[1], state[2], state[3], state[4] = to_x, to_y, to_z, number, error
    # The far edges' field: that of the parent's and of those that became far, or of all edges but the near ones. Near
    # edges are turned exactly and must not be in the field as well: each edge counts in one of the two ways.
    size = e1 - e0
    if stale:
        size, limit = edges_6E.shape[1], 1.0
        see_edges(edges_6E, state[:3], room_19E)
        for e in range(size):
            room_19E[9, e] = 0.0
        for at in range(lists[2], lists[3]):
            room_19E[9, near[at]] = limit
        for d in range(6, 18):
            state[d] = 0.0
    if size > lists[3] - lists[2]:
        add_field(room_19E, size, limit, state[6:18])


@compile_inner
def _ask(
    surface: Surface,
    faces: Integers,
    seen: Floats,
    lists: Integers,
    state: Floats,
    way: int,
    target_N: Integers,
    xyz_N3: Floats,
    number_N: Floats,
    rounded_N: NDArray[np.int16],
) -> None:
    """Write the numbers at places of a cell."""
    corners_F9, planes_F4, edges_6E, room_19E = surface
    r, f0, f1, e0, e1 = state[:3], lists[0], lists[1], lists[2], lists[3]
    for n in range(len(target_N)):
        x, y, z = xyz_N3[n, 0], xyz_N3[n, 1], xyz_N3[n, 2]
        number = state[3] - count_crossings(corners_F9, planes_F4, faces, f0, f1, r, x, y, z)
        number += turn_edges(seen, e0, e1, x - r[0], y - r[1], z - r[2], room_19E)
        change, error = far_change(state, x, y, z)
        number += change
        # Rounding is safe as long as the error cannot reach the next half-integer, sides are as long as it cannot reach
        # a quarter; else the whole boundary is asked.
        away = np.abs(number - np.rint(number))
        beside = way == QUARTERS and np.abs(away - 0.25) <= error + 0.5 - SURE
        if way == EXACT or beside or (way == ROUNDED and away + error >= SURE):
            number = exact_number(edges_6E, room_19E[9:], x, y, z, number)
        if way:
            number_N[target_N[n]] = number
        else:
            rounded_N[target_N[n]] = np.int16(np.rint(number))


@compile_inner
def _is_uniform(lists: Integers, state: Floats, box: Floats) -> bool:
    """Whether the rounded number is one and the same in a whole cell."""
    if lists[0] < lists[1] or lists[2] < lists[3]:
        return False
    # The worst corner of the cell: linear change by far edges along every axis, what their derivative adds at most, and
    # the bounds on the rest.
    u, v, w = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    reach, squares = np.sqrt(u * u + v * v + w * w) / 2 * REACH, 0.0
    for d in range(9, 18):
        squares += state[d] * state[d]
    change = (np.abs(state[6]) * u + np.abs(state[7]) * v + np.abs(state[8]) * w) / 2 * REACH
    change += np.sqrt(squares) * reach * reach / 2
    error = state[4] + (state[18] + (state[19] + state[5] * reach / 3) * reach / 2) * reach
    return np.abs(state[3] - np.rint(state[3])) + change + error < SURE


@compile_inner
def _keep_faces(corners_F9: Floats, planes_F4: Floats, faces: Integers, f0: int, f1: int, box: Floats) -> int:
    """List the faces of faces[f0:f1] that may touch the box behind them, from f1 on; returns the end."""
    end = f1
    x, y, z = (box[0] + box[3]) / 2, (box[1] + box[4]) / 2, (box[2] + box[5]) / 2
    u, v, w = box[3] - x, box[4] - y, box[5] - z
    for at in range(f0, f1):
        face = np.uint64(faces[at])
        # Separating axes: the plane of the face, then the three of the box. Those of edge against edge are left out: a
        # face too many costs a test, one too few would cost a whole turn. The addition is for rounding.
        off = np.abs(planes_F4[face, 0] * x + planes_F4[face, 1] * y + planes_F4[face, 2] * z - planes_F4[face, 3])
        if (
            off
            > np.abs(planes_F4[face, 0]) * u + np.abs(planes_F4[face, 1]) * v + np.abs(planes_F4[face, 2]) * w + 1e-12
        ):
            continue
        apart = False
        for d in range(3):
            first, second, third = corners_F9[face, d], corners_F9[face, d + 3], corners_F9[face, d + 6]
            apart |= min(first, second, third) > box[d + 3] or max(first, second, third) < box[d]
        if apart:
            continue
        faces[end] = faces[at]
        end += 1
    return end


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
def _grow_rows(rows: Floats, needed: int) -> Floats:
    """The same, of rows."""
    if rows.shape[1] >= needed:
        return rows
    longer = np.empty((len(rows), 2 * needed))
    for d in range(len(rows)):
        for at in range(rows.shape[1]):
            longer[d, at] = rows[d, at]
    return longer
