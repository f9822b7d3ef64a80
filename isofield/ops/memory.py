"""Large tensors in main memory: kept when they are freed, in huge pages where the system grants them on request.

A fresh tensor costs a page fault for every 4 KiB when it is first written, six times the time of writing it. numpy asks
for huge pages (its `NUMPY_MADVISE_HUGEPAGE`), torch does not.
"""

import ctypes
import os
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of mallopt (glibc's malloc.h)
MOST = (1 << 31) - 1
_STAND_IN = {torch.bfloat16: torch.int16, torch.float16: torch.int16}  # types that numpy does not have


def keep_freed(keep: bool = True) -> bool:
    """Memory of the CPU that is freed stays with this process, so that each step finds what the one before left.

    Of glibc, which gives large tensors back to the system as soon as they are freed; False where there is another one.
    Without `keep`: as glibc does by itself after the first large tensors.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    # No mapping of their own for large blocks, and the heap's end is never given back: what is freed is found again.
    if keep:
        return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, MOST))
    return bool(mallopt(MMAP_MAX, 1 << 16) and mallopt(MMAP_THRESHOLD, 1 << 25) and mallopt(TRIM_THRESHOLD, 1 << 26))


def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU."""
    return _made(np.empty, shape, dtype)


def zeros(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.zeros` on the CPU."""
    return _made(np.zeros, shape, dtype)


def channels_last(x_BCRRR: torch.Tensor) -> torch.Tensor:
    """The same volume (B, C, R, R, R) with the channels of a voxel side by side in memory; itself where it lies so."""
    if x_BCRRR.is_contiguous(memory_format=torch.channels_last_3d):
        return x_BCRRR
    shapes, channels, *sides = x_BCRRR.shape
    return empty(shapes, *sides, channels, dtype=x_BCRRR.dtype).movedim(-1, 1).copy_(x_BCRRR)


def _made(make: Callable[..., NDArray], shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # numpy makes memory of as many bytes, torch then reads it as its own type.
    stand_in = _STAND_IN.get(dtype, dtype)
    return torch.from_numpy(make(shape, np.dtype(str(stand_in).removeprefix("torch.")))).view(dtype)
