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

from data_processing.occupancy.solid_angles import (
    Floats,
    Integers,
    add_field,
    boundary_turn,
    copy_edges,
    count_crossings,
    exact_number,
    planes,
    sum_over_faces,
)
from data_processing.occupancy.winding_number_places import (
    Places,
    count_places,
    fill_places,
    list_places,
    set_root,
    split_places,
)
from isofield.runtime.jit import compile_exact, compile_part

SKEW = (0.137, -0.093, 0.171)  # of half a cell: reference points keep off planes of symmetry
FAR_EDGE = 0.05  # what a single edge may be off within a cell to count as far
FAR_EDGES = 0.1  # and all far edges; with STALE less than a half
STALE = 0.35  # bound on the error in a cell from which its number and field are taken anew
DOUBTFUL = 0.01  # the same where the error leaves two answers
REACH = 1.18  # half diagonals of a cell: the way from its reference point to a corner, at most
LIMITS = 16  # of the change of far edges, each half of the one before
STATE = 20  # reference point (3), number, bound on its error; of far edges: bound on the third derivative anywhere in
# the cell, at the reference point gradient (3) and its derivative (3, 3), bounds on the errors of both
FEW = 32  # places of a cell that are not split further
DEPTH = 40
SURE = 0.5 - 1e-7
FRESH = 1e-9  # bound on the rounding of sums over the whole boundary


class Surface(NamedTuple):
    """Triangles, their planes and the edges of their boundary, and room for some numbers an edge."""

    corners_F9: Floats
    planes_F4: Floats
    edges_7E: Floats  # both ends and the length
    room_14E: Floats


def at_points(
    corners_F9: Floats, edges_7E: Floats, points_N3: Floats, low_3: Floats, high_3: Floats, exact: bool
) -> Floats:
    """Winding numbers (N,) at finite points of the box low..high, which holds the surface too.

    Rounded they are right; `exact`: they are right. `edges_7E`: ends of edges and their lengths.
    """
    # Points are sorted into octants in place on the way down, so that the caller's array is copied and the order
    # remembered.
    count = len(points_N3)
    order, octant = (np.arange(count), np.empty(count, np.int64)), np.empty(count, np.uint8)
    places = Places(points_N3.copy(), order[0], np.empty((count, 3)), order[1], octant, np.zeros(3), 0.0, 0)
    number_N, rounded_N = np.empty(count if exact else 0), np.empty(0 if exact else count, np.int16)
    _descend(_surface(corners_F9, edges_7E), places, low_3, high_3, count, exact, number_N, rounded_N)
    return number_N if exact else rounded_N.astype(np.float64)


def at_centres(corners_F9: Floats, edges_7E: Floats, low_3: Floats, side: float, resolution: int) -> NDArray[np.int16]:
    """Rounded winding numbers (R, R, R) at the centres of the cells of a cube from `low`; the surface lies in it."""
    points, order, octant = np.empty((0, 3)), np.empty(0, np.int64), np.empty(0, np.uint8)
    places = Places(points, order, points, order, octant, low_3, side / resolution, resolution)
    count, rounded_N = resolution**3, np.empty(resolution**3, np.int16)
    _descend(_surface(corners_F9, edges_7E), places, low_3, low_3 + side, count, False, np.empty(0), rounded_N)
    return rounded_N.reshape((resolution,) * 3)


def _surface(corners_F9: Floats, edges_7E: Floats) -> Surface:
    return Surface(corners_F9, planes(corners_F9), edges_7E, np.empty((14, edges_7E.shape[1])))


@compile_exact
def _descend(
    surface: Surface,
    places: Places,
    low: Floats,
    high: Floats,
    count: int,
    exact: bool,
    number_N: Floats,
    rounded_N: NDArray[np.int16],
) -> None:
    """Write the number of all places, from the whole box low..high down to cells that are uniform or hold few places.

    Into `rounded_N`, unless `exact`; the other array is empty. (One kernel for both: a second takes seconds.)
    """
    # The stack holds cells to visit, each with what its parent knew: at most seven siblings wait on every level.
    boxes, spans = np.empty((8 * DEPTH, 6)), np.zeros((8 * DEPTH, 6), np.int64)
    states, parents = np.empty((8 * DEPTH, STATE)), np.empty((8 * DEPTH, 5), np.int64)  # lists of the parent, and depth
    faces, near, lists, state = _start(surface, low, high)
    set_root(places, low, high, count, boxes[0], spans[0])
    _push(states, parents, 0, state, lists, 0)
    target_F, xyz_F3 = np.empty(FEW, np.int64), np.empty((FEW, 3))
    stack = 1
    while stack:
        stack -= 1
        box, span, state = boxes[stack].copy(), spans[stack].copy(), states[stack].copy()
        lists, depth = parents[stack, :4].copy(), parents[stack, 4]
        # Lists of a cell lie behind its parent's. Whatever lies there already belongs to siblings that are done.
        if depth:
            faces = _grow(faces, 2 * lists[1] - lists[0])
            near = _grow(near, 2 * lists[3] - lists[2])
            _enter_cell(surface, faces, near, lists, state, box[:3], box[3:])
        size = count_places(places, span)
        # Most of the volume ends here: nothing touches the cell and the bound excludes every other integer.
        if not exact and _is_uniform(lists, state, box[:3], box[3:]):
            fill_places(places, span, np.rint(state[3]), rounded_N)
        # A few places are cheaper to reach one by one than eight more cells are to enter.
        elif size <= FEW or depth == DEPTH - 2:
            if size > len(target_F):
                target_F, xyz_F3 = np.empty(size, np.int64), np.empty((size, 3))
            list_places(places, span, target_F, xyz_F3)
            _ask(surface, faces, near, lists, state, exact, target_F[:size], xyz_F3, number_N, rounded_N)
        else:
            first, stack = stack, split_places(places, span, box, boxes, spans, stack)
            for child in range(first, stack):
                _push(states, parents, child, state, lists, depth + 1)


@compile_part
def _push(states: Floats, parents: Integers, row: int, state: Floats, lists: Integers, depth: int) -> None:
    """Note what a cell on the stack knows of its parent."""
    for d in range(STATE):
        states[row, d] = state[d]
    for d in range(4):
        parents[row, d] = lists[d]
    parents[row, 4] = depth


@compile_part
def _start(surface: Surface, low: Floats, high: Floats) -> tuple[Integers, Integers, Integers, Floats]:
    """Faces, near edges, lists and state of the whole box."""
    count, edges = len(surface.corners_F9), surface.edges_7E.shape[1]
    faces, near = np.arange(4 * count + 64), np.arange(4 * edges + 64)
    state = np.zeros(STATE)
    for d in range(3):
        # Not in the middle: there models have planes of symmetry, and a reference point on a face has no clear number.
        state[d] = (low[d] + high[d]) / 2 + SKEW[d] * (high[d] - low[d]) / 2
    state[3] = sum_over_faces(surface.corners_F9, state[0], state[1], state[2])
    state[4] = FRESH
    return faces, near, np.array([0, count, 0, edges]), state


@compile_part
def _enter_cell(
    surface: Surface, faces: Integers, near: Integers, lists: Integers, state: Floats, low: Floats, high: Floats
) -> None:
    """From a parent to the cell low..high in it; `lists` and `state` are the parent's and become the cell's.

    `lists`: where its faces and its near edges begin and end. `state`: see STATE.
    """
    x, y, z = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2
    u, v, w = high[0] - x, high[1] - y, high[2] - z
    reach = np.sqrt(u * u + v * v + w * w)
    # The number at the cell's reference point, from the parent's: what is crossed, what near edges turn, and what the
    # far ones change: gradient and derivative, within a sixth of the third derivative times the cube of the way.
    corners_F9, planes_F4, edges_7E, room_14E = surface
    to_x, to_y, to_z = x + SKEW[0] * u, y + SKEW[1] * v, z + SKEW[2] * w
    r, f0, f1, e0, e1 = state[:3], lists[0], lists[1], lists[2], lists[3]
    number = state[3] - count_crossings(corners_F9, planes_F4, faces, f0, f1, r, to_x, to_y, to_z)
    copy_edges(edges_7E, near, e0, e1, room_14E[7:])
    number += boundary_turn(room_14E[7:], room_14E, e1 - e0, r, to_x, to_y, to_z)
    change, error = _far_change(state, to_x, to_y, to_z)
    number += change
    _move_field(state, to_x, to_y, to_z)
    # Errors of far edges add up from level to level. Before they matter the whole boundary is asked.
    way = reach * REACH
    off = error + (state[18] + state[19] * way / 2) * way
    decides = np.abs(number - np.rint(number)) + off < SURE
    stale = off > STALE or (off > DOUBTFUL and not decides)
    if stale:
        number, error = exact_number(edges_7E, room_14E, to_x, to_y, to_z, number), FRESH
        state[18], state[19] = FRESH, FRESH
    # What is kept serves all places of the cell, which are within `way` of its reference point.
    lists[0], lists[1] = f1, _keep_faces(corners_F9, planes_F4, faces, f0, f1, low, high)
    off = (state[18] + state[19] * way / 2) * way
    state[5] = _keep_edges(room_14E, near, lists, x, y, z, reach, state[5], off)
    state[0], state[1], state[2], state[3], state[4] = to_x, to_y, to_z, number, error
    # The far edges' field: that of all edges but the near ones, or the parent's and that of those that became far.
    begin, end, without = lists[3], 2 * e1 - e0, near[:0]
    if stale:
        begin, end, without = 0, edges_7E.shape[1], near[lists[2] : lists[3]]
        for d in range(6, 18):
            state[d] = 0.0
    # Near edges are turned exactly and must not be in the field as well: each edge counts in one of the two ways.
    if begin < end:
        add_field(edges_7E, room_14E, near, begin, end, without, state[:3], state[6:18])


@compile_part
def _far_change(state: Floats, x: float, y: float, z: float) -> tuple[float, float]:
    """What far edges change from the reference point to (x, y, z), and a bound on the error of the number there."""
    sx, sy, sz = x - state[0], y - state[1], z - state[2]
    change = state[6] * sx + state[7] * sy + state[8] * sz
    change += sx * (state[9] * sx + state[10] * sy + state[11] * sz) / 2
    change += sy * (state[12] * sx + state[13] * sy + state[14] * sz) / 2
    change += sz * (state[15] * sx + state[16] * sy + state[17] * sz) / 2
    way = np.sqrt(sx * sx + sy * sy + sz * sz)
    return change, state[4] + (state[18] + (state[19] + state[5] * way / 3) * way / 2) * way


@compile_part
def _move_field(state: Floats, x: float, y: float, z: float) -> None:
    """Take the far edges' gradient to (x, y, z); its derivative stays, and the bounds on both errors grow."""
    sx, sy, sz = x - state[0], y - state[1], z - state[2]
    for d in range(3):
        row = 9 + 3 * d
        state[6 + d] += state[row] * sx + state[row + 1] * sy + state[row + 2] * sz
    way = np.sqrt(sx * sx + sy * sy + sz * sz)
    state[18] += (state[19] + state[5] * way / 2) * way
    state[19] += state[5] * way


@compile_part
def _ask(
    surface: Surface,
    faces: Integers,
    near: Integers,
    lists: Integers,
    state: Floats,
    exact: bool,
    target_N: Integers,
    xyz_N3: Floats,
    number_N: Floats,
    rounded_N: NDArray[np.int16],
) -> None:
    """Write the numbers at places of a cell: exact, or rounded."""
    corners_F9, planes_F4, edges_7E, room_14E = surface
    r, f0, f1, e0, e1 = state[:3], lists[0], lists[1], lists[2], lists[3]
    copy_edges(edges_7E, near, e0, e1, room_14E[7:])
    for n in range(len(target_N)):
        x, y, z = xyz_N3[n, 0], xyz_N3[n, 1], xyz_N3[n, 2]
        number = state[3] - count_crossings(corners_F9, planes_F4, faces, f0, f1, r, x, y, z)
        number += boundary_turn(room_14E[7:], room_14E, e1 - e0, r, x, y, z)
        change, error = _far_change(state, x, y, z)
        number += change
        # Rounding is safe as long as the error cannot reach the next half-integer; else the whole boundary is asked.
        if exact or np.abs(number - np.rint(number)) + error >= SURE:
            number = exact_number(edges_7E, room_14E, x, y, z, number)
        if exact:
            number_N[target_N[n]] = number
        else:
            rounded_N[target_N[n]] = np.int16(np.rint(number))


@compile_part
def _is_uniform(lists: Integers, state: Floats, low: Floats, high: Floats) -> bool:
    """Whether the rounded number is one and the same in a whole cell."""
    if lists[0] < lists[1] or lists[2] < lists[3]:
        return False
    # The worst corner of the cell: linear change by far edges along every axis, what their derivative adds at most, and
    # the bounds on the rest.
    u, v, w = high[0] - low[0], high[1] - low[1], high[2] - low[2]
    reach, squares = np.sqrt(u * u + v * v + w * w) / 2 * REACH, 0.0
    for d in range(9, 18):
        squares += state[d] * state[d]
    change = (np.abs(state[6]) * u + np.abs(state[7]) * v + np.abs(state[8]) * w) / 2 * REACH
    change += np.sqrt(squares) * reach * reach / 2
    error = state[4] + (state[18] + (state[19] + state[5] * reach / 3) * reach / 2) * reach
    return np.abs(state[3] - np.rint(state[3])) + change + error < SURE


@compile_part
def _keep_faces(
    corners_F9: Floats, planes_F4: Floats, faces: Integers, f0: int, f1: int, low: Floats, high: Floats
) -> int:
    """List the faces of faces[f0:f1] that may touch the box behind them, from f1 on; returns the end."""
    end = f1
    x, y, z = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2
    u, v, w = high[0] - x, high[1] - y, high[2] - z
    for at in range(f0, f1):
        face = faces[at]
        c, p = corners_F9[face], planes_F4[face]
        # Separating axes: the plane of the face, then the three of the box. Those of edge against edge are left out: a
        # face too many costs a test, one too few would cost a whole turn. The addition is for rounding.
        apart = np.abs(p[0] * x + p[1] * y + p[2] * z - p[3])
        if apart > np.abs(p[0]) * u + np.abs(p[1]) * v + np.abs(p[2]) * w + 1e-12:
            continue
        if min(c[0], c[3], c[6]) > high[0] or max(c[0], c[3], c[6]) < low[0]:
            continue
        if min(c[1], c[4], c[7]) > high[1] or max(c[1], c[4], c[7]) < low[1]:
            continue
        if min(c[2], c[5], c[8]) > high[2] or max(c[2], c[5], c[8]) < low[2]:
            continue
        faces[end] = face
        end += 1
    return end


@compile_part
def _keep_edges(
    room_14E: Floats,
    near: Integers,
    lists: Integers,
    x: float,
    y: float,
    z: float,
    reach: float,
    bound: float,
    off: float,
) -> float:
    """List those of a parent's near edges that are near a ball, behind them; returns the bound with the others in it.

    The farther ones count as far, as many as the bound bears; they are listed behind the near ones. `off`: what far
    edges are off already, at most. The parent's near edges lie in the room, from its row 7 on.
    """
    # How fast the field's derivative by each edge can change anywhere in the ball, by its distance (from Biot and
    # Savart).
    change_E, e0, e1, e_7E = room_14E[0], lists[2], lists[3], room_14E[7:]
    ax_E, ay_E, az_E, bx_E, by_E, bz_E, length_E = e_7E[0], e_7E[1], e_7E[2], e_7E[3], e_7E[4], e_7E[5], e_7E[6]
    for e in range(e1 - e0):
        ax, ay, az = ax_E[e] - x, ay_E[e] - y, az_E[e] - z
        ux, uy, uz = bx_E[e] - x - ax, by_E[e] - y - ay, bz_E[e] - z - az
        squared = ux * ux + uy * uy + uz * uz
        share = min(max(-(ax * ux + ay * uy + az * uz) / (squared + 1e-300), 0.0), 1.0)
        px, py, pz = ax + share * ux, ay + share * uy, az + share * uz
        apart = max(np.sqrt(px * px + py * py + pz * pz) - reach, 1e-12)
        # A short edge acts like an element of a current, a long one never more than an endless line: the tighter bound
        # holds.
        cube = apart * apart * apart
        change_E[e] = min(1.5 * length_E[e] / (np.pi * cube * apart), 0.75 / cube)
    # The highest limit below which all edges together stay within the bound; sorting them would cost more.
    sums = np.zeros(LIMITS)  # of the changes below each limit
    cube = (REACH * reach) ** 3 / 6
    for e in range(e1 - e0):
        change, limit, k = change_E[e], FAR_EDGE / cube, 0
        while k < LIMITS and change < limit:  # of most that stay near there is nothing to add
            sums[k] += change
            limit, k = limit * 0.5, k + 1
    # What all far edges together may be off between two places of the cell must stay below a half, or rounding could
    # pick the wrong integer. If no limit is low enough the limit is 0, and all stay near.
    limit, end, last = FAR_EDGE / cube, e1, 2 * e1 - e0
    for k in range(LIMITS):
        if (bound + sums[k]) * cube + off < FAR_EDGES:
            bound += sums[k]
            break
        limit = limit / 2 if k < LIMITS - 1 else 0.0
    for at in range(e1 - e0):
        if change_E[at] >= limit:
            near[end] = near[e0 + at]
            end += 1
        else:
            last -= 1
            near[last] = near[e0 + at]
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
