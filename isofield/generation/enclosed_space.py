"""Space that the points of a cloud enclose, where the field cannot tell whether it is inside.

What a network is shown of a solid are points of its surface; deep inside of it, many cells from all of them, it sees
nothing, and some fields tear there: the middle of a car, of a bottle, of a cushion comes out as air. Where points of
the whole surface were shown, they tell themselves what is deep: what the outside does not reach between them is on one
side of the surface, all of it, and the field's majority there says on which. Cracks and tunnels through the solid go,
and so do the surfaces around them that no shown point is near.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from data_processing.geometry.connected import connected_pieces, reached_from_corner
from data_processing.geometry.coordinates import voxel_index
from data_processing.occupancy.packed_grids import Bits, dilate_bits, pack, unpack
from isofield.extraction.lattice import Field, evaluate_field

CELLS = 64
# Of a random cloud: gaps between its points are seldom wider than four times the usual distance to the nearest other
# one. Where a gap is left open all the same, a wider closing shuts it, at the price of what is less deep.
CLOSINGS = (4.0, 5.0, 6.0, 8.0)
KEPT = 2.5  # so many of these distances from all points, and a cell at least, the field is left as it is
FEWEST = 8  # cells of a space that is looked at
ASKED = 7  # of the cells of an enclosed space, each so many-th is asked
MEASURED = 256  # points whose nearest other one is looked for
FORCED = 1.0  # how far beyond the level the field is put


def fill_enclosed(
    field: Field,
    points_N3: NDArray[np.floating],
    *,
    iso_level: float,
    batch_points: int,
    device: torch.device,
) -> tuple[Field, str]:
    """The field, inside all over in spaces that the points enclose and where it was mostly inside; and what changed.

    `points_N3` (N, 3) in cube coordinates are of the whole surface. The same field, and "", where nothing is enclosed,
    and where the field is of one mind. A space of which less than half is inside stays: bars and nets enclose air.
    """
    points = np.asarray(points_N3, dtype=np.float64)
    if len(points) < 2:
        return field, ""
    spacing = _usual_spacing(points) * CELLS
    walls = _marked(points)
    kept = max(1, round(KEPT * spacing - 0.5))
    closings = sorted({max(kept + 1, round(closing * spacing - 0.5)) for closing in CLOSINGS})
    filled, steps = np.zeros_like(walls), 0
    for closing in closings:
        while steps < closing:
            walls, steps = dilate_bits(walls), steps + 1
        for space in _enclosed(walls):
            if _is_torn(field, space, iso_level=iso_level, batch_points=batch_points, device=device):
                # By as many steps as it is farther from the points than what is kept: never nearer.
                for _ in range(closing - kept):
                    space = dilate_bits(space)
                filled |= space
    if not filled.any():
        return field, ""
    cells_RRR = unpack(filled)
    # Half a cell of slope: the edge of what is filled is a surface where it meets a crack.
    share_RRR = F.avg_pool3d(torch.from_numpy(cells_RRR).float()[None, None], 3, stride=1, padding=1)
    # grid_sample's last axis is its x.
    raised = (FORCED * (2 * share_RRR - 1)).permute(0, 1, 4, 3, 2).contiguous().to(device)

    def filled_field(asked_N3: torch.Tensor) -> torch.Tensor:
        values_N = field(asked_N3)
        places = (2 * asked_N3)[None, None, None].to(raised.dtype)
        by_N = F.grid_sample(raised, places, padding_mode="border", align_corners=False).view(-1)
        return torch.where(by_N > 0, torch.maximum(values_N, (iso_level + by_N).to(values_N.dtype)), values_N)

    note = f"filled {cells_RRR.mean():.1%} of the cube: torn inside, and enclosed by the shown points"
    return filled_field, note


def _usual_spacing(points_N3: NDArray[np.float64]) -> float:
    """Median distance of a point to the nearest one elsewhere, of some of them; 0 where all are one."""
    nearest = []
    for point_3 in points_N3[:: max(1, len(points_N3) // MEASURED)]:
        distance_N = ((points_N3 - point_3) ** 2).sum(1)
        nearest.append(np.min(distance_N, where=distance_N > 0, initial=np.inf))
    usual = float(np.sqrt(np.median(nearest)))
    return usual if np.isfinite(usual) else 0.0


def _marked(points_N3: NDArray[np.float64]) -> Bits:
    """Cells (64, 64, 64) that hold a point, in bits; points beyond the cube mark its border."""
    cells = np.zeros((CELLS,) * 3, dtype=bool)
    x, y, z = voxel_index(torch.from_numpy(points_N3), CELLS).numpy().T
    cells[x, y, z] = True
    return pack(cells)


def _enclosed(walls: Bits) -> list[Bits]:
    """Spaces between walls that the outside does not reach, each by itself."""
    # In numpy, as what follows: scipy's labels take a quarter of a second to load.
    free = np.pad(~unpack(walls), 1, constant_values=True)  # beyond the cube it is free
    enclosed = (free & ~reached_from_corner(free))[1:-1, 1:-1, 1:-1]
    places = np.flatnonzero(enclosed)
    number = np.full(enclosed.shape, -1)
    number.ravel()[places] = np.arange(len(places))
    # Cells that share a face are one space.
    first, second = [], []
    for axis in range(3):
        low, high = (np.moveaxis(number, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        beside = (low >= 0) & (high >= 0)
        first.append(low[beside])
        second.append(high[beside])
    piece = connected_pieces(np.concatenate(first), np.concatenate(second), len(places))
    sizes = np.bincount(piece, minlength=1)
    spaces = []
    for chosen in np.flatnonzero(sizes >= FEWEST):
        space = np.zeros_like(enclosed)
        space.ravel()[places[piece == chosen]] = True
        spaces.append(pack(space))
    return spaces


def _is_torn(field: Field, space: Bits, *, iso_level: float, batch_points: int, device: torch.device) -> bool:
    """Whether the field is inside in more than half of a space, and not in all of it."""
    places_N3 = np.argwhere(unpack(space))[::ASKED]
    asked_N3 = torch.from_numpy((places_N3 + 0.5) / CELLS - 0.5).float().to(device)
    with torch.no_grad():
        inside = evaluate_field(field, asked_N3, batch_points=batch_points) > iso_level
    share = float(inside.float().mean())
    return 0.5 < share < 1
