"""What a user holds in memory (mesh, array, picture, scan), checked as the same content of a file would be."""

from pathlib import Path

import nibabel
import numpy as np
import trimesh
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from PIL import Image

from data_processing.formats.mesh_files import mesh_in_memory
from data_processing.formats.nifti import scan_in_memory
from data_processing.formats.pictures import picture_in_memory
from data_processing.formats.point_clouds import PointCloud, cloud_in_memory
from data_processing.formats.voxel_files import voxels_in_memory
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.geometry.voxel_grid import VoxelGrid
from data_processing.loading.single_inputs import Loaded
from isofield.runtime.fingerprint import fingerprint

# What may stand for a shape, beside the path of a file.
InMemory = trimesh.Trimesh | NDArray | Image.Image | SpatialImage
KNOWN = (
    "a path, a trimesh.Trimesh, an array (D, H, W) of booleans or 0/1, an array (N, 3) of points, a PIL image, a "
    "nibabel image"
)


def loaded_input(given: object) -> tuple[Loaded, str]:
    """The content, read and checked, and what errors call it.

    ValueError for another kind of object (it lists those there are), and for content that no file may have either:
    arrays of another rank or with other values, NaN, no object, more than one volume.
    """
    if isinstance(given, trimesh.Trimesh):
        return mesh_in_memory(given, where="the mesh"), "the mesh"
    if isinstance(given, np.ndarray):
        return loaded_array(given), "the array"
    if isinstance(given, Image.Image):
        return picture_in_memory(given, where="the picture"), "the picture"
    if isinstance(given, SpatialImage):
        where = name_of_image(given)
        return scan_in_memory(given, where=Path(where)), where
    hint = "; merge it: scene.to_mesh()" if isinstance(given, trimesh.Scene) else ""
    raise ValueError(f"expected {KNOWN}; got {type(given).__module__}.{type(given).__qualname__}{hint}")


def loaded_array(values: NDArray) -> PointCloud | VoxelGrid:
    """Points (N, 3), or voxels (D, H, W) of booleans or 0/1 over the cube, axes x, y, z. ValueError for others."""
    if values.ndim == 2 and values.shape[1] == 3:
        return cloud_in_memory(values, where="the array")
    if values.ndim == 3:
        return voxels_in_memory(values, where="the array")
    raise ValueError(
        f"the array: expected voxels (D, H, W) of booleans or 0/1, or points (N, 3); got shape {values.shape}, "
        f"{values.dtype}"
    )


def content_digest(loaded: NDArray[np.uint8] | PointCloud | TriangleMesh | VoxelGrid) -> str:
    """Of everything that decides what is made of it."""
    arrays: list[NDArray]
    match loaded:
        case TriangleMesh(vertices=vertices, faces=faces):
            arrays = [vertices, faces]
        case PointCloud(points_N3=points_N3):
            arrays = [points_N3]
        case VoxelGrid(occupancy=occupancy, index_to_world=index_to_world):
            arrays = [occupancy, index_to_world]
        case pixels:
            arrays = [pixels]
    return fingerprint(type(loaded).__name__, (part for values in arrays for part in (str(values.shape), values)))


def name_of_image(image: SpatialImage) -> str:
    """Its file, for errors and for the label table beside it; else what it is."""
    file = image.get_filename() if isinstance(image, nibabel.filebasedimages.FileBasedImage) else None
    return file or "the scan"
