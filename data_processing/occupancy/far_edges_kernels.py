"""Which edges of a boundary are far from a cell, and what they do there, on a CPU, compiled by numba.

Far edges together are a field: the number's gradient by them, its derivative, and bounds on what both miss. Where the
bounds come from: docs/explanation/winding-number.md. `state` of a cell: see STATE in winding_number_kernels.py.
"""

import numpy as np

from data_processing.occupancy.solid_angles import Floats, Integers
from isofield.runtime.jit import compile_inner

FAR_EDGE = 0.05  # what a single edge may be off within a cell to count as far
FAR_EDGES = 0.15  # and all far edges; with STALE less than a half
STALE = 0.3  # bound on the error in a cell from which its number and field are taken anew
DOUBTFUL = 0.01  # the same where the error leaves two answers
REACH = 1.18  # half diagonals of a cell: the way from its reference point to a corner, at most
LIMITS = 16  # of the change of far edges, each half of the one before
ELEMENT, LINE = 1.5 / np.pi, 0.43  # how fast the derivative of an edge's field changes: of length / distance^4, and, an
# endless line, of 1 / distance^3 (docs/explanation/winding-number.md)
SURE = 0.5 - 1e-7
FRESH = 1e-9  # bound on the rounding of sums over the whole boundary


@compile_inner
def is_doubtful(number: float, off: float) -> bool:
    """Whether a number that is off by so much at most has to be taken anew."""
    return off > STALE or (off > DOUBTFUL and np.abs(number - np.rint(number)) + off >= SURE)


@compile_inner
def far_change(state: Floats, x: float, y: float, z: float) -> tuple[float, float]:
    """What far edges change from the reference point to (x, y, z), and a bound on the error of the number there."""
    sx, sy, sz = x - state[0], y - state[1], z - state[2]
    change = state[6] * sx + state[7] * sy + state[8] * sz
    change += sx * (state[9] * sx + state[10] * sy + state[11] * sz) / 2
    change += sy * (state[12] * sx + state[13] * sy + state[14] * sz) / 2
    change += sz * (state[15] * sx + state[16] * sy + state[17] * sz) / 2
    way = np.sqrt(sx * sx + sy * sy + sz * sz)
    return change, state[4] + (state[18] + (state[19] + state[5] * way / 3) * way / 2) * way


@compile_inner
def move_field(state: Floats, x: float, y: float, z: float) -> None:
    """Take the far edges' gradient to (x, y, z); its derivative stays, and the bounds on both errors grow."""
    sx, sy, sz = x - state[0], y - state[1], z - state[2]
    for d in range(3):
        row = 9 + 3 * d
        state[6 + d] += state[row] * sx + state[row + 1] * sy + state[row + 2] * sz
    way = np.sqrt(sx * sx + sy * sy + sz * sz)
    state[18] += (state[19] + state[5] * way / 2) * way
    state[19] += state[5] * way


@compile_inner
def bound_changes(room_19E: Floats, size: int, x: float, y: float, z: float, reach: float) -> None:
    """How fast the field's derivative by each edge can change anywhere in a ball, into row 9.

    The edges are seen from (x, y, z), as the ball's middle sees that.
    """
    for e in range(size):
        ax, ay, az = room_19E[0, e], room_19E[1, e], room_19E[2, e]
        ux, uy, uz = room_19E[3, e] - ax, room_19E[4, e] - ay, room_19E[5, e] - az
        ax, ay, az = ax + x, ay + y, az + z
        squared = ux * ux + uy * uy + uz * uz
        share = min(max(-(ax * ux + ay * uy + az * uz) / (squared + 1e-300), 0.0), 1.0)
        px, py, pz = ax + share * ux, ay + share * uy, az + share * uz
        by_apart = 1.0 / max(np.sqrt(px * px + py * py + pz * pz) - reach, 1e-12)
        # A short edge acts like an element of a current, a long one never more than an endless line: the tighter bound
        # holds (from Biot and Savart).
        room_19E[9, e] = by_apart * by_apart * by_apart * min(ELEMENT * np.sqrt(squared) * by_apart, LINE)


@compile_inner
def farthest_edges(room_19E: Floats, size: int, bound: float, cube: float, off: float) -> tuple[float, float]:
    """Below which change edges are far, and the bound of all far ones with them: as many as the bound bears.

    `off`: what far edges are off already, at most.
    """
    # What all far edges together may be off between two places of the cell must stay below a half, or rounding could
    # pick the wrong integer. Limits are halved until it does; if none is low enough all stay near.
    low, high = 0, LIMITS
    limit, found = FAR_EDGE / cube, bound
    while low < high:
        # Mostly the first does. The sum falls with the limit, so the rest is searched by bisection.
        k = (low + high) // 2 if low else 0
        below, total = limit / 2.0**k, 0.0
        for e in range(size):
            total += room_19E[9, e] if room_19E[9, e] < below else 0.0
        if (bound + total) * cube + off < FAR_EDGES:
            high, found = k, bound + total
        else:
            low = k + 1
    return (limit / 2.0**high, found) if high < LIMITS else (0.0, bound)


@compile_inner
def keep_near_edges(room_19E: Floats, limit: float, near: Integers, seen: Floats, lists: Integers) -> None:
    """List those of a parent's near edges that change no less than the limit, behind them."""
    e0, e1 = lists[2], lists[3]
    end = e1
    for e in range(e1 - e0):
        if room_19E[9, e] >= limit:
            near[end] = near[e0 + e]
            for d in range(9):
                seen[d, end] = room_19E[d, e]
            end += 1
    lists[2], lists[3] = e1, end
