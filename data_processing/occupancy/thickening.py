"""Thin parts made three voxels thick: what a network of coarser cells can be right about.

A sheet of one voxel of 256^3 is a quarter of a cell of 64^3. Of points drawn near it at that scale a seventh is inside,
so wherever the network cannot tell the place of the sheet to half its thickness the likelier answer is outside, and
the sheet breaks into stripes. Three voxels can be told. The price is stated, not hidden: parts thinner than that are
shown up to a voxel too thick on either side.
"""

import numpy as np
import torch

from data_processing.occupancy.packed_grids import (
    WORD,
    Bits,
    dilate_bits,
    grow_bits,
    near_blocks,
    pack,
    shrink_bits,
    unpack,
)


def thickening(occupied_RRR: torch.Tensor) -> torch.Tensor:
    """Voxels (R, R, R) bool to add to a solid (R, R, R), of 0/1, so that its thin parts are three voxels thick.

    A part one voxel thick (no block of 2x2x2 within a voxel) gains one on every side, a part two thick (no block of
    3x3x3) one on the upper side along each axis. Whatever is thicker, and what is within a voxel of it, stays as it is.
    """
    size = len(occupied_RRR)
    solid = pack(_padded((occupied_RRR != 0).cpu().numpy()))
    one = solid & ~near_blocks(solid)
    # At its middle voxel; the block itself reaches one voxel further, and what is near it two.
    blocks = shrink_bits(solid)
    two = solid & ~one & ~dilate_bits(dilate_bits(blocks))
    more: Bits = (dilate_bits(one) | grow_bits(two)) & ~solid
    return torch.from_numpy(unpack(more)[:size, :size, :size].copy()).to(occupied_RRR.device)


def _padded(grid_RRR: np.ndarray) -> np.ndarray:
    """With empty voxels at its upper ends, up to a whole word."""
    return np.pad(grid_RRR, (0, -len(grid_RRR) % WORD))
