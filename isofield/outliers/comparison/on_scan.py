"""A mask against what its prior makes of it, on the scan's own grid, and where they disagree most.

The prior's field is evaluated at voxel centres wherever the judged grid's cells around them do not all say the same;
elsewhere those cells have said it. Distances are those of isofield/metrics/masks.py, in mm.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import transform_points
from data_processing.medical.crops import Crop
from isofield.extraction.lattice import evaluate_field
from isofield.metrics.masks import compare_masks
from isofield.outliers.comparison.maps import box_of
from isofield.outliers.scoring.cube_masks import CubeMask, box_of_cells
from isofield.outliers.scoring.reconstruction import SURE, Reconstruction, probability

Sign = Literal["extra", "missing"]
STEPS = 100  # of the signed disagreement, in a byte
MARGIN = 2  # voxels, or cells, around mask and reconstruction
SLAB = 1 << 20  # voxel centres at once
DEEP = 1.0  # cells from the other surface beyond which a disagreement is one of its own


@dataclass(frozen=True, eq=False)
class Compared:
    """Both in one box of the canonical scan. `disagreement`: int8, hundredths; positive is extra, negative missing."""

    mask: Crop
    rebuilt_XYZ: NDArray[np.uint8]
    disagreement_XYZ: NDArray[np.int8]
    metrics: dict[str, float]

    @property
    def agreement_XYZ(self) -> NDArray[np.uint8]:
        """1 where mask and reconstruction are both, 2 where only the mask is (extra), 3 where it is missing; else 0."""
        mask, rebuilt = self.mask.occupancy > 0, self.rebuilt_XYZ > 0
        return np.select([mask & rebuilt, mask, rebuilt], [1, 2, 3], 0).astype(np.uint8)

    @property
    def repaired_XYZ(self) -> NDArray[np.uint8]:
        """The mask, changed only where the prior is sure of the contrary: (X, Y, Z) of 0 and 1."""
        sure = np.abs(self.disagreement_XYZ) > round(SURE * STEPS)
        return np.asarray(self.mask.occupancy ^ sure, dtype=np.uint8)


@dataclass(frozen=True)
class Disagreement:
    """The largest piece of what is extra or missing: its middle in RAS mm, volume in ml, depth in mm."""

    sign: Sign
    volume: float
    depth: float
    world: tuple[float, float, float]


def compare_on_scan(
    mask: Crop, rebuilt: Reconstruction, *, tolerance: float, device: torch.device | str = "cpu"
) -> Compared:
    """A mask cut from a scan against its reconstruction, that may be empty."""
    box = _common_box(mask, rebuilt)
    probability = _probability(rebuilt, box, device)
    boxes = (probability > 0.5).view(np.uint8)
    signed = np.rint((box.occupancy - probability) * STEPS).astype(np.int8)
    metrics = compare_masks(boxes, box.occupancy, box.index_to_world[:3, :3], tolerance=tolerance)
    return Compared(box, boxes, signed, {key: float(value) for key, value in metrics.items()})


def _common_box(mask: Crop, rebuilt: Reconstruction) -> Crop:
    """The mask in a box of its scan that holds the reconstruction too."""
    # Metrics need both surfaces whole: the box grows to where the reconstruction reaches, and ends with the scan.
    low, high = mask.lower - MARGIN, mask.lower + mask.occupancy.shape + MARGIN
    corners = np.stack(np.meshgrid(*np.stack(rebuilt.box, axis=1), indexing="ij"), axis=-1).reshape(-1, 3)
    if rebuilt.occupancy_RRR.any():
        places = transform_points(corners, np.linalg.inv(mask.index_to_world) @ rebuilt.mask.to_world) + mask.lower
        low = np.minimum(low, np.floor(places.min(axis=0)).astype(np.int64))
        high = np.maximum(high, np.ceil(places.max(axis=0)).astype(np.int64) + 1)
    return box_of(mask, np.maximum(low, 0), np.minimum(high, mask.shape))


def _probability(rebuilt: Reconstruction, box: Crop, device: torch.device | str) -> NDArray[np.float32]:
    """At the voxel centres of a box (X, Y, Z): 0, 1, or what the field says there."""
    to_cube = np.linalg.inv(rebuilt.mask.to_world) @ box.index_to_world
    signs = rebuilt.occupancy_RRR
    size = len(signs)
    # Between cells that all say the same the field need not be asked: that leaves a band about its surface.
    every, some = _around(signs, np.logical_and), _around(signs, np.logical_or)
    shape = box.occupancy.shape
    result = np.zeros(shape, dtype=np.float32)
    step = max(1, SLAB // max(1, shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        block = [np.arange(first, min(first + step, shape[0])), np.arange(shape[1]), np.arange(shape[2])]
        x, y, z = (index[:, None] * to_cube[:3, axis] for axis, index in enumerate(block))
        points = x[:, None, None] + y[None, :, None] + z[None, None] + to_cube[:3, 3]
        # The lower of the eight cells around each voxel's centre; one more as the arrays begin a cell before the grid.
        cell = np.floor((points + 0.5) * size - 0.5).astype(np.int64)
        within = (np.abs(points) <= 0.5).all(axis=-1)
        i, j, k = (np.clip(cell[..., axis], -1, size - 1) + 1 for axis in range(3))
        inside = every[i, j, k] & within
        asked = some[i, j, k] & within & ~inside
        values = inside.astype(np.float32)
        values[asked] = _asked(rebuilt, points[asked], device)
        result[first : first + len(block[0])] = values
    return result


def _around(signs: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Of the eight cells around each corner of the grid, (R + 1,)^3; beyond the grid counts as outside."""
    result = np.pad(signs, 1)
    for axis in range(3):
        lined = np.moveaxis(result, axis, 0)
        result = np.moveaxis(combine(lined[:-1], lined[1:]), 0, axis)
    return result


def _asked(rebuilt: Reconstruction, points_N3: NDArray[np.float64], device: torch.device | str) -> NDArray[np.float32]:
    points = torch.from_numpy(points_N3.astype(np.float32)).to(device)
    return probability(evaluate_field(rebuilt.field, points).cpu().numpy(), rebuilt.iso_level)


def largest_disagreement(mask: CubeMask, rebuilt: Reconstruction) -> Disagreement | None:
    """The piece with most volume times depth; None where both are the same.

    A thin shell all around is no place to look at: pieces are found among cells that lie deeper than DEEP, if any do.
    """
    seen = np.ones_like(mask.occupancy_RRR) if mask.visible_RRR is None else mask.visible_RRR
    # Beyond the field of view nobody can say who is right.
    ours, theirs = mask.occupancy_RRR & seen, rebuilt.occupancy_RRR & seen
    box = box_of_cells(ours | theirs, margin=MARGIN)
    if box is None:
        return None
    ours, theirs = ours[box], theirs[box]
    pieces = [
        *_pieces(ours & ~theirs, away_from=theirs, sign="extra"),
        *_pieces(theirs & ~ours, away_from=ours, sign="missing"),
    ]
    if not pieces:
        return None
    depths_N, sign, cells_N3 = max(pieces, key=lambda piece: float(piece[0].sum()))
    # A point to click on: inside the piece, near its deep middle, in millimetres of the scan.
    middle = np.average(cells_N3, axis=0, weights=depths_N**2)  # of what is deep: a shell may hang on to it
    nearest = cells_N3[((cells_N3 - middle) ** 2).sum(axis=1).argmin()]  # the middle itself may lie outside of it
    start = np.array([side.start for side in box])
    cube = (nearest + start + 0.5) / len(mask.occupancy_RRR) - 0.5
    world = transform_points(cube[None], mask.to_world)[0]
    volume = len(cells_N3) * mask.spacing**3 / 1000
    return Disagreement(
        sign, volume, float(depths_N.max()) * mask.spacing, (float(world[0]), float(world[1]), float(world[2]))
    )


def _pieces(
    cells: NDArray[np.bool_], *, away_from: NDArray[np.bool_], sign: Sign
) -> list[tuple[NDArray[np.float64], Sign, NDArray[np.int64]]]:
    """Depth of each cell, sign, and cells of each piece."""
    if not cells.any():
        return []
    depth = scipy.ndimage.distance_transform_edt(~away_from) if away_from.any() else cells.astype(np.float64)
    deep = cells & (depth > DEEP)
    seeds, _ = scipy.ndimage.label(deep if deep.any() else cells)
    # A piece is its deep part and the shallow cells beside that.
    grown = scipy.ndimage.grey_dilation(seeds, size=3) * cells
    pieces = []
    for number, place in enumerate(scipy.ndimage.find_objects(grown), start=1):
        if place is None:
            continue
        own = grown[place] == number
        inside = np.argwhere(own) + np.array([side.start for side in place])
        pieces.append((depth[place][own], sign, inside))
    return pieces
