"""Shapes turned, stretched and mirrored about the middle of the cube, solids and the points asked for alike.

Some tens of training shapes do not show how a kind of shape varies; each of them in other poses and proportions shows
more. Drawn anew wherever the key is new, all B shapes of a batch at once, on the device they are on; the same on every
device and in every batch (`draws`): sums, products, quotients and roots of float64, then whole numbers.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch

from data_processing.loading.surface_damage import waits
from isofield.runtime.counter_random import derive_keys, directions, uniforms

UNIT = 1 << 12  # of matrices in whole numbers
STEPS = 1 << 5  # of a cell, between whose centres is interpolated


@dataclass(frozen=True)
class PoseConfig:
    """The `data.input.pose:` section; all 0 and no mirror: shapes as they are stored."""

    turn: float = 0.0  # degrees, at most, about any axis
    stretch: float = 0.0  # at most so much longer or shorter along each axis of the cube, as a share
    mirror: tuple[Literal["x", "y", "z"], ...] = ()  # along each of these axes half of the samples are mirrored

    def __post_init__(self) -> None:
        if not (0 <= self.turn <= 180 and 0 <= self.stretch <= 0.5):
            raise ValueError(
                f"data.input.pose: turn must be in [0, 180] degrees and stretch in [0, 0.5]; "
                f"got {self.turn} and {self.stretch}"
            )

    def __bool__(self) -> bool:
        return bool(self.turn or self.stretch or self.mirror)


def poses(section: PoseConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """Matrices (B, 3, 3) float64 from places of a stored shape to where it is shown: mirrored, stretched, turned."""
    # A quaternion of an axis and half an angle; as a matrix it needs no sine and no cosine, whose last bits differ
    # between devices.
    axis_B3 = directions(derive_keys(keys_B, "axis"), 1)[:, 0].double()
    angle_B1 = uniforms(derive_keys(keys_B, "angle"), 1).double() * (section.turn * torch.pi / 180)
    # The tangent of half the angle by its fraction (Lambert), whose operations every device rounds alike.
    half, square = angle_B1 / 2, angle_B1 * angle_B1 / 4
    tangent = half * (945 - 105 * square + square * square) / (945 - 420 * square + 15 * square * square)
    w = 1 / torch.sqrt(1 + tangent * tangent)
    x, y, z = (w * tangent * axis_B3).unbind(1)
    w = w[:, 0]
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    turned_B33 = torch.stack([torch.stack(row, 1) for row in rows], 1)
    stretch_B3 = 1 + (2 * uniforms(derive_keys(keys_B, "stretch"), 3).double() - 1) * section.stretch
    if section.mirror:
        mirrored_B3 = uniforms(derive_keys(keys_B, "mirror"), 3) < 0.5
        mirrored_B3 &= torch.tensor([axis in section.mirror for axis in "xyz"], device=keys_B.device)
        stretch_B3 = torch.where(mirrored_B3, -stretch_B3, stretch_B3)
    return turned_B33 * stretch_B3[:, None]


def posed_points(points_BN3: torch.Tensor, pose_B33: torch.Tensor) -> torch.Tensor:
    """Points (B, N, 3) float32 where they are shown."""
    x, y, z = points_BN3.double().unbind(-1)
    return torch.stack([x * row[:, :1] + y * row[:, 1:2] + z * row[:, 2:] for row in pose_B33.unbind(1)], -1).float()


def mirrored_cells(cells_BRRR: torch.Tensor, pose_B33: torch.Tensor) -> torch.Tensor:
    """The cells of `posed_cells` where poses only mirror: exact, and a hundredth of the work."""
    for axis in range(3):
        mirrored_B111 = (pose_B33[:, axis, axis] < 0)[:, None, None, None]
        cells_BRRR = torch.where(mirrored_B111, cells_BRRR.flip(axis + 1), cells_BRRR)
    return cells_BRRR


def posed_cells(cells_BRRR: torch.Tensor, pose_B33: torch.Tensor) -> torch.Tensor:
    """Masks (B, R, R, R) uint8 0/1 as they are shown: where the share inside, interpolated, is above a half.

    Beyond the grid nothing is inside.
    """
    resolution = cells_BRRR.shape[-1]
    box = [range(resolution)] * 3 if waits(cells_BRRR) else _box_shown(cells_BRRR, pose_B33)
    # From a place shown to the stored one: the stretch undone after the turn, whose inverse is its transpose.
    length_B3 = (pose_B33 * pose_B33).sum(1)
    inverse_B33 = (pose_B33.transpose(1, 2) / length_B3[..., None] * UNIT).round().int()
    cell_R = torch.arange(resolution, device=cells_BRRR.device, dtype=torch.int32)
    odd = [cell_R[side.start : side.stop] * 2 - (resolution - 1) for side in box]
    index, fraction = [], []
    # Whole numbers throughout: the same cells on every device.
    for row_B3 in inverse_B33.unbind(1):
        x, y, z = (row_B3[:, axis, None] * odd[axis] for axis in range(3))
        place = x[:, :, None, None] + (y[:, :, None] + z[:, None, :])[:, None]  # in 1 / (2 UNIT) cells from the middle
        place = (place + (resolution - 1) * UNIT) // (2 * UNIT // STEPS)
        place = (place + STEPS).clamp(0, (resolution + 1) * STEPS)  # in the padded grid
        index.append(place // STEPS)
        fraction.append((place % STEPS).flatten(1))
    # Interpolate among the eight cells around each place; beyond the grid is outside.
    padded = torch.nn.functional.pad(cells_BRRR, (1, 2, 1, 2, 1, 2))
    size = padded.shape[-1]
    first_BN = ((index[0] * size + index[1]) * size + index[2]).flatten(1).long()
    inside_BN = 2 * _interpolated(padded.flatten(1), first_BN, fraction, size) > STEPS**3
    posed_BRRR = torch.zeros_like(cells_BRRR)
    shown = posed_BRRR[:, *(slice(side.start, side.stop) for side in box)]
    shown.copy_(inside_BN.view(shown.shape))
    return posed_BRRR


def _interpolated(
    flat_BM: torch.Tensor, first_BN: torch.Tensor, fraction: list[torch.Tensor], size: int
) -> torch.Tensor:
    """STEPS^3 times the values between eight neighbours, of which `first_BN` is the lowest, at fractions of STEPS."""
    total_BN = torch.zeros(first_BN.shape, dtype=torch.int32, device=first_BN.device)
    weights = [(STEPS - along_BN, along_BN) for along_BN in fraction]
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        value_BN = flat_BM.gather(1, first_BN + ((dx * size + dy) * size + dz))
        total_BN += value_BN * (weights[0][dx] * weights[1][dy] * weights[2][dz])
    return total_BN


def _box_shown(cells_BRRR: torch.Tensor, pose_B33: torch.Tensor) -> list[range]:
    """Along each axis the cells that any of the masks may reach."""
    occupied, resolution = cells_BRRR.amax(0), cells_BRRR.shape[-1]
    sides = []
    for axis in range(3):
        there = occupied.amax([other for other in range(3) if other != axis]).nonzero()[:, 0].tolist()
        if not there:
            return [range(0)] * 3
        sides.append((there[0] - 1, there[-1] + 2))
    corners_83 = torch.tensor(list(itertools.product(*sides))).double() - resolution / 2
    reached = (corners_83 @ pose_B33.transpose(1, 2)).flatten(0, 1) + resolution / 2
    low, high = reached.amin(0).floor().int().tolist(), reached.amax(0).ceil().int().tolist()
    return [range(max(0, a), min(resolution, max(0, b))) for a, b in zip(low, high, strict=True)]
