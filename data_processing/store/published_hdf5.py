"""The published IM-NET files, read as they are: NAME_train.hdf5, NAME_test.hdf5 and lists of names beside them.

Data sets: voxels (S, 64, 64, 64, 1), points_L (S, P, 3), values_L (S, P, 1), and where there are views of the shapes
pixels (S, V, H, H), all uint8. The lists NAME_train.txt, NAME_test.txt hold one `category/id` a line.

The published files are gzipped in chunks that span thousands of rows, so a row costs as much as its block: rows are
read a block at a time, packed, and the last block is kept (of pixels, 0.45 MB a row, as they are). Read them in order,
or keep the set resident.
"""

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_processing.formats import hdf5
from data_processing.store.contract import ShapeSet
from data_processing.store.shards import FailedShape, Layout, PackedRow
from data_processing.store.split_lists import read_names

LAYOUT = Layout()
SUFFIXES = ("_train.hdf5", "_test.hdf5")
# How the published shapes lie in their cube (a user's own mesh has to lie likewise): ShapeNet's diagonal of 1. The
# published chairs measure 1.02 in voxels, which round up.
PUBLISHED_PREPARATION = {"name": "published", "input": ".", "normalisation": {"by": "diagonal", "length": 1.0}}


def published_files(path: Path) -> dict[str, Path]:
    """The files that exist, by split: from NAME_train.hdf5, NAME_test.hdf5, their common prefix, or their folder."""
    place = Path(path)
    if place.is_dir():
        prefixes = sorted({p.with_name(p.name.removesuffix(end)) for end in SUFFIXES for p in place.glob(f"*{end}")})
        if len(prefixes) > 1:
            raise ValueError(f"{path} holds several published data sets: give one of {', '.join(map(str, prefixes))}")
        if not prefixes:
            return {}
        place = prefixes[0]
    for end in SUFFIXES:
        place = place.with_name(place.name.removesuffix(end))
    files = {split: place.with_name(f"{place.name}_{split}.hdf5") for split in ("train", "test")}
    return {split: file for split, file in files.items() if file.is_file()}


class PublishedShapes(ShapeSet):
    """Published files as a `ShapeSet`: rows of the train file first, then of the test file."""

    def __init__(self, path: Path, files: Mapping[str, Path]) -> None:
        self.path = Path(path)
        self._files = [PublishedFile(file) for file in files.values()]
        # Pictures only where both files have them, and alike.
        first = self._files[0].layout
        self.layout = first if all(file.layout == first for file in self._files) else LAYOUT
        self.voxel_resolution = LAYOUT.voxel_resolution
        self.level_points = dict(LAYOUT.level_points)
        self.settings: dict[str, Any] = {**PUBLISHED_PREPARATION, "name": self.path.name, "input": str(self.path)}
        self.failed: list[FailedShape] = []
        # Rows of both files, one behind the other: an index below the first one's length is a row of the first.
        self.names: list[str] = []
        self.splits: dict[str, NDArray[np.int64]] = {}
        for split, file in zip(files, self._files, strict=True):
            self.splits[split] = np.arange(len(self.names), len(self.names) + file.rows, dtype=np.int64)
            self.names += _names(file, split)
        _refuse_twice(self.names, self.path)
        self.categories = [name.partition("/")[0] if "/" in name else "all" for name in self.names]
        self.qualities = ["ok"] * len(self.names)

    def row(self, index: int, keys: Sequence[str]) -> PackedRow:
        file, row = self._locate(index)
        return {key: file.packed_row(key, row) for key in keys}

    def to_world(self, index: int) -> NDArray[np.float64]:
        self._locate(index)
        return np.eye(4)

    def source(self, index: int) -> Path | None:
        self._locate(index)
        return None

    def inside_method(self, index: int) -> str:
        self._locate(index)
        return "published"

    def _locate(self, index: int) -> tuple["PublishedFile", int]:
        row = index
        for file in self._files:
            if 0 <= row < file.rows:
                return file, row
            row -= file.rows
        raise IndexError(f"{self.path}: no shape {index}; it has {len(self)}")


class PublishedFile:
    """One of the two files, checked on opening. ValueError naming file and key when it is not as published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file = hdf5.open_file(path)
        try:
            with hdf5.sound(path):
                shapes = _shapes(file)
            self._data = {key: hdf5.dataset(file, key, shape=shape, dtype="u1") for key, shape in shapes.items()}
            self.layout = _layout(self._data, path)
        except ValueError as error:
            file.close()
            raise ValueError(
                f"{error}. Expected a published IM-NET file (NAME_train.hdf5 or NAME_test.hdf5)"
            ) from error
        # Row k of every data set is shape k; of different lengths, nobody can say which row belongs to which.
        rows = {key: len(data) for key, data in self._data.items()}
        self.rows = rows["voxels"]
        if len(set(rows.values())) > 1:
            raise ValueError(f"{path}: the data sets have different numbers of rows: {rows}")
        self._blocks: dict[str, tuple[int, NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def packed_row(self, key: str, row: int) -> NDArray[np.uint8]:
        """One row, bits packed (points as they are). ValueError when voxels or values are not 0 or 1."""
        data = self._data[key]
        size = data.chunks[0] if data.chunks else 1
        with self._lock:
            # A chunk spans thousands of rows: the last one is kept, so that rows asked in order unpack each chunk once.
            number, block = self._blocks.get(key, (-1, None))
            if block is None or number != row // size:
                number, block = row // size, self._block(key, slice(row // size * size, (row // size + 1) * size))
                self._blocks[key] = (number, block)
        return np.array(block[row - number * size])

    def _block(self, key: str, rows: slice) -> NDArray[np.uint8]:
        if key.startswith("points") or key == "pixels":
            return hdf5.read(self._data[key], self.path, key, rows)
        if key.startswith("values"):
            values = hdf5.read(self._data[key], self.path, key, rows)
            return self._bits(values.reshape(len(values), -1), key, rows)
        return np.concatenate([self._bits(slab, key, rows) for slab in self._slabs(rows)], axis=1)

    def _slabs(self, rows: slice) -> Iterator[NDArray[np.uint8]]:
        """Voxels of a block in slabs along x, whole chunks each: thousands of rows are never there unpacked."""
        data = self._data["voxels"]
        step = data.chunks[1] if data.chunks else data.shape[1]
        for first in range(0, data.shape[1], step):
            slab = hdf5.read(data, self.path, "voxels", (rows, slice(first, first + step)))
            yield slab.reshape(len(slab), -1)

    def _bits(self, values: NDArray[np.uint8], key: str, rows: slice) -> NDArray[np.uint8]:
        wrong = np.flatnonzero(values.max(axis=1, initial=0) > 1)
        if wrong.size:
            raise ValueError(
                f"{self.path}: '{key}' of row {rows.start + wrong[0]} holds {values[wrong[0]].max()}; expected 0 or 1"
            )
        return np.packbits(values, axis=1)


def _shapes(file: h5py.File) -> dict[str, hdf5.Shape]:
    resolution = LAYOUT.voxel_resolution
    shapes: dict[str, hdf5.Shape] = {"voxels": (None, resolution, resolution, resolution, 1)}
    for level, points in LAYOUT.level_points.items():
        shapes |= {f"points_{level}": (None, points, 3), f"values_{level}": (None, points, 1)}
    if "pixels" in file.keys():  # noqa: SIM118  (`in file` would follow links)
        shapes["pixels"] = (None, None, None, None)
    return shapes


def _layout(data: Mapping[str, h5py.Dataset], path: Path) -> Layout:
    """What the rows of a file hold. ValueError when its pictures are not square."""
    if "pixels" not in data:
        return LAYOUT
    _, views, height, width = data["pixels"].shape
    if height != width or not views * height:
        raise ValueError(f"{path}: 'pixels' holds {views} pictures of {width}x{height}; expected square ones")
    return dataclasses.replace(LAYOUT, pictures=views, picture_size=height)


def _names(file: PublishedFile, split: str) -> list[str]:
    """The list beside the file; `train/000000` and so on where there is none."""
    listed = file.path.with_suffix(".txt")
    if not listed.is_file():
        return [f"{split}/{row:06d}" for row in range(file.rows)]
    names = read_names(listed)
    if len(names) != file.rows:
        raise ValueError(f"{listed}: {len(names)} names, but {file.path.name} has {file.rows} shapes: not its list")
    for name in names:
        if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"{listed}: {name!r} cannot name a shape")
    return names


def _refuse_twice(names: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path}: {name!r} is listed twice: splits must not overlap")
        seen.add(name)
