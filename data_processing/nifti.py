"""NIfTI masks in the simple case: one shape, already alone in its volume. Axes become RAS, units stay the file's (mm).

Not here: choosing labels, and writing masks back onto the scan's own grid.
"""

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from data_processing.voxel_grid import (
    RefusedFileError,
    Shape3,
    VoxelGrid,
    binary,
    check_dtype,
    reading,
    spatial_shape,
)

# Volume of a voxel over the product of its edges: 1 where the axes stand at right angles, 0 where they lie in a plane.
MIN_VOLUME_SHARE = 1e-3

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it says of damaged headers is our ValueError


def read_mask(path: Path, *, threshold: float = 0.5) -> VoxelGrid:
    """Read a .nii or .nii.gz mask, occupied where the value (after the header's scaling) is above `threshold`.

    Axes are flipped and swapped to the closest right-anterior-superior order, so index (i, j, k) runs along (x, y, z);
    the affine is composed with that, so positions stay where they are. Raises ValueError for a damaged file, more than
    one volume, NaN, an affine that is not invertible, or an empty mask.
    """
    with reading(path, "a NIfTI image", ImageFileError, HeaderDataError, WrapStructError):
        image: Any = nibabel.load(path)
        volume = _one_volume(image.shape, path)
        affine = _checked_affine(image.affine, path)
        check_dtype(image.get_data_dtype(), path)
        values = np.asanyarray(image.dataobj).reshape(volume)
    orientation = nibabel.io_orientation(affine)
    occupancy = binary(nibabel.apply_orientation(values, orientation), threshold=threshold, path=path)
    return VoxelGrid(occupancy, affine @ nibabel.orientations.inv_ornt_aff(orientation, volume))


def _one_volume(shape: tuple[int, ...], path: Path) -> Shape3:
    # A leading axis of 1 has its column in the affine, so only trailing ones may go.
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise RefusedFileError(f"{path}: expected one 3D mask, got shape {shape}: save each volume as its own file")
    return spatial_shape(shape[:3], path)


def _checked_affine(values: Any, path: Path) -> NDArray[np.float64]:
    affine = np.array(values, dtype=np.float64)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        raise RefusedFileError(f"{path}: its affine is not finite: {affine.tolist()}: repair the header")
    if abs(np.linalg.det(affine[:3, :3])) <= MIN_VOLUME_SHARE * edges.prod():
        raise RefusedFileError(f"{path}: its affine is not invertible: {affine.tolist()}: repair the header")
    return affine
