"""Inside or outside, for any triangle mesh: which method, on a grid or at points.

The methods: scan (conversion), winding (number), shell (flood fill and surface voxels).

A place is inside where the winding number, rounded, is not 0. Closed parts are made consistent and scan converted,
exactly, whatever the orientation of their faces (mesh_parts.py); open parts add the winding number. "auto" takes

- scan         when every part is closed, and winding when some are open, if that number can be trusted: on half of
               the area or more it is clearly 1 (beyond 0.75) on a side, or it finds half of what a flood fill encloses;
- shell-flood  else what the surface encloses by flood fill (sheets wound at random);
- shell-thick  nothing but surface voxels, one voxel thick, when there is no interior by either.

On a grid, parts thinner than a voxel keep their surface voxels (flood_fill.thin_parts): a sheet does not vanish. At
points, scan and winding are exact and a sheet has no volume; the shell methods look points up in a grid of voxels.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.occupancy.flood_fill import dilate, enclosed_voxels, fill_voids, thin_parts
from data_processing.occupancy.mesh_parts import MeshParts
from data_processing.occupancy.scan_conversion import PointFrame
from data_processing.occupancy.thickening import thickening
from isofield.runtime.seeds import numpy_generator

SUSPECT = "suspect: "  # begins a quality that is not "ok"
METHODS = ("auto", "scan", "winding", "shell", "shell-flood", "shell-thick")
SURFACE_SAMPLES = 4096
SURFACE_STEP = 2e-4  # of the longest edge: walls thicker than this have an inside
CLEARLY_INSIDE = 0.75  # one sheet of mixed orientation makes 0.5 on either side, and noise; an odd quarter: fraction_at
CUBE = 0.5 + 1e-6


@dataclass(frozen=True)
class Occupancy:
    """A grid (R, R, R) uint8 0/1, the method that made it, and "ok" or "suspect: reason"."""

    grid_RRR: torch.Tensor
    method: str
    quality: str
    thin_RRR: torch.Tensor | None = None  # bool: voxels of the grid that thin parts were given beyond what is inside


@dataclass(frozen=True)
class InsideConfig:
    """The section `inside:` of a data config. Resolutions are voxels along an edge of the cube."""

    method: Literal["auto", "scan", "winding", "shell"] = "auto"  # shell: flood fill
    cavities: Literal["keep", "fill"] = "keep"  # voids in a solid: hollow as modelled, or solid (ShapeNet practice)
    thin: Literal["keep", "drop", "thicken"] = "keep"  # parts thinner than a voxel: one thick, gone; or at least three
    surface: Literal["all", "outer"] = "all"  # samples are of all that is modelled, or of what bounds the solid
    closing_resolution: int = 128  # the flood fill does not leak through gaps narrower than a cell of this grid
    decision_resolution: int = 96  # where winding number and flood fill are compared
    lookup_resolution: int = 256  # the grid in which points are looked up
    fallback_explained: float = 0.5  # share of the area that the winding number must explain
    fallback_volume: float = 0.5  # share of the flood's volume that it must find otherwise
    suspect_agreement: float = 0.5  # intersection over union of the two, below which a shape is suspect

    def __post_init__(self) -> None:
        for name in ("closing_resolution", "decision_resolution", "lookup_resolution"):
            if not 8 <= getattr(self, name) <= 1024:
                raise ValueError(f"{name}: expected 8 to 1024, got {getattr(self, name)}")
        for name in ("fallback_explained", "fallback_volume", "suspect_agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")


def occupancy_grid(
    mesh: TriangleMesh, resolution: int, settings: InsideConfig, *, device: torch.device | str
) -> Occupancy:
    """Occupancy at the voxel centres of a mesh in cube coordinates.

    Raises ValueError when the mesh leaves the cube, or when the method "scan" is asked for a mesh with open parts.
    """
    # Cells beyond the cube do not exist: what sticks out would be cut off without a word.
    lower, upper = mesh.bounds()
    if lower.min() < -CUBE or upper.max() > CUBE:
        raise ValueError(
            f"mesh from {lower.round(3)} to {upper.round(3)} leaves the cube -0.5..0.5: normalise it first"
        )
    parts = MeshParts(mesh)
    method, quality = _choose(parts, settings, settings.method, device)
    triangles = torch.as_tensor(parts.all, device=device)
    grid = _solid(parts, resolution, method, settings, device)
    # A sheet has no volume and would vanish; where most of the shape is made of sheets, the numbers mean little.
    added = None
    if settings.thin != "drop" or method == "shell-thick":
        added = thin_parts(grid, triangles)
        if added is not None:
            share = float(added.count_nonzero() / (grid | added).count_nonzero().clamp(min=1))
            added &= ~grid
            grid |= added
            if quality == "ok" and share > 0.5:
                quality = f"suspect: {share:.0%} of the voxels are parts thinner than a voxel"
    if settings.thin == "thicken":
        more = thickening(grid)
        added = more if added is None else added | more
        grid = grid | more
    return Occupancy(grid.to(torch.uint8), method, quality, added)


def inside_points(
    mesh: TriangleMesh,
    points_N3: NDArray[np.floating],
    settings: InsideConfig = InsideConfig(),
    *,
    method: str = "auto",
    device: torch.device | str = "cpu",
) -> NDArray[np.bool_]:
    """Which points (N, 3) are inside, (N,) bool, in any one frame of mesh and points. Pass all points in one call.

    `method`: as `Occupancy.method` recorded it, to skip the choice. Parts thinner than a voxel of the lookup grid are
    kept by the shell methods only. Raises ValueError on an unknown method, and "scan" of a mesh with open parts.
    """
    return InsideTest(mesh, settings, method=method, device=device)(points_N3)


class InsideTest:
    """`inside_points` of one mesh that is asked more than once: parts and grid are made once, when they are needed."""

    def __init__(
        self, mesh: TriangleMesh, settings: InsideConfig, *, method: str = "auto", device: torch.device | str = "cpu"
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"inside method {method!r}: expected one of {', '.join(METHODS)}")
        self.mesh, self.settings, self.device = mesh, settings, device
        self._asked = settings.method if method == "auto" else method

    def __call__(self, points_N3: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which points (N, 3) are inside: (N,)."""
        parts, _, exact = self._chosen
        inside = parts.number_at(points_N3, self.device) != 0 if exact else np.zeros(len(points_N3), dtype=bool)
        # A number needs no grid, unless cavities are filled: only a flood knows what a void is.
        if exact and self.settings.cavities == "keep":
            return inside
        frame, grid = self._grid
        return inside | frame.look_up(grid, points_N3)

    @functools.cached_property
    def _chosen(self) -> tuple[MeshParts, str, bool]:
        """The parts, the method, and whether that asks for a number, which needs no grid."""
        parts = MeshParts(self.mesh)
        method, _ = _choose(parts, self.settings, self._asked, self.device, judged=False)
        return parts, method, method in ("scan", "winding")

    @functools.cached_property
    def _grid(self) -> tuple[PointFrame, torch.Tensor]:
        """What floods and fills needs a grid; points are then looked up in it."""
        parts, method, exact = self._chosen
        frame = PointFrame(parts.all, self.settings.lookup_resolution)
        boxed = parts.in_frame(frame)
        own = boxed.number_grid(frame.resolution, self.device) != 0 if exact else None
        grid = _solid(boxed, frame.resolution, method, self.settings, self.device, own)
        if own is not None:  # what filling adds, and the voxels around it that the cavity shares with the wall
            filled = grid & ~own
            grid = filled | (own & dilate(filled)) if filled.any() else filled
        else:
            added = thin_parts(grid, torch.as_tensor(boxed.all, device=self.device))
            grid = grid if added is None else grid | added
        return frame, grid


def doubt_of_solid(mesh: TriangleMesh) -> str:
    """Why inside and outside of a mesh cannot be told for sure; "" where they can."""
    return _choose(MeshParts(mesh), InsideConfig(), "auto", "cpu")[1].removeprefix("ok").removeprefix(SUSPECT)


def both_solids(mesh: TriangleMesh, settings: InsideConfig = InsideConfig()) -> tuple[NDArray, NDArray]:
    """What the winding number and what the flood fill take for inside, (R, R, R) bool each, in a grid about the mesh.

    The very grids that are compared where the method is chosen.
    """
    frame = PointFrame((parts := MeshParts(mesh)).all, settings.decision_resolution)
    boxed = parts.in_frame(frame)
    solids = _numbered(boxed, frame.resolution, "cpu"), _flood(boxed, frame.resolution, settings, "cpu")
    return solids[0].numpy(), solids[1].numpy()


def _numbered(parts: MeshParts, resolution: int, device: torch.device | str) -> torch.Tensor:
    return fill_voids(parts.number_grid(resolution, device) != 0)


def _flood(parts: MeshParts, resolution: int, settings: InsideConfig, device: torch.device | str) -> torch.Tensor:
    return enclosed_voxels(torch.as_tensor(parts.all, device=device), resolution, closing=settings.closing_resolution)


def _choose(
    parts: MeshParts, settings: InsideConfig, asked: str, device: torch.device | str, *, judged: bool = True
) -> tuple[str, str]:
    """Method and quality; does not depend on the frame, nor on the resolution that is wanted.

    `judged`: False where nobody asks for the quality, which spares the flood fill where the number explains the area.
    """
    if asked == "scan" and len(parts.open):
        raise ValueError(f"inside method scan: {len(parts.open)} of {len(parts.all)} faces are in open parts; use auto")
    # A method that was asked for by name is taken without judgement.
    number = "winding" if len(parts.open) else "scan"
    if asked in ("scan", "winding"):
        return number, "ok"
    if asked in ("shell-flood", "shell-thick"):
        return asked, "ok"
    if asked == "auto" and parts.manifold:
        return "scan", f"suspect: {parts.concern}" if parts.concern else "ok"
    # The comparison has a grid of its own: a shape has one method at every resolution.
    frame = PointFrame(parts.all, settings.decision_resolution)
    boxed = parts.in_frame(frame)
    explained = _explained_share(boxed, device) if asked == "auto" else 0.0
    if asked == "auto" and not judged and explained >= settings.fallback_explained:
        return number, "ok"
    flood = _flood(boxed, frame.resolution, settings, device)
    if asked == "shell":
        return ("shell-flood", "ok") if flood.any() else ("shell-thick", "suspect: the flood fill finds no interior")
    return _compare(boxed, flood, number, explained, settings, device)


def _compare(
    parts: MeshParts,
    flood: torch.Tensor,
    number: str,
    explained: float,
    settings: InsideConfig,
    device: torch.device | str,
) -> tuple[str, str]:
    own = _numbered(parts, len(flood), device)
    # The number is trusted where it explains the area, or finds most of what the flood encloses: then a flood that
    # disagrees only makes the shape suspect. Else the flood decides, and without a flood the surface is all there is.
    found, flooded, both, either = (int(item.sum()) for item in (own, flood, own & flood, own | flood))
    if explained >= settings.fallback_explained or (found and both >= settings.fallback_volume * flooded):
        if either and both < settings.suspect_agreement * either:
            return number, f"suspect: winding number and flood fill agree on {both / either:.0%} of their volume"
        return number, f"suspect: {parts.concern}" if parts.concern else "ok"
    if flooded:
        return "shell-flood", f"suspect: the winding number explains {explained:.0%} of the surface"
    return "shell-thick", "suspect: neither winding number nor flood fill finds an interior"


def _explained_share(parts: MeshParts, device: torch.device | str) -> float:
    """Share of the area with a clear inside on at least one side."""
    # A closed wall is 1 on one side and 0 on the other; a lone sheet is a half on either, and so is noise of normals.
    points, normals = sample_surface(parts.mesh, SURFACE_SAMPLES, numpy_generator("inside", "explained"))
    sides = np.concatenate([points - SURFACE_STEP * normals, points + SURFACE_STEP * normals])
    clear = np.abs(parts.fraction_at(sides, device)) > CLEARLY_INSIDE
    return float((clear[: len(points)] | clear[len(points) :]).mean())


def _solid(
    parts: MeshParts,
    resolution: int,
    method: str,
    settings: InsideConfig,
    device: torch.device | str,
    own: torch.Tensor | None = None,
) -> torch.Tensor:
    """The solid (R, R, R) bool by one method, parts in cube coordinates, without the surface voxels of thin parts.

    `own`: where the winding number is not 0, if that is known.
    """
    if method == "shell-thick":
        return torch.zeros((resolution,) * 3, dtype=torch.bool, device=device)
    fill = settings.cavities == "fill"
    # Cavities to be filled of an open mesh need the flood as well: its void may leak through the very gap that makes it
    # open.
    solid = torch.zeros((resolution,) * 3, dtype=torch.bool, device=device) if own is None else own
    if method != "shell-flood" and own is None:
        solid = parts.number_grid(resolution, device) != 0
    if method == "shell-flood" or (fill and method == "winding"):
        triangles = torch.as_tensor(parts.all, device=device)
        solid = solid | enclosed_voxels(triangles, resolution, closing=settings.closing_resolution)
    return fill_voids(solid) if fill else solid
