"""Masks damaged as segmentations go wrong: cut off, slices lost, a part moved, grown, shrunk, frayed, balls too many.

Which kinds, how strong and where is drawn anew wherever the key is new, all B shapes of a batch at once, on the device
they are on; the same mask on every device and in every batch (`draws`). Noise in the manner of Perlin: see
mask_deformation.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

from data_processing.loading.surface_damage import MOST, fray, grow, shrink, waits
from isofield.runtime.counter_random import derive_keys, directions, integers, uniforms

THICKEST = 4  # planes of cells that are lost together
INNER = (0.2, 0.8)  # where along its normal the plane of a slip may lie, as shares of the extent
AWAY = 1.5  # radii that the middle of an added ball is at most away from the surface


@dataclass(frozen=True)
class DamageConfig:
    """The `data.input.deform.damage:` section. Of each kind the greatest strength: uniform from 0 on; 0: not that kind.

    Edges are the mean edge of the shape's box; cells those of the grid that is damaged.
    """

    share: float = 0.0  # of the samples that are damaged at all
    at_once: int = 2  # kinds that one of them suffers: 1 to so many, equally often
    grow: float = 2.5  # the surface moved outwards, in cells
    shrink: float = 2.5  # inwards
    rough: float = 2.5  # in and out by noise of about two cells; its standard deviation in cells
    ball: float = 0.4  # a ball added at the surface or away from it; its radius in edges
    bite: float = 0.45  # a ball about a place of the surface removed
    slip: float = 0.2  # one side of a plane moved along it, in edges
    slices: float = 0.4  # planes across an axis lost, in runs of one to four; the share of them
    cut: float = 0.4  # lost beyond a plane of any direction; the share of the extent across it

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 1 <= self.at_once <= len(KINDS)):
            raise ValueError(
                f"deform.damage: share must be in [0, 1] and at_once in 1..{len(KINDS)}; "
                f"got {self.share} and {self.at_once}"
            )
        for kind in KINDS:
            most = MOST if kind in ("grow", "shrink", "rough") else 0.9
            if not 0 <= getattr(self, kind) <= most:
                raise ValueError(f"deform.damage: {kind} must be in [0, {most}], got {getattr(self, kind)}")
        if self.share and not self.kinds:
            raise ValueError("deform.damage: a share of the samples is damaged, but every kind is 0")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those with a strength, in the order in which they are done."""
        return tuple(kind for kind in KINDS if getattr(self, kind))


KINDS = tuple(field.name for field in fields(DamageConfig) if field.name not in ("share", "at_once"))


def damage(masks_BRRR: torch.Tensor, section: DamageConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """Masks (B, R, R, R) uint8 0/1, some of them damaged: the same type and shape.

    An empty mask stays empty; one that would become empty stays as it was.
    """
    damaged_BRRR = masks_BRRR
    for kind, strength_B in strengths(section, keys_B).items():
        damaged_BRRR = _where_drawn(CHANGES[kind], damaged_BRRR, strength_B, derive_keys(keys_B, kind))
    # An input without a voxel teaches nothing.
    left_B = damaged_BRRR.amax((1, 2, 3), keepdim=True).bool()
    return torch.where(left_B, damaged_BRRR, masks_BRRR)


def strengths(section: DamageConfig, keys_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """(B,) float32 of each kind, 0 where it is not drawn."""
    kinds = section.kinds
    # A random order of the kinds: the first few of it are suffered. Comparing ranks needs no loop over shapes.
    order_BK = uniforms(derive_keys(keys_B, "kinds"), len(kinds))
    earlier_BK = (order_BK[:, None, :] < order_BK[:, :, None]).sum(2)
    several_B = 1 + integers(derive_keys(keys_B, "at once"), 1, min(section.at_once, len(kinds)))[:, 0]
    suffers_B = uniforms(derive_keys(keys_B, "share"), 1)[:, 0] < section.share
    drawn_BK = suffers_B[:, None] & (earlier_BK < several_B[:, None])
    strength_BK = uniforms(derive_keys(keys_B, "strengths"), len(kinds)) * drawn_BK
    return {kind: strength_BK[:, number] * getattr(section, kind) for number, kind in enumerate(kinds)}


Change = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _where_drawn(
    change: Change, masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor
) -> torch.Tensor:
    """The masks with a strength changed. Of strength 0 every change leaves a mask as it is.

    Elsewhere than on a CPU all go through it: nothing waits there to learn how many there are.
    """
    if waits(masks_BRRR):
        return change(masks_BRRR, strength_B, keys_B)
    rows = strength_B.nonzero()[:, 0]
    if not len(rows):
        return masks_BRRR
    return masks_BRRR.index_copy(0, rows, change(masks_BRRR[rows], strength_B[rows], keys_B[rows]))


def _cut(masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    height_BRRR, low_B, high_B = _heights(masks_BRRR, directions(keys_B, 1)[:, 0])
    return masks_BRRR * (height_BRRR <= _wide(high_B - (high_B - low_B) * strength_B))


def _lose_slices(masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    # Planes come in runs of one thickness, and each run is lost or stays as a whole.
    axis_B = integers(derive_keys(keys_B, "axis"), 1, 3)[:, 0]
    thick_B = 1 + integers(derive_keys(keys_B, "thickness"), 1, THICKEST)
    for axis, size in enumerate(masks_BRRR.shape[1:]):
        run_BR = torch.arange(size, device=keys_B.device) // thick_B
        lost_BR = uniforms(derive_keys(keys_B, "runs"), size).gather(1, run_BR) < strength_B[:, None]
        kept_BR = ~(lost_BR & (axis_B == axis)[:, None])
        masks_BRRR = masks_BRRR * kept_BR.view([-1, *(size if axis == other else 1 for other in range(3))])
    return masks_BRRR


def _slip(masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    normal_B3, other_B3 = directions(keys_B, 2).double().unbind(1)
    height_BRRR, low_B, high_B = _heights(masks_BRRR, normal_B3.float())
    place_B = INNER[0] + (INNER[1] - INNER[0]) * uniforms(derive_keys(keys_B, "place"), 1)[:, 0]
    piece_BRRR = masks_BRRR * (height_BRRR > _wide(low_B + (high_B - low_B) * place_B))
    # Any direction within the plane: another random one without its part along the normal.
    along_B3 = other_B3 - _dot(normal_B3, other_B3)[:, None] * normal_B3
    along_B3 = along_B3 / _dot(along_B3, along_B3).sqrt().clamp(min=1e-6)[:, None]
    way_B3 = (along_B3 * (strength_B * _boxes(masks_BRRR)[1])[:, None]).round().long()
    return (masks_BRRR - piece_BRRR) | _moved(piece_BRRR, way_B3)


def _add_ball(masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    centre_B3, edge_B = _boxes(masks_BRRR)
    place_B3 = _surface_cells(masks_BRRR, derive_keys(keys_B, "place")).double()
    outwards_B3 = place_B3 - centre_B3
    outwards_B3 = outwards_B3 / _dot(outwards_B3, outwards_B3).sqrt().clamp(min=1e-6)[:, None]
    radius_B = strength_B * edge_B
    away_B = radius_B * AWAY * uniforms(derive_keys(keys_B, "away"), 1)[:, 0]
    return masks_BRRR | _balls(masks_BRRR, place_B3 + outwards_B3 * away_B[:, None], radius_B)


def _bite(masks_BRRR: torch.Tensor, strength_B: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    place_B3 = _surface_cells(masks_BRRR, derive_keys(keys_B, "place"))
    return masks_BRRR * ~_balls(masks_BRRR, place_B3.double(), strength_B * _boxes(masks_BRRR)[1])


CHANGES: dict[str, Change] = {
    "grow": lambda masks_BRRR, strength_B, keys_B: grow(masks_BRRR, strength_B),
    "shrink": lambda masks_BRRR, strength_B, keys_B: shrink(masks_BRRR, strength_B),
    "rough": fray,
    "ball": _add_ball,
    "bite": _bite,
    "slip": _slip,
    "slices": _lose_slices,
    "cut": _cut,
}


def _heights(masks_BRRR: torch.Tensor, normal_B3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Height (B, R, R, R) float32 in cells of every cell along a normal, and the lowest and highest (B,) of a mask."""
    x, y, z = (
        torch.arange(size, device=masks_BRRR.device) * normal_B3[:, axis, None]
        for axis, size in enumerate(masks_BRRR.shape[1:])
    )
    height_BRRR = x[:, :, None, None] + (y[:, :, None] + z[:, None, :])[:, None]
    there_BRRR = masks_BRRR.bool()
    low_B = torch.where(there_BRRR, height_BRRR, torch.inf).amin((1, 2, 3))
    return height_BRRR, low_B, torch.where(there_BRRR, height_BRRR, -torch.inf).amax((1, 2, 3))


def _boxes(masks_BRRR: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each mask's box the middle (B, 3) and the mean edge (B,), in cells, float64. Of an empty mask edge 0."""
    occupied_BXY, occupied_BYZ = masks_BRRR.amax(3), masks_BRRR.amax(1)
    lows, highs = [], []
    for occupied_BR in (occupied_BXY.amax(2), occupied_BXY.amax(1), occupied_BYZ.amax(1)):
        index_R = torch.arange(occupied_BR.shape[1], device=occupied_BR.device)
        lows.append(torch.where(occupied_BR.bool(), index_R, len(index_R)).amin(1))
        highs.append(torch.where(occupied_BR.bool(), index_R, -1).amax(1))
    low_B3, high_B3 = torch.stack(lows, 1), torch.stack(highs, 1)
    edge_B = (high_B3 - low_B3 + 1).clamp(min=0).sum(1).double() / 3
    return (low_B3 + high_B3).double() / 2, edge_B


def _surface_cells(masks_BRRR: torch.Tensor, keys_B: torch.Tensor) -> torch.Tensor:
    """One cell (B, 3) of each mask that has a face to the outside or to the border, all equally likely."""
    inner_BRRR = masks_BRRR.clone()
    for axis in (1, 2, 3):
        last = masks_BRRR.shape[axis] - 1
        inner_BRRR.narrow(axis, 1, last).mul_(masks_BRRR.narrow(axis, 0, last))
        inner_BRRR.narrow(axis, 0, last).mul_(masks_BRRR.narrow(axis, 1, last))
        inner_BRRR.select(axis, 0).zero_()
        inner_BRRR.select(axis, last).zero_()
    # The n-th surface cell is where the running count reaches n: a draw without a list of cells for each shape.
    count_BN = (masks_BRRR - inner_BRRR).flatten(1).cumsum(1, dtype=torch.int32)
    wanted_B1 = 1 + integers(keys_B, 1, count_BN[:, -1:].long().clamp(min=1))
    place_B = torch.searchsorted(count_BN, wanted_B1.int())[:, 0].clamp(max=count_BN.shape[1] - 1)
    _, rows, columns = masks_BRRR.shape[1:]
    return torch.stack([place_B // (rows * columns), place_B // columns % rows, place_B % columns], 1)


def _balls(masks_BRRR: torch.Tensor, centre_B3: torch.Tensor, radius_B: torch.Tensor) -> torch.Tensor:
    """Cells (B, R, R, R) bool nearer to a place than a radius."""
    x, y, z = (
        (torch.arange(size, device=masks_BRRR.device) - centre_B3[:, axis, None]).float() ** 2
        for axis, size in enumerate(masks_BRRR.shape[1:])
    )
    squared_BRRR = x[:, :, None, None] + (y[:, :, None] + z[:, None, :])[:, None]
    return squared_BRRR < _wide(radius_B.float() * radius_B.float())


def _moved(masks_BRRR: torch.Tensor, way_B3: torch.Tensor) -> torch.Tensor:
    """Masks moved by whole cells; what leaves the grid is lost."""
    rows = torch.arange(len(masks_BRRR), device=masks_BRRR.device)
    index, kept = [], []
    for axis, size in enumerate(masks_BRRR.shape[1:]):
        from_BR = torch.arange(size, device=masks_BRRR.device) - way_B3[:, axis, None]
        form = [-1, *(size if axis == other else 1 for other in range(3))]
        index.append(from_BR.clamp(0, size - 1).view(form))
        kept.append(((from_BR >= 0) & (from_BR < size)).view(form))
    return masks_BRRR[_wide(rows), *index] * kept[0] * kept[1] * kept[2]


def _dot(one_B3: torch.Tensor, other_B3: torch.Tensor) -> torch.Tensor:
    """Sums in one order on every device."""
    product_B3 = one_B3 * other_B3
    return product_B3[:, 0] + product_B3[:, 1] + product_B3[:, 2]


def _wide(values_B: torch.Tensor) -> torch.Tensor:
    return values_B[:, None, None, None]
