"""One shape: read, normalise, tell inside from outside at 256^3, make the row that the data config asks for.

The job over a whole folder (workers, parts, shards, report) is in job.py; what it does to a shape is all here, and is
used again for a user's own file at generation.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.mesh_files import MESH_SUFFIXES, read_mesh
from data_processing.formats.nifti import OpenScan, mask_of_scan
from data_processing.formats.point_clouds import CLOUD_SUFFIXES
from data_processing.formats.scans import SCAN_SUFFIXES, described_file
from data_processing.formats.voxel_files import VOXEL_SUFFIXES, VoxelGrid, read_voxels, to_cube, voxel_suffix
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.geometry.voxel_grid import AbsentPartError
from data_processing.medical.crops import structure_files
from data_processing.medical.masks import (
    ScanMask,
    inside_mask,
    mask_to_cube,
    read_structure,
    structure_in_memory,
)
from data_processing.medical.structures import LabelConfig, find_part
from data_processing.occupancy.coarse_solids import solid_cells, solid_cells_of_all
from data_processing.occupancy.inside_outside import InsideConfig, InsideTest, Occupancy, occupancy_grid
from data_processing.occupancy.outer_surface import OuterSurface
from data_processing.preparation.boundary_points import boundary_row
from data_processing.preparation.config import ENCODER_RESOLUTION, RESOLUTION, DataConfig, mask_resolution
from data_processing.preparation.cube_shape import LEVEL, CubeShape, CubeSurface, surface_of_grid, voxels_at
from data_processing.preparation.level_batches import ShapeGrid, sample_levels_of_all
from data_processing.preparation.level_points import Level, carve_from_top, max_pool, sample_levels
from data_processing.preparation.renderings import existing_files, rendering_row
from data_processing.preparation.sources import Source, kind_of
from data_processing.preparation.surface_points import surface_row
from data_processing.store.bits import pack_bits
from data_processing.store.shards import PackedRow, ShapeRecord
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.reasons import reason_of
from isofield.runtime.side_by_side import ask, seconds_elsewhere

LEVELLED, THINNED = 1, 2  # places in the course of a preparation, after mesh_parts.SCANNED
BORDER = 1e-6  # cube units by which rounding may carry a vertex outside
MAX_REASON = 500

# What a broken file, or a library that chokes on it, can raise. Not a full disk: writing happens elsewhere.
SHAPE_ERRORS = (ValueError, OSError, MemoryError, RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError)
# Not the file's fault: such a shape is tried again at the next run.
PASSING_ERRORS = (OSError, MemoryError, torch.OutOfMemoryError)


class Stages:
    """Seconds of each stage, wall and CPU."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._last = self._now()

    def end(self, stage: str) -> None:
        """Book the time since the last end to `stage`."""
        now = self._now()
        self.wall[stage] = self.wall.get(stage, 0.0) + now[0] - self._last[0]
        self.cpu[stage] = self.cpu.get(stage, 0.0) + now[1] - self._last[1]
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        wall, cpu = seconds_elsewhere()  # of shapes that are prepared side by side with this one
        return time.perf_counter() - wall, time.process_time() - cpu


def read_shape(
    file: Path,
    config: DataConfig,
    *,
    part: str = "",
    device: torch.device | str = "cpu",
    stages: Stages | None = None,
) -> CubeShape:
    """A mesh or voxel file, or a `part` of a labelled scan (Source.part), as a shape in the cube, as the config says.

    FileNotFoundError; ValueError for a file that holds no shape (the reason names it).
    """
    kind = kind_of(file)  # `config.kind` chooses files of a folder; a single file is what it is
    if kind is None:
        if known := described_file(file):
            raise ValueError(f"{file}: it is {known}")
        raise ValueError(
            f"{file}: neither a mesh ({' '.join(sorted(MESH_SUFFIXES))}) nor a voxel file "
            f"({' '.join(sorted(VOXEL_SUFFIXES))}) by its suffix, nor a point cloud, which runs with "
            f"data.input.kind: points take ({' '.join(sorted(CLOUD_SUFFIXES))})"
        )
    stages = stages or Stages()
    if config.labels is not None and voxel_suffix(file) in SCAN_SUFFIXES:
        shape = _read_part(file, part, config, config.labels, device, stages)
    else:
        read: Callable[..., CubeShape] = _read_mesh if kind == "mesh" else _read_voxels
        shape = read(file, config, device, stages)
    return _solid(shape, config, file, stages)


def shape_in_memory(
    given: TriangleMesh | VoxelGrid | OpenScan,
    config: DataConfig,
    *,
    where: Path,
    part: str = "",
    device: torch.device | str = "cpu",
) -> CubeShape:
    """What `read_shape` makes of a file, of what such a file holds. `where` names it. Raises ValueError alike."""
    stages = Stages()
    if isinstance(given, OpenScan) and config.labels is not None:
        shape = _mask_shape(structure_in_memory(given, part, config.labels), config, device, stages)
    elif isinstance(given, TriangleMesh):
        shape = _mesh_shape(given, where, config, device, stages)
    else:
        grid = mask_of_scan(given, threshold=config.grid.threshold) if isinstance(given, OpenScan) else given
        shape = _grid_shape(grid, config, device, stages)
    return _solid(shape, config, where, stages)


def _solid(shape: CubeShape, config: DataConfig, file: Path, stages: Stages) -> CubeShape:
    """Carved where the config says so. ValueError when nothing is inside."""
    if config.carve:
        shape = _voxel_shape(carve_from_top(shape.grid_RRR), shape.to_world, f"{shape.method}+carved", shape.quality)
        stages.end("carve")
    if not shape.grid_RRR.any():
        size = len(shape.grid_RRR)
        raise ValueError(f"{file}: nothing is inside at {size}^3 ({shape.method}): too thin, or no solid shape")
    return shape


def cube_voxels(shape: CubeShape) -> NDArray[np.uint8]:
    """The input of the voxel encoder: (64, 64, 64) uint8, 1 where any of the 4^3 voxels is inside."""
    return max_pool(shape.grid_RRR, ENCODER_RESOLUTION).cpu().numpy()


def cube_solid(shape: CubeShape, resolution: int, settings: InsideConfig) -> NDArray[np.uint8]:
    """Solid occupancy (R, R, R) uint8 0/1 of the field grid_R: see occupancy/coarse_solids.py."""
    how: Any = {"resolution": resolution, "keep_thin": settings.thin != "drop"}
    cells_CCC = ask(
        shape.grid_RRR,
        alone=functools.partial(solid_cells, **how),
        together=functools.partial(solid_cells_of_all, **how),
        place=(THINNED, resolution, len(shape.grid_RRR)),
    )
    return cells_CCC.cpu().numpy()


def prepare_shape(
    source: Source, config: DataConfig, *, device: torch.device | str = "cpu", stages: Stages | None = None
) -> tuple[PackedRow, ShapeRecord]:
    """The row and the record of one shape. Depends on the file, the content settings and the shape's name alone.

    Raises what reading raises; see `attempt` for the version that records it.
    """
    stages = stages or Stages()
    shape = read_shape(config.input / source.file, config, part=source.part, device=device, stages=stages)
    row, levels = row_of(shape, config, name=source.name, stages=stages)
    # The record says from which bytes the row was made: a file that changed since is then made again.
    record = ShapeRecord(
        name=source.name,
        category=source.category,
        source=source.file,
        source_bytes=size_of(*files_of(source, config)),
        source_digest=digest_of(*files_of(source, config)),
        status="done",
        method=shape.method,
        quality=shape.quality,
        inside_fraction=round(int(shape.grid_RRR.count_nonzero()) / shape.grid_RRR.numel(), 8),
        mixed_cells={resolution: int(level.mixed_cells) for resolution, level in levels.items()},
        dropped_cells={resolution: int(level.dropped_cells) for resolution, level in levels.items()},
        shape_digest=fingerprint(pack_bits(shape.grid_RRR.cpu().numpy())),
    )
    return row, record


def row_of(shape: CubeShape, config: DataConfig, *, name: str, stages: Stages) -> tuple[PackedRow, dict[int, Level]]:
    """The fields that `config.contents` asks for, and the levels among them. Seed and name key the draws."""
    contents, seed = config.contents, config.seed
    row: PackedRow = {"to_world": shape.to_world}
    if contents.voxels:
        row["voxels"] = pack_bits(cube_voxels(shape))
        stages.end("pool")
    # The order of the draws does not matter: each is keyed by seed, name and purpose.
    levels: dict[int, Level] = {}
    if contents.levels:
        keyed = ShapeGrid(shape.grid_RRR, seed, name)
        levels = ask(keyed, alone=_levels_of_one, together=sample_levels_of_all, place=(LEVELLED,))
    for resolution, level in levels.items():
        row[f"points_{resolution}"] = level.points_P3.cpu().numpy()
        row[f"values_{resolution}"] = pack_bits(level.values_P.cpu().numpy())
    stages.end("levels")
    for resolution in contents.grids:
        row[f"grid_{resolution}"] = pack_bits(cube_solid(shape, resolution, config.inside))
    stages.end("grids")
    if contents.boundary:
        row |= boundary_row(shape, contents.boundary, seed=seed, name=name)
        stages.end("boundary")
    return row | row_of_surface(shape, config, name=name, stages=stages), levels


def _levels_of_one(shape: ShapeGrid) -> dict[int, Level]:
    return sample_levels(shape.grid_RRR, seed=shape.seed, name=shape.name)


def row_of_surface(
    shape: CubeShape | CubeSurface, config: DataConfig, *, name: str, stages: Stages | None = None
) -> PackedRow:
    """Of a row the fields that show the surface alone, and `to_world`."""
    contents, seed, stages = config.contents, config.seed, stages or Stages()
    row: PackedRow = {"to_world": shape.to_world}
    if contents.surface:
        row |= surface_row(shape, contents.surface, seed=seed, name=name)
        stages.end("surface")
    if contents.rendering:
        row |= rendering_row(shape, contents.rendering, seed=seed, name=name)
        stages.end("rendering")
    return row


def needs_inside(config: DataConfig) -> bool:
    """Whether a row of a mesh depends on what is inside it, and not on its surface alone."""
    contents = config.contents
    return bool(config.carve or contents.voxels or contents.levels or contents.grids or contents.boundary)


def surface_in_cube(mesh: TriangleMesh, config: DataConfig, *, where: Path) -> CubeSurface:
    """A mesh in the cube, as the config says; `where` names it. ValueError where that leaves the cube."""
    lower, upper = mesh.bounds()
    by = config.normalisation.by
    # Nothing is moved or scaled here: what sticks out would be cut off.
    if by == "none" and max(-lower.min(), upper.max()) > 0.5 + BORDER:
        raise ValueError(
            f"{where}: reaches from {lower.tolist()} to {upper.tolist()}, outside [-0.5, 0.5]: normalise it, or "
            "--set normalisation.by=longest_edge"
        )
    to_world = normalising_to_world(lower, upper, by=by, length=config.normalisation.length)
    mesh = mesh.transform(np.linalg.inv(to_world))
    return CubeSurface(to_world, lambda: mesh, _outer(mesh, InsideTest(mesh, config.inside)))


def attempt(
    source: Source, config: DataConfig, *, device: torch.device | str = "cpu", stages: Stages | None = None
) -> tuple[list[PackedRow], ShapeRecord]:
    """`prepare_shape`, with a failure as a record that says why; no row then."""
    try:
        if source.refusal:
            raise ValueError(source.refusal)
        row, record = prepare_shape(source, config, device=device, stages=stages)
    except SHAPE_ERRORS as error:
        return [], failure(source, config, error)
    return [row], record


def failure(source: Source, config: DataConfig, error: Exception) -> ShapeRecord:
    """The record of a shape that failed, or is not there; with a digest of its file where the file is to blame."""
    file = config.input / source.file
    # One line, without the folder of this machine: it goes into tables that travel.
    text = " ".join(reason_of(error).split()).replace(str(file), source.file)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        text = "there is not memory enough for this shape; fewer --set workers=N leave more for each"
    passing = isinstance(error, PASSING_ERRORS)
    return ShapeRecord(
        name=source.name,
        category=source.category,
        source=source.file,
        source_bytes=size_of(*files_of(source, config)),
        status="absent" if isinstance(error, AbsentPartError) else "failed",
        reason=text[:MAX_REASON],
        source_digest="" if passing or source.refusal else digest_of(*files_of(source, config)),
    )


def files_of(source: Source, config: DataConfig) -> list[Path]:
    """All files that a shape is made from: one, but for structures merged from a folder of one file per organ.

    Pictures that were rendered before belong to them; those that are missing do not, until they appear.
    """
    file, rendering = config.input / source.file, config.contents.rendering
    pictures = [file for file in existing_files(rendering, source.name) if file.is_file()] if rendering else []
    if config.labels is None or not source.part:
        return [file, *pictures]
    return structure_files(file, find_part(source.part, config.labels).structure, config.labels) + pictures


def digest_of(*files: Path) -> str:
    """Of the content of files; "" when one cannot be read."""
    try:
        return fingerprint(*files)
    except OSError:
        return ""


def size_of(*files: Path) -> int:
    """Bytes of files together; -1 when one cannot be looked at."""
    try:
        return sum(file.stat().st_size for file in files)
    except OSError:
        return -1


def _read_mesh(file: Path, config: DataConfig, device: torch.device | str, stages: Stages) -> CubeShape:
    mesh = read_mesh(file)
    stages.end("read")
    return _mesh_shape(mesh, file, config, device, stages)


def _mesh_shape(
    mesh: TriangleMesh, file: Path, config: DataConfig, device: torch.device | str, stages: Stages
) -> CubeShape:
    placed = surface_in_cube(mesh, config, where=file)
    mesh = placed.surface()
    occupancy = occupancy_grid(mesh, RESOLUTION, config.inside, device=device)
    stages.end("occupancy")
    # Surface and points are asked only where the contents want them: both are kept as something to call.
    test = InsideTest(mesh, config.inside, method=occupancy.method, device=device)
    inside = functools.partial(_inside_mesh, test=test, found=occupancy)
    return CubeShape(
        occupancy.grid_RRR,
        placed.to_world,
        occupancy.method,
        occupancy.quality,
        placed.surface,
        inside,
        outer=_outer(mesh, test),
    )


def _outer(mesh: TriangleMesh, test: InsideTest) -> OuterSurface | None:
    return OuterSurface(mesh, test) if test.settings.surface == "outer" else None


def _inside_mesh(points_N3: NDArray[np.floating], *, test: InsideTest, found: Occupancy) -> NDArray[np.bool_]:
    """As in the grid: by the method that made it, and in the voxels that thin parts were given."""
    inside = test(points_N3)
    return inside if found.thin_RRR is None else inside | voxels_at(found.thin_RRR, points_N3)


def _read_voxels(file: Path, config: DataConfig, device: torch.device | str, stages: Stages) -> CubeShape:
    grid = read_voxels(file, config.grid)
    stages.end("read")
    return _grid_shape(grid, config, device, stages)


def _grid_shape(grid: VoxelGrid, config: DataConfig, device: torch.device | str, stages: Stages) -> CubeShape:
    by, length = config.normalisation.by, config.normalisation.length
    voxels_RRR, to_world = to_cube(grid, RESOLUTION, by=by, length=length)
    stages.end("occupancy")
    return _voxel_shape(torch.from_numpy(voxels_RRR).to(device), to_world, "voxels", "ok")


def _read_part(
    file: Path, part: str, config: DataConfig, labels: LabelConfig, device: torch.device | str, stages: Stages
) -> CubeShape:
    """A structure of a labelled scan, resampled once: its field is asked at every voxel, surface and points alike."""
    mask = read_structure(file, part, labels)
    stages.end("read")
    return _mask_shape(mask, config, device, stages)


def _mask_shape(mask: ScanMask, config: DataConfig, device: torch.device | str, stages: Stages) -> CubeShape:
    resolution, by = mask_resolution(config.contents), config.normalisation.by
    field_RRR, to_world = mask_to_cube(mask, resolution, by=by, length=config.normalisation.length, device=device)
    grid_RRR = (field_RRR > LEVEL).to(torch.uint8)
    stages.end("occupancy")
    surface = functools.cache(functools.partial(surface_of_grid, field_RRR))
    inside = functools.partial(inside_mask, mask, to_world, resolution=resolution, device=device)
    return CubeShape(grid_RRR, to_world, "mask", mask.quality, surface, inside, mask.scan)


def _voxel_shape(grid_RRR: torch.Tensor, to_world: NDArray[np.float64], method: str, quality: str) -> CubeShape:
    """What is inside a voxel is inside; the surface runs half-way between the centres."""
    surface = functools.cache(functools.partial(surface_of_grid, grid_RRR))
    return CubeShape(grid_RRR, to_world, method, quality, surface, functools.partial(voxels_at, grid_RRR))
