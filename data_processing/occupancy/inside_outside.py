"""Inside or outside, for any triangle mesh: which method, on a grid or at points. The methods: scan, winding, shell.

A place is inside where the winding number, rounded, is not 0: flipped meshes (-1) and overlapping parts (2) count.
Closed parts are scan converted, exactly; open parts add the winding number. The method "auto" takes

- scan         when every part is closed, and winding when some are open, if that number can be trusted: on half of
               the area or more it is clearly 1 (beyond 0.75) on a side, or it finds half of what a flood fill encloses;
- shell-flood  else what the surface encloses by flood fill (doubled sheets, faces of mixed orientation);
- shell-thick  nothing but surface voxels, one voxel thick, when there is no interior by either.

On a grid, parts thinner than a voxel keep their surface voxels (shell.thin_parts): a sheet does not vanish. At points,
scan and winding are exact and a sheet has no volume; the shell methods look points up in a grid of voxels.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, closed_faces, is_watertight, sample_surface
from data_processing.occupancy.flood_fill import dilated, enclosed, filled, thin_parts
from data_processing.occupancy.scan_conversion import PointFrame, scan_grid, scan_points
from data_processing.occupancy.winding_number import boundary_edges, winding_grid, winding_points, winding_values
from isofield.runtime.seeds import numpy_generator

METHODS = ("auto", "scan", "winding", "shell", "shell-flood", "shell-thick")
SURFACE_SAMPLES = 4096
SURFACE_STEP = 2e-4  # of the longest edge: walls thicker than this have an inside
CLEARLY_INSIDE = 0.75  # one sheet of mixed orientation makes 0.5 on either side, and noise
CUBE = 0.5 + 1e-6


@dataclass(frozen=True)
class Occupancy:
    """A grid (R, R, R) uint8 0/1, the method that made it, and "ok" or "suspect: reason"."""

    grid_RRR: torch.Tensor
    method: str
    quality: str
    thin_RRR: torch.Tensor | None = None  # bool: voxels of the grid that are there only as parts thinner than a voxel


@dataclass(frozen=True)
class InsideConfig:
    """The section `inside:` of a data config. Resolutions are voxels along an edge of the cube."""

    method: Literal["auto", "scan", "winding", "shell"] = "auto"
    cavities: Literal["keep", "fill"] = "keep"  # voids in a solid: hollow as modelled, or solid (ShapeNet practice)
    thin: Literal["keep", "drop"] = "keep"  # surface voxels of parts thinner than a voxel
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
    lower, upper = mesh.bounds()
    if lower.min() < -CUBE or upper.max() > CUBE:
        raise ValueError(
            f"mesh from {lower.round(3)} to {upper.round(3)} leaves the cube -0.5..0.5: normalise it first"
        )
    parts = _Parts(mesh)
    method, quality = _choose(parts, settings, settings.method, device)
    triangles = torch.as_tensor(parts.all, device=device)
    grid = _solid(parts, resolution, method, settings, device)
    added = None
    if settings.thin == "keep" or method == "shell-thick":
        added = thin_parts(grid, triangles)
        if added is not None:
            share = float(added.sum() / (grid | added).sum().clamp(min=1))
            added &= ~grid
            grid |= added
            if quality == "ok" and share > 0.5:
                quality = f"suspect: {share:.0%} of the voxels are parts thinner than a voxel"
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
    if method not in METHODS:
        raise ValueError(f"inside method {method!r}: expected one of {', '.join(METHODS)}")
    parts = _Parts(mesh)
    asked = settings.method if method == "auto" else method
    method, _ = _choose(parts, settings, asked, device, judged=False)
    exact = method in ("scan", "winding")
    inside = parts.number_at(points_N3, device) != 0 if exact else np.zeros(len(points_N3), dtype=bool)
    if exact and settings.cavities == "keep":
        return inside
    frame = PointFrame(parts.all, settings.lookup_resolution)
    boxed = parts.placed(frame)
    grid = _solid(boxed, frame.resolution, method, settings, device)
    if exact:  # what filling adds, and the voxels around it that the cavity shares with the wall
        own = boxed.number_grid(frame.resolution, device) != 0
        grid &= ~own | dilated(grid & ~own)
    else:
        added = thin_parts(grid, torch.as_tensor(boxed.all, device=device))
        grid = grid if added is None else grid | added
    return inside | frame.look_up(grid, points_N3)


class _Parts:
    """Triangles (F, 3, 3) of a mesh, those of closed parts apart from the others."""

    def __init__(self, mesh: TriangleMesh) -> None:
        closed = closed_faces(mesh)
        self.mesh = mesh
        self.all = mesh.triangles()
        self.closed, self.open = self.all[closed], self.all[~closed]
        self.boundary = boundary_edges(mesh)  # (E, 2, 3), of the open parts

    def placed(self, frame: PointFrame) -> "_Parts":
        """The same parts in cube coordinates of a frame."""
        other = object.__new__(_Parts)
        other.mesh = replace(self.mesh, vertices=frame.to_cube(self.mesh.vertices))
        other.all, other.closed = frame.to_cube(self.all), frame.to_cube(self.closed)
        other.open, other.boundary = frame.to_cube(self.open), frame.to_cube(self.boundary)
        return other

    def number_grid(self, resolution: int, device: torch.device | str) -> torch.Tensor:
        """Rounded winding number (R, R, R) int16; the parts must be in cube coordinates."""
        number = scan_grid(torch.as_tensor(self.closed, device=device), resolution)
        if len(self.open):
            number += torch.from_numpy(winding_grid(self.open, resolution, boundary_E23=self.boundary)).to(device)
        return number

    def fraction_at(self, points_N3: NDArray[np.floating], device: torch.device | str) -> NDArray[np.float64]:
        """Winding number (N,) at points, not rounded where parts are open."""
        number = winding_values(self.open, points_N3, boundary_E23=self.boundary)
        if len(self.closed):
            number = number + scan_points(self.closed, points_N3, device=device)
        return number

    def number_at(self, points_N3: NDArray[np.floating], device: torch.device | str) -> NDArray[np.int16]:
        """Rounded winding number (N,) at points."""
        number = np.zeros(len(points_N3), dtype=np.int16)
        if len(self.closed):
            number += scan_points(self.closed, points_N3, device=device)
        if len(self.open):
            number += winding_points(self.open, points_N3, boundary_E23=self.boundary)
        return number


def _choose(
    parts: _Parts, settings: InsideConfig, asked: str, device: torch.device | str, *, judged: bool = True
) -> tuple[str, str]:
    """Method and quality; does not depend on the frame, nor on the resolution that is wanted.

    `judged`: False where nobody asks for the quality, which spares the flood fill where the number explains the area.
    """
    if asked == "scan" and len(parts.open):
        raise ValueError(f"inside method scan: {len(parts.open)} of {len(parts.all)} faces are in open parts; use auto")
    number = "winding" if len(parts.open) else "scan"
    if asked in ("scan", "winding"):
        return number, "ok"
    if asked in ("shell-flood", "shell-thick"):
        return asked, "ok"
    if asked == "auto" and is_watertight(parts.mesh):
        return "scan", "ok"
    frame = PointFrame(parts.all, settings.decision_resolution)
    boxed = parts.placed(frame)
    explained = _explained(boxed, device) if asked == "auto" else 0.0
    if asked == "auto" and not judged and explained >= settings.fallback_explained:
        return number, "ok"
    flood = enclosed(torch.as_tensor(boxed.all, device=device), frame.resolution, closing=settings.closing_resolution)
    if asked == "shell":
        return ("shell-flood", "ok") if flood.any() else ("shell-thick", "suspect: the flood fill finds no interior")
    return _compared(boxed, flood, number, explained, settings, device)


def _compared(
    parts: _Parts,
    flood: torch.Tensor,
    number: str,
    explained: float,
    settings: InsideConfig,
    device: torch.device | str,
) -> tuple[str, str]:
    own = filled(parts.number_grid(len(flood), device) != 0)
    found, flooded, both, either = (int(item.sum()) for item in (own, flood, own & flood, own | flood))
    if explained >= settings.fallback_explained or (found and both >= settings.fallback_volume * flooded):
        if either and both < settings.suspect_agreement * either:
            return number, f"suspect: winding number and flood fill agree on {both / either:.0%} of their volume"
        return number, "ok"
    if flooded:
        return "shell-flood", f"suspect: the winding number explains {explained:.0%} of the surface"
    return "shell-thick", "suspect: neither winding number nor flood fill finds an interior"


def _explained(parts: _Parts, device: torch.device | str) -> float:
    """Share of the area with a clear inside on at least one side."""
    points, normals = sample_surface(parts.mesh, SURFACE_SAMPLES, numpy_generator("inside", "explained"))
    sides = np.concatenate([points - SURFACE_STEP * normals, points + SURFACE_STEP * normals])
    clear = np.abs(parts.fraction_at(sides, device)) > CLEARLY_INSIDE
    return float((clear[: len(points)] | clear[len(points) :]).mean())


def _solid(
    parts: _Parts, resolution: int, method: str, settings: InsideConfig, device: torch.device | str
) -> torch.Tensor:
    """The solid (R, R, R) bool by one method, parts in cube coordinates, without the surface voxels of thin parts."""
    if method == "shell-thick":
        return torch.zeros((resolution,) * 3, dtype=torch.bool, device=device)
    fill = settings.cavities == "fill"
    solid = torch.zeros((resolution,) * 3, dtype=torch.bool, device=device)
    if method != "shell-flood":
        solid = parts.number_grid(resolution, device) != 0
    if method == "shell-flood" or (fill and method == "winding"):
        triangles = torch.as_tensor(parts.all, device=device)
        solid |= enclosed(triangles, resolution, closing=settings.closing_resolution)
    return filled(solid) if fill else solid
