"""Our shards: one HDF5 file holds some shapes as packed rows, and what is known about them as JSON.

    header           uint8 JSON: schema, settings, digest of the rows, one record per member (failed ones too)
    voxels           (S, R^3/8) uint8: bits in C order of (x, y, z), the first voxel in the highest bit
    points_L         (S, P, 3) uint8: indices into the 256^3 grid
    values_L         (S, P/8) uint8: bits, as above
    grid_R           (S, R^3/8) uint8: bits, solid occupancy of R^3 cells
    boundary_points  (S, K*N, 3) int16: near the surface, N for each of K sigmas; coordinates.from_fixed
    boundary_values  (S, K*N/8) uint8: bits, which of those (as stored) are inside
    surface_points   (S, P, 3) int16: uniform on the surface, fixed point too
    surface_visible  (S, P, V/8) uint8: bits, from which of V cameras the point is seen
    pixels           (S, V, H, H) uint8: pictures from V cameras, grey on white; row 0 is the top
    cameras          (S, V, 3) float32: their azimuth, elevation (degrees) and distance (cube units); not of pictures
                     that were there before
    to_world         (S, 4, 4) float64: cube -> frame of the input file

A data set has those that its `contents:` ask for; `to_world` always. S counts the members that were done, in their
order. A shape on its own (a part) is a shard with one member. The same rows make the same bytes: no time stamps.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.hdf5 import dataset, open_file, read, read_row
from isofield.runtime.atomic_files import replacing
from isofield.runtime.config import build, to_plain
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.json_files import parse_json
from isofield.runtime.reasons import reason_of

SCHEMA = 1
MAX_HEADER_BYTES = 1 << 26
PackedRow = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layout:
    """What a row holds. The default: voxels and levels of the published IM-NET data sets."""

    voxel_resolution: int = 64  # 0: no voxels
    level_points: Mapping[int, int] = field(default_factory=lambda: {16: 4096, 32: 4096, 64: 16384})
    grids: tuple[int, ...] = ()  # resolutions of solid occupancy, ascending
    boundary_sigmas: tuple[float, ...] = ()  # in cube units
    boundary_points: int = 0  # for each sigma; a multiple of 8
    surface_points: int = 0
    views: int = 0  # a multiple of 8
    pictures: int = 0
    picture_size: int = 0
    cameras: bool = False  # known

    def fields(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and type of each field of a row, in the order of the file."""
        rows: dict[str, tuple[tuple[int, ...], str]] = {}
        if self.voxel_resolution:
            rows["voxels"] = ((self.voxel_resolution**3 // 8,), "u1")
        for level, points in sorted(self.level_points.items()):
            rows[f"points_{level}"] = ((points, 3), "u1")
            rows[f"values_{level}"] = ((points // 8,), "u1")
        for resolution in self.grids:
            rows[f"grid_{resolution}"] = ((resolution**3 // 8,), "u1")
        boundary = len(self.boundary_sigmas) * self.boundary_points
        if boundary:
            rows |= {"boundary_points": ((boundary, 3), "<i2"), "boundary_values": ((boundary // 8,), "u1")}
        if self.surface_points:
            rows["surface_points"] = ((self.surface_points, 3), "<i2")
        if self.surface_points and self.views:
            rows["surface_visible"] = ((self.surface_points, self.views // 8), "u1")
        if self.pictures:
            rows["pixels"] = ((self.pictures, self.picture_size, self.picture_size), "u1")
        if self.pictures and self.cameras:
            rows["cameras"] = ((self.pictures, 3), "<f4")
        # Always there: without it no mesh finds back to the frame of its file.
        rows["to_world"] = ((4, 4), "<f8")
        return rows


@dataclass(frozen=True)
class ShapeRecord:
    """What is known about one input: a line of the report. Numbers only of shapes that were done."""

    name: str
    category: str
    source: str  # relative to the input folder
    source_bytes: int
    status: Literal["done", "failed", "absent"]  # absent: a structure that its scan does not have
    reason: str = ""
    source_digest: str = ""  # of the file's content; "" when the failure was not the file's fault
    method: str = ""
    quality: str = ""
    inside_fraction: float = 0.0
    mixed_cells: dict[int, int] = field(default_factory=dict)
    dropped_cells: dict[int, int] = field(default_factory=dict)
    shape_digest: str = ""  # of what is inside, in the cube: equal shapes have equal ones, whatever their files


@dataclass(frozen=True)
class Header:
    """The JSON inside a shard."""

    schema: int
    settings: dict[str, Any]
    layout: Layout
    digest: str
    records: list[ShapeRecord]


@dataclass(frozen=True)
class FailedShape:
    """An input that could not be prepared."""

    name: str
    category: str
    split: str  # where it would have been; "" for none
    reason: str


def refuse_absent(path: Path, layout: Layout, keys: Sequence[str]) -> None:
    """ValueError when a data set does not have a field, naming those that it has."""
    absent = [key for key in keys if key not in layout.fields()]
    if absent:
        raise ValueError(
            f"{path} holds no {', '.join(absent)}; it has {', '.join(layout.fields())}. "
            "Prepare it again with these switched on in the section contents: of the data config"
        )


def write_shard(
    path: Path,
    rows: Sequence[PackedRow],
    records: Sequence[ShapeRecord],
    *,
    layout: Layout,
    settings: Mapping[str, Any],
) -> None:
    """Write members and rows (of the done ones, in order) atomically. OSError when the disk is full."""
    assert len(rows) == sum(record.status == "done" for record in records)
    arrays = {
        key: np.stack([row[key] for row in rows]).astype(dtype, copy=False) if rows else np.empty((0, *shape), dtype)
        for key, (shape, dtype) in layout.fields().items()
    }
    # Sorted keys and ASCII: the same rows and records make the same bytes on any machine.
    header = Header(SCHEMA, dict(settings), layout, _digest(arrays), list(records))
    text = json.dumps(to_plain(header), sort_keys=True, ensure_ascii=True).encode()
    # Composed in memory: a full disk is then an ordinary OSError of one write, not an error inside HDF5.
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        for key, values in {"header": np.frombuffer(text, np.uint8), **arrays}.items():
            assert values.shape[1:] == layout.fields().get(key, ((), ""))[0], key
            file.create_dataset(key, data=values, track_times=False)
        file.flush()
        image = file.id.get_file_image()
    with replacing(path) as temporary:
        temporary.write_bytes(image)


class Shard(contextlib.AbstractContextManager["Shard"]):
    """An opened shard, checked on opening. ValueError (naming the file) when it is cut, damaged or another format.

    `layout`: what it must hold; none: what it says itself.
    """

    def __init__(self, path: Path, layout: Layout | None = None) -> None:
        self.path = path
        self._file = open_file(path)
        try:
            header = _header(self._file, path)
            self.settings, self.records, self._saved_digest = header.settings, header.records, header.digest
            count = sum(record.status == "done" for record in self.records)
            self._data = {
                key: dataset(self._file, key, shape=(count, *shape), dtype=dtype, contiguous=True)
                for key, (shape, dtype) in (layout or header.layout).fields().items()
            }
        # Whoever fails to open has no object to close.
        except (ValueError, OSError, KeyError, RuntimeError):
            self.close()
            raise
        self.done_names = [record.name for record in self.records if record.status == "done"]

    def row(self, number: int, keys: Sequence[str] | None = None) -> PackedRow:
        """Fields (default: all) of one row, read from their places in the file, past the library."""
        return {key: read_row(self._file, self._data[key], self.path, key, number) for key in keys or self._data}

    def verify(self) -> None:
        """Read everything and compare with the digest: ValueError when a byte changed."""
        arrays = {key: read(data, self.path, key, slice(None)) for key, data in self._data.items()}
        if _digest(arrays) != self._saved_digest:
            raise ValueError(f"{self.path}: the rows differ from their digest: the file is damaged")

    def close(self) -> None:
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _header(file: h5py.File, path: Path) -> Header:
    data = dataset(file, "header", shape=(None,), dtype="u1", contiguous=True)
    if data.size > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: a header of {data.size} bytes (limit {MAX_HEADER_BYTES})")
    try:
        header = parse_json(read(data, path, "header", slice(None)).tobytes())
    except ValueError as error:
        raise ValueError(f"{path}: header is no JSON: the file is damaged ({reason_of(error)})") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        schema = header.get("schema") if isinstance(header, dict) else None
        raise ValueError(f"{path}: expected schema {SCHEMA}, got {schema}: made by another version")
    return build(Header, header, where=str(path))


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    return fingerprint(part for key in sorted(arrays) for part in (key, arrays[key]))
