"""A structure out of a labelled scan: its labels found by name or id, merged, cropped and turned to canonical RAS."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid
from data_processing.formats.scans import SCAN_SUFFIXES, scan_stem, scan_suffix
from data_processing.geometry.voxel_grid import AbsentPartError, RefusedFileError
from data_processing.medical.advice import OptionError
from data_processing.medical.label_names import LabelTable, find_table, own_table
from data_processing.medical.label_volumes import Box, LabelVolume, label_volume, union
from data_processing.medical.lattices import WORTH_TELLING, Placement, apart, is_part, overlaps, placement, same_grid
from data_processing.medical.organ_names import organ_of_stem
from data_processing.medical.structures import LabelConfig, StructureConfig
from isofield.runtime.reasons import reason_of

FACES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))  # low and high end of RAS axes
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
    return _merged(_volumes(file, structure, settings), file, structure, settings)


def volume_crop(volume: LabelVolume, structure: StructureConfig, settings: LabelConfig) -> Crop:
    """The same of a volume that is in memory."""
    file = volume.grid.file
    assert file is not None
    if settings.files == "organ":
        raise RefusedFileError(
            f"{file}: this run takes a file for each organ (labels.files: organ): give the path of one of them"
        )
    return _merged([(volume, label_ids(volume, structure, settings))], file, structure, settings)


def _merged(
    volumes: Iterable[tuple[LabelVolume, list[int]]], file: Path, structure: StructureConfig, settings: LabelConfig
) -> Crop:
    """The labels of a structure in some volumes as one mask."""
    crops: list[tuple[NDArray[np.bool_], Box]] = []
    grid: ScanGrid | None = None
    for volume, labels in volumes:
        # Masks of one scan are merged voxel by voxel, which means nothing on two grids.
        if grid is not None and not same_grid(grid, volume.grid):
            raise RefusedFileError(
                f"{volume.grid.file}: its grid is not that of {grid.file}, {apart(volume.grid, grid)}: masks of a scan "
                "share it"
            )
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
    return _canonical(*union(crops), grid)


def mask_crop(file: Path, *, threshold: float | None = None) -> Crop:
    """The only label of a mask, whatever its number; a crop of no voxels when the mask is empty.

    Raises ValueError for more than one label, and what reading labels raises.
    """
    return mask_crop_of(label_volume(file, threshold=threshold))


def mask_crop_of(volume: LabelVolume) -> Crop:
    """The same of a volume that is in memory."""
    if len(volume.boxes) > 1:
        labels = _listed(list(map(str, sorted(volume.boxes))))
        raise RefusedFileError(
            f"{volume.grid.file}: expected a mask of one shape, got the labels {labels}: write each as a file of its "
            "own"
        )
    return crop_of(volume, list(volume.boxes))


def crop_of(volume: LabelVolume, labels: Sequence[int]) -> Crop:
    """Some labels of a volume as one mask; a crop of no voxels where it has none of them."""
    there = [label for label in labels if label in volume.boxes]
    if not there:
        return _canonical(np.zeros((0, 0, 0), dtype=bool), (slice(0, 0),) * 3, volume.grid)
    return _canonical(*volume.mask(there), volume.grid)


def label_ids(volume: LabelVolume, structure: StructureConfig, settings: LabelConfig) -> list[int]:
    """The ids of a structure's labels in a scan; names by its table. ValueError where they cannot be told."""
    file = volume.grid.file
    assert file is not None
    names = [label for label in structure.labels if isinstance(label, str)]
    if not names:
        return [int(label) for label in structure.labels]
    table = find_table(file, settings.table, header=volume.header)
    if table is None:
        raise OptionError(
            f"{file}: label {names[0]!r} asked by name, but nothing says what its labels {_there(volume, settings)} "
            "mean: give ",
            "table",
            ", or ids",
        )
    # A table of the user's goes before the file's own, but a name that both know must mean one number.
    if settings.table is not None:
        _refuse_disagreement(table, own_table(file, header=volume.header), names, file)
    ids: list[int] = []
    for label in structure.labels:
        try:
            ids += [label] if isinstance(label, int) else table.ids_of(label)
        except ValueError as error:
            raise RefusedFileError(f"{file}: {reason_of(error)}") from error
    # Two names may stand for one label: each once, in the order asked.
    return list(dict.fromkeys(ids))


def organ_file(folder: Path, name: str, *, exact: bool = False) -> Path:
    """The file of one organ in the folder of a scan; the one that should be there when there is none.

    NAME.nii.gz, or unless `exact` a file whose name says so with other words around (sub-01_label-NAME_mask.nii.gz);
    RefusedFileError where two do.
    """
    files = [folder / f"{name}{suffix}" for suffix in SCAN_SUFFIXES]
    plain = next((file for file in files if file.is_file()), None)
    if plain is not None or exact or not folder.is_dir():
        return plain or files[0]
    # No file is called just so: one whose name holds the organ's as a word will do, if it is the only one.
    saying = [
        file
        for file in sorted(folder.iterdir())
        if scan_suffix(file.name) and organ_of_stem(scan_stem(file.name), (name,), anywhere=True)
    ]
    if len(saying) > 1:
        raise RefusedFileError(
            f"{folder}: {saying[0].name} and {saying[1].name} could both be {name}: give each scan a folder of its own"
        )
    return saying[0] if saying else files[0]


def structure_files(file: Path, structure: StructureConfig, settings: LabelConfig) -> list[Path]:
    """The files that a structure is read from."""
    if settings.files == "scan":
        return [file]
    return [organ_file(file.parent, str(name)) for name in structure.labels]


def place_on(crop: Crop, true: Crop) -> tuple[Crop, list[str]]:
    """A crop of one file in the lattice of another file of the same scan, and what has to be said of that.

    Exact: axes are turned and shifted by whole voxels, whatever part of the scan either file holds. RefusedFileError
    that names the distance, where the voxels of one do not lie on those of the other.
    """
    # Files of one scan have voxels on each other; anything else would need resampling, which changes the mask.
    files = placement(crop.scan, true.scan)
    if files is None or not overlaps(crop.scan, files, true.scan):
        doubts = [f"; {grid.file}: {grid.doubts}" for grid in (crop.scan, true.scan) if grid.doubts]
        how = "they have no voxel in common, " if files else ""
        raise RefusedFileError(
            f"expected the grid of {true.scan.file} {true.scan.shape}, got that of {crop.scan.file} {crop.scan.shape}: "
            f"{how}{apart(crop.scan, true.scan)}: write it on the scan's own grid{''.join(doubts)}"
        )
    notes = _notes_of(crop.scan, files, true.scan)
    # From the index in the crop to the canonical index in the other scan.
    lattice = true.index_to_world.copy()
    lattice[:3, 3] -= lattice[:3, :3] @ true.lower
    relation = np.linalg.inv(lattice) @ crop.index_to_world
    turn = np.rint(relation[:3, :3]).astype(np.int64)
    # The middle of the crop decides the shift: there a rounded affine is off least.
    sizes = np.array(crop.occupancy.shape)
    middle = (sizes - 1) / 2
    first = np.rint(relation[:3, :3] @ middle + relation[:3, 3] - turn @ middle).astype(np.int64)
    lower = np.minimum(first, first + turn @ (sizes - 1)) if sizes.all() else np.zeros(3, np.int64)
    # The voxels themselves: axes in the order and direction of the other scan.
    axes = np.abs(turn).argmax(axis=1)
    turned = crop.occupancy.transpose(axes)
    turned = turned[tuple(slice(None, None, int(turn[axis, source])) for axis, source in enumerate(axes))]
    lattice[:3, 3] += lattice[:3, :3] @ lower
    return Crop(np.ascontiguousarray(turned), lattice, lower, true.shape, true.scan), notes


def _notes_of(grid: ScanGrid, files: Placement, true: ScanGrid) -> list[str]:
    notes = list(dict.fromkeys(one.remarks for one in (grid, true) if one.remarks))
    if files.deviation > WORTH_TELLING:
        notes.append(f"the grids differ by up to {files.deviation:.2g} voxels ({files.deviation_mm:.2g} mm)")
    if not files.is_plain:
        notes.append("the files store their axes in another order or direction")
    if is_part(grid, files, true):
        notes.append(f"the grids {grid.shape} and {true.shape} are different parts of one scan")
    return notes


def _volumes(file: Path, structure: StructureConfig, settings: LabelConfig) -> Iterator[tuple[LabelVolume, list[int]]]:
    """The files that hold a structure, one after the other, and its ids in each."""
    if settings.files == "scan":
        volume = label_volume(file, threshold=settings.threshold)
        yield volume, label_ids(volume, structure, settings)
        return
    for mask in structure_files(file, structure, settings):
        if not mask.is_file():
            there = sorted(p.name for p in file.parent.glob("*") if scan_suffix(p.name))
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
            raise OptionError(
                f"{file}: {name!r} is {here} by {table.where}, but {there} by {own.where}: leave out ",
                "table",
                ", or correct it",
            )


def _canonical(mask: NDArray[np.bool_], box: Box, grid: ScanGrid) -> Crop:
    """The crop with its axes along right, anterior, superior as closely as they can be."""
    orientation = nibabel.io_orientation(grid.affine)
    # The turned array begins at another corner: the inverse of the turn, and the crop's place in the scan, go into the
    # affine.
    start, sizes = np.array([side.start for side in box]), np.array(grid.shape)
    shift = np.eye(4)
    shift[:3, 3] = start
    matrix = grid.affine @ shift @ nibabel.orientations.inv_ornt_aff(orientation, mask.shape)
    lower, shape = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for stored, (axis, direction) in enumerate(orientation.astype(int)):
        stop = start[stored] + mask.shape[stored]
        # An axis that is turned round counts from its other end.
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
