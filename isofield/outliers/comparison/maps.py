"""Maps on the grid of a scan that are nothing but zero outside of a box: written piece by piece, never held whole.

One byte a voxel. NIfTI with the scan's affine, form codes and units; and segmentations with names and colours, which
NIfTI cannot hold, as 3D Slicer writes them (.seg.nrrd): it opens those as they are, without a question.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.images import LPS_TO_RAS
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
    # Geometry of the scan, contents of the map: display limits of the scan's grey values would hide it.
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
        # Slab by slab: a map of the whole scan is never in memory.
        packed.write(header.binaryblock)
        packed.write(bytes(header.single_vox_offset - len(header.binaryblock)))
        for piece in _pieces(stored, start, place.scan):
            packed.write(piece)


@dataclass(frozen=True)
class NamedSegment:
    """A label of a map, what it is called and its colour (red, green, blue in 0 to 1)."""

    label: int
    name: str
    colour: tuple[float, float, float]


def write_segments(path: Path, values: NDArray[np.uint8], place: Crop, segments: Sequence[NamedSegment]) -> None:
    """Write a map of labels (X, Y, Z), given in the box of a canonical crop, as .seg.nrrd on the scan's grid.

    Atomic; ValueError where the box does not fit the crop. Format: the developer guide of 3D Slicer, Segmentations.
    """
    if values.shape != place.occupancy.shape or values.dtype != np.uint8:
        raise ValueError(f"{path}: a map of {values.shape} {values.dtype} is not in a box of {place.occupancy.shape}")
    stored, start = as_stored(values, place)
    # Slicer's own files are in LPS (DICOM), NIfTI is in RAS.
    lps = LPS_TO_RAS @ place.scan.affine  # its own inverse
    axes = " ".join(_vector(lps[:3, axis]) for axis in range(3))
    lines = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, place.scan.shape))}",
        f"space directions: {axes}",
        "kinds: domain domain domain",
        "encoding: gzip",
        f"space origin: {_vector(lps[:3, 3])}",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    extent = " ".join(f"0 {size - 1}" for size in place.scan.shape)
    # Slicer reads a segment's name and colour from these keys; a line break in a name would end the line.
    for number, segment in enumerate(segments):
        head = f"Segment{number}_"
        lines += [
            f"{head}Color:={' '.join(f'{part:g}' for part in segment.colour)}",
            f"{head}Extent:={extent}",
            f"{head}ID:=Segment_{segment.label}",
            f"{head}LabelValue:={segment.label}",
            f"{head}Layer:=0",
            f"{head}Name:={' '.join(segment.name.split())}",
        ]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        with gzip.GzipFile("", "wb", compresslevel=LEVEL, fileobj=file, mtime=0) as packed:
            for piece in _pieces(stored, start, place.scan):
                packed.write(piece)


def _vector(values: NDArray[np.float64]) -> str:
    """Numbers as NRRD has them, to the last bit."""
    return f"({','.join(repr(float(value)) for value in values)})"


def as_stored(values: NDArray[np.generic], place: Crop) -> tuple[NDArray[np.generic], list[int]]:
    """The values of a canonical box in the axes of the file, and the index in the file where they begin."""
    orientation = nibabel.io_orientation(place.scan.affine).astype(int)
    # Axes of the file, each of which is an axis of the canonical box, in either direction: one that is turned round
    # begins where the box ends.
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
        # One plane of the scan at a time; files of NIfTI and NRRD run along the first axis fastest.
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
    # What both boxes have in common, in the indices of each.
    inner_low = np.maximum(place.lower, lower)
    inner_high = np.minimum(place.lower + place.occupancy.shape, upper)
    if (inner_low < inner_high).all():
        to = tuple(slice(a, b) for a, b in zip(inner_low - lower, inner_high - lower, strict=True))
        of = tuple(slice(a, b) for a, b in zip(inner_low - place.lower, inner_high - place.lower, strict=True))
        occupancy[to] = place.occupancy[of]
    matrix = place.index_to_world.copy()
    matrix[:3, 3] += matrix[:3, :3] @ (lower - place.lower)
    return Crop(occupancy, matrix, lower, place.shape, place.scan)
