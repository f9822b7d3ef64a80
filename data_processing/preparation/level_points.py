"""Labelled points out of a 256^3 occupancy grid, at three levels of detail, and the side-view carving before it.

IM-NET (Chen and Zhang, CVPR 2019) and its published data: a point is a voxel of the 256^3 grid, its value the value
of the level's max-pooled cell that it lies in. Runs on the grid's device; all random numbers are drawn on the CPU, so
the points depend on the grid, the seed and the name alone.

P: points of a level. L: cells along an axis of a level. k: voxels along an axis of a cell.
"""

import math
from dataclasses import dataclass

import torch

from isofield.runtime.seeds import torch_generator

RESOLUTION = 256
LEVELS = {16: 4096, 32: 4096, 64: 16384}
WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
RANDOM_BITS = 62
VOXELS_AT_ONCE = 1 << 26  # of cells whose first draw missed: some bytes each


@dataclass(frozen=True)
class Level:
    """The points of one level, in random order: any slice is a fair sample of the whole."""

    points_P3: torch.Tensor  # uint8 voxel indices (i, j, k) into the 256^3 grid
    values_P: torch.Tensor  # uint8 0/1, the value of the point's cell
    mixed_cells: int  # cells near the surface, each of which has a point but for
    dropped_cells: int  # these: more were mixed than the level has points


def max_pool(grid: torch.Tensor, resolution: int) -> torch.Tensor:
    """1 where any voxel of a cell is not 0: (..., R, R, R) uint8 to (..., L, L, L) uint8 0/1.

    Voxels are OR-ed as words of up to eight. Raises ValueError where L does not divide R.
    """
    *shapes, size = grid.shape[:-2]
    if resolution < 1 or size % resolution:
        raise ValueError(f"cannot pool {size}^3 voxels to {resolution}^3: expected a divisor of {size}")
    side = size // resolution
    words = _as_words(grid, side).view(-1, side, resolution, side, resolution, side // math.gcd(side, 8))
    for axis in (1, 2, 3):  # the first OR reads everything, in rows; each one removes an axis
        words = _or_along(words, axis)
    return words.ne(0).to(torch.uint8).view(*shapes, *(resolution,) * 3)


def sample_levels(grid_RRR: torch.Tensor, *, seed: int, name: str) -> dict[int, Level]:
    """Points of all LEVELS from a (256, 256, 256) uint8 grid, on its device.

    Cells with a mixed 3x3x3 neighbourhood come first, then random other cells up to the level's number; each gives one
    point, uniform over the cell's voxels that have the cell's value. `seed` and `name` (of the shape) key the draws.
    """
    assert grid_RRR.shape == (RESOLUTION,) * 3 and grid_RRR.dtype == torch.uint8
    # From fine to coarse, as each level is pooled from the one before: 64^3, 32^3, 16^3.
    grid, cells, levels = grid_RRR.contiguous(), grid_RRR, {}
    for resolution, count in sorted(LEVELS.items(), reverse=True):
        cells = max_pool(cells, resolution)
        generator = torch_generator(seed, name, f"level-{resolution}")
        mixed_C = mixed_cells(cells).flatten()
        near = mixed_C.nonzero()[:, 0]
        position_P = random_positions(len(near), len(mixed_C), count, generator).to(grid.device)
        chosen_P = torch.cat([near, (~mixed_C).nonzero()[:, 0]])[position_P] if len(near) < count else near[position_P]
        values_P = cells.flatten()[chosen_P]
        random_P = random_words(count, generator).to(grid.device)
        points_P3 = draw_voxels(grid, chosen_P, values_P, resolution, random_P)
        levels[resolution] = Level(points_P3, values_P, len(near), max(0, len(near) - count))
    return {resolution: levels[resolution] for resolution in LEVELS}


def mixed_cells(cells: torch.Tensor) -> torch.Tensor:
    """True where the 3x3x3 cells around are neither all 0 nor all 1, of (..., L, L, L) cells.

    Never in the outermost layer, as published.
    """
    # A sum over 3x3x3 is three sums over three: 0 and 27 are the cells whose surroundings are all alike.
    sums = cells
    for axis in (-3, -2, -1):
        inner = sums.shape[axis] - 2
        sums = sums.narrow(axis, 0, inner) + sums.narrow(axis, 1, inner) + sums.narrow(axis, 2, inner)
    mixed = torch.zeros_like(cells, dtype=torch.bool)
    mixed[..., 1:-1, 1:-1, 1:-1] = (sums > 0) & (sums < 27)
    return mixed


def carve_from_top(grid_RRR: torch.Tensor) -> torch.Tensor:
    """Fill what lies under something and between its sides: a (R, R, R) uint8 0/1 grid, of the same device.

    Down each column (i, k) from the highest j: a free voxel under an occupied or just filled one is filled if it lies
    strictly between the first and last occupied voxel along i and along k; the first that does not ends the filling,
    until the column meets the next occupied voxel. Extents are those of the input, not of what was filled.
    """
    # Layers j first, and in words of eight voxels: the walk down is two small operations a layer.
    occupied = grid_RRR.ne(0).transpose(0, 1).contiguous()
    open_sides = (_between(occupied, 1) & _between(occupied, 2)).view(torch.uint8)
    filled, may_fill = (_as_words(part, occupied.shape[2]) for part in (occupied.view(torch.uint8), open_sides))
    above = torch.zeros_like(filled[0])
    for layer, free in zip(reversed(filled.unbind(0)), reversed(may_fill.unbind(0)), strict=True):
        above = layer.bitwise_or_(above & free)
    return filled.view(torch.uint8).transpose(0, 1).contiguous()


def _or_along(words: torch.Tensor, axis: int) -> torch.Tensor:
    # A loop of whole-tensor operations: torch has no OR over an axis.
    first, *rest = words.unbind(axis)
    result = first.clone()
    for part in rest:
        result |= part
    return result


def random_positions(near: int, total: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Which `count` of `total` cells are taken, in random order (count,), where the `near` mixed ones come first.

    All mixed cells and random others, or a uniform subset of the mixed ones. On the CPU.
    """
    if near >= count:
        return _shuffled(near, count, generator)
    # Surface cells first, then a random few of the others, and all of them shuffled: a slice of the points is then a
    # sample of both kinds.
    chosen = torch.cat([torch.arange(near), near + _shuffled(total - near, count - near, generator)])
    return chosen[_shuffled(count, count, generator)]


def random_words(count: int, generator: torch.Generator) -> torch.Tensor:
    """What `draw_voxels` chooses voxels by: (count,) int64, on the CPU."""
    return torch.randint(0, 2**RANDOM_BITS, (count,), generator=generator)


def _shuffled(total: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` different numbers below `total` in random order, on the CPU."""
    return torch.randperm(total, generator=generator)[:count]


def draw_voxels(
    grid: torch.Tensor,
    cells_P: torch.Tensor,
    values_P: torch.Tensor,
    resolution: int,
    random_P: torch.Tensor,
    first_P: torch.Tensor | int = 0,
) -> torch.Tensor:
    """One voxel index (uint8) of each cell, uniform over those of the cell's value: (P, 3).

    The low bits of one random word choose among all voxels of the cell; where that one has the other value, the high
    bits choose among the voxels that match. Either way each matching voxel is equally likely. `grid`: 256^3 voxels, or
    several such grids one after the other, of which a cell's own begins at voxel `first`.
    """
    # One random word a point: the low bits, and what is above them, are independent.
    side = RESOLUTION // resolution
    corner_P = _linear(*(part * side for part in _axes(cells_P, resolution))) + first_P
    voxel_P = corner_P + _linear(*_axes(random_P % side**3, side))
    missed = (grid.view(-1)[voxel_P].ne(0) != values_P.ne(0)).nonzero()[:, 0]
    # Only cells of value 1 hold both values, so what matches is what is not 0.
    for part in missed.split(VOXELS_AT_ONCE // side**3):
        rank = _gather_cells(grid, corner_P[part], side).ne(0).cumsum(1, dtype=torch.int16)
        wanted = (random_P[part] // side**3) % rank[:, -1] + 1
        place = torch.searchsorted(rank, wanted.to(torch.int16)[:, None])[:, 0]
        voxel_P[part] = corner_P[part] + _linear(*_axes(place, side))
    return torch.stack(_axes(voxel_P - first_P, RESOLUTION), dim=1).to(torch.uint8)


def _gather_cells(grid: torch.Tensor, corner_C: torch.Tensor, side: int) -> torch.Tensor:
    """The voxels of the cells whose first voxel is `corner_C`: (C, side^3), fetched in words."""
    words = _as_words(grid, side)
    width = grid.shape[-1] // words.shape[-1]
    first = torch.arange(0, side**3, width, device=grid.device)
    index = (corner_C[:, None] + _linear(*_axes(first, side))) // width
    return words.view(-1)[index].view(torch.uint8)


def _as_words(cells: torch.Tensor, side: int) -> torch.Tensor:
    """The grid with the widest words along its last axis that do not cross a cell of `side` voxels."""
    width = math.gcd(side, 8)
    words = cells.contiguous()
    words = words.clone() if words.storage_offset() % width else words  # a word starts at a multiple of its size
    return words.view(WORDS[width])


def _axes(index: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(i, j, k) of C-order indices into size^3."""
    return index // size**2, index // size % size, index % size


def _linear(i: torch.Tensor, j: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """C-order index into the 256^3 grid."""
    return (i * RESOLUTION + j) * RESOLUTION + k


def _between(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """True strictly between the first and the last True along an axis."""
    size = mask.shape[axis]
    dtype = torch.uint8 if size <= 256 else torch.int16
    place = torch.arange(size, device=mask.device).to(dtype).view([-1 if a == axis else 1 for a in range(mask.ndim)])
    last = (mask * place).amax(axis, keepdim=True)
    first = size - 1 - (mask * (size - 1 - place)).amax(axis, keepdim=True)
    return (place > first) & (place < last)
