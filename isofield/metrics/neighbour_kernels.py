"""Exact nearest neighbours on a CPU, compiled by numba: a balanced k-d tree with a tight box at every node.

Node m has the children 2 m + 1 and 2 m + 2; the points of node m of level l are cut in halves by their number, so the
depth is bounded whatever the points are. Squared distances are sums in the order x, y, z of float64; a box is passed
over only when its own such sum is not below the best one, which rounding cannot break: every step is monotone.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_filling, compile_inner

LEAF = 16
Numbers = NDArray[np.signedinteger]


def build(points_N3: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Order (N,) of the points by leaves, the points in that order (N, 3), and boxes (nodes, 6) of all nodes."""
    count, levels = len(points_N3), 0
    # As many levels as leave at most LEAF points in a leaf; node and leaf numbers follow from that alone.
    while (count - 1) >> levels >= LEAF:
        levels += 1
    # Sorted once along each axis, every node finds its box and its middle at once; to halve it is to part the other two
    # orders, without a branch on what the points are.
    columns_3N = np.ascontiguousarray(points_N3.T)
    number = np.int32 if count < 1 << 31 else np.int64
    orders_3N = np.stack([column.argsort() for column in columns_3N]).astype(number)
    boxes = np.empty(((2 << levels) - 1, 6))
    _part_orders(columns_3N, orders_3N, levels, boxes, np.empty(count, np.uint8), np.empty(count, number))
    order = orders_3N[0].astype(np.int64)
    return order, points_N3.take(order, axis=0), boxes


@compile_filling
def _part_orders(
    columns_3N: NDArray[np.float64],
    orders_3N: Numbers,
    levels: int,
    boxes: NDArray[np.float64],
    is_above_N: NDArray[np.uint8],
    room_N: Numbers,
) -> None:
    """Part three orders of the points until each leaf's are one run, and write the boxes of all nodes.

    `is_above`, `room`: memory that may be written.
    """
    count = columns_3N.shape[1]
    for level in range(levels + 1):
        for place in range(1 << level):
            first, last = (count * place) >> level, (count * (place + 1)) >> level
            axis, longest = 0, -1.0
            for d in range(3):
                low, high = columns_3N[d, orders_3N[d, first]], columns_3N[d, orders_3N[d, last - 1]]
                node = (1 << level) - 1 + place
                boxes[node, d], boxes[node, 3 + d] = low, high
                if high - low > longest:
                    axis, longest = d, high - low
            if level == levels:
                continue
            middle = (count * (2 * place + 1)) >> (level + 1)
            _mark(orders_3N[axis], first, middle, last, is_above_N)
            for step in range(1, 3):
                _part(orders_3N[(axis + step) % 3], first, middle, last, is_above_N, room_N)


@compile_inner
def _mark(order_N: Numbers, first: int, middle: int, last: int, is_above_N: NDArray[np.uint8]) -> None:
    for n in range(np.uint64(first), np.uint64(middle)):
        is_above_N[np.uint64(order_N[n])] = 0
    for n in range(np.uint64(middle), np.uint64(last)):
        is_above_N[np.uint64(order_N[n])] = 1


@compile_inner
def _part(order_N: Numbers, first: int, middle: int, last: int, is_above_N: NDArray[np.uint8], room_N: Numbers) -> None:
    """Points first..last - 1 that are not above come first, in their order; then those that are, in theirs."""
    below, above, one = np.uint64(first), np.uint64(0), np.uint64(1)
    for n in range(np.uint64(first), np.uint64(last)):
        # Written to both places, of which only the right one is kept: no branch to guess.
        point = order_N[n]
        is_above = np.uint64(is_above_N[np.uint64(point)])
        order_N[below], room_N[above] = point, point
        below, above = below + one - is_above, above + is_above
    for n in range(np.uint64(0), above):
        order_N[np.uint64(middle) + n] = room_N[n]


@compile_inner
def _box_distance(boxes: NDArray[np.float64], node: int, x: float, y: float, z: float) -> float:
    """Squared distance to a box, 0 inside."""
    dx = max(max(boxes[node, 0] - x, x - boxes[node, 3]), 0.0)
    dy = max(max(boxes[node, 1] - y, y - boxes[node, 4]), 0.0)
    dz = max(max(boxes[node, 2] - z, z - boxes[node, 5]), 0.0)
    return dx * dx + dy * dy + dz * dz


@compile_exact
def nearest(
    queries_Q3: NDArray[np.float64],
    order_N: NDArray[np.int64],
    points_N3: NDArray[np.float64],
    boxes: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared distance (Q,) of each query to its nearest point and that point's number (Q,) before sorting.

    Fast where queries that follow one another are near each other: each begins with the last one's neighbour.
    """
    squared, index = np.empty(len(queries_Q3)), np.empty(len(queries_Q3), dtype=np.int64)
    stack, bound = np.empty(64, dtype=np.int64), np.empty(64)
    count, levels = len(points_N3), 0
    while (2 << levels) - 1 < len(boxes):
        levels += 1
    # The tree is complete and lies in one array: children of node n are 2n + 1 and 2n + 2.
    first_leaf = (1 << levels) - 1
    neighbour, home = 0, first_leaf
    for q in range(len(queries_Q3)):
        x, y, z = queries_Q3[q, 0], queries_Q3[q, 1], queries_Q3[q, 2]
        # The last query's neighbour, and what lies in its leaf, is near this one too: the search begins with a small
        # radius, and goes up from there. On every level the other half is asked where it can hold something nearer.
        dx, dy, dz = points_N3[neighbour, 0] - x, points_N3[neighbour, 1] - y, points_N3[neighbour, 2] - z
        best, up, leaf = dx * dx + dy * dy + dz * dz, home, home
        depth, stack[0], bound[0] = 1, home, 0.0
        while True:
            while depth:
                depth -= 1
                if bound[depth] >= best:
                    continue
                node = stack[depth]
                # Down to the nearer child; the farther one waits on the stack if it can still hold something nearer.
                while node < first_leaf:
                    near, far = 2 * node + 1, 2 * node + 2
                    to_near, to_far = _box_distance(boxes, near, x, y, z), _box_distance(boxes, far, x, y, z)
                    if to_far < to_near:
                        near, far, to_near, to_far = far, near, to_far, to_near
                    if to_far < best:
                        stack[depth], bound[depth] = far, to_far
                        depth += 1
                    if to_near >= best:
                        break
                    node = near
                else:
                    # Leaves hold equal shares of the points: where one begins is arithmetic.
                    place = node - first_leaf
                    for n in range((count * place) >> levels, (count * (place + 1)) >> levels):
                        dx, dy, dz = points_N3[n, 0] - x, points_N3[n, 1] - y, points_N3[n, 2] - z
                        here = dx * dx + dy * dy + dz * dz
                        if here < best:
                            best, neighbour, leaf = here, n, node
            # Up to the next node whose other half may hold something nearer.
            while up > 0:
                other = up + 1 if up & 1 else up - 1
                up = (up - 1) >> 1
                to_other = _box_distance(boxes, other, x, y, z)
                if to_other < best:
                    depth, stack[0], bound[0] = 1, other, to_other
                    break
            if depth == 0:
                break
        home = leaf
        squared[q], index[q] = best, order_N[neighbour]
    return squared, index
