"""A scan's voxels as whole-numbered labels, read once and never copied as a whole, and where each label lies.

Memory stays below twice the stored volume: no conversion to float64, floats become integers in their own place, and
everything downhill works on the crop around a label. The last volume is kept, for a scan is asked for many structures.
"""

import gzip
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from data_processing.formats.nifti import NIFTI_ERRORS, ScanGrid, open_scan
from data_processing.geometry.voxel_grid import RefusedFileError, Shape3, reading

LARGEST = 1 << 53  # label; numbers beyond are no longer exact
ROUNDING = 1e-3  # by which a label stored as a float may miss its number
MAX_TABLED = 1 << 16  # labels above are renumbered, so that one pass finds the boxes of all
SLAB_VALUES = 1 << 18
PIECE = 1 << 22  # bytes

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The part of a scan that has labels.

    `values` (X, Y, Z) in the order of the file begin at index `start` of the scan; `number_of` label is its number
    there; `boxes` by label, in indices of the scan.
    """

    values: NDArray[np.integer]
    number_of: dict[int, int]
    boxes: dict[int, Box]
    grid: ScanGrid
    header: Any  # nibabel's, for its extensions
    start: Shape3 = (0, 0, 0)

    def mask(self, labels: Sequence[int]) -> tuple[NDArray[np.bool_], Box]:
        """Where any of the labels is, in the box around them all. There has to be at least one."""
        box = around([self.boxes[label] for label in labels])
        x, y, z = (slice(side.start - low, side.stop - low) for side, low in zip(box, self.start, strict=True))
        values = self.values[x, y, z]
        boxes = values == self.number_of[labels[0]]
        for label in labels[1:]:
            boxes |= values == self.number_of[label]
        return boxes, box


def around(boxes: Sequence[Box]) -> Box:
    """The box around some boxes."""
    x, y, z = (slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3))
    return x, y, z


_last: dict[tuple[Any, ...], LabelVolume] = {}


def label_volume(file: Path, *, threshold: float | None = None) -> LabelVolume:
    """The labels of a scan; the last one read stays in memory until the next is asked for.

    `threshold`: values above are label 1, all others nothing; without it values have to be whole numbers, within
    `ROUNDING`, and not negative. Raises what `open_scan` raises, and ValueError for what is no label.
    """
    status = file.stat() if file.is_file() else None
    key = (file, threshold, status and (status.st_mtime_ns, status.st_size))
    boxes = _last.get(key)
    if boxes is None:
        _last.clear()  # before the next is read: never two at a time
        boxes = _last[key] = _read(file, threshold)
    return boxes


def _read(file: Path, threshold: float | None) -> LabelVolume:
    scan = open_scan(file)
    proxy = scan.image.dataobj
    with reading(file, "a NIfTI image", *NIFTI_ERRORS):
        slope, shift = float(proxy.slope), float(proxy.inter)
        stored = _stored(scan.image).reshape(scan.grid.shape, order="F")
    if not stored.dtype.isnative:
        stored = stored.byteswap(inplace=True).view(stored.dtype.newbyteorder())
    values = _whole(stored, slope, shift, threshold, file)
    numbers = _renumbered(values)
    found = scipy.ndimage.find_objects(values.T)  # of .T, for it walks in C order
    boxes = {
        label: (box[2], box[1], box[0])
        for label, number in numbers.items()
        if number <= len(found) and (box := found[number - 1]) is not None
    }
    there = {label: numbers[label] for label in boxes}
    return _trimmed(LabelVolume(values, there, boxes, scan.grid, scan.image.header))


def _trimmed(volume: LabelVolume) -> LabelVolume:
    """Without the background around all labels, if that frees half the memory or more."""
    if not volume.boxes:
        return replace(volume, values=volume.values[:0, :0, :0].copy())
    outer = around(list(volume.boxes.values()))
    if 2 * math.prod(side.stop - side.start for side in outer) > volume.values.size:
        return volume
    start = (outer[0].start, outer[1].start, outer[2].start)
    return replace(volume, values=volume.values[outer].copy(order="F"), start=start)


def _stored(image: Any) -> NDArray[Any]:
    """The voxels as stored, without scaling, in Fortran order and memory of our own (a mapped file could be cut).

    Read piece by piece into their place: libraries unpack well compressed files twice. The end of a compressed file is
    read too, for there stands the checksum.
    """
    proxy = image.dataobj
    values = np.empty(math.prod(proxy.shape), proxy.dtype)
    view = values.view(np.uint8).data
    file = Path(image.file_map["image"].filename)
    packed = file.name.lower().endswith(".gz")
    with gzip.open(file) if packed else open(file, "rb") as handle:
        handle.seek(proxy.offset)
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            if handle.readinto(piece) != len(piece):
                raise EOFError(f"its header declares {len(view):,} bytes of voxels")
        if packed:
            handle.read(PIECE)
    return values


def _whole(
    stored: NDArray[Any], slope: float, shift: float, threshold: float | None, file: Path
) -> NDArray[np.integer]:
    """The labels as unsigned or signed integers, in the memory of `stored` where they fit."""
    if stored.dtype.kind == "b":
        stored = stored.view(np.uint8)
    if threshold is None and (slope, shift) == (1.0, 0.0) and stored.dtype.kind in "iu":
        if stored.dtype.kind == "i" and (lowest := stored.min()) < 0:
            raise RefusedFileError(f"{file}: holds the label {lowest}; labels are 0 or above: is it a mask?")
        return stored
    values = _integers_for(stored, slope, shift, threshold)
    for planes in _slabs(stored):
        # A copy in float64: source and target may be the same memory.
        scaled = stored[..., planes].astype(np.float64) * slope + shift
        values[..., planes] = _labels_of(scaled, threshold, file)
    return values


def _integers_for(stored: NDArray[Any], slope: float, shift: float, threshold: float | None) -> NDArray[np.integer]:
    """An array of integers for the labels: the memory of `stored` itself, if its items are large enough."""
    largest = 1.0
    if threshold is None:
        extremes = np.array([stored.min(), stored.max()], dtype=np.float64) * slope + shift
        largest = float(np.nan_to_num(extremes, posinf=0.0, neginf=0.0).max())
    size = next(size for size in (1, 2, 4, 8) if largest <= np.iinfo(f"u{size}").max or size == 8)
    if stored.dtype.itemsize in (1, 2, 4, 8) and stored.dtype.itemsize >= size:
        return stored.view(f"u{stored.dtype.itemsize}")
    return np.empty(stored.shape, f"u{size}", order="F")


def _labels_of(scaled: NDArray[np.float64], threshold: float | None, file: Path) -> NDArray[Any]:
    if not np.isfinite(scaled).all():
        raise RefusedFileError(f"{file}: holds NaN or infinity, expected a label in every voxel: repair it")
    if threshold is not None:
        return scaled > threshold
    labels = np.rint(scaled)
    off = np.abs(scaled - labels)
    if off.max(initial=0) > ROUNDING:
        raise RefusedFileError(
            f"{file}: expected whole-numbered labels, got {scaled.ravel()[off.argmax()]:g}: if it is a map of "
            "probabilities, give labels.threshold"
        )
    if labels.min(initial=0) < 0:
        raise RefusedFileError(f"{file}: holds the label {labels.min():g}; labels are 0 or above: is it a mask?")
    if labels.max(initial=0) > LARGEST:
        raise RefusedFileError(f"{file}: holds the label {labels.max():g}: is it a mask?")
    return labels


def _renumbered(values: NDArray[np.integer]) -> dict[int, int]:
    """Label -> number in `values`; labels too large for a table are numbered 1, 2, ... in place."""
    highest = int(values.max())
    if highest <= MAX_TABLED:
        return {label: label for label in range(1, highest + 1)}
    labels = np.zeros(1, values.dtype)
    for planes in _slabs(values):
        labels = np.union1d(labels, values[..., planes])
    for planes in _slabs(values):
        values[..., planes] = np.searchsorted(labels, values[..., planes])
    return {int(label): number for number, label in enumerate(labels) if number}


def _slabs(values: NDArray[Any]) -> Iterator[slice]:
    """Runs of planes along the last axis (that of the file's order) with about SLAB_VALUES values."""
    step = max(1, SLAB_VALUES // max(1, values.shape[0] * values.shape[1]))
    for start in range(0, values.shape[2], step):
        yield slice(start, start + step)
