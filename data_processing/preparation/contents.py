"""The section `contents:` of a data config: what a row of the data set holds. The default is what IM-NET trains on."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_processing.geometry.rendering import Up
from data_processing.preparation.level_points import LEVELS
from data_processing.store.shards import Layout

MAX_GRID = 256  # cells are made out of voxels of the 256^3 grid
MIN_GRID = 8
FARTHEST_CORNER = 0.75**0.5  # of the cube from its middle
MAX_VIEWS, MIN_PICTURE, MAX_PICTURE = 1024, 16, 1024
SILHOUETTE = 0.8  # longer side of a shape's outline, of the diameter of the ball round it


@dataclass(frozen=True)
class BoundaryConfig:
    """Surface points plus Gaussian noise: `points` for each sigma (in cube units), which side they lie on."""

    sigmas: tuple[float, ...] = (0.1, 0.01)  # of the noise, in cube units
    points: int = 100_000  # for each sigma; a multiple of 8

    def __post_init__(self) -> None:
        if not self.sigmas or len(set(self.sigmas)) < len(self.sigmas) or not all(0 < s <= 1 for s in self.sigmas):
            raise ValueError(f"sigmas: expected different numbers in (0, 1], got {list(self.sigmas)}")
        _refuse_uneven("points", self.points)


@dataclass(frozen=True)
class SurfaceConfig:
    """Points uniform on the surface; with `views`, from which cameras each is seen.

    Cameras stand round the middle of the cube, evenly on a ring at an elevation or evenly on a sphere, and look at it
    in perspective. Degrees; azimuth 0 is in front (+z where y is up, -y where z is up), 90 at +x; `distance` in cube
    units.
    """

    points: int = 32768  # drawn uniformly
    views: int = 0  # cameras, a multiple of 8; 0: no camera
    placement: Literal["ring", "sphere"] = "ring"  # where the cameras stand
    azimuth: float = 0.0  # of the first camera
    elevation: float = 25.0  # of the ring
    distance: float = 2.0  # of the cameras from the middle
    up: Up = "y"  # the axis that points up

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
class RenderingConfig:
    """Grey pictures of a shape on white, for single-view reconstruction; the defaults resemble those of 3D-R2N2.

    Cameras stand evenly on a ring round the middle of the cube and look at it in perspective. Degrees, azimuths as in
    SurfaceConfig; `distance` in radii of the ball round the shape: its normalisation does not change the pictures. Of
    the ranges each view draws its own number, from seed and name. With `folder` nothing is rendered: its pictures
    FOLDER/SHAPE/rendering/00.png, 01.png, ... (or FOLDER/CATEGORY/SHAPE/rendering/) are taken.
    """

    views: int = 24  # pictures of a shape
    size: int = 137  # pixels along each edge
    azimuth: float | None = None  # of the first camera; none: drawn for each shape
    elevation: tuple[float, float] = (25.0, 30.0)  # degrees, drawn in this range
    distance: tuple[float, float] = (2.6, 3.3)  # from 2.6 on nothing is cut off, in the middle 128 of 137 pixels either
    field_of_view: float = 49.1  # a lens of 35 mm before a sensor of 32 mm
    up: Up = "y"  # the axis that points up
    folder: Path | None = None  # of pictures that are there already; none: they are drawn
    drawn_by: Literal["isofield"] = "isofield"  # a data set that does not say so was drawn by embree

    def __post_init__(self) -> None:
        if not (1 <= self.views <= MAX_VIEWS and MIN_PICTURE <= self.size <= MAX_PICTURE):
            raise ValueError(
                f"rendering: expected 1 to {MAX_VIEWS} views of {MIN_PICTURE} to {MAX_PICTURE} pixels, got "
                f"{self.views} of {self.size}"
            )
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError(f"elevation: expected a range in [-90, 90] degrees, got {list(self.elevation)}")
        if not 1 < self.distance[0] <= self.distance[1] < math.inf:
            raise ValueError(f"distance: cameras stand outside the ball of radius 1; got {list(self.distance)}")
        if not 0 < self.field_of_view < 180 or not math.isfinite(self.azimuth or 0.0):
            raise ValueError(
                f"expected a field_of_view in (0, 180) and an azimuth, got {self.field_of_view}, {self.azimuth}"
            )

    @property
    def fill(self) -> float:
        """The share of a picture's edge that the longer side of a shape usually takes."""
        # The ball of radius 1 is seen under asin(1 / distance), at the mean of the nearest and the farthest distance;
        # the picture ends at half the field of view. Both as lengths on the plane of the picture.
        ball = math.tan(math.asin(2 / sum(self.distance))) / math.tan(math.radians(self.field_of_view) / 2)
        return min(SILHOUETTE * ball, 1.0)


@dataclass(frozen=True)
class Contents:
    """Fields of a row (shards.py): `voxels` and `levels` for IM-NET, `rendering` for single views; others: IF-Net."""

    voxels: Literal[0, 64] = 64  # resolution; 0: none
    levels: bool = True  # points of the three levels
    grids: tuple[int, ...] = ()  # resolutions of solid occupancy
    boundary: BoundaryConfig | None = None  # labelled points near the surface (IF-Net)
    surface: SurfaceConfig | None = None  # points on the surface, for clouds and partial views
    rendering: RenderingConfig | None = None  # pictures, for single views

    def __post_init__(self) -> None:
        if len(set(self.grids)) < len(self.grids) or not all(MIN_GRID <= r <= MAX_GRID for r in self.grids):
            raise ValueError(
                f"grids: expected different resolutions from {MIN_GRID} to {MAX_GRID}, got {list(self.grids)}"
            )
        if any(resolution % 2 for resolution in self.grids):
            raise ValueError(f"grids: expected even resolutions (bits are packed by eight), got {list(self.grids)}")
        if not (self.voxels or self.levels or self.grids or self.boundary or self.surface or self.rendering):
            raise ValueError("nothing is to be stored: switch on voxels, levels, grids, boundary, surface or rendering")

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
            pictures=self.rendering.views if self.rendering else 0,
            picture_size=self.rendering.size if self.rendering else 0,
            cameras=self.rendering is not None and self.rendering.folder is None,
        )


def _refuse_uneven(name: str, number: int) -> None:
    if number <= 0 or number % 8:
        raise ValueError(f"{name}: expected a positive multiple of 8 (bits are packed by eight), got {number}")
