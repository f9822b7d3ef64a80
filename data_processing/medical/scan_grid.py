"""Back onto the grid of a scan: a field evaluated at the scan's own voxel centres, and masks written as NIfTI.

No mesh in between: a field that is right gives the mask back at any spacing, oblique scans included.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid
from isofield.runtime.atomic_files import replacing

SLAB = 1 << 20  # voxel centres at once: bounds memory
CubeBox = tuple[NDArray[np.floating], NDArray[np.floating]]


def mask_on_scan(
    field: Callable[[torch.Tensor], torch.Tensor],
    *,
    iso_level: float,
    to_world: NDArray[np.floating],
    scan: ScanGrid,
    device: torch.device | str,
    box: CubeBox | None = None,
) -> NDArray[np.uint8]:
    """1 where `field` is above `iso_level` at the voxel centres of a scan that lie in the cube; of `scan.shape`.

    `field`: (N, 3) float32 cube coordinates on `device` to (N,), for any N.
    `box`: corners (3,), (3,) in cube coordinates beyond which nothing is inside (the box of an extracted mesh, grown);
    none: the whole cube.
    """
    values = np.zeros(scan.shape, dtype=np.uint8)
    lower, upper = (np.full(3, -0.5), np.full(3, 0.5)) if box is None else _within_cube(*box)
    # Only the voxels whose indices may lie in the box: a scan of 512^3 holds an organ in a few per cent of it.
    to_cube = np.linalg.inv(to_world) @ scan.affine
    start, stop = _index_box(np.linalg.inv(to_cube), lower, upper, scan)
    if (start >= stop).any():
        return values
    # Slab by slab along the first axis, which bounds the points that are in memory at once.
    for first in range(start[0], stop[0], step := max(1, SLAB // int((stop - start)[1:].prod()))):
        block = [np.arange(first, min(first + step, stop[0])), *(np.arange(start[a], stop[a]) for a in (1, 2))]
        # An affine of a grid is a sum of three terms, one an axis: no product of matrices for each voxel.
        columns = [index[:, None] * to_cube[:3, axis] for axis, index in enumerate(block)]
        points = columns[0][:, None, None] + columns[1][None, :, None] + columns[2][None, None] + to_cube[:3, 3]
        # The box of indices is larger than the cube where the scan is tilted against it: each voxel is asked.
        within = ((points >= lower) & (points <= upper)).all(axis=-1)
        mask = np.zeros(within.shape, dtype=np.uint8)
        points_N3 = torch.from_numpy(points[within].astype(np.float32)).to(device)
        mask[within] = (field(points_N3) > iso_level).cpu().numpy()
        values[block[0][0] : block[0][-1] + 1, start[1] : stop[1], start[2] : stop[2]] = mask
    return values


def write_scan_mask(path: Path, values: NDArray[np.integer], scan: ScanGrid) -> None:
    """Write a mask as uint8 NIfTI on the scan's grid, atomically: its affine, form codes and units are copied.

    ValueError when the values have another shape than the scan, or another suffix than .nii or .nii.gz is asked for.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: expected a name that ends with .nii or .nii.gz")
    image = scan_mask_image(values, scan, where=path)
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def scan_mask_image(values: NDArray[np.integer], scan: ScanGrid, *, where: Path | str = "mask") -> Any:
    """A mask as an image of nibabel on the scan's grid: uint8, affine, form codes and units as the scan has them.

    ValueError when the values have another shape than the scan.
    """
    if tuple(values.shape) != scan.shape:
        raise ValueError(f"{where}: a mask of shape {values.shape} is not on the scan's grid {scan.shape}")
    kind, header = header_like(scan)
    header.set_data_shape(scan.shape)
    header.set_data_dtype(np.uint8)
    header["cal_max"], header["cal_min"] = 0, 0
    return kind(values.astype(np.uint8, copy=False), header.get_best_affine(), header)


def header_like(scan: ScanGrid) -> tuple[Any, Any]:
    """The class of the image and its header: the scan's own, or a new one with its affine."""
    if scan.header:
        kind: Any = nibabel.Nifti2Image if len(scan.header) > 348 else nibabel.Nifti1Image
        header = kind.header_class(scan.header, check=False)
        # A pair's header says that the voxels lie in another file; ours is one file.
        header["magic"] = header.single_magic
        header["vox_offset"] = 0
        return kind, header
    image = nibabel.Nifti1Image(np.zeros(scan.shape, np.uint8), scan.affine)
    image.header.set_sform(scan.affine, code=1)
    return nibabel.Nifti1Image, image.header


def _within_cube(
    lower: NDArray[np.floating], upper: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.maximum(np.asarray(lower, np.float64), -0.5), np.minimum(np.asarray(upper, np.float64), 0.5)


def _index_box(
    to_index: NDArray[np.floating], lower: NDArray[np.floating], upper: NDArray[np.floating], scan: ScanGrid
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels of the scan (start, stop of three axes) around a box of the cube."""
    corners = lower + np.array(list(np.ndindex(2, 2, 2))) * (upper - lower)
    index = corners @ to_index[:3, :3].T + to_index[:3, 3]
    start = np.clip(np.floor(index.min(axis=0)), 0, scan.shape).astype(np.int64)
    stop = np.clip(np.ceil(index.max(axis=0)) + 1, 0, scan.shape).astype(np.int64)
    return start, stop
