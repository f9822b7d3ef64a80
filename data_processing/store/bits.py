"""Packed bits on the device: eight to a byte, the first in the highest bit, as np.packbits stores them."""

import numpy as np
import torch
from numpy.typing import NDArray


def unpack_bits(packed: torch.Tensor) -> torch.Tensor:
    """np.unpackbits along the last axis (most significant bit first), on the device: (..., n) to (..., 8n) uint8."""
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    return ((packed[..., None] >> shifts) & 1).flatten(-2)


def bits_at(packed: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Some bits of each row, without unpacking the others: (..., n) uint8 and (..., k) int64 to (..., k) uint8."""
    return (packed.gather(-1, index >> 3) >> (7 - (index & 7)).to(torch.uint8)) & 1


def pack_bits(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0/1 of any shape, in C order, eight to a byte; the first value in the highest bit."""
    return np.packbits(values.reshape(-1))


def unpack_array(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The inverse of `pack_bits`."""
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)
