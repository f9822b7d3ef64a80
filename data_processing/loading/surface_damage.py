"""Masks whose surface is moved by parts of cells or more: outwards, inwards, or in and out by fine noise.

By distances of cells from the surface, in whole sixteenths: every device finds the same cells. Cells farther than
`REACH` never change.
"""

from collections.abc import Callable

import torch

from isofield.runtime.counter_random import derive_keys, words
from isofield.runtime.device_tensors import constant

REACH = 4  # cells: distances are known up to here
MOST = REACH - 1.0  # cells that a surface may be moved
UNIT = 16  # distances are in sixteenths of a cell
BEYOND = REACH * UNIT  # what lies farther
FAR = 100  # squared distance of what was not reached; in uint8 three squares more have room
DEVIATION = 17.0  # of bytes after `_blurred`: 255 / sqrt(12) * (6/16)^(3/2)
BLURS = 64  # what `_blurred` multiplies with


def grow(masks_BRRR: torch.Tensor, cells_B: torch.Tensor) -> torch.Tensor:
    """Masks (B, X, Y, Z) uint8 0/1 whose surface is moved outwards by so many cells; by 0 they stay as they are.

    Distances between centres of cells come in steps; blurred they order the cells of a layer too.
    """

    def grow(near_BXYZ: torch.Tensor, _: tuple[slice, ...]) -> torch.Tensor:
        distance_BXYZ = signed_sixteenths(near_BXYZ)
        added = _blurred(distance_BXYZ) < (cells_B * (UNIT * BLURS)).round().short()[:, None, None, None]
        return near_BXYZ | (added & (distance_BXYZ < BEYOND) & (cells_B > 0)[:, None, None, None])

    return _near_the_masks(grow, masks_BRRR)


def shrink(masks_BRRR: torch.Tensor, cells_B: torch.Tensor) -> torch.Tensor:
    """Masks whose surface is moved inwards; by 0 they stay as they are. The border of the grid is no surface."""

    def shrunk(near_BXYZ: torch.Tensor, _: tuple[slice, ...]) -> torch.Tensor:
        distance_BXYZ = signed_sixteenths(near_BXYZ)
        lost = _blurred(distance_BXYZ) > (cells_B * (-UNIT * BLURS)).round().short()[:, None, None, None]
        return near_BXYZ * ~(lost & (distance_BXYZ > -BEYOND) & (cells_B > 0)[:, None, None, None])

    return _near_the_masks(shrunk, masks_BRRR)


def fray(masks_BRRR: torch.Tensor, cells_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    """Masks whose surface is moved by noise of the standard deviation `cells_B`, which varies from cell to cell."""

    def fray(near_BXYZ: torch.Tensor, box: tuple[slice, ...]) -> torch.Tensor:
        distance_BXYZ = signed_sixteenths(near_BXYZ)
        noise_BXYZ = (_blurred(_bytes(keys_B, masks_BRRR.shape[1:], box)).float() / BLURS - 127.5) / DEVIATION
        inside = distance_BXYZ.float() + noise_BXYZ * (cells_B * UNIT)[:, None, None, None] < 0
        return torch.where(distance_BXYZ.abs() < BEYOND, inside.to(near_BXYZ.dtype), near_BXYZ)

    return _near_the_masks(fray, masks_BRRR)


def signed_sixteenths(masks_BXYZ: torch.Tensor) -> torch.Tensor:
    """Distance to the surface in sixteenths of a cell, int16, negative inside; BEYOND from REACH cells on.

    The surface lies half-way between centres of cells on its two sides.
    """
    # Squared distances of cells are few whole numbers: their roots are a table, which every device reads alike. Half a
    # cell less, as the surface lies between two centres.
    steps = [round(UNIT * squared**0.5) - UNIT // 2 for squared in range(REACH * REACH)] + [BEYOND]
    table = constant(steps, masks_BXYZ.device, torch.int16)
    outside, inside = (
        table[_squared_distances(marked).clamp(max=REACH * REACH).int()] for marked in (masks_BXYZ, 1 - masks_BXYZ)
    )
    return torch.where(masks_BXYZ.bool(), -inside, outside)


def _squared_distances(marked_BXYZ: torch.Tensor) -> torch.Tensor:
    """Squared distance to the nearest marked cell, uint8; exact below REACH^2. Axis by axis (Saito, Toriwaki 1994)."""
    distance_BXYZ = (1 - marked_BXYZ) * FAR
    for axis in (1, 2, 3):
        # Squared distances add over the axes: along each one every cell takes the least of its neighbours' plus the
        # square of the way.
        before, distance_BXYZ, size = distance_BXYZ, distance_BXYZ.clone(), distance_BXYZ.shape[axis]
        for step in range(1, min(REACH, size)):
            for start, source in ((step, 0), (0, step)):
                place = distance_BXYZ.narrow(axis, start, size - step)
                torch.minimum(place, before.narrow(axis, source, size - step) + step * step, out=place)
    return distance_BXYZ


def _blurred(values_BXYZ: torch.Tensor) -> torch.Tensor:
    """64 times the values under (1, 2, 1) / 4 along each axis, int16: about 0.7 cells wide."""
    values = values_BXYZ.short()
    for axis in (1, 2, 3):
        last = values.shape[axis] - 1
        total = values * 2
        total.narrow(axis, 1, last).add_(values.narrow(axis, 0, last))
        total.narrow(axis, 0, last).add_(values.narrow(axis, 1, last))
        total.select(axis, 0).add_(values.select(axis, 0))
        total.select(axis, last).add_(values.select(axis, last))
        values = total
    return values


def _bytes(keys_B: torch.Tensor, shape: tuple[int, ...], box: tuple[slice, ...]) -> torch.Tensor:
    """A random byte for each cell of a box of the grid: three planes of them, of which each cell joins one of each.

    A hash of each cell of a volume would cost more than all the rest.
    """
    joined = torch.zeros((), dtype=torch.uint8, device=keys_B.device)
    for axis in range(3):
        rows, columns = (other for other in range(3) if other != axis)
        plane = words(derive_keys(keys_B, f"plane {axis}"), shape[rows] * shape[columns]) >> 40 & 0xFF
        plane_BRR = plane.to(torch.uint8).view(-1, shape[rows], shape[columns])[:, box[rows], box[columns]]
        joined = joined ^ plane_BRR.unsqueeze(axis + 1)
    return joined


def _near_the_masks(
    change: Callable[[torch.Tensor, tuple[slice, ...]], torch.Tensor], masks_BRRR: torch.Tensor
) -> torch.Tensor:
    """A change of the cells near the masks. On a CPU only their common box is looked at."""
    # A box needs numbers on the host: on a device the whole grid is less time than the wait for them.
    box = (slice(None),) * 3 if waits(masks_BRRR) else _box(masks_BRRR, REACH + 2)
    changed = masks_BRRR.clone()
    part = (slice(None), *box)
    changed[part] = change(masks_BRRR[part], box)
    return changed


def waits(values: torch.Tensor) -> bool:
    """Whether a device would have to be waited for to learn a number that sizes depend on."""
    return values.device.type != "cpu"


def _box(masks_BRRR: torch.Tensor, margin: int) -> tuple[slice, ...]:
    """The box of all masks, grown; of a batch of empty ones a cell."""
    occupied = masks_BRRR.amax(0)
    sides = []
    for axis in range(3):
        there = occupied.amax([other for other in range(3) if other != axis]).nonzero()[:, 0].tolist() or [0]
        sides.append(slice(max(0, there[0] - margin), there[-1] + 1 + margin))
    return tuple(sides)
