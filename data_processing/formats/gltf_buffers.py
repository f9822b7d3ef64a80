"""Numbers of a glTF file: buffers in the file, in text or beside it, and accessors into them.

Nothing is opened outside the folder of the file, and nothing beyond a buffer is read. Integers that are normalised come
out as the numbers from -1 to 1 that they stand for.
"""

import base64
import binascii
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.gltf import COLUMNS, MESHOPT, WITHOUT, Tree, extensions, number_of, objects
from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError

MAX_BYTES = 1 << 31  # of all files that one file refers to
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5124: "<i4", 5125: "<u4", 5126: "<f4", 5130: "<f8"}
LONGEST = 1 << 62


class Accessors:
    """The numbers of one file; buffers are opened at their first use."""

    def __init__(self, tree: Tree, binary: bytes | None, folder: Path) -> None:
        self.accessors, self.views, self.buffers = (
            objects(tree, key) for key in ("accessors", "bufferViews", "buffers")
        )
        self.required = tree.get("extensionsRequired") or []
        self.binary, self.folder = binary, folder.resolve()
        self.files: dict[Path, bytes] = {}
        self.opened: dict[int, bytes] = {}
        self.unpacked: dict[int, NDArray] = {}  # numbers of accessors whose data are packed, as stored

    def bytes_beside(self) -> int:
        """Of the files that buffers refer to, each counted once; those that are not there have none."""
        uris = {str(one["uri"]) for one in self.buffers if "uri" in one}
        # A name may be percent-encoded or just look so: both are counted if they are there.
        names = {name for uri in uris if uri[:5].lower() != "data:" for name in (uri, unquote(uri))}
        paths = {self.folder / name for name in names if "\0" not in name}
        return sum(
            path.stat().st_size for path in paths if path.is_file() and path.resolve().is_relative_to(self.folder)
        )

    def numbers(self, number: int, *, columns: str) -> NDArray:
        """(N, C) of an accessor that must be of type `columns`: float64, or integers that are not normalised."""
        accessor = self.of(number)
        if accessor.get("type") != columns:
            raise DamagedMeshError(f"accessor {number} is {str(accessor.get('type'))[:20]}, expected {columns}")
        # An accessor without a view is all zeros, which a sparse part then replaces: so the format has it.
        count, width = number_of(accessor, "count", below=LONGEST), COLUMNS[columns]
        dtype = self._dtype(accessor)
        if number in self.unpacked:
            values = self._of_packed(number, width, dtype)
        elif "bufferView" in accessor:
            start = number_of(accessor, "byteOffset", below=LONGEST, default=0)
            values = self._rows(accessor, dtype, count, width, start)
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            values = self._with_sparse(accessor, values)
        if accessor.get("normalized") and dtype.kind != "f":
            return np.maximum(values / float(np.iinfo(dtype).max), -1.0)
        return values.astype(np.float64) if dtype.kind == "f" else values

    def _of_packed(self, number: int, width: int, dtype: np.dtype) -> NDArray:
        """Rows as they were unpacked; those of indices may have a longer type than their accessor says."""
        values = self.unpacked[number]
        if values.shape[1] != width or (values.dtype.kind == "f") != (dtype.kind == "f"):
            raise DamagedMeshError(f"accessor {number}: packed numbers {values.shape} {values.dtype}, expected {dtype}")
        return values

    def view(self, one: Tree) -> memoryview:
        """The bytes of the view that something names."""
        return self._view(self.views[number_of(one, "bufferView", below=len(self.views))])

    def of(self, number: int) -> Tree:
        return self.accessors[number_of({"accessor": number}, "accessor", below=len(self.accessors))]

    def has_data(self, number: int) -> bool:
        return "bufferView" in self.of(number) or "sparse" in self.of(number)

    def _with_sparse(self, accessor: Tree, values: NDArray) -> NDArray:
        """Some rows are replaced by others."""
        sparse = accessor["sparse"]
        if not isinstance(sparse, dict) or not all(isinstance(sparse.get(key), dict) for key in ("indices", "values")):
            raise DamagedMeshError("a sparse accessor without indices or values")
        count = number_of(sparse, "count", below=len(values) + 1)
        start = [number_of(sparse[key], "byteOffset", below=LONGEST, default=0) for key in ("indices", "values")]
        kind = self._dtype(sparse["indices"])
        if kind.kind != "u":
            raise DamagedMeshError("a sparse accessor whose indices are not unsigned")
        # Rows that are replaced have to be there; the values are copied, as the view is the file's own bytes.
        rows = self._rows(sparse["indices"], kind, count, 1, start[0])[:, 0]
        if count and rows.max() >= len(values):
            raise DamagedMeshError(f"a sparse accessor that replaces row {rows.max()} of {len(values)}")
        values = values.copy()
        values[rows] = self._rows(sparse["values"], values.dtype, count, values.shape[1], start[1])
        return values

    def _dtype(self, accessor: Tree) -> np.dtype:
        kind = accessor.get("componentType")
        if not isinstance(kind, int) or kind not in COMPONENTS:
            raise DamagedMeshError(f"an accessor of component type {str(kind)[:20]}")
        return np.dtype(COMPONENTS[kind])

    def _rows(self, accessor: Tree, dtype: np.dtype, count: int, width: int, start: int) -> NDArray:
        """(count, width) of a view from a byte on."""
        view = self.views[number_of(accessor, "bufferView", below=len(self.views))]
        data, step = self._view(view), dtype.itemsize * width
        # Rows may be interleaved with others; the last one need not be padded to the stride. The bytes are not copied.
        stride = number_of(view, "byteStride", below=LONGEST, default=0) or step
        needed = start + stride * (count - 1) + step if count else 0
        if needed > len(data) or stride < step:
            raise DamagedMeshError(f"an accessor of {needed:,} bytes in a view of {len(data):,}: cut off")
        return np.ndarray((count, width), dtype, data, start if count else 0, (stride, dtype.itemsize))

    def _view(self, view: Tree) -> memoryview:
        packed = [name for name in MESHOPT if name in extensions(view)]
        if packed and (packed[0] in self.required or self._is_placeholder(view)):
            raise RefusedMeshError(f"needs {packed[0]}, which is not read: {WITHOUT}")
        data = self._buffer(number_of(view, "buffer", below=len(self.buffers)))
        start = number_of(view, "byteOffset", below=LONGEST, default=0)
        length = number_of(view, "byteLength", below=LONGEST)
        if start + length > len(data):
            raise DamagedMeshError(f"a view that ends at byte {start + length:,} of {len(data):,}: cut off")
        return memoryview(data)[start : start + length]

    def _is_placeholder(self, view: Tree) -> bool:
        """Whether the buffer of a compressed view holds nothing: what is in it without compression was left out."""
        number = number_of(view, "buffer", below=len(self.buffers))
        return "uri" not in self.buffers[number] and not (number == 0 and self.binary is not None)

    def _buffer(self, number: int) -> bytes:
        if number not in self.opened:
            uri = self.buffers[number].get("uri")
            if uri is None:
                if number or self.binary is None:
                    raise DamagedMeshError(f"buffer {number} has no data")
                self.opened[number] = self.binary
            else:
                self.opened[number] = self._referred(str(uri))
        return self.opened[number]

    def _referred(self, uri: str) -> bytes:
        """What a URI stands for: data in the text itself, or a file beside this one."""
        if uri[:5].lower() == "data:":
            header, _, body = uri.partition(",")
            try:
                plain = unquote_to_bytes(body)
                return base64.b64decode(plain, validate=True) if header.lower().endswith(";base64") else plain
            except (binascii.Error, ValueError):
                raise DamagedMeshError("data in a URI that is no base64") from None
        path = next((one for one in map(self._path, (unquote(uri), uri)) if one.is_file()), None)
        if path is None:
            raise RefusedMeshError(f"refers to {uri[:200]!r}, which is no file in its folder: put it there")
        if path not in self.files:  # it may be named any number of times
            if path.stat().st_size > MAX_BYTES - sum(map(len, self.files.values())):
                raise RefusedMeshError(f"refers to {uri[:200]!r} and others of more bytes than the limit {MAX_BYTES:,}")
            self.files[path] = path.read_bytes()
        return self.files[path]

    def _path(self, name: str) -> Path:
        path = (self.folder / name).resolve() if "\0" not in name else self.folder
        if not path.is_relative_to(self.folder):
            raise RefusedMeshError(f"refers to {name[:200]!r} outside its own folder: put it beside the file")
        return path
