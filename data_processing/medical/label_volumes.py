"""A scan's voxels as whole-numbered labels, read once and never copied as a whole, and where each label lies.

Memory stays below twice the stored volume: no conversion to float64, floats become integers in their own place, and
everything downhill works on the crop around a label. The last volume is kept, for a scan is asked for many structures.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from data_processing.formats.images import ImageHeader
from data_processing.formats.nifti import OpenScan, ScanGrid
from data_processing.formats.scans import open_any_scan
from data_processing.geometry.voxel_grid import RefusedFileError, Shape3
from data_processing.medical.advice import OptionError

LARGEST = 1 << 53  # label; numbers beyond are no longer exact
ROUNDING = 1e-3  # by which a label stored as a float may miss its number
MAX_TABLED = 1 << 16  # labels above are renumbered, so that one pass finds the boxes of all
SLAB_VALUES = 1 << 18
BYTE_STEPS = 255  # into which a range is divided by whoever stores real numbers as bytes
# Of an image: many values, and rarely the same in two voxels side by side. Label volumes are pieces of one value.
IMAGE_LABELS, IMAGE_PAIRS, EQUAL_PAIRS = 8, 1000, 0.5
PLANES_LOOKED_AT = 32

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The part of a scan that has labels.

    `values` (X, Y, Z) in the order of the file begin at index `start` of the scan; `number_of` label is its number
    there; `boxes` by label, in indices of the scan. Segments that overlap lie in layers: `over` holds volumes like this
    one, each with labels of its own, that lie over it.
    """

    values: NDArray[np.integer]
    number_of: dict[int, int]
    boxes: dict[int, Box]
    grid: ScanGrid
    header: Any  # of the file: nibabel's for its extensions, or an ImageHeader for its segments
    start: Shape3 = (0, 0, 0)
    over: tuple["LabelVolume", ...] = ()

    def mask(self, labels: Sequence[int]) -> tuple[NDArray[np.bool_], Box]:
        """Where any of the labels is, in the box around them all. There has to be at least one."""
        if not self.over:
            return self._mask(labels)
        layers = [layer._mask(inside) for layer in self.over if (inside := [x for x in labels if x in layer.boxes])]
        return union(layers)

    def _mask(self, labels: Sequence[int]) -> tuple[NDArray[np.bool_], Box]:
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


def union(masks: Sequence[tuple[NDArray[np.bool_], Box]]) -> tuple[NDArray[np.bool_], Box]:
    """Some masks in boxes of one scan as one, in the box around them all."""
    if len(masks) == 1:
        return masks[0]
    # Each is laid where it belongs in the box around all of them: scans are large, organs small.
    outer = around([box for _, box in masks])
    whole = np.zeros([side.stop - side.start for side in outer], dtype=bool)
    for mask, box in masks:
        whole[tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(box, outer, strict=True))] |= mask
    return whole, outer


_last: dict[tuple[Any, ...], LabelVolume] = {}


def label_volume(file: Path, *, threshold: float | None = None, keep: int = 1) -> LabelVolume:
    """The labels of a scan; the last one read stays in memory until the next is asked for.

    `threshold`: values above are label 1, all others nothing; without it values have to be whole numbers, as far as
    their way of storage can hold them, and not negative. `keep`: how many volumes stay; two where one is compared with
    another label by label. Raises what `open_any_scan` raises, and ValueError for what is no label.
    """
    status = file.stat() if file.is_file() else None
    key = (file, threshold, status and (status.st_mtime_ns, status.st_size))
    boxes = _last.pop(key, None)
    if boxes is None:
        while len(_last) >= keep:  # before the next is read: never more than asked for at a time
            del _last[next(iter(_last))]
        boxes = _read(file, threshold)
    _last[key] = boxes
    return boxes


def _read(file: Path, threshold: float | None) -> LabelVolume:
    return volume_of_scan(open_any_scan(file), threshold=threshold)


def volume_of_scan(scan: OpenScan, *, threshold: float | None = None) -> LabelVolume:
    """The labels of a scan that is open; `label_volume` says what they may be."""
    layers = [
        _layer(stored, scan.slope, scan.shift, threshold, LabelVolume(stored, {}, {}, scan.grid, scan.header))
        for stored in scan.read()
    ]
    if isinstance(scan.header, ImageHeader) and scan.header.segments and threshold is None:
        layers = [_segments_only(layer, number, scan.header) for number, layer in enumerate(layers)]
    if len(layers) == 1:
        return layers[0]
    boxes = {label: box for layer in layers for label, box in layer.boxes.items()}
    return replace(layers[0], number_of={}, boxes=boxes, over=tuple(layers))


def _layer(stored: NDArray[Any], slope: float, shift: float, threshold: float | None, like: LabelVolume) -> LabelVolume:
    """The labels of one array of a file. `like`: whose grid and header it has."""
    file = like.grid.file
    assert file is not None
    values = _whole(stored, slope, shift, threshold, file)
    numbers = _renumbered(values)
    found = scipy.ndimage.find_objects(values.T)  # of .T, for it walks in C order
    boxes = {
        label: (box[2], box[1], box[0])
        for label, number in numbers.items()
        if number <= len(found) and (box := found[number - 1]) is not None
    }
    there = {label: numbers[label] for label in boxes}
    if threshold is None:
        _refuse_image(values, len(there), file)
    return _trimmed(replace(like, values=values, number_of=there, boxes=boxes))


def _segments_only(volume: LabelVolume, layer: int, header: ImageHeader) -> LabelVolume:
    """A layer whose labels are those of its segments: the file may use one value in two layers."""
    label_of = {segment.value: segment.label for segment in header.segments if segment.layer == layer}
    return replace(
        volume,
        number_of={label_of.get(value, value): number for value, number in volume.number_of.items()},
        boxes={label_of.get(value, value): box for value, box in volume.boxes.items()},
    )


def _refuse_image(values: NDArray[np.integer], count: int, file: Path) -> None:
    """Refuse a volume of grey values: many of them, and voxels side by side hardly ever have the same."""
    if count < IMAGE_LABELS:
        return
    step = max(1, values.shape[2] // PLANES_LOOKED_AT)
    # A sample of planes: whole volumes of grey values would take seconds to compare.
    here, beside = values[:-1, :, ::step], values[1:, :, ::step]
    inside = (here > 0) & (beside > 0)
    pairs = int(np.count_nonzero(inside))
    equal = int(np.count_nonzero(inside & (here == beside)))
    if pairs >= IMAGE_PAIRS and equal < EQUAL_PAIRS * pairs:
        raise OptionError(
            f"{file}: this looks like an image, not like labels: {count} values, and only {equal / pairs:.0%} of the "
            "voxels have the value of the one beside them: leave it out with ",
            "pattern",
        )


def _trimmed(volume: LabelVolume) -> LabelVolume:
    """Without the background around all labels, if that frees half the memory or more."""
    if not volume.boxes:
        return replace(volume, values=volume.values[:0, :0, :0].copy())
    outer = around(list(volume.boxes.values()))
    if 2 * math.prod(side.stop - side.start for side in outer) > volume.values.size:
        return volume
    start = (outer[0].start, outer[1].start, outer[2].start)
    return replace(volume, values=volume.values[outer].copy(order="F"), start=start)


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
    rounding = max(ROUNDING, _half_step(stored, slope, shift) if threshold is None else 0.0)
    highest = float(stored.max()) * slope + shift
    values = _integers_for(stored, slope, shift, threshold)
    for planes in _slabs(stored):
        # A copy in float64: source and target may be the same memory.
        scaled = stored[..., planes].astype(np.float64) * slope + shift
        values[..., planes] = _labels_of(scaled, threshold, rounding, slope, file)
    # All of it rounded to 0: a map of shares below one half, which looks like an empty volume of labels.
    if threshold is None and highest > 0 and not values.any():
        raise OptionError(
            f"{file}: expected whole-numbered labels, got nothing but fractions up to {highest:g}: save labels as "
            "integers; if it is a map of probabilities, give ",
            "threshold",
        )
    return values


def _half_step(stored: NDArray[Any], slope: float, shift: float) -> float:
    """By how much a whole number may be missed where real numbers are stored as integers: half a step; else 0.

    The step is the header's slope. Files written from numbers that were read so have none, but the same few values:
    all in steps of a 255th of their range.
    """
    if stored.dtype.kind in "iu":
        return abs(slope) / 2 * (1 + 1e-6) if abs(slope) < 1 else 0.0
    boxes = np.zeros(0)
    for planes in _slabs(stored):
        boxes = np.union1d(boxes, stored[..., planes])
        if len(boxes) > BYTE_STEPS + 1 or not np.isfinite(boxes).all():
            return 0.0
    boxes = boxes * slope + shift
    step = float(np.ptp(boxes)) / BYTE_STEPS
    if not 2 * ROUNDING < step < 1:
        return 0.0
    # Only if every value lies on a step were they stored in bytes once; a map of probabilities does not do that.
    places = (boxes - boxes[0]) / step
    return step / 2 * (1 + 1e-6) if np.abs(places - np.rint(places)).max() < ROUNDING else 0.0


def _integers_for(stored: NDArray[Any], slope: float, shift: float, threshold: float | None) -> NDArray[np.integer]:
    """An array of integers for the labels: the memory of `stored` itself, if its items are large enough."""
    largest = 1.0
    if threshold is None:
        extremes = np.array([stored.min(), stored.max()], dtype=np.float64) * slope + shift
        largest = float(np.nan_to_num(extremes, posinf=0.0, neginf=0.0).max())
    # The smallest integers that hold the largest label.
    size = next(size for size in (1, 2, 4, 8) if largest <= np.iinfo(f"u{size}").max or size == 8)
    # A scan of 512^3 in float64 takes a gigabyte: its own memory is written over where items are wide enough.
    if stored.dtype.itemsize in (1, 2, 4, 8) and stored.dtype.itemsize >= size:
        return stored.view(f"u{stored.dtype.itemsize}")
    return np.empty(stored.shape, f"u{size}", order="F")


def _labels_of(
    scaled: NDArray[np.float64], threshold: float | None, rounding: float, slope: float, file: Path
) -> NDArray[Any]:
    if not np.isfinite(scaled).all():
        raise RefusedFileError(f"{file}: holds NaN or infinity, expected a label in every voxel: repair it")
    if threshold is not None:
        return scaled > threshold
    # Scaling leaves whole numbers off by rounding. What is farther off than that was no label.
    labels = np.rint(scaled)
    off = np.abs(scaled - labels)
    if off.max(initial=0) > rounding:
        steps = "" if slope == 1 else f" (stored in steps of {abs(slope):.4g}, scl_slope)"
        raise OptionError(
            f"{file}: expected whole-numbered labels, got {scaled.ravel()[off.argmax()]:g}{steps}: if they are labels, "
            "save them as integers; if it is a map of probabilities, give ",
            "threshold",
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
    # Only those that are there get a number, ascending, the background staying 0; slab by slab, to bound the memory.
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
