"""The winding number of an open surface from its boundary, on a CPU, compiled by numba.

What the surface and its boundary make of the number: solid_angles.py.

An octree is descended where there are points. A cell inherits from its parent the faces that touch it, the edges that
are near, a bound on what all others can turn (Biot and Savart: an edge of length l at distance d changes the number by
at most l / (4 pi d^2) a unit of length, and by 1 / (2 pi d) however long), and the number at a reference point. Cells
whose rounded number cannot change are filled; places of others are reached from the reference point. Where the bound
leaves two answers the boundary decides, exactly. All in units of the longest side of the surface.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.occupancy.solid_angles import Floats, Integers, crossings, of_all_faces, planes, settled, turned
from isofield.runtime.jit import compile_exact

__all__ = ["at_centres", "at_points", "planes"]

SKEW = (0.137, -0.093, 0.171)  # of half a cell: reference points keep off planes of symmetry
FAR_EDGE = 0.2  # what a single edge may change within a cell to count as far
FAR_EDGES = 0.36  # and all far edges: times 1.18, the way to a corner, and with STALE less than a half
STALE = 0.05  # bound on the error of a reference point from which its number is taken anew
LIMITS = 8  # of the change of far edges, each half of the one before
FEW = 32  # points of a cell that are not split further
DEPTH = 40
SURE = 0.5 - 1e-7


@compile_exact
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


@compile_exact
def _keep_edges(
    edges_7E: Floats,
    factors_3E: Floats,
    near: Integers,
    lists: Integers,
    x: float,
    y: float,
    z: float,
    reach: float,
    bound: float,
) -> float:
    """List those of a parent's near edges that are near a ball, behind them; returns the bound with the others in it.

    The farther ones count as far, as many as the bound bears.
    """
    change_E, e0, e1 = factors_3E[0], lists[2], lists[3]
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
    sums = np.zeros(LIMITS)  # of the changes below each limit
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


@compile_exact
def _room(array: Integers, needed: int) -> Integers:
    """The array, or a longer copy."""
    if len(array) >= needed:
        return array
    longer = np.empty(2 * needed, dtype=np.int64)
    longer[: len(array)] = array
    return longer


@compile_exact
def _entered(
    corners_F9: Floats,
    planes_F4: Floats,
    edges_7E: Floats,
    factors_3E: Floats,
    faces: Integers,
    near: Integers,
    lists: Integers,
    state: Floats,
    low: Floats,
    high: Floats,
) -> None:
    """From a parent to the cell low..high in it; `lists` and `state` are the parent's and become the cell's.

    `lists`: where its faces and its near edges begin and end. `state`: reference point, its number, a bound on that
    number's error, a bound on what far edges change for a unit of length anywhere in the cell.
    """
    x, y, z = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2
    u, v, w = high[0] - x, high[1] - y, high[2] - z
    reach = np.sqrt(u * u + v * v + w * w)
    to_x, to_y, to_z = x + SKEW[0] * u, y + SKEW[1] * v, z + SKEW[2] * w
    r, f0, f1, e0, e1 = state[:3], lists[0], lists[1], lists[2], lists[3]
    number = state[3] - crossings(corners_F9, planes_F4, faces, f0, f1, r, to_x, to_y, to_z)
    number += turned(edges_7E, factors_3E, near, e0, e1, r, to_x, to_y, to_z)
    error = state[4] + state[5] * np.sqrt((to_x - r[0]) ** 2 + (to_y - r[1]) ** 2 + (to_z - r[2]) ** 2)
    if error > STALE:
        number, error = settled(edges_7E, factors_3E, to_x, to_y, to_z, number), 1e-9
    lists[0], lists[1] = f1, _keep_faces(corners_F9, planes_F4, faces, f0, f1, low, high)
    state[5] = _keep_edges(edges_7E, factors_3E, near, lists, x, y, z, reach, state[5])
    state[0], state[1], state[2], state[3], state[4] = to_x, to_y, to_z, number, error


@compile_exact
def _uniform(lists: Integers, state: Floats, low: Floats, high: Floats) -> bool:
    """Whether the rounded number is one and the same in a whole cell."""
    if lists[0] < lists[1] or lists[2] < lists[3]:
        return False
    u, v, w = high[0] - low[0], high[1] - low[1], high[2] - low[2]
    reach = np.sqrt(u * u + v * v + w * w) / 2 * 1.25  # from the reference point
    return np.abs(state[3] - np.rint(state[3])) + state[4] + state[5] * reach < SURE


@compile_exact
def _number_at(
    corners_F9: Floats,
    planes_F4: Floats,
    edges_7E: Floats,
    factors_3E: Floats,
    faces: Integers,
    near: Integers,
    lists: Integers,
    state: Floats,
    exact: bool,
    x: float,
    y: float,
    z: float,
) -> float:
    """The number at a place of a cell: exact, or so that rounding it is right."""
    r = state[:3]
    number = state[3] - crossings(corners_F9, planes_F4, faces, lists[0], lists[1], r, x, y, z)
    number += turned(edges_7E, factors_3E, near, lists[2], lists[3], r, x, y, z)
    error = state[4] + state[5] * np.sqrt((x - r[0]) ** 2 + (y - r[1]) ** 2 + (z - r[2]) ** 2)
    if exact or np.abs(number - np.rint(number)) + error >= SURE:
        number = settled(edges_7E, factors_3E, x, y, z, number)
    return number


@compile_exact
def _started(
    corners_F9: Floats, edges_7E: Floats, low: Floats, high: Floats
) -> tuple[Integers, Integers, Integers, Floats]:
    """Faces, near edges, lists and state of the whole box."""
    count, edges = len(corners_F9), edges_7E.shape[1]
    faces, near = np.arange(4 * count + 64), np.arange(4 * edges + 64)
    state = np.zeros(6)
    for d in range(3):
        state[d] = (low[d] + high[d]) / 2 + SKEW[d] * (high[d] - low[d]) / 2
    state[3] = of_all_faces(corners_F9, state[0], state[1], state[2])
    state[4] = 1e-9
    return faces, near, np.array([0, count, 0, edges]), state


@compile_exact
def at_points(
    corners_F9: Floats, planes_F4: Floats, edges_7E: Floats, points_N3: Floats, low: Floats, high: Floats, exact: bool
) -> Floats:
    """Winding numbers (N,) at finite points of the box low..high, which holds the surface too.

    Rounded they are right; `exact`: they are right. `edges_7E`: ends of edges and their lengths.
    """
    count = len(points_N3)
    points, spare, order, other = points_N3.copy(), np.empty((count, 3)), np.arange(count), np.empty(count, np.int64)
    number_N, factors_3E, octant = np.empty(count), np.empty((3, edges_7E.shape[1])), np.empty(count, np.uint8)
    faces, near, lists, state = _started(corners_F9, edges_7E, low, high)
    boxes, states = np.empty((8 * DEPTH, 6)), np.empty((8 * DEPTH, 6))
    parts = np.empty((8 * DEPTH, 7), np.int64)  # lists of the parent, the points, the depth
    boxes[0, :3], boxes[0, 3:], states[0] = low, high, state
    parts[0, :4], parts[0, 4], parts[0, 5], parts[0, 6] = lists, 0, count, 0
    stack, ends = 1, np.empty(9, np.int64)
    while stack:
        stack -= 1
        low, high, depth = boxes[stack, :3].copy(), boxes[stack, 3:].copy(), parts[stack, 6]
        first, last, lists, state = parts[stack, 4], parts[stack, 5], parts[stack, :4].copy(), states[stack].copy()
        if depth:
            faces = _room(faces, 2 * lists[1] - lists[0])
            near = _room(near, 2 * lists[3] - lists[2])
            _entered(corners_F9, planes_F4, edges_7E, factors_3E, faces, near, lists, state, low, high)
        if not exact and _uniform(lists, state, low, high):
            for n in range(first, last):
                number_N[order[n]] = np.rint(state[3])
        elif last - first <= FEW or depth == DEPTH - 2:
            for n in range(first, last):
                x, y, z = points[n, 0], points[n, 1], points[n, 2]
                number_N[order[n]] = _number_at(
                    corners_F9, planes_F4, edges_7E, factors_3E, faces, near, lists, state, exact, x, y, z
                )
        else:
            middle = (low + high) / 2
            _sort_octants(points, spare, order, other, octant, first, last, middle, ends)
            for part in range(8):
                if ends[part] < ends[part + 1]:
                    for d in range(3):
                        upper = part >> d & 1
                        boxes[stack, d], boxes[stack, 3 + d] = (
                            (middle if upper else low)[d],
                            (high if upper else middle)[d],
                        )
                    states[stack], parts[stack, :4] = state, lists
                    parts[stack, 4], parts[stack, 5], parts[stack, 6] = ends[part], ends[part + 1], depth + 1
                    stack += 1
    return number_N


@compile_exact
def _sort_octants(
    points: Floats,
    spare: Floats,
    order: Integers,
    other: Integers,
    octant: NDArray[np.uint8],
    first: int,
    last: int,
    middle: Floats,
    ends: Integers,
) -> None:
    """Sort points first..last by the eighth of their cell that they are in; `ends`: where the eighths begin and end."""
    ends[:] = 0
    x, y, z = middle[0], middle[1], middle[2]
    for n in range(first, last):  # coordinate by coordinate: assigning rows costs five times as much
        code = (points[n, 0] > x) + 2 * (points[n, 1] > y) + 4 * (points[n, 2] > z)
        octant[n] = code
        ends[code + 1] += 1
        spare[n, 0], spare[n, 1], spare[n, 2], other[n] = points[n, 0], points[n, 1], points[n, 2], order[n]
    ends[0] = first
    for part in range(8):
        ends[part + 1] += ends[part]
    at = ends[:8].copy()
    for n in range(first, last):
        to = at[octant[n]]
        points[to, 0], points[to, 1], points[to, 2], order[to] = spare[n, 0], spare[n, 1], spare[n, 2], other[n]
        at[octant[n]] = to + 1


@compile_exact
def at_centres(
    corners_F9: Floats, planes_F4: Floats, edges_7E: Floats, low: Floats, side: float, resolution: int
) -> NDArray[np.int16]:
    """Rounded winding numbers (R, R, R) at the centres of the cells of a cube from `low`; the surface lies in it."""
    number_RRR, step = np.empty((resolution, resolution, resolution), np.int16), side / resolution
    origin, factors_3E = low.copy(), np.empty((3, edges_7E.shape[1]))
    faces, near, lists, state = _started(corners_F9, edges_7E, origin, origin + side)
    blocks, states = np.zeros((8 * DEPTH, 6), np.int64), np.empty((8 * DEPTH, 6))
    parts = np.empty((8 * DEPTH, 5), np.int64)
    blocks[0, 3:], states[0], parts[0, :4], parts[0, 4] = resolution, state, lists, 0
    stack = 1
    while stack:
        stack -= 1
        b, depth = blocks[stack].copy(), parts[stack, 4]
        lists, state = parts[stack, :4].copy(), states[stack].copy()
        low, high = origin + b[:3] * step, origin + b[3:] * step
        if depth:
            faces = _room(faces, 2 * lists[1] - lists[0])
            near = _room(near, 2 * lists[3] - lists[2])
            _entered(corners_F9, planes_F4, edges_7E, factors_3E, faces, near, lists, state, low, high)
        if _uniform(lists, state, low, high):
            number_RRR[b[0] : b[3], b[1] : b[4], b[2] : b[5]] = np.int16(np.rint(state[3]))
        elif (b[3] - b[0]) * (b[4] - b[1]) * (b[5] - b[2]) <= FEW:
            for i in range(b[0], b[3]):
                for j in range(b[1], b[4]):
                    for k in range(b[2], b[5]):
                        x, y, z = (
                            origin[0] + (i + 0.5) * step,
                            origin[1] + (j + 0.5) * step,
                            origin[2] + (k + 0.5) * step,
                        )
                        number_RRR[i, j, k] = np.rint(
                            _number_at(
                                corners_F9, planes_F4, edges_7E, factors_3E, faces, near, lists, state, False, x, y, z
                            )
                        )
        else:
            for part in range(8):
                for d in range(3):
                    middle = (b[d] + b[3 + d] + 1) // 2
                    blocks[stack, d] = middle if part >> d & 1 else b[d]
                    blocks[stack, 3 + d] = b[3 + d] if part >> d & 1 else middle
                if (blocks[stack, :3] < blocks[stack, 3:]).all():
                    states[stack], parts[stack, :4], parts[stack, 4] = state, lists, depth + 1
                    stack += 1
    return number_RRR
