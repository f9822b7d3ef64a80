"""Chamfer distances of many pairs of clouds on one CPU thread: a numba kernel, compiled at first use.

Every pair of points is visited once and serves both directions. That beats k-d trees here: vector units compare
several points of one cloud with 16 of the other at once (10 to 25 pairs of points a nanosecond), which a tree of 2,048
points, at a microsecond a query, cannot save. numba is imported with this module: import it where the kernel runs.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_vectorised

INFINITY_BITS = np.int32(0x7F800000)


@numba.njit(inline="always")
def bits_of(value):  # type: ignore[no-untyped-def]
    """In a kernel: the bits of a float32 as int32, which are ordered as the numbers where these are not negative.

    The smallest of integers is one instruction for a whole vector; that of floats is none, because of NaN.
    """
    return np.float32(value).view(np.int32)


@compile_vectorised
def chamfer_of_pairs(
    x_S3N: NDArray[np.float32], y_R3M: NDArray[np.float32], pairs_P2: NDArray[np.int64], chamfer_P: NDArray[np.float64]
) -> None:
    """Write for each pair (s, r) the sum of both directions' mean squared distance to the nearest point."""
    nearest_N = np.empty(x_S3N.shape[2], dtype=np.int32)
    nearest_M = np.empty(y_R3M.shape[2], dtype=np.int32)
    for p in range(len(pairs_P2)):
        s, r = pairs_P2[p, 0], pairs_P2[p, 1]
        _nearest(x_S3N[s, 0], x_S3N[s, 1], x_S3N[s, 2], y_R3M[r, 0], y_R3M[r, 1], y_R3M[r, 2], nearest_N, nearest_M)
        chamfer_P[p] = _mean(nearest_N.view(np.float32)) + _mean(nearest_M.view(np.float32))


@compile_vectorised
def _mean(values_N: NDArray[np.float32]) -> float:
    total = 0.0
    # In double: thousands of terms in float32 would lose the digits that distances were computed with.
    for value in values_N:
        total += np.float64(value)
    return total / len(values_N)


@compile_vectorised
def _nearest(
    x0: NDArray, x1: NDArray, x2: NDArray, y0: NDArray, y1: NDArray, y2: NDArray, nearest_N: NDArray, nearest_M: NDArray
) -> None:
    """Bits of the smallest squared distance, for every point of both clouds.

    Two points of x at a time: y is loaded half as often.
    """
    for j in range(len(y0)):
        nearest_M[j] = INFINITY_BITS
    for i in range(0, len(x0), 2):
        k = min(i + 1, len(x0) - 1)  # the last point stands in for its neighbour: it is only asked twice
        a0, a1, a2, b0, b1, b2 = x0[i], x1[i], x2[i], x0[k], x1[k], x2[k]
        nearest_a, nearest_b = INFINITY_BITS, INFINITY_BITS
        for j in range(len(y0)):
            c0, c1, c2 = y0[j], y1[j], y2[j]
            a = bits_of((c0 - a0) * (c0 - a0) + (c1 - a1) * (c1 - a1) + (c2 - a2) * (c2 - a2))
            b = bits_of((c0 - b0) * (c0 - b0) + (c1 - b1) * (c1 - b1) + (c2 - b2) * (c2 - b2))
            nearest_a, nearest_b = min(nearest_a, a), min(nearest_b, b)
            nearest_M[j] = min(nearest_M[j], min(a, b))
        nearest_N[i], nearest_N[k] = nearest_a, nearest_b
