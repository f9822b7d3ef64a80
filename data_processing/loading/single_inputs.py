"""One shape as the network sees it, for generation: of a data set, or a user's own file prepared as the data set was.

What was random in training (noise, cropping, deformation) is fixed for a shape of the data set, and left out for a
user's file: that has its own flaws. Where pictures are shown, the user's own is cut out as those of the data set are,
and a mesh or a voxel file is rendered.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.nifti import OpenScan, ScanGrid
from data_processing.formats.pictures import PICTURE_SUFFIXES, Picture, cut_out, read_photo
from data_processing.formats.point_clouds import CLOUD_SUFFIXES, PointCloud, read_cloud
from data_processing.formats.scans import SCAN_SUFFIXES, open_any_scan
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.noisy_points import estimated_noise, without_noise
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.geometry.voxel_grid import VoxelGrid
from data_processing.loading.network_inputs import (
    CLOUDS,
    InputConfig,
    check_fields,
    fields_of,
    marked,
    observe,
    seen_points,
)
from data_processing.preparation.config import DataConfig
from data_processing.preparation.contents import Contents, RenderingConfig, SurfaceConfig
from data_processing.preparation.cube_shape import CubeShape
from data_processing.preparation.shape import (
    BORDER,
    Stages,
    needs_inside,
    read_shape,
    row_of,
    row_of_surface,
    shape_in_memory,
    surface_in_cube,
)
from data_processing.preparation.sources import kind_of
from data_processing.store.shape_set import ShapeSet
from isofield.runtime.counter_random import derive_keys, keys_of, subsets
from isofield.runtime.seeds import seed_of

DEFAULT_VIEWS = 16
HALF = 0.5  # of a cell that is shown as a share
# What a file can hold, read and checked: pixels (H, W, 4) uint8, points, triangles, voxels, or a scan.
Loaded = NDArray[np.uint8] | PointCloud | TriangleMesh | VoxelGrid | OpenScan
FIXED = -1  # the epoch of what is not drawn anew: validation, generation


@dataclass(frozen=True)
class Observed:
    """An input of the network, (1, R, R, R) float32 (pictures: (1, R, R)), and what belongs to it.

    `shown`: the input as mesh or cloud, in cube coordinates, or as picture; `to_world` takes the cube to the frame of
    the file. `scan` is the grid of the scan that a mask was cut from. `cut_out`: it was made of a user's file in a way
    that the user should see.
    """

    inputs: torch.Tensor
    to_world: NDArray[np.float64]
    shown: Callable[[], TriangleMesh | PointCloud | Picture]
    scan: ScanGrid | None = None
    cut_out: bool = False
    note: str = ""  # what the user should know of the file


def observe_shape(shapes: ShapeSet, index: int, section: InputConfig, *, seed: int) -> Observed:
    """A shape of a data set; always the same for a seed. ValueError when the data set does not hold what it takes."""
    check_fields(section, shapes.layout, shapes.path)
    row = shapes.packed_row(index, fields_of(section))
    key = seed_of(seed, shapes.names[index], "input", FIXED)
    return _observed(row, section, key, shapes.to_world(index))


def scan_of(shapes: ShapeSet, index: int) -> ScanGrid | None:
    """The grid of the scan that a shape came from; None when it came from something else or the file is gone."""
    return _scan_grid(source) if (source := shapes.source(index)) else None


def observe_file(
    file: Path,
    config: DataConfig,
    section: InputConfig,
    *,
    name: str,
    part: str = "",
    device: torch.device | str = "cpu",
) -> Observed:
    """A user's file: mesh, voxels, NIfTI (`part`: Source.part of a labelled scan), or where points are shown a cloud,
    where pictures are shown a picture.

    `name` and the config's seed key what is drawn. FileNotFoundError; ValueError for a file that holds no shape, and
    for a cloud or a picture where something else is shown.
    """
    given = as_given(section)
    # A picture is cut out as those of the data set are, a cloud only normalised; the rest is prepared like training
    # data.
    if is_photo(file, given):
        rendering = config.contents.rendering or RenderingConfig()
        pixels_HW = read_photo(file, config.photo, size=rendering.size, fill=rendering.fill)
        return _observed_photo(pixels_HW, given)
    cloud = read_cloud(file)
    if cloud is not None:
        return _observed_cloud(cloud, file, config, given, name=name, learned_noise=section.noise > 0)
    if kind_of(file) == "mesh" and not needs_inside(_shown_config(given, config)):
        return _observed_surface(read_mesh(file), config, given, name=name, where=file)
    shape = read_shape(file, config, part=part, device=device)
    return _observed_solid(shape, shape.scan or _scan_grid(file), config, given, name=name)


def observe_in_memory(
    loaded: Loaded,
    config: DataConfig,
    section: InputConfig,
    *,
    name: str,
    where: str,
    part: str = "",
    device: torch.device | str = "cpu",
) -> Observed:
    """What `observe_file` makes of a file, of what such a file holds. `where` names it in errors; they are the same."""
    given = as_given(section)
    if isinstance(loaded, np.ndarray):
        if given.kind != "view":
            raise ValueError(_not_a_picture_run(where, given))
        rendering = config.contents.rendering or RenderingConfig()
        size, fill, mask = rendering.size, rendering.fill, config.photo.mask
        return _observed_photo(cut_out(loaded, config.photo, size=size, fill=fill, where=where, mask=mask), given)
    if isinstance(loaded, PointCloud):
        return _observed_cloud(loaded, Path(where), config, given, name=name, learned_noise=section.noise > 0)
    if isinstance(loaded, TriangleMesh) and not needs_inside(_shown_config(given, config)):
        return _observed_surface(loaded, config, given, name=name, where=Path(where))
    shape = shape_in_memory(loaded, config, where=Path(where), part=part, device=device)
    scan = loaded.grid if isinstance(loaded, OpenScan) else None
    return _observed_solid(shape, shape.scan or scan, config, given, name=name)


def is_photo(file: Path, section: InputConfig) -> bool:
    """Whether a user's file is taken for a picture; ValueError for a picture where something else is shown."""
    by_suffix = file.suffix.lower() in PICTURE_SUFFIXES
    if by_suffix and section.kind != "view":
        raise ValueError(_not_a_picture_run(file, section))
    return by_suffix or (section.kind == "view" and kind_of(file) is None and file.suffix.lower() not in CLOUD_SUFFIXES)


def as_given(section: InputConfig) -> InputConfig:
    """The same input without what only training adds: noise, cropping, deformation."""
    kind = "solid" if section.kind == "deformed" else section.kind
    return dataclasses.replace(section, kind=kind, noise=0.0, noisy=1.0, crop=(0.0, 0.0))


def cell_boxes(cells_RRR: NDArray[np.bool_]) -> TriangleMesh:
    """Cells of a grid over the cube as boxes: every face between a marked cell and one that is not, looking outwards.

    As exact as the input itself: nothing is smoothed. No cell marked: no face.
    """
    resolution = len(cells_RRR)
    padded = np.pad(cells_RRR.astype(bool), 1)
    corners, outwards = [], []
    # Two sides along each axis: a face lies where a marked cell has none beside it on that side.
    for axis in range(3):
        for side in (0, 1):
            open_side = padded & ~np.roll(padded, 1 - 2 * side, axis)
            low_C3 = np.argwhere(open_side) - 1
            square_43 = np.insert(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), 0, side, axis=1)
            corners.append(low_C3[:, None] + np.roll(square_43, axis, axis=1))
            outwards.append(np.full(len(low_C3), side))
    quads_Q43, ahead_Q = np.concatenate(corners), np.concatenate(outwards)
    # Squares are listed counter-clockwise as seen from above; those that look down are walked the other way.
    quads_Q43[ahead_Q == 0] = quads_Q43[ahead_Q == 0][:, ::-1]
    edge = resolution + 1
    # Corners are points of a lattice: one number each, so that neighbouring faces share their vertices.
    number = (quads_Q43 @ np.array([edge * edge, edge, 1])).reshape(-1, 4)
    used, place = np.unique(number, return_inverse=True)
    vertices = np.stack(np.unravel_index(used, (edge,) * 3), 1) / resolution - 0.5
    quads = place.reshape(-1, 4)
    return TriangleMesh(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64))


def _observed(row: dict[str, NDArray], section: InputConfig, key: int, to_world: NDArray[np.float64]) -> Observed:
    # A batch of one, through the very operators of training: what the network sees is made in one place.
    packed = {field: torch.from_numpy(np.ascontiguousarray(row[field]))[None] for field in fields_of(section)}
    keys_B = keys_of([key])
    inputs = observe(packed, section, keys_B, fixed=True)[0]

    def picture_or_shape() -> TriangleMesh | PointCloud | Picture:
        if section.kind == "view":
            return Picture((inputs[0] * 255).round().to(torch.uint8).numpy())
        if section.kind not in CLOUDS:
            return cell_boxes(inputs[0].numpy() >= HALF)
        points_BN3, seen_BN = seen_points(packed, section, keys_B, fixed=True)
        return PointCloud(points_BN3[seen_BN].double().numpy())

    return Observed(inputs, to_world, picture_or_shape)


def _observed_solid(
    shape: CubeShape, scan: ScanGrid | None, config: DataConfig, section: InputConfig, *, name: str
) -> Observed:
    """A user's shape, prepared as the data set was."""
    config = _shown_config(section, config)
    row, _ = row_of(shape, config, name=name, stages=Stages())
    observed = _observed(row, section, seed_of(config.seed, name, "input", FIXED), shape.to_world)
    note = shape.quality if shape.quality.startswith("suspect") else ""
    return dataclasses.replace(observed, scan=scan, cut_out=section.kind == "view", note=note)


def _observed_surface(
    mesh: TriangleMesh, config: DataConfig, section: InputConfig, *, name: str, where: Path
) -> Observed:
    """The same of a user's mesh of which the network sees the surface alone: what is inside is not asked."""
    config = _shown_config(section, config)
    shape = surface_in_cube(mesh, config, where=where)
    row = row_of_surface(shape, config, name=name)
    observed = _observed(row, section, seed_of(config.seed, name, "input", FIXED), shape.to_world)
    return dataclasses.replace(observed, cut_out=section.kind == "view")


def _observed_photo(pixels_HW: NDArray[np.uint8], section: InputConfig) -> Observed:
    """A user's picture, cut out; the mesh that comes of it stays in the cube."""
    observed = _observed({"pixels": pixels_HW[None]}, section, 0, np.eye(4))
    return dataclasses.replace(observed, cut_out=True)


def _observed_cloud(
    cloud: PointCloud, file: Path, config: DataConfig, section: InputConfig, *, name: str, learned_noise: bool
) -> Observed:
    """A user's cloud, its bounding box normalised as those of the data were; all points, or as many as in training.

    Noise that its run does not know is told, and taken out where the config says so.
    """
    if section.kind not in CLOUDS:
        raise ValueError(
            f"{file} is a point cloud; {_shown_instead(section)}, or use a run with data.input.kind: points"
        )
    points_N3 = cloud.points_N3
    least = section.fewest or section.points
    few = f"{len(points_N3)} points, fewer than the {least} that the network knows" * (len(points_N3) < least)
    lower, upper = points_N3.min(axis=0), points_N3.max(axis=0)
    by, length = config.normalisation.by, config.normalisation.length
    # Such a run took its data in the cube already, and a cloud that leaves it was meant for another frame.
    if by == "none" and max(-lower.min(), upper.max()) > 0.5 + BORDER:
        raise ValueError(
            f"{file}: reaches from {lower.tolist()} to {upper.tolist()}, outside [-0.5, 0.5]: the run's data were "
            "normalised before; do so, or --set normalisation.by=longest_edge"
        )
    to_world = normalising_to_world(lower, upper, by=by, length=length)
    points_N3 = cloud.transform(np.linalg.inv(to_world)).points_N3
    # As many points as in training, by a key of the name: the same file gives the same input in every command.
    if 0 < section.points < len(points_N3):
        keys_B = derive_keys(keys_of([seed_of(config.seed, name, "input", FIXED)]), "points")
        chosen = subsets(keys_B, section.points, torch.ones(1, len(points_N3), dtype=torch.bool))[0]
        points_N3 = points_N3[chosen.numpy()]
    noisy = ""
    if not learned_noise and (sigma := estimated_noise(points_N3)):
        noisy = f"noise of some {sigma / np.ptp(points_N3, axis=0).max():.1%} of the longest edge"
        if config.cloud.noise == "smooth":
            points_N3 = without_noise(points_N3, sigma)
            noisy += ": points were moved onto planes of their neighbours"
        else:
            noisy += ", or thin parts that look so; this run did not learn from noise: try --set cloud.noise=smooth"
    points = torch.from_numpy(points_N3).float()[None]
    inputs = marked(points, torch.ones(points.shape[:2], dtype=torch.bool), section)
    return Observed(
        inputs[0],
        to_world,
        lambda: PointCloud(points[0].double().numpy()),
        note="; ".join(filter(None, [cloud.note, few, noisy])),
    )


def _shown_config(section: InputConfig, config: DataConfig) -> DataConfig:
    return dataclasses.replace(config, contents=_contents(section, config.contents))


def _contents(section: InputConfig, prepared: Contents) -> Contents:
    """What a row has to hold for an input, as the run's data were prepared."""
    if section.kind == "voxels":
        return Contents(levels=False)
    if section.kind == "view":
        # Nobody has rendered a user's own file before.
        rendering = dataclasses.replace(prepared.rendering or RenderingConfig(), folder=None)
        return Contents(voxels=0, levels=False, rendering=rendering)
    if section.kind not in CLOUDS:
        return Contents(voxels=0, levels=False, grids=(section.resolution * section.finer,))
    surface = prepared.surface or SurfaceConfig()
    views = (surface.views or DEFAULT_VIEWS) if section.kind == "scan" else 0
    return Contents(voxels=0, levels=False, surface=dataclasses.replace(surface, views=views))


def _not_a_picture_run(where: Path | str, section: InputConfig) -> str:
    return f"{where} is a picture; {_shown_instead(section)}, or use a run with data.input.kind: view"


def _shown_instead(section: InputConfig) -> str:
    if section.kind == "view":
        return "this run is shown pictures: give a picture, a mesh, a voxel file or a NIfTI mask"
    if section.kind in CLOUDS:
        return "this run is shown points: give a point cloud, a mesh, a voxel file or a NIfTI mask"
    solids = f"{section.kind} at {section.resolution}^3"
    return f"this run is shown solids ({solids}): give a mesh, a voxel file or a NIfTI mask"


def _scan_grid(file: Path) -> ScanGrid | None:
    return open_any_scan(file).grid if file.name.lower().endswith(SCAN_SUFFIXES) else None
