"""Bertsekas' auction for many pairs of clouds on one CPU thread: a numba kernel, compiled at first use.

The steps and the bound are those of earth_mover.py, which has them for any device; here persons bid one at a time.
numba is imported with this module: import it where the kernel runs.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.cloud_distance_kernels import INFINITY_BITS, bits_of
from isofield.runtime.jit import compile_vectorised

BLOCK = 64  # objects looked at together; clouds are filled up to whole blocks with objects that nobody can afford
NOBODY_PAYS = np.float32(1e30)


@compile_vectorised
def transport_of_pairs(
    x_S3N: NDArray[np.float32],
    y_R3N: NDArray[np.float32],
    pairs_P2: NDArray[np.int64],
    tolerance: float,
    first_share: float,
    reduction: float,
    last_share: float,
    bounds_P2: NDArray[np.float64],
) -> None:
    """Write for each pair (s, r) a lower bound of the mean matched distance, and the one that was reached."""
    count = x_S3N.shape[2]
    blocks = (count + BLOCK - 1) // BLOCK
    cost_NKB = np.empty((count, blocks, BLOCK), dtype=np.float32)
    cost_NM = cost_NKB.reshape((count, blocks * BLOCK))
    price_KB = np.empty((blocks, BLOCK), dtype=np.float32)
    price_M = price_KB.reshape(blocks * BLOCK)
    owner_N, queue_N = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for p in range(len(pairs_P2)):
        largest = _fill(x_S3N[pairs_P2[p, 0]], y_R3N[pairs_P2[p, 1]], cost_NM)
        price_M[:count], price_M[count:] = 0, NOBODY_PAYS
        # From rough to fine: a rough auction finds prices from which a fine one needs few bids.
        epsilon, last = np.float32(largest * first_share), np.float32(largest * last_share)
        bounds_P2[p] = 0
        while largest > 0:  # else all points coincide
            _assign(cost_NKB, price_KB, owner_N, queue_N, epsilon)
            lower, reached = _bounds(cost_NKB, price_KB, owner_N)
            bounds_P2[p, 0], bounds_P2[p, 1] = lower, reached
            if reached - lower <= tolerance * lower or epsilon <= last:
                break
            epsilon = max(np.float32(epsilon * reduction), last)


@compile_vectorised
def _fill(x_3N: NDArray[np.float32], y_3N: NDArray[np.float32], cost_NM: NDArray[np.float32]) -> np.float32:
    """Distances of all pairs of points into the first columns, zeros into the rest; the largest distance."""
    count, largest = x_3N.shape[1], np.int32(0)
    y0, y1, y2 = y_3N[0], y_3N[1], y_3N[2]
    for i in range(count):
        a0, a1, a2, row = x_3N[0, i], x_3N[1, i], x_3N[2, i], cost_NM[i]
        for j in range(count):
            squared = (y0[j] - a0) * (y0[j] - a0) + (y1[j] - a1) * (y1[j] - a1) + (y2[j] - a2) * (y2[j] - a2)
            distance = np.sqrt(squared)
            row[j] = distance
            largest = max(largest, bits_of(distance))
        row[count:] = 0
    return np.int32(largest).view(np.float32)


@compile_vectorised
def _assign(
    cost_NKB: NDArray[np.float32],
    price_KB: NDArray[np.float32],
    owner_N: NDArray[np.int64],
    queue_N: NDArray[np.int64],
    epsilon: np.float32,
) -> None:
    """From nobody owning anything to everybody owning one object, nobody more than epsilon from what suits him best."""
    count = len(owner_N)
    for i in range(count):
        owner_N[i], queue_N[i] = -1, i
    head, waiting = 0, count
    while waiting > 0:
        # The queue is a ring: who is outbid goes to its end and bids again.
        person = queue_N[head]
        head = (head + 1) % count
        waiting -= 1
        block, place, surplus = _best(cost_NKB[person], price_KB)
        # A bid raises the price by what the best object is worth above the second best: then he is indifferent.
        price_KB[block, place] += surplus + epsilon
        wanted = block * BLOCK + place
        if owner_N[wanted] >= 0:
            queue_N[(head + waiting) % count] = owner_N[wanted]
            waiting += 1
        owner_N[wanted] = person


@compile_vectorised
def _best(cost_KB: NDArray[np.float32], price_KB: NDArray[np.float32]) -> tuple[int, int, np.float32]:
    """The object with the smallest cost + price (block, place in it), and by how much the second is worse."""
    # First only the smallest of each block, by vectors; then the winner's block is looked at one by one, for the place
    # and for a second within it.
    best, second, block = INFINITY_BITS, INFINITY_BITS, 0
    for k in range(len(price_KB)):
        smallest = _smallest(cost_KB, price_KB, k)
        if smallest < best:
            best, second, block = smallest, best, k
        elif smallest < second:
            second = smallest
    place = -1
    for j in range(BLOCK):
        value = bits_of(cost_KB[block, j] + price_KB[block, j])
        if value == best and place < 0:
            place = j
        elif value < second:
            second = value
    return block, place, np.int32(second).view(np.float32) - np.int32(best).view(np.float32)


@compile_vectorised
def _smallest(cost_KB: NDArray[np.float32], price_KB: NDArray[np.float32], k: int) -> np.int32:
    """Bits of the smallest cost + price of a block; they are ordered as the numbers, which are not negative."""
    smallest = INFINITY_BITS
    for j in range(BLOCK):
        smallest = min(smallest, bits_of(cost_KB[k, j] + price_KB[k, j]))
    return smallest


@compile_vectorised
def _bounds(
    cost_NKB: NDArray[np.float32], price_KB: NDArray[np.float32], owner_N: NDArray[np.int64]
) -> tuple[float, float]:
    """Mean over the points of the dual value of the prices, a lower bound for any prices, and of the matched cost."""
    count = len(owner_N)
    lower, reached = 0.0, 0.0
    for i in range(count):
        best = INFINITY_BITS
        for k in range(len(price_KB)):
            best = min(best, _smallest(cost_NKB[i], price_KB, k))
        block, place = i // BLOCK, i % BLOCK
        lower += np.float64(np.int32(best).view(np.float32)) - np.float64(price_KB[block, place])
        reached += np.float64(cost_NKB[owner_N[i], block, place])
    return max(0.0, lower / count), reached / count
