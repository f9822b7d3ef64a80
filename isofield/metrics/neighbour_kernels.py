"""Exact nearest neighbours on a CPU, compiled by numba: a balanced k-d tree with a tight box at every node.

Node m has the children 2 m + 1 and 2 m + 2; the points of node m of level l are cut in halves by their number, so the
depth is bounded whatever the points are. Squared distances are sums in the order x, y, z of float64; a box is passed
over only when its own such sum is not below the best one, which rounding cannot break: every step is monotone.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_inner

LEAF = 16


@compile_exact
def build(points_N3: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Order (N,) of the points by leaves, the points in that order (N, 3), and boxes (nodes, 6) of all nodes."""
    count, levels = len(points_N3), 0
    # As many levels as leave at most LEAF points in a leaf; node and leaf numbers follow from that alone.
    while (count - 1) >> levels >= LEAF:
        levels += 1
    order, sorted_N3 = np.arange(count), points_N3.copy()
    boxes = np.empty(((2 << levels) - 1, 6))
    for level in range(levels + 1):
        for place in range(1 << level):
            first, last = (count * place) >> level, (count * (place + 1)) >> level
            axis = _write_box(sorted_N3, first, last, boxes, (1 << level) - 1 + place)
            if level < levels:
                middle = (count * (2 * place + 1)) >> (level + 1)
                _halve(sorted_N3, order, first, middle, last - 1, axis)
    return order, sorted_N3, boxes


@compile_inner
def _write_box(points_N3: NDArray[np.float64], first: int, last: int, boxes: NDArray[np.float64], node: int) -> int:
    """Write the tight box of points first..last - 1, at least one; returns its longest axis."""
    ax, ay, az = points_N3[first, 0], points_N3[first, 1], points_N3[first, 2]
    bx, by, bz = ax, ay, az
    for n in range(first + 1, last):
        x, y, z = points_N3[n, 0], points_N3[n, 1], points_N3[n, 2]
        ax, ay, az = min(ax, x), min(ay, y), min(az, z)
        bx, by, bz = max(bx, x), max(by, y), max(bz, z)
    boxes[node, 0], boxes[node, 1], boxes[node, 2] = ax, ay, az
    boxes[node, 3], boxes[node, 4], boxes[node, 5] = bx, by, bz
    x, y, z = bx - ax, by - ay, bz - az
    return 0 if x >= y and x >= z else (1 if y >= z else 2)


@compile_inner
def _halve(
    points_N3: NDArray[np.float64], order: NDArray[np.int64], left: int, middle: int, right: int, d: int
) -> None:
    """Swap points left..right until none before `middle` is above, and none after below it along axis d (Hoare)."""
    while left < right:
        a, b, c = points_N3[left, d], points_N3[(left + right) >> 1, d], points_N3[right, d]
        # The median of three: sorted clouds, which are common, would make the first one the worst choice.
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while points_N3[i, d] < pivot:
                i += 1
            while points_N3[j, d] > pivot:
                j -= 1
            if i <= j:
                for k in range(3):
                    points_N3[i, k], points_N3[j, k] = points_N3[j, k], points_N3[i, k]
                order[i], order[j] = order[j], order[i]
                i, j = i + 1, j - 1
        if j < middle:
            left = i
        if middle < i:
            right = j


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
