"""Maps on the grid of a scan that are nothing but zero outside of a box: written piece by piece, never held whole.

Affine, form codes and units are the scan's; one byte a voxel.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid
from data_processing.medical.crops import Crop
from data_processing.medical.scan_grid import header_like
from isofield.runtime.atomic_files import replacing

PIECE = 1 << 20  # bytes of planes written at once
LEVEL = 1  # of compression: a map is mostly zero


def write_map(path: Path, values: NDArray[np.int8] | NDArray[np.uint8], place: Crop, *, slope: float = 1.0) -> None:
    """Write a map (X, Y, Z) of one byte, given in the box of a canonical crop, as .nii.gz on the scan's grid.

    A reader sees values times `slope`. Atomic; ValueError where the box does not fit the crop.
    """
    if values.shape != place.occupancy.shape or values.itemsize != 1:
        raise ValueError(f"{path}: a map of {values.shape} {values.dtype} is not in a box of {place.occupancy.shape}")
    stored, start = as_stored(values, place)
    _, header = header_like(place.scan)
    header.set_data_shape(place.scan.shape)
    header.set_data_dtype(values.dtype)
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["cal_max"], header["cal_min"] = 0, 0
    header["vox_offset"] = header.single_vox_offset
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=LEVEL, fileobj=file, mtime=0) as packed,
    ):
        packed.write(header.binaryblock)
        packed.write(bytes(header.single_vox_offset - len(header.binaryblock)))
        for piece in _pieces(stored, start, place.scan):
            packed.write(piece)


def as_stored(values: NDArray[np.generic], place: Crop) -> tuple[NDArray[np.generic], list[int]]:
    """The values of a canonical box in the axes of the file, and the index in the file where they begin."""
    orientation = nibabel.io_orientation(place.scan.affine).astype(int)
    turned = values.transpose(orientation[:, 0])
    start = []
    for stored, (axis, direction) in enumerate(orientation):
        low, size = int(place.lower[axis]), values.shape[axis]
        start.append(low if direction > 0 else int(place.shape[axis]) - low - size)
        if direction < 0:
            turned = np.flip(turned, axis=stored)
    return turned, start


def _pieces(values: NDArray[np.generic], start: list[int], scan: ScanGrid) -> Iterator[bytes]:
    """All voxels of the scan in the order of the file: runs of empty planes, and those of the box one by one."""
    plane = scan.shape[0] * scan.shape[1]
    first, last = start[2], start[2] + values.shape[2]
    yield from _zeros(first * plane)
    x, y = (slice(start[axis], start[axis] + values.shape[axis]) for axis in (0, 1))
    for number in range(values.shape[2]):
        whole = np.zeros(scan.shape[:2], dtype=values.dtype, order="F")
        whole[x, y] = values[:, :, number]
        yield whole.tobytes(order="F")
    yield from _zeros((scan.shape[2] - last) * plane)


def _zeros(count: int) -> Iterator[bytes]:
    for begun in range(0, count, PIECE):
        yield bytes(min(PIECE, count - begun))


def box_of(place: Crop, lower: NDArray[np.int64], upper: NDArray[np.int64]) -> Crop:
    """The same mask in another box of the canonical scan, that holds it or not: a crop of its own."""
    occupancy = np.zeros(upper - lower, dtype=np.uint8)
    inner_low = np.maximum(place.lower, lower)
    inner_high = np.minimum(place.lower + place.occupancy.shape, upper)
    if (inner_low < inner_high).all():
        to = tuple(slice(a, b) for a, b in zip(inner_low - lower, inner_high - lower, strict=True))
        of = tuple(slice(a, b) for a, b in zip(inner_low - place.lower, inner_high - place.lower, strict=True))
        occupancy[to] = place.occupancy[of]
    matrix = place.index_to_world.copy()
    matrix[:3, 3] += matrix[:3, :3] @ (lower - place.lower)
    return Crop(occupancy, matrix, lower, place.shape, place.scan)
