"""Analytic fields that tests and benchmarks share: (N, 3) cube coordinates -> (N,) values, inside is greater than 0.5.

Each is an occupancy-like ramp of a signed distance d (negative inside): clamp(0.5 - slope * d, 0, 1), or the unbounded
0.5 - slope * d where a gradient is wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Vector = tuple[float, float, float]
Box = tuple[Vector, Vector]  # centre, half sides

ISO_LEVEL = 0.5
SLOPE = 128.0  # values reach 0 and 1 half a voxel of 128^3 away from the surface
CHAIR_BOXES: tuple[Box, ...] = (
    ((0, 0, 0), (0.22, 0.03, 0.22)),
    ((0, 0.2, 0.2), (0.22, 0.2, 0.02)),
    *[((a * 0.2, -0.2, b * 0.2), (0.015, 0.2, 0.015)) for a in (-1, 1) for b in (-1, 1)],
)
RUNG: Box = ((0, -0.25, 0.2), (0.2, 0.005, 0.005))  # attached to two legs, much thinner than a cell of a 32^3 frame
SHIFTS: tuple[Vector, ...] = (
    (0, 0, 0),
    (0.0021, 0.0013, 0.0007),
    (0.0101, 0.0051, -0.0077),
    (0.013, -0.009, 0.0143),
)


def box_distance(points_N3: torch.Tensor, centre: Vector, half: Vector) -> torch.Tensor:
    """Largest excess over the half sides: negative inside (the Chebyshev distance outside)."""
    return ((points_N3 - points_N3.new_tensor(centre)).abs() - points_N3.new_tensor(half)).amax(1)


@dataclass(frozen=True)
class Ramp:
    """Turns a signed distance into a field."""

    distance: Callable[[torch.Tensor], torch.Tensor]
    slope: float = SLOPE
    clamped: bool = True

    def __call__(self, points_N3: torch.Tensor) -> torch.Tensor:
        values = 0.5 - self.slope * self.distance(points_N3)
        return values.clamp(0, 1) if self.clamped else values


def boxes(parts: Sequence[Box], shift: Vector = (0, 0, 0), **options: float) -> Ramp:
    """The union of axis-aligned boxes."""

    def distance(points_N3: torch.Tensor) -> torch.Tensor:
        moved = points_N3 - points_N3.new_tensor(shift)
        nearest = box_distance(moved, *parts[0])
        for part in parts[1:]:
            nearest = torch.minimum(nearest, box_distance(moved, *part))
        return nearest

    return Ramp(distance, **options)


def chair(shift: Vector = (0, 0, 0), *, rung: bool = False, **options: float) -> Ramp:
    """Seat, back and four thin legs; with `rung` a bar of 1/100 between two legs."""
    return boxes([*CHAIR_BOXES, RUNG] if rung else CHAIR_BOXES, shift, **options)


def sphere(centre: Vector, radius: float, **options: float) -> Ramp:
    return Ramp(lambda points_N3: (points_N3 - points_N3.new_tensor(centre)).norm(dim=1) - radius, **options)


def torus(centre: Vector, ring: float, tube: float, **options: float) -> Ramp:
    """A ring around the z axis."""

    def distance(points_N3: torch.Tensor) -> torch.Tensor:
        x, y, z = (points_N3 - points_N3.new_tensor(centre)).unbind(1)
        return torch.hypot(torch.hypot(x, y) - ring, z) - tube

    return Ramp(distance, **options)


def union(*fields: Ramp) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda points_N3: torch.stack([field(points_N3) for field in fields]).amax(0)


class Counting:
    """A field that remembers how often, and at which points, it was evaluated."""

    def __init__(self, field: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.field = field
        self.batches: list[torch.Tensor] = []

    def __call__(self, points_N3: torch.Tensor) -> torch.Tensor:
        self.batches.append(points_N3.detach().clone())
        return self.field(points_N3)

    @property
    def points_N3(self) -> torch.Tensor:
        return torch.cat(self.batches)
