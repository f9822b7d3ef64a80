"""An input shown to the network in several poses; the fields that it makes of them, averaged.

A grid of cells cuts the same surface in another way in each pose, so that what comes of the cutting differs and what is
of the shape does not: their mean is nearer than any of them. Poses are mirror images and quarter turns about the y
axis, as far as the run was trained with them, and of clouds also shifts by at most half a cell. (Test-time
augmentation; Krizhevsky et al. 2012, section 4.1, average the crops of a picture so.)
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.loading.network_inputs import CLOUDS, InputConfig, marked
from isofield.contract import Model
from isofield.extraction.lattice import Field, field_of

QUARTER = 90.0  # degrees that shapes were turned by in training, at least, for a quarter turn to be one of the poses
MOST = 64
# Multiples of these, modulo 1, fill a cube evenly (Roberts 2018, the plastic number's kin for three dimensions).
SPREAD_3 = (0.8191725134, 0.6710436067, 0.5497004779)


@dataclass(frozen=True)
class Pose:
    """Axes of the cube in another order and direction, then a shift: place i is `signs[i] * p[axes[i]] + shift[i]`."""

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # cube units

    def points(self, points_N3: torch.Tensor) -> torch.Tensor:
        """Points (N, 3) of the cube where they are shown."""
        signs, shift = (points_N3.new_tensor(values) for values in (self.signs, self.shift))
        return points_N3[:, list(self.axes)] * signs + shift

    def cells(self, inputs: torch.Tensor) -> torch.Tensor:
        """Cells (1, R, R, R) where they are shown; exact, and without the shift."""
        turned = inputs.permute(0, *(axis + 1 for axis in self.axes))
        return turned.flip([axis + 1 for axis in range(3) if self.signs[axis] < 0]).contiguous()


def poses_of(section: InputConfig, count: int) -> list[Pose]:
    """The first `count` poses in which a run with this `data.input` can be shown a shape; the first is as it stands.

    ValueError for a number below 1, for pictures, and for more poses than its training allows.
    """
    if not 1 <= count <= MOST:
        raise ValueError(f"--poses: expected 1 to {MOST}, got {count}")
    if section.kind == "view" and count > 1:
        raise ValueError(f"--poses {count}: a picture is shown as it is; leave out --poses")
    symmetries = _symmetries(section)
    if section.kind not in CLOUDS and count > len(symmetries):
        raise ValueError(
            f"--poses {count}: this run was trained on {'this pose' if len(symmetries) == 1 else 'these poses'} alone "
            f"(data.input.pose), which makes {len(symmetries)}; expected at most that"
        )
    poses = [symmetries[number % len(symmetries)] for number in range(count)]
    if section.kind not in CLOUDS:
        return poses
    return [Pose(pose.axes, pose.signs, _shift(number, section.resolution)) for number, pose in enumerate(poses)]


def encode_poses(
    model: Model,
    inputs: torch.Tensor,
    points_N3: NDArray[np.floating] | None,
    section: InputConfig,
    poses: Sequence[Pose],
    *,
    device: torch.device,
) -> list[Any]:
    """The codes of an input (C, R, R, R) in these poses, one each; `points_N3`: of clouds, what was shown, in the cube.

    Cells are moved exactly and never shifted; clouds are marked anew.
    """
    shown = []
    for pose in poses:
        if points_N3 is None:
            shown.append(pose.cells(inputs))
            continue
        points = pose.points(torch.as_tensor(np.asarray(points_N3)).float())[None]
        shown.append(marked(points, torch.ones(points.shape[:2], dtype=torch.bool), section)[0])
    with torch.no_grad():
        return [model.encode(one[None].to(device)) for one in shown]


def averaged_field(model: Model, codes: Sequence[Any], poses: Sequence[Pose]) -> Field:
    """The mean of the fields of codes of one shape in several poses: (N, 3) cube coordinates as given to (N,)."""
    fields = [field_of(model, code) for code in codes]

    def field(points_N3: torch.Tensor) -> torch.Tensor:
        values_N = fields[0](poses[0].points(points_N3))
        for one, pose in zip(fields[1:], poses[1:], strict=True):
            values_N = values_N + one(pose.points(points_N3))
        return values_N / len(fields)

    return field


def _symmetries(section: InputConfig) -> list[Pose]:
    """Of the cube, those that training has drawn: mirror images, then turned about the y axis as far as it turned."""
    pose = section.pose
    turns = [((0, 1, 2), (1, 1, 1))]
    turns += [((2, 1, 0), (1, 1, -1)), ((2, 1, 0), (-1, 1, 1))] if pose.turn >= QUARTER else []
    turns += [((0, 1, 2), (-1, 1, -1))] if pose.turn >= 2 * QUARTER else []
    mirrors = itertools.product(*[(1, -1) if axis in pose.mirror else (1,) for axis in "xyz"])
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], Pose] = {}
    for mirror, (axes, signs) in itertools.product(mirrors, turns):
        # Mirrored first, as in training, then turned.
        both = tuple(sign * mirror[axis] for axis, sign in zip(axes, signs, strict=True))
        found.setdefault((axes, both), Pose(axes, (both[0], both[1], both[2])))
    return list(found.values())


def _shift(number: int, resolution: int) -> tuple[float, float, float]:
    """Of pose `number`: none of the first, then up to half a cell along each axis."""
    x, y, z = ((number * step + 0.5) % 1 - 0.5 if number else 0.0 for step in SPREAD_3)
    return x / resolution, y / resolution, z / resolution
