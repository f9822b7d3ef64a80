"""Two grids of one scan: whether their voxels lie on each other, measured in voxels, and how one lies in the other.

Files of one scan may store its axes in another order or direction, hold a part of it, or have an affine that was
rounded on the way. Where every voxel of one lies on a voxel of the lattice of the other, nothing is resampled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid

SAME_PLACE = 0.05  # voxels by which any corner may lie beside the other grid's lattice
WORTH_TELLING = 1e-3  # voxels
ONE_GRID = 5e-3  # voxels by which files may differ that are parts of one scan, and are merged without a word


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the voxels of a grid lie among those of another: index there = `turn` @ index + `shift`."""

    turn_33: NDArray[np.int64]  # a permutation with signs
    shift_3: NDArray[np.int64]
    deviation: float  # voxels, of the corner that is furthest from its place
    deviation_mm: float

    @property
    def is_plain(self) -> bool:
        """The axes run the same way."""
        return bool((self.turn_33 == np.eye(3)).all())


def placement(grid: ScanGrid, among: ScanGrid) -> Placement | None:
    """How a grid lies on the lattice of another; None where its voxels lie between those of the other."""
    relation = np.linalg.inv(among.affine) @ grid.affine
    turn = np.rint(relation[:3, :3])
    # Each axis is one axis of the other grid, forwards or backwards: then voxels can lie on voxels.
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        return None
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(grid.shape) - 1)
    # How far each corner lies beside the lattice: an affine is linear, so no voxel between them lies farther off.
    offsets = corners @ (relation[:3, :3] - turn).T + relation[:3, 3]
    shift = np.rint(offsets.mean(axis=0))
    beside = offsets - shift
    deviation = float(np.abs(beside).max())
    if deviation > SAME_PLACE:
        return None
    deviation_mm = float(np.linalg.norm(beside @ among.affine[:3, :3].T, axis=1).max())
    return Placement(turn.astype(np.int64), shift.astype(np.int64), deviation, deviation_mm)


def same_grid(one: ScanGrid, other: ScanGrid) -> bool:
    """Whether two files have the same voxels in the same places, stored in the same order."""
    if one.shape != other.shape:
        return False
    found = placement(one, other)
    return found is not None and found.is_plain and not found.shift_3.any() and found.deviation <= ONE_GRID


def overlaps(grid: ScanGrid, found: Placement, among: ScanGrid) -> bool:
    """Whether a placed grid has a voxel in common with the other."""
    low, high = _ends(grid, found)
    return bool((high >= 0).all() and (low < np.array(among.shape)).all())


def is_part(grid: ScanGrid, found: Placement, among: ScanGrid) -> bool:
    """Whether a placed grid covers other voxels than the whole of the other."""
    low, high = _ends(grid, found)
    return bool(low.any() or (high + 1 != np.array(among.shape)).any())


def apart(one: ScanGrid, other: ScanGrid) -> str:
    """How far two grids lie apart, for a message: voxel sizes where they differ, and the distance of their corners."""
    spacings = [np.linalg.norm(grid.affine[:3, :3], axis=0) for grid in (one, other)]
    relation = np.linalg.inv(other.affine) @ one.affine
    turn = np.rint(relation[:3, :3])
    if np.abs(turn).sum() == 3 and np.abs(relation[:3, :3] - turn).max() * max(one.shape) <= SAME_PLACE:
        # The same axes and voxel sizes: only the part of a voxel by which they are shifted is in the way.
        rest = relation[:3, 3] - np.rint(relation[:3, 3])
        mm = float(np.linalg.norm(other.affine[:3, :3] @ rest))
        return f"their voxels lie {mm:.4g} mm ({np.abs(rest).max():.3g} voxels) beside each other"
    sizes = [" x ".join(f"{edge:.4g}" for edge in spacing) for spacing in spacings]
    differing = f"voxels of {sizes[0]} mm and of {sizes[1]} mm; " if sizes[0] != sizes[1] else ""
    corners = [_outer_corners(grid) for grid in (one, other)]
    # Corners are paired by nearness: the files may store them in another order.
    distances = np.linalg.norm(corners[0][:, None] - corners[1][None], axis=2).min(axis=1)
    mm = float(distances.max())
    return f"{differing}their corners lie up to {mm:.4g} mm ({mm / float(spacings[1].min()):.3g} voxels) apart"


def _outer_corners(grid: ScanGrid) -> NDArray[np.float64]:
    """Of the field of view, (8, 3) in RAS mm."""
    index = np.array(list(np.ndindex(2, 2, 2))) * np.array(grid.shape) - 0.5
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def _ends(grid: ScanGrid, found: Placement) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last index of a placed grid."""
    ends = found.shift_3, found.shift_3 + found.turn_33 @ (np.array(grid.shape) - 1)
    return np.minimum(*ends), np.maximum(*ends)
