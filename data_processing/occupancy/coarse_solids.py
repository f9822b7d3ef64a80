"""Solid occupancy at a coarser resolution than the 256^3 voxels it is made of: cells of which half is inside.

That neither grows nor shrinks a solid: it never marks a cell because a surface passes through it. What it would lose
are parts thinner than a cell; they are kept one cell thick (thinning.py), up to where they join something thicker.
Ordinary solids are never dilated.

R: voxels along an edge of the grid; C: cells. `side`: voxels along an edge of a cell, not always a whole number.
"""

from collections.abc import Sequence

import torch

from data_processing.occupancy.flood_fill import dilate
from data_processing.occupancy.thinning import thin_cells_of_all

NEAR_THICK = 1  # cells: what is this near to a thick part is no thin part
REACH = 3  # cells from a thin part to the first cell that a thick one fills by half
FULL = 1 - 1e-4  # rounding of sums of parts of voxels


def solid_cells(grid_RRR: torch.Tensor, resolution: int, *, keep_thin: bool) -> torch.Tensor:
    """(C, C, C) uint8 0/1 of 0/1 voxels, on their device: 1 where at least half of a cell's volume is inside.

    Where it is exactly half, the voxel above the cell's centre decides, so that faces in the middle of cells do not
    grow the solid on both sides. `keep_thin`: parts thinner than a cell stay, one cell thick.
    """
    return solid_cells_of_all([grid_RRR], resolution, keep_thin=keep_thin)[0]


def solid_cells_of_all(grids: Sequence[torch.Tensor], resolution: int, *, keep_thin: bool) -> list[torch.Tensor]:
    """The same of grids (R, R, R) of one size on one device: thinned together, by as many operators as one of them."""
    size = len(grids[0])
    assert 1 <= resolution <= size, (resolution, size)
    if resolution == size:
        return [grid.clone() for grid in grids]
    side = size / resolution
    # Volumes shape by shape: they take the most memory, and a sum of parts of voxels is the same to the last bit.
    volume_BCCC = torch.stack([_volumes(grid, resolution) for grid in grids]) / side**3
    middle = ((torch.arange(resolution, device=volume_BCCC.device) + 0.5) * side).long()
    centre_BCCC = torch.stack([grid[middle][:, middle][:, :, middle] for grid in grids]) != 0
    solid_BCCC = (volume_BCCC > 0.5) | ((volume_BCCC == 0.5) & centre_BCCC)
    if keep_thin:
        solid_BCCC |= _thin_cells(volume_BCCC, solid_BCCC)
    return list(solid_BCCC.to(torch.uint8).unbind(0))


def _volumes(grid_RRR: torch.Tensor, resolution: int) -> torch.Tensor:
    """Voxels that each cell holds, parts of voxels counted as parts: (C, C, C) float32, exact for whole sides."""
    size = len(grid_RRR)
    borders = torch.arange(resolution + 1, device=grid_RRR.device, dtype=torch.float64) * (size / resolution)
    voxels = torch.arange(size, device=grid_RRR.device)
    # Volume is separable: the share of each voxel in each cell along one axis, applied along all three, sums exactly.
    overlap = torch.minimum(borders[1:, None], voxels + 1) - torch.maximum(borders[:-1, None], voxels)
    weights_CR = overlap.clamp(min=0).float()
    volume = grid_RRR.float().view(size * size, size) @ weights_CR.T
    volume = weights_CR @ volume.view(size, size, resolution)
    return (weights_CR @ volume.view(size, -1)).view((resolution,) * 3)


def _thin_cells(volume_BCCC: torch.Tensor, solid_BCCC: torch.Tensor) -> torch.Tensor:
    """Cells (B, C, C, C) bool to add: along parts thinner than a cell, up to where they join something thicker."""
    # What is near a thick part is its rounded border and no sheet; it would grow if it were kept.
    occupied = volume_BCCC > 0
    away = occupied & ~_dilate_times(_thick_cells(volume_BCCC >= FULL), NEAR_THICK)
    if not away.any():
        return away
    return thin_cells_of_all(
        occupied & ~solid_BCCC & _dilate_times(away, REACH), fixed_BCCC=solid_BCCC, weight_BCCC=volume_BCCC
    )


def _thick_cells(full_BCCC: torch.Tensor) -> torch.Tensor:
    """Full cells with full ones across three faces or more: not those of a rod that fills a cell by chance."""
    padded = torch.nn.functional.pad(full_BCCC, (1,) * 6).to(torch.int8)
    size, count = full_BCCC.shape[-1], torch.zeros_like(full_BCCC, dtype=torch.int8)
    for axis in range(3):
        across = padded.narrow(1 + (axis + 1) % 3, 1, size).narrow(1 + (axis + 2) % 3, 1, size)
        count += across.narrow(1 + axis, 0, size) + across.narrow(1 + axis, 2, size)
    return full_BCCC & (count >= 3)


def _dilate_times(cells: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        cells = dilate(cells)
    return cells
