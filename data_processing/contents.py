"""The section `contents:` of a data config: what a row of the data set holds. The default is what IM-NET trains on."""

from dataclasses import dataclass
from typing import Literal

from data_processing.sampling import LEVELS
from data_processing.shards import Layout
from data_processing.views import Up

MAX_GRID = 256  # cells are made out of voxels of the 256^3 grid
MIN_GRID = 8
FARTHEST_CORNER = 0.75**0.5  # of the cube from its middle


@dataclass(frozen=True)
class BoundarySettings:
    """Surface points plus Gaussian noise: `points` for each sigma (in cube units), which side they lie on."""

    sigmas: tuple[float, ...] = (0.1, 0.01)
    points: int = 100_000

    def __post_init__(self) -> None:
        if not self.sigmas or len(set(self.sigmas)) < len(self.sigmas) or not all(0 < s <= 1 for s in self.sigmas):
            raise ValueError(f"sigmas: expected different numbers in (0, 1], got {list(self.sigmas)}")
        _refuse_uneven("points", self.points)


@dataclass(frozen=True)
class SurfaceSettings:
    """Points uniform on the surface; with `views`, from which cameras each is seen.

    Cameras stand round the middle of the cube, evenly on a ring at an elevation or evenly on a sphere, and look at it
    in perspective. Degrees; azimuth 0 is in front (+z where y is up, -y where z is up), 90 at +x; `distance` in cube
    units.
    """

    points: int = 32768
    views: int = 0
    placement: Literal["ring", "sphere"] = "ring"
    azimuth: float = 0.0  # of the first camera
    elevation: float = 25.0  # of the ring
    distance: float = 2.0
    up: Up = "y"

    def __post_init__(self) -> None:
        if self.points <= 0:
            raise ValueError(f"points: expected a positive number, got {self.points}")
        if self.views:
            _refuse_uneven("views", self.views)
        if not -90 <= self.elevation <= 90:
            raise ValueError(f"elevation: expected -90 to 90 degrees, got {self.elevation}")
        if not self.distance > FARTHEST_CORNER:
            raise ValueError(
                f"distance: cameras stand outside the cube, beyond {FARTHEST_CORNER:.3f}; got {self.distance}"
            )


@dataclass(frozen=True)
class Contents:
    """Fields of a row (shards.py): `voxels` and `levels` for IM-NET, the others for IF-Net."""

    voxels: Literal[0, 64] = 64  # resolution; 0: none
    levels: bool = True  # points of the three levels
    grids: tuple[int, ...] = ()  # resolutions of solid occupancy
    boundary: BoundarySettings | None = None
    surface: SurfaceSettings | None = None

    def __post_init__(self) -> None:
        if len(set(self.grids)) < len(self.grids) or not all(MIN_GRID <= r <= MAX_GRID for r in self.grids):
            raise ValueError(
                f"grids: expected different resolutions from {MIN_GRID} to {MAX_GRID}, got {list(self.grids)}"
            )
        if any(resolution % 2 for resolution in self.grids):
            raise ValueError(f"grids: expected even resolutions (bits are packed by eight), got {list(self.grids)}")
        if not (self.voxels or self.levels or self.grids or self.boundary or self.surface):
            raise ValueError("nothing is to be stored: switch on voxels, levels, grids, boundary or surface")

    def layout(self) -> Layout:
        """Names, shapes and types of the fields."""
        return Layout(
            voxel_resolution=self.voxels,
            level_points=LEVELS if self.levels else {},
            grids=tuple(sorted(self.grids)),
            boundary_sigmas=self.boundary.sigmas if self.boundary else (),
            boundary_points=self.boundary.points if self.boundary else 0,
            surface_points=self.surface.points if self.surface else 0,
            views=self.surface.views if self.surface else 0,
        )


def _refuse_uneven(name: str, number: int) -> None:
    if number <= 0 or number % 8:
        raise ValueError(f"{name}: expected a positive multiple of 8 (bits are packed by eight), got {number}")
