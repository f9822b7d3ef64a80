"""What a reconstruction is compared with: a mesh, a voxel grid, a point cloud, or samples of what is inside.

All in the frame of their file.

Each kind answers the same questions: its box, samples of its surface, which points are inside (a cloud cannot tell),
and a mesh to show in a picture. Formulas are in metrics/surfaces.py.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.formats.mesh_files import MESH_SUFFIXES, read_mesh
from data_processing.formats.occupancy_samples import OccupancySamples, read_samples, to_source
from data_processing.formats.point_clouds import CLOUD_SUFFIXES, PointCloud, read_cloud
from data_processing.formats.voxel_files import VOXEL_SUFFIXES, GridConfig, VoxelGrid, read_voxels, voxel_suffix
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.rendering import splats
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.occupancy.inside_outside import METHODS, InsideConfig, InsideTest
from data_processing.occupancy.outer_surface import OuterSurface
from data_processing.store.bits import unpack_array
from data_processing.store.shape_set import ShapeSet
from isofield.metrics.surfaces import SurfaceSamples

TRUTH_SUFFIXES = MESH_SUFFIXES | VOXEL_SUFFIXES | CLOUD_SUFFIXES
Points = NDArray[np.float64]


class GroundTruth(Protocol):
    """One shape to compare with, whatever it is made of; all in the frame of its file."""

    @property
    def kind(self) -> str:
        """mesh, outer surface of a mesh, voxels, points or samples"""

    def bounds(self) -> tuple[Points, Points]:
        """Corners (3,), (3,) of its box."""

    def surface(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        """`count` samples of the surface; a cloud gives at most the points that it has."""

    def inside(self, points_N3: Points) -> NDArray[np.bool_] | None:
        """Which points are inside (N,); None where nobody can tell."""

    def surface_to_show(self) -> TriangleMesh:
        """A mesh for pictures."""

    def solid(self) -> TriangleMesh:
        """The mesh that is the shape. Raises ValueError for a cloud: it has no silhouette."""


@dataclass(frozen=True)
class MeshTruth:
    mesh: TriangleMesh
    settings: InsideConfig = field(default_factory=InsideConfig)
    method: str = "auto"

    @property
    def kind(self) -> str:
        # Numbers against all that is modelled do not stand beside those against what bounds the solid.
        return "mesh" if self.settings.surface == "all" else "outer surface of a mesh"

    def bounds(self) -> tuple[Points, Points]:
        return self.mesh.bounds()

    def surface(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        if self.settings.surface == "outer":
            return SurfaceSamples(*OuterSurface(self.mesh, self._inside).sample(count, generator))
        return SurfaceSamples(*sample_surface(self.mesh, count, generator))

    def inside(self, points_N3: Points) -> NDArray[np.bool_]:
        return self._inside(points_N3)

    @functools.cached_property
    def _inside(self) -> InsideTest:
        return InsideTest(self.mesh, self.settings, method=self.method)

    def surface_to_show(self) -> TriangleMesh:
        return self.mesh

    def solid(self) -> TriangleMesh:
        return self.mesh


@dataclass(frozen=True)
class VoxelTruth:
    """Occupied voxels are boxes for inside and outside; their surface for samples is marching cubes at 0.5."""

    grid: VoxelGrid
    kind: str = "voxels"

    def bounds(self) -> tuple[Points, Points]:
        return self.surface_to_show().bounds()

    def surface(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        return SurfaceSamples(*sample_surface(self.surface_to_show(), count, generator))

    def inside(self, points_N3: Points) -> NDArray[np.bool_]:
        # Signed distances are interpolated, and beyond the grid nothing is inside; occupied voxels are boxes about
        # their centres.
        index_N3 = transform_points(points_N3, np.linalg.inv(self.grid.index_to_world))
        if self.grid.signed is not None:
            coordinates_3N = np.ascontiguousarray(index_N3.T)
            return scipy.ndimage.map_coordinates(self.grid.signed, coordinates_3N, order=1, cval=-1.0) > 0
        index_N3 = np.floor(index_N3 + 0.5)
        within_N = ((index_N3 >= 0) & (index_N3 < self.grid.occupancy.shape)).all(axis=1)
        inside_N = np.zeros(len(points_N3), dtype=bool)
        inside_N[within_N] = self.grid.occupancy[tuple(index_N3[within_N].astype(np.int64).T)] > 0
        return inside_N

    def surface_to_show(self) -> TriangleMesh:
        return self._surface

    def solid(self) -> TriangleMesh:
        return self._surface

    @functools.cached_property
    def _surface(self) -> TriangleMesh:
        occupied = self.grid.signed is None
        values = self.grid.occupancy if self.grid.signed is None else self.grid.signed
        padded = pad_outside(torch.from_numpy(values.astype(np.float32)))
        vertices_V3, faces_F3 = marching_cubes(padded, iso_level=0.5 if occupied else 0.0)
        return TriangleMesh(vertices_V3.numpy() - 1, faces_F3.numpy()).transform(self.grid.index_to_world)


@dataclass(frozen=True)
class CloudTruth:
    """Surface points with normals, such as the published surface files."""

    cloud: PointCloud
    samples: OccupancySamples | None = None  # of the same object, for IoU
    source: Points | None = None  # 4x4, to the frame of the mesh that the points were made from, where the file says it
    kind: str = "points"

    @property
    def note(self) -> str:
        return self.cloud.note

    def bounds(self) -> tuple[Points, Points]:
        return self.cloud.points_N3.min(axis=0), self.cloud.points_N3.max(axis=0)

    def surface(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        points_N3, normals_N3 = self.cloud.points_N3, self.cloud.normals_N3
        # All points that there are, in their order: drawing with replacement would only weigh some twice.
        if count >= len(points_N3):
            return SurfaceSamples(points_N3, normals_N3)
        chosen = generator.choice(len(points_N3), count, replace=False)
        return SurfaceSamples(points_N3[chosen], None if normals_N3 is None else normals_N3[chosen])

    def inside(self, points_N3: Points) -> None:
        return None

    def surface_to_show(self) -> TriangleMesh:
        return splats(self.cloud.points_N3, self.cloud.normals_N3)

    def solid(self) -> TriangleMesh:
        raise ValueError("a point cloud has no silhouettes: the light field distance needs a mesh or voxels")


@dataclass(frozen=True)
class SampleTruth:
    """Points anywhere, and which of them are inside: IoU comes from these points, and nothing else can be told."""

    samples: OccupancySamples
    source: Points | None = None  # as of CloudTruth
    kind: str = "samples"

    def bounds(self) -> tuple[Points, Points]:
        inside_N3 = self.samples.points_N3[self.samples.inside_N]
        return inside_N3.min(axis=0), inside_N3.max(axis=0)

    def surface(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        raise ValueError("occupancy samples are no surface: give points of the surface (pointcloud.npz) or a mesh")

    def inside(self, points_N3: Points) -> None:
        return None

    def surface_to_show(self) -> TriangleMesh:
        return splats(self.samples.points_N3[self.samples.inside_N], None)

    def solid(self) -> TriangleMesh:
        raise ValueError("occupancy samples have no silhouettes: the light field distance needs a mesh or voxels")


def read_ground_truth(
    path: Path,
    *,
    settings: InsideConfig | None = None,
    method: str = "auto",
    grid: GridConfig | None = None,
    samples: Path | None = None,
) -> GroundTruth:
    """Read a mesh, a voxel file (`grid` says what its numbers mean), a point cloud, or occupancy samples.

    `samples`: a file of occupancy samples of the same object as a cloud, for IoU. Raises FileNotFoundError, or
    ValueError for other suffixes and files that cannot be meant.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"ground truth {path} does not exist")
    suffix = voxel_suffix(path)
    # Three things come as .npz: what is in it decides, and occupancy samples say so by their names.
    if suffix == ".npz" and (found := read_samples(path)) is not None:
        return SampleTruth(found, to_source(path))
    if suffix in CLOUD_SUFFIXES and (cloud := read_cloud(path)) is not None:
        source = to_source(path) if suffix == ".npz" else None
        return CloudTruth(cloud, None if samples is None else read_samples(samples), source)
    if suffix in VOXEL_SUFFIXES:
        return VoxelTruth(read_voxels(path, grid))
    if suffix in MESH_SUFFIXES:
        return MeshTruth(read_mesh(path), settings or InsideConfig(), method)
    raise ValueError(f"{path}: '{suffix}' is no ground truth; known: {', '.join(sorted(TRUTH_SUFFIXES))}")


def truth_of_shape(
    shapes: ShapeSet, index: int, *, against: str = "source", settings: InsideConfig | None = None
) -> GroundTruth:
    """The ground truth of a shape of a data set, in the frame of its source file.

    "source": the mesh it was prepared from, where that is a mesh and still there; in all other cases, and for
    "voxels", the stored voxels.
    """
    source = shapes.source(index) if against == "source" else None
    if source is not None and source.suffix.lower() in MESH_SUFFIXES:
        method = shapes.inside_method(index)  # chosen in the preparation: not chosen again
        return read_ground_truth(source, settings=settings, method=method if method in METHODS else "auto")
    return VoxelTruth(stored_grid(shapes, index))


def stored_grid(shapes: ShapeSet, index: int) -> VoxelGrid:
    """The finest solid that is stored of a shape, else its voxels, with the frame of its source file.

    ValueError when the data set holds neither.
    """
    grids = shapes.layout.grids
    if grids:
        size, field = max(grids), f"grid_{max(grids)}"
        occupancy = unpack_array(shapes.packed_row(index, [field])[field], (size,) * 3)
    else:
        occupancy = shapes.voxels(index)
    index_to_cube = np.eye(4)
    index_to_cube[:3, :3] /= len(occupancy)
    index_to_cube[:3, 3] = 0.5 / len(occupancy) - 0.5
    return VoxelGrid(occupancy, shapes.to_world(index) @ index_to_cube)
