"""Neighbourhoods on grids of bits, 64 voxels in a word: on a CPU a sixty-fourth of the work of one byte a voxel.

Grids are (R, R, R) bool with R a multiple of 64, packed along the last axis: (R, R, R / 64), the first voxel in the
lowest bit. The same answers as the tensors of flood_fill.py.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = 64
Bits = NDArray[np.uint64]
ONE, LAST = np.uint64(1), np.uint64(WORD - 1)


def pack(grid_RRR: NDArray[np.bool_]) -> Bits:
    """One bit for each voxel."""
    return np.packbits(grid_RRR, axis=-1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def unpack(bits: Bits) -> NDArray[np.bool_]:
    """One byte for each bit again."""
    return np.unpackbits(bits.astype("<u8", copy=False).view(np.uint8), axis=-1, bitorder="little").view(np.bool_)


def near_blocks(solid: Bits) -> Bits:
    """Voxels within one voxel of a block of 2x2x2 that is set."""
    block = solid
    for axis in range(3):
        block = block & _moved(block, axis, 1)  # at its lowest voxel
    for axis in range(3):  # a block at b holds voxels b and b + 1 and is near b - 1 to b + 2
        pairs = block | _moved(block, axis, -1)
        block = _moved(pairs, axis, 1) | _moved(pairs, axis, -1)
    return block


def dilate_bits(bits: Bits) -> Bits:
    """Voxels with any of their 3x3x3 neighbourhood set."""
    for axis in range(3):
        bits = bits | _moved(bits, axis, 1) | _moved(bits, axis, -1)
    return bits


def shrink_bits(bits: Bits) -> Bits:
    """Voxels with all of their 3x3x3 neighbourhood set; beyond the grid nothing is."""
    for axis in range(3):
        bits = bits & _moved(bits, axis, 1) & _moved(bits, axis, -1)
    return bits


def grow_bits(bits: Bits) -> Bits:
    """What is set, and the voxel above it along each axis."""
    for axis in range(3):
        bits = bits | _moved(bits, axis, -1)
    return bits


def step_bits(bits: Bits, free: Sequence[Bits]) -> Bits:
    """Voxels to which one step leads along an edge that is free: along each axis, from this voxel to the next one."""
    step = np.zeros_like(bits)
    for axis, way in enumerate(free):
        step |= _moved(bits & way, axis, -1) | (_moved(bits, axis, 1) & way)
    return step


def _moved(bits: Bits, axis: int, step: int) -> Bits:
    """At each voxel what the one `step` (1 or -1) further along an axis holds; nothing beyond the grid."""
    if axis == 2:
        moved = bits >> ONE if step > 0 else bits << ONE
        if step > 0:
            moved[:, :, :-1] |= bits[:, :, 1:] << LAST
        else:
            moved[:, :, 1:] |= bits[:, :, :-1] >> LAST
        return moved
    moved = np.zeros_like(bits)
    to, at = (slice(None, -1), slice(1, None)) if step > 0 else (slice(1, None), slice(None, -1))
    whole = (slice(None),) * axis
    moved[(*whole, to)] = bits[(*whole, at)]
    return moved
