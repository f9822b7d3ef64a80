"""Distances as integers in compiled loops: those of the bits of non-negative floats are ordered as the floats are.

The smallest of integers is one instruction for a whole vector; that of floats is none, because of NaN.
Import this module where a kernel is about to run: it needs numba.
"""

import numba
import numpy as np

INFINITY_BITS = np.int32(0x7F800000)


@numba.njit(inline="always")
def bits_of(value):  # type: ignore[no-untyped-def]
    """In a kernel: the bits of a float32 as int32."""
    return np.float32(value).view(np.int32)
