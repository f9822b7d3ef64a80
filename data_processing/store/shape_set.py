"""The shape store: a data set opened for training, generation and evaluation.

A data set of ours is a folder:

    dataset.json     settings, names, categories, splits, licences; there when the preparation is finished
    shards/*.h5      packed rows (shards.py)
    report.csv/json  how each shape was made, and which failed
    job.json, parts/ of a preparation under way

or the published IM-NET HDF5 pair (published_hdf5.py). Both look the same to everything downhill: `ShapeSet`
(contract.py).
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.store.contract import ShapeSet
from data_processing.store.published_hdf5 import PublishedShapes, published_files
from data_processing.store.shards import SCHEMA, FailedShape, Layout, PackedRow, Shard
from isofield.runtime.config import build
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import leads_out, read_object

INDEX_FILE, JOB_FILE, SHARDS, PARTS = "dataset.json", "job.json", "shards", "parts"
MAX_OPEN_SHARDS = 64
SHOWN = 2000  # characters of a command in a message


@dataclass(frozen=True)
class ShardEntry:
    """A shard file and the number of its rows; rows of all shards in order are the shapes of the set."""

    file: str
    rows: int


@dataclass(frozen=True)
class DatasetIndex:
    """dataset.json."""

    schema: int
    name: str
    settings: dict[str, Any]
    input_folder: str
    layout: Layout
    shards: list[ShardEntry]
    names: list[str]
    categories: list[str]
    sources: list[str]  # relative to input_folder
    methods: list[str]
    qualities: list[str]
    licences: list[str]  # as the list of licences said; "" when unknown
    splits: dict[str, list[int]]
    failed: list[FailedShape] = field(default_factory=list)


def open_shapes(path: Path) -> ShapeSet:
    """Open a data set folder of ours, or published files (`NAME_train.hdf5`, `NAME_test.hdf5`, or their prefix).

    FileNotFoundError when there is nothing, ValueError when it is unfinished, damaged or of another version.
    """
    path = Path(path)
    if (path / INDEX_FILE).is_file():
        return StoredShapes(path)
    if (path / JOB_FILE).is_file():
        raise ValueError(_unfinished(path))
    files = published_files(path)
    if files:
        return PublishedShapes(path, files)
    beside = sorted(p.parent.name for p in path.parent.glob(f"*/{INDEX_FILE}")) if path.parent.is_dir() else []
    raise FileNotFoundError(
        f"{path} is no data set: expected a folder with {INDEX_FILE}, or NAME_train.hdf5 of published files; "
        f"data sets beside it: {', '.join(beside) or 'none'}. Make one: {next_command('prepare', '--config', 'FILE')}"
    )


class StoredShapes(ShapeSet):
    """A data set of ours. Opening reads dataset.json; shards are opened and checked when they are first needed."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        index = read_index(self.path)
        self.index, self.layout, self.settings = index, index.layout, index.settings
        self.names, self.categories, self.failed = index.names, index.categories, index.failed
        self.qualities = index.qualities
        self.voxel_resolution = index.layout.voxel_resolution
        self.level_points = dict(index.layout.level_points)
        self.splits = {split: np.array(members, dtype=np.int64) for split, members in index.splits.items()}
        self._first_row = np.cumsum([0] + [entry.rows for entry in index.shards])
        self._shards = OpenShards()
        if not self.names:
            raise ValueError(f"{path} holds no shape: all {len(self.failed)} inputs failed, see {path / 'report.csv'}")

    def to_world(self, index: int) -> NDArray[np.float64]:
        return self.row(index, ["to_world"])["to_world"]

    def source(self, index: int) -> Path | None:
        file = Path(self.index.input_folder, self.index.sources[index])
        return file if file.is_file() else None

    def inside_method(self, index: int) -> str:
        return self.index.methods[index]

    def row(self, index: int, keys: Sequence[str]) -> PackedRow:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: no shape {index}; it has {len(self)}")
        # The last shard that begins at or before this index; the rest is the row within it.
        number = int(np.searchsorted(self._first_row, index, side="right")) - 1
        entry, row = self.index.shards[number], index - int(self._first_row[number])
        return self._shards.row(self.path / SHARDS / entry.file, self.layout, row, keys, self.names[index])


class OpenShards:
    """The shards read last, kept open; safe to share between threads. A copy (for another process) starts closed."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Shard] = OrderedDict()
        self._lock = threading.Lock()

    def row(self, file: Path, layout: Layout, row: int, keys: Sequence[str], name: str) -> PackedRow:
        """Fields of one row, which must be the shape `name`."""
        with self._lock:
            shard = self._shard(file, layout)
            if not row < len(shard.done_names) or shard.done_names[row] != name:
                raise ValueError(f"{file}: row {row} is not {name!r} as {INDEX_FILE} says; run the preparation again")
            return shard.row(row, keys)

    def _shard(self, file: Path, layout: Layout) -> Shard:
        if file not in self._open:
            try:
                self._open[file] = Shard(file, layout)
            except (ValueError, FileNotFoundError) as error:
                raise ValueError(f"{error}. Running the preparation again rebuilds this shard") from error
        # The one read longest ago goes first when there are too many: systems limit open files.
        self._open.move_to_end(file)
        while len(self._open) > MAX_OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()
        return self._open[file]

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        OpenShards.__init__(self)


def read_index(path: Path) -> DatasetIndex:
    """Read and check dataset.json. ValueError when it does not hang together."""
    file = path / INDEX_FILE
    data = read_json(file)
    if data.get("schema") != SCHEMA:
        raise ValueError(f"{file}: expected schema {SCHEMA}, got {data.get('schema')}: made by another version")
    index = build(DatasetIndex, data, where=str(file))
    # Lists beside each other, one entry a row: one that is shorter would shift names against shapes.
    count = sum(entry.rows for entry in index.shards)
    for what in ("names", "categories", "sources", "methods", "qualities", "licences"):
        if len(getattr(index, what)) != count:
            raise ValueError(f"{file}: {count} rows but {len(getattr(index, what))} {what}")
    # An index is a stranger's file: nothing in it may lead to a file outside of its folder.
    for entry in index.shards:
        if entry.rows < 0 or leads_out(entry.file) or Path(entry.file).name != entry.file:
            raise ValueError(f"{file}: {entry.file!r} with {entry.rows} rows is no shard of this folder")
    for split, members in index.splits.items():
        if leads_out(split) or Path(split).name != split:
            raise ValueError(f"{file}: {split!r} cannot name a split")
        if members and not (min(members) >= 0 and max(members) < count):
            raise ValueError(f"{file}: split {split} names shapes outside 0..{count - 1}")
    for name in index.names + index.sources:
        if leads_out(name):
            raise ValueError(f"{file}: {name!r} leads out of the folder")
    return index


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object out of a file of ours. ValueError when it is cut or too large to be one."""
    return read_object(file, again="run the preparation again")


def _unfinished(path: Path) -> str:
    job = read_json(path / JOB_FILE)
    names, command = job.get("names"), job.get("command")
    count = str(len(names)) if isinstance(names, list) else "an unknown number"
    again = command[:SHOWN] if isinstance(command, str) else next_command("prepare", "--config", "FILE")
    done = 0
    for file in [*(path / SHARDS).glob("[0-9]*.h5"), *(path / PARTS).glob("[0-9]*.h5")]:
        try:
            with Shard(file) as shard:
                done += len(shard.records)
        except (ValueError, OSError):
            continue  # cut: the next run makes it again
    return (
        f"{path} is not finished: {done} of {count} shapes are done. Run the same command again, "
        f"it goes on where it stopped: {again}"
    )
