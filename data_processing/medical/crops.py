"""A structure out of a labelled scan: its labels found by name or id, merged, cropped and turned to canonical RAS."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import NIFTI_SUFFIXES, ScanGrid
from data_processing.geometry.voxel_grid import AbsentPartError, RefusedFileError
from data_processing.medical.label_names import LabelTable, find_table, own_table
from data_processing.medical.label_volumes import Box, LabelVolume, around, label_volume
from data_processing.medical.structures import LabelConfig, StructureConfig

FACES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))  # low and high end of RAS axes
SAME_PLACE = 1e-3  # mm by which the corners of one grid may differ between two files
SHOWN = 20  # labels in a message


@dataclass(frozen=True, eq=False)
class Crop:
    """A mask in canonical order: its box, where that begins in the canonical scan, and how large the scan is there."""

    occupancy: NDArray[np.uint8]  # (X, Y, Z) 0/1, C order
    index_to_world: NDArray[np.float64]  # 4x4: index in the crop -> RAS mm
    lower: NDArray[np.int64]  # (3,)
    shape: NDArray[np.int64]  # (3,)
    scan: ScanGrid

    def cut(self, box: Box, occupancy: NDArray[np.uint8]) -> "Crop":
        """A piece of it, in a box of its indices."""
        start = np.array([side.start for side in box])
        matrix = self.index_to_world.copy()
        matrix[:3, 3] += matrix[:3, :3] @ start
        return Crop(occupancy, matrix, self.lower + start, self.shape, self.scan)

    def centroid(self) -> NDArray[np.float64]:
        """In RAS mm."""
        index = [
            np.average(np.arange(size), weights=self.occupancy.sum(axis=others, dtype=np.int64))
            for size, others in zip(self.occupancy.shape, ((1, 2), (0, 2), (0, 1)), strict=True)
        ]
        return self.index_to_world[:3, :3] @ np.array(index) + self.index_to_world[:3, 3]

    def touched_faces(self) -> tuple[str, ...]:
        """Faces of the field of view that its box reaches."""
        upper = self.lower + self.occupancy.shape
        return tuple(
            face
            for axis, (low, high) in enumerate(FACES)
            for face, reached in ((low, self.lower[axis] <= 0), (high, upper[axis] >= self.shape[axis]))
            if reached
        )


def structure_crop(file: Path, structure: StructureConfig, settings: LabelConfig) -> Crop:
    """All labels of a structure as one mask. ValueError that names the labels there are, when it has no voxel."""
    crops: list[tuple[NDArray[np.bool_], Box]] = []
    grid: ScanGrid | None = None
    for volume, labels in _volumes(file, structure, settings):
        if grid is not None and not same_grid(grid, volume.grid):
            raise RefusedFileError(f"{volume.grid.file}: its grid is not that of {grid.file}: masks of a scan share it")
        grid = grid or volume.grid
        there = [label for label in labels if label in volume.boxes]
        if there:
            crops.append(volume.mask(there))
        elif settings.files == "scan":
            raise AbsentPartError(
                f"{file}: no voxel has label {' or '.join(map(str, labels))} ({structure.name}); it has "
                f"{_there(volume, settings)}"
            )
    assert grid is not None
    if not crops:
        raise AbsentPartError(f"{file}: the mask of {structure.name} is empty")
    return _canonical(*_union(crops), grid)


def mask_crop(file: Path) -> Crop:
    """The only label of a mask, whatever its number; a crop of no voxels when the mask is empty.

    Raises ValueError for more than one label, and what reading labels raises.
    """
    volume = label_volume(file)
    if len(volume.boxes) > 1:
        raise RefusedFileError(
            f"{file}: expected a mask of one shape, got the labels {_listed(list(map(str, sorted(volume.boxes))))}: "
            "write each as a file of its own"
        )
    if not volume.boxes:
        zeros = np.zeros((0, 0, 0), dtype=bool)
        return _canonical(zeros, (slice(0, 0),) * 3, volume.grid)
    return _canonical(*volume.mask(list(volume.boxes)), volume.grid)


def label_ids(volume: LabelVolume, structure: StructureConfig, settings: LabelConfig) -> list[int]:
    """The ids of a structure's labels in a scan; names by its table. ValueError where they cannot be told."""
    file = volume.grid.file
    assert file is not None
    names = [label for label in structure.labels if isinstance(label, str)]
    if not names:
        return [int(label) for label in structure.labels]
    table = find_table(file, settings.table, header=volume.header)
    if table is None:
        raise RefusedFileError(
            f"{file}: label {names[0]!r} asked by name, but nothing says what its labels {_there(volume, settings)} "
            "mean: give labels.table, or ids"
        )
    if settings.table is not None:
        _refuse_disagreement(table, own_table(file, header=volume.header), names, file)
    ids: list[int] = []
    for label in structure.labels:
        try:
            ids += [label] if isinstance(label, int) else table.ids_of(label)
        except ValueError as error:
            raise RefusedFileError(f"{file}: {error}") from error
    return list(dict.fromkeys(ids))


def organ_file(folder: Path, name: str) -> Path:
    """The file of one organ in the folder of a scan; the one that should be there when there is none."""
    files = [folder / f"{name}{suffix}" for suffix in NIFTI_SUFFIXES]
    return next((file for file in files if file.is_file()), files[-1])


def structure_files(file: Path, structure: StructureConfig, settings: LabelConfig) -> list[Path]:
    """The files that a structure is read from."""
    if settings.files == "scan":
        return [file]
    return [organ_file(file.parent, str(name)) for name in structure.labels]


def same_grid(one: ScanGrid, other: ScanGrid) -> bool:
    """Whether two files have the same voxels in the same places."""
    if one.shape != other.shape:
        return False
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(one.shape) - 1)
    difference = one.affine - other.affine
    return bool(np.abs(corners @ difference[:3, :3].T + difference[:3, 3]).max() <= SAME_PLACE)


def _volumes(file: Path, structure: StructureConfig, settings: LabelConfig) -> Iterator[tuple[LabelVolume, list[int]]]:
    """The files that hold a structure, one after the other, and its ids in each."""
    if settings.files == "scan":
        volume = label_volume(file, threshold=settings.threshold)
        yield volume, label_ids(volume, structure, settings)
        return
    for mask in structure_files(file, structure, settings):
        if not mask.is_file():
            there = sorted(p.name for p in file.parent.glob("*.nii*"))
            raise FileNotFoundError(f"{mask} does not exist; its folder has {_listed(there)}")
        volume = label_volume(mask, threshold=settings.threshold)
        if len(volume.boxes) > 1:
            raise RefusedFileError(f"{mask}: expected the mask of one organ, got labels {_there(volume, settings)}")
        yield volume, list(volume.boxes)


def _refuse_disagreement(table: LabelTable, own: LabelTable | None, names: Sequence[str], file: Path) -> None:
    """The config's table must not contradict what the scan says of itself."""
    for name in names if own is not None else ():
        assert own is not None
        try:
            here, there = table.ids_of(name), own.ids_of(name)
        except ValueError:
            continue  # only one of them knows it: the config's is asked next
        if here != there:
            raise RefusedFileError(
                f"{file}: {name!r} is {here} by {table.where}, but {there} by {own.where}: leave out labels.table, or "
                "correct it"
            )


def _union(crops: Sequence[tuple[NDArray[np.bool_], Box]]) -> tuple[NDArray[np.bool_], Box]:
    if len(crops) == 1:
        return crops[0]
    outer = around([box for _, box in crops])
    union = np.zeros([side.stop - side.start for side in outer], dtype=bool)
    for crop, box in crops:
        union[tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(box, outer, strict=True))] |= crop
    return union, outer


def _canonical(mask: NDArray[np.bool_], box: Box, grid: ScanGrid) -> Crop:
    """The crop with its axes along right, anterior, superior as closely as they can be."""
    orientation = nibabel.io_orientation(grid.affine)
    start, sizes = np.array([side.start for side in box]), np.array(grid.shape)
    shift = np.eye(4)
    shift[:3, 3] = start
    matrix = grid.affine @ shift @ nibabel.orientations.inv_ornt_aff(orientation, mask.shape)
    lower, shape = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for stored, (axis, direction) in enumerate(orientation.astype(int)):
        stop = start[stored] + mask.shape[stored]
        lower[axis] = start[stored] if direction > 0 else sizes[stored] - stop
        shape[axis] = sizes[stored]
    turned = nibabel.apply_orientation(mask.view(np.uint8), orientation)
    return Crop(np.ascontiguousarray(turned), matrix, lower, shape, grid)


def _there(volume: LabelVolume, settings: LabelConfig) -> str:
    """The labels of a volume for a message, with names where they are known."""
    file = volume.grid.file
    table = None if file is None else find_table(file, settings.table, header=volume.header)
    names = [f"{label} {table.name_of(label) if table else ''}".strip() for label in sorted(volume.boxes)]
    return _listed(names)


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"
