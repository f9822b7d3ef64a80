"""bfloat16 in compiled loops: numpy has no such type, so an array of them is one of uint16.

Import this module where a kernel is about to run: it needs numba.
"""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from numpy.typing import NDArray


def as_array(x: torch.Tensor) -> NDArray:
    """The same memory as numpy has it."""
    x = x.detach()
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()


def wide(x: Any) -> Any:
    """In a kernel: the float32 of a bfloat16; any other number as it is. TypeError outside of one."""
    raise TypeError("an array of uint16 has no bfloat16 in it outside of compiled loops")


def narrow(x: Any, like: Any) -> Any:
    """In a kernel: x rounded to nearest even where `like` is a bfloat16, else x. TypeError outside of one."""
    raise TypeError("an array of uint16 has no bfloat16 in it outside of compiled loops")


@overload(wide)
def _wide(x):  # type: ignore[no-untyped-def]
    # A bfloat16 is the upper half of a float32: moved up by 16 bits it is one.
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(narrow)
def _narrow(x, like):  # type: ignore[no-untyped-def]
    if like != types.uint16:
        return lambda x, like: x

    def round_like(x, like):  # type: ignore[no-untyped-def]
        # Half a step is added before the lower bits are cut off, a little less where the last bit that stays is 0: ties
        # go to the even one. NaN could come out as infinity or as zero: it is written as such.
        bits = np.float32(x).view(np.uint32)
        up = np.uint32(bits + np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1)))
        return np.uint16(np.uint32(up >> np.uint32(16))) if x == x else np.uint16(0x7FC0)

    return round_like
