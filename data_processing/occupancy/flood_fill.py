"""What a surface encloses, whatever its orientation, and the voxels that parts thinner than a voxel deserve.

Flood fill: cells that triangles touch are walls; what the flood from the border of the cube does not reach is enclosed.
Gaps up to about one cell of the closing grid stay shut. The walls are then given back: a wall voxel from which the
flood is reached in a few steps without crossing a triangle is outside, so the solid is sampled at the voxel centres
and not dilated.
"""

import math

import scipy  # its parts are loaded when they are asked for: ndimage takes a tenth of a second
import torch

from data_processing.geometry.connected import reached_from_corner
from data_processing.occupancy.packed_grids import WORD, dilate_bits, near_blocks, pack, step_bits, unpack
from data_processing.occupancy.scan_conversion import blocked_edges, grid_crossings
from data_processing.occupancy.surface_voxels import corner_bounds, touched_cells
from isofield.runtime.compiled import spares_kernels

GIVE_BACK_CELLS = 3  # how far into the walls the flood may go, in cells of the closing grid


def enclosed_voxels(triangles_F33: torch.Tensor, resolution: int, *, closing: int) -> torch.Tensor:
    """Voxels (R, R, R) bool that triangles (F, 3, 3) in cube coordinates enclose, voids included.

    `closing`: resolution of the walls (at most R is used): gaps narrower than 1 / closing do not leak.
    """
    # Walls on the coarse grid keep the flood out of narrow gaps.
    coarse = min(resolution, closing)
    walls = touched_cells(triangles_F33, coarse)
    index = ((torch.arange(resolution, device=walls.device) + 0.5) * coarse / resolution).long()
    walls_fine, outside = _enlarge(walls, index), _enlarge(reached_from_border(~walls), index)
    # The walls are thick: outside of the surface they are given back, step by step, without crossing a triangle.
    free = [~blocked_edges(triangles_F33, resolution, axis=axis) for axis in range(3)]
    steps = math.ceil(GIVE_BACK_CELLS * resolution / coarse)
    if outside.device.type == "cpu" and resolution % WORD == 0:
        bits, walls_bits, *ways = (pack(grid.numpy()) for grid in (outside, walls_fine, *free))
        for _ in range(steps):
            bits |= step_bits(bits, ways) & walls_bits
        return torch.from_numpy(~unpack(bits))
    for _ in range(steps):
        outside |= _step_once(outside, free) & walls_fine
    return ~outside


def reached_from_border(passable_RRR: torch.Tensor) -> torch.Tensor:
    """Passable cells (R, R, R) bool that a path over faces joins to the outside of the grid."""
    # Around the box of what stops it the flood is everywhere.
    box = _box_of(~passable_RRR)
    reached_RRR = passable_RRR.clone()
    if box is not None:
        reached_RRR[box] = _reached_in_box(passable_RRR[box])
    return reached_RRR


def _box_of(cells_RRR: torch.Tensor) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds all cells that are set; None where there are none."""
    columns_RR = cells_RRR.any(2)
    along = columns_RR.any(1), columns_RR.any(0), cells_RRR.any(0).any(0)
    places = [line_R.nonzero().squeeze(1) for line_R in along]
    if len(places[0]) == 0:
        return None
    x, y, z = (slice(int(place[0]), int(place[-1]) + 1) for place in places)
    return x, y, z


def _reached_in_box(passable_RRR: torch.Tensor) -> torch.Tensor:
    # A border of passable cells joins all that the outside reaches into one piece, that of the corner.
    padded = torch.nn.functional.pad(passable_RRR, (1,) * 6, value=True)
    passable = padded.cpu().numpy()
    # For a few grids numpy is there sooner; of many, each is done in two thirds of the time by one sweep.
    if spares_kernels():
        reached = reached_from_corner(passable)
    else:
        labels, _ = scipy.ndimage.label(passable)
        reached = labels == labels[0, 0, 0]
    inner = torch.from_numpy(reached[1:-1, 1:-1, 1:-1].copy())
    return inner.to(passable_RRR.device)


def fill_voids(occupied_RRR: torch.Tensor) -> torch.Tensor:
    """The same solid without voids: voxels that the outside does not reach over faces become solid."""
    return ~reached_from_border(~occupied_RRR)


def thin_parts(occupied_RRR: torch.Tensor, triangles_F33: torch.Tensor) -> torch.Tensor | None:
    """Voxels (R, R, R) bool to add so that parts thinner than a voxel do not vanish; None when there are none.

    Only away from the core (more than a voxel from any solid block of 2x2x2), so ordinary solids are never dilated:
    1. sheets: a voxel that holds a crossing of a triangle with a line between two neighbouring centres, both empty;
    2. rods: a voxel that a triangle touches, with nothing solid in its 3x3x3 neighbourhood after rule 1.
    """
    # Ordinary triangles lie next to thick parts: leaving them out early makes the common case quick.
    size = len(occupied_RRR)
    packed = occupied_RRR.device.type == "cpu" and size % WORD == 0
    near_core = (
        torch.from_numpy(unpack(near_blocks(pack(occupied_RRR.numpy())))) if packed else near_core_of(occupied_RRR)
    )
    triangles_F33 = triangles_F33[_leaves(near_core, triangles_F33)]
    if len(triangles_F33) == 0:
        return None
    added = torch.zeros_like(occupied_RRR)
    for axis in range(3):
        _add_sheets(added, occupied_RRR, triangles_F33, axis)
    added &= ~near_core
    filled = occupied_RRR | added
    around = torch.from_numpy(unpack(dilate_bits(pack(filled.numpy())))) if packed else dilate(filled)
    around |= near_core
    added |= touched_cells(triangles_F33, size, skipped_RRR=around) & ~around
    return added


def _add_sheets(added: torch.Tensor, occupied: torch.Tensor, triangles: torch.Tensor, axis: int) -> None:
    size = len(occupied)
    along, first, second = size ** (2 - axis), size ** (2 - (axis + 1) % 3), size ** (2 - (axis + 2) % 3)
    flat, target = occupied.view(-1), added.view(-1)
    for crossing in grid_crossings(triangles, size, axis=axis):
        line = crossing.line_H2[:, 0] * first + crossing.line_H2[:, 1] * second
        # Crossings outside of the grid belong to no voxel; beyond its ends nothing is solid.
        within = (crossing.height_H > -0.5) & (crossing.height_H < size - 0.5)
        line, height = line[within], crossing.height_H[within]
        upper = height.ceil().long()
        solid_above = (upper < size) & flat[line + upper.clamp(max=size - 1) * along]
        solid_below = (upper > 0) & flat[line + (upper - 1).clamp(min=0) * along]
        # Both neighbours empty: the sheet would vanish. The voxel in which the crossing lies keeps it.
        holder = (height + 0.5).floor().long().clamp(0, size - 1)
        target[(line + holder * along)[~(solid_above | solid_below)]] = True


def near_core_of(occupied: torch.Tensor) -> torch.Tensor:
    """Voxels within one voxel of a solid block of 2x2x2."""
    block = occupied
    for axis in range(3):
        size = block.shape[axis] - 1
        block = block.narrow(axis, 0, size) & block.narrow(axis, 1, size)
    for axis in range(3):  # a block at b holds voxels b and b + 1 and is near b - 1 to b + 2
        size = block.shape[axis]
        padded = torch.nn.functional.pad(block, [2 if d // 2 == 2 - axis else 0 for d in range(6)])
        pairs = padded.narrow(axis, 0, size + 3) | padded.narrow(axis, 1, size + 3)
        block = pairs.narrow(axis, 0, size + 1) | pairs.narrow(axis, 2, size + 1)
    return block


def _leaves(near_core: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Triangles that may touch a voxel away from the core: all but small ones whose corner voxels are near it."""
    size = len(near_core)
    lower, upper = (((bound + 0.5) * size).floor().long() for bound in corner_bounds(triangles))
    # A triangle of at most two voxels along each axis touches no voxel but the eight of its box's corners, so that
    # eight looks decide; a larger one is kept without a look.
    small = (upper - lower <= 1).all(1)
    inside = torch.ones_like(small)
    low, high = lower.clamp(0, size - 1), upper.clamp(0, size - 1)
    for corner in range(8):
        x, y, z = ((high if corner >> d & 1 else low)[:, d] for d in range(3))
        inside &= near_core[x, y, z]
    return ~(small & inside)


def dilate(grid: torch.Tensor) -> torch.Tensor:
    """Voxels (..., R, R, R) with any of their 3x3x3 neighbourhood set."""
    for axis in (-3, -2, -1):
        size = grid.shape[axis] - 1
        grown = grid.clone()
        grown.narrow(axis, 1, size).logical_or_(grid.narrow(axis, 0, size))
        grown.narrow(axis, 0, size).logical_or_(grid.narrow(axis, 1, size))
        grid = grown
    return grid


def _step_once(reached: torch.Tensor, free: list[torch.Tensor]) -> torch.Tensor:
    """Voxels that one step from `reached` along an edge that no triangle crosses leads to."""
    step = torch.zeros_like(reached)
    size = len(reached) - 1
    for axis in range(3):
        way = free[axis].narrow(axis, 0, size)
        step.narrow(axis, 1, size).logical_or_(reached.narrow(axis, 0, size) & way)
        step.narrow(axis, 0, size).logical_or_(reached.narrow(axis, 1, size) & way)
    return step


def _enlarge(grid: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return grid[index][:, index][:, :, index].contiguous()
