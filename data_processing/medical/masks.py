"""From a labelled scan to the mask of one shape, cropped, with its place in the world and in the scan.

The whole seam between scans and the cube is imported from here: the way in (resampling.py) and the way back
(scan_grid.py) too.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from data_processing.formats.nifti import OpenScan, ScanGrid
from data_processing.geometry.voxel_grid import AbsentPartError, RefusedFileError
from data_processing.medical.crops import Crop, structure_crop, structure_files, volume_crop
from data_processing.medical.label_volumes import volume_of_scan
from data_processing.medical.resampling import inside_mask, mask_to_cube
from data_processing.medical.scan_grid import mask_on_scan, write_scan_mask
from data_processing.medical.scan_mask import ScanMask
from data_processing.medical.structures import LabelConfig, StructureConfig, StructurePart, find_part

__all__ = [
    "ScanGrid",
    "ScanMask",
    "inside_mask",
    "mask_on_scan",
    "mask_to_cube",
    "read_crop",
    "read_structure",
    "structure_in_memory",
    "write_scan_mask",
]


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The parts that a structure falls into, the largest first, and how many voxels belong to none."""

    crops: tuple[Crop, ...]
    left_out: int = 0


def read_structure(file: Path, part: str, settings: LabelConfig) -> ScanMask:
    """One shape of a labelled scan. `part`: as in Source.part; "" where only one is asked of a scan.

    With files: organ, `file` is one of the scan's masks, or where one should be. Raises FileNotFoundError, OSError, and
    ValueError when the file is damaged, a label is not there (it names those that are), there are too few pieces, or a
    structure is to be mirrored whose file does not say which side is left.
    """
    chosen, file = find_part(part, settings), Path(file)
    return _scan_mask(chosen, _all_pieces(file, chosen.structure, settings), file)


def structure_in_memory(scan: OpenScan, part: str, settings: LabelConfig) -> ScanMask:
    """What `read_structure` makes of a file, of a scan that is open."""
    chosen, volume = find_part(part, settings), volume_of_scan(scan, threshold=settings.threshold)
    pieces = _split(volume_crop(volume, chosen.structure, settings), chosen.structure, settings)
    return _scan_mask(chosen, pieces, scan.grid.file or Path("scan"))


def _scan_mask(chosen: StructurePart, pieces: _Pieces, file: Path) -> ScanMask:
    # Mirrored the wrong way round, a kidney would be learnt as its counterpart: only where sides are sure.
    crop = _chosen(chosen, pieces.crops, file)
    if crop.scan.doubt and chosen.structure.mirror != "never":
        raise RefusedFileError(
            f"{file}: {crop.scan.doubt}, so {chosen.structure.name} cannot be mirrored (mirror: "
            f"{chosen.structure.mirror}): repair the header, or set mirror: never"
        )
    return ScanMask(
        occupancy=crop.occupancy,
        index_to_world=crop.index_to_world,
        mirrored=chosen.mirrored,
        touched=crop.touched_faces(),
        scan=crop.scan,
        left_out=pieces.left_out,
    )


def read_crop(file: Path, part: str, settings: LabelConfig) -> Crop:
    """The same as a crop that knows its place on the scan's grid: what a reconstruction is compared with."""
    chosen, file = find_part(part, settings), Path(file)
    return _chosen(chosen, _all_pieces(file, chosen.structure, settings).crops, file)


def _chosen(part: StructurePart, crops: Sequence[Crop], file: Path) -> Crop:
    """The piece that a part means: the only one, the left or the right one, or the n-th largest."""
    wanted = part.structure.components or 1
    if wanted == 2:
        return _on_side(part, crops, file)
    number = int(part.suffix.rpartition("-")[2]) if wanted > 2 else 1
    if number > len(crops):
        raise AbsentPartError(
            f"{file}: {part.structure.name} has {len(crops)} pieces, expected {wanted}: none is number {number}"
        )
    return crops[number - 1]


def _on_side(part: StructurePart, crops: Sequence[Crop], file: Path) -> Crop:
    """In RAS, x grows towards the patient's right. One piece alone: on which side of the scan's middle it lies."""
    ordered = sorted(crops, key=lambda crop: float(crop.centroid()[0]))
    if len(ordered) == 2:
        return ordered[part.suffix == "right"]
    scan = ordered[0].scan
    middle = scan.affine[:3, :3] @ ((np.array(scan.shape) - 1) / 2) + scan.affine[:3, 3]
    there = "right" if ordered[0].centroid()[0] > middle[0] else "left"
    if part.suffix != there:
        raise AbsentPartError(f"{file}: {part.structure.name} has one piece, on the {there}: no {part.suffix} one")
    return ordered[0]


def _all_pieces(file: Path, structure: StructureConfig, settings: LabelConfig) -> _Pieces:
    # The parts of one structure are asked one after the other, and its file read once; a file that changed in between
    # is read again.
    states = []
    for path in structure_files(file, structure, settings):
        status = path.stat() if path.is_file() else None
        states.append(None if status is None else (status.st_mtime_ns, status.st_size))
    return _pieces(file, tuple(states), structure, settings)


@functools.lru_cache(maxsize=1)
def _pieces(
    file: Path, states: tuple[tuple[int, int] | None, ...], structure: StructureConfig, settings: LabelConfig
) -> _Pieces:
    """Kept for the other parts of the structure, as long as the `states` of its files (time, size) are the same."""
    return _split(structure_crop(file, structure, settings), structure, settings)


def _split(whole: Crop, structure: StructureConfig, settings: LabelConfig) -> _Pieces:
    """The parts of a mask, as many as the structure has."""
    if structure.components is None:
        return _Pieces((whole,))
    labels = _connected(whole.occupancy)
    boxes = scipy.ndimage.find_objects(labels)
    sizes = np.zeros(len(boxes) + 1, dtype=np.int64)
    # bincount makes 64-bit numbers of its input: of a plane, not of the volume.
    for plane in labels:
        sizes += np.bincount(plane.ravel(), minlength=len(sizes))
    sizes[0] = 0
    # Of equal size the first in canonical order: the order of the file's axes has no say.
    largest = [int(number) for number in np.argsort(-sizes, kind="stable")[: structure.components]]
    parts = [number for number in largest if sizes[number] >= max(1.0, settings.smallest_component * sizes.max())]
    crops = tuple(
        whole.cut(boxes[number - 1], (labels[boxes[number - 1]] == number).view(np.uint8)) for number in parts
    )
    return _Pieces(crops, int(sizes.sum() - sizes[parts].sum()))


def _connected(occupancy: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Pieces numbered from 1, connected by faces: the interpolated solid does not hold together by an edge."""
    labels: NDArray[np.integer] = np.empty(occupancy.shape, np.uint16)
    try:
        scipy.ndimage.label(occupancy, output=labels)
    except RuntimeError:  # more pieces than 16 bits can number
        labels = np.empty(occupancy.shape, np.int32)
        scipy.ndimage.label(occupancy, output=labels)
    return labels
