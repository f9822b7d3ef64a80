"""The .ply format: text and both byte orders, any elements, lists of any length. Faces, triangle strips and their
vertices are read; colours, normals, edges and the rest are skipped.

Read here because of speed: plyfile 1.1 is right on 30 of 33 layouts of one box (tests/data_processing/mesh_texts.py)
and wrong on none, but takes 0.5 s for 200,000 triangles instead of 0.1 s and asks for the memory that a header
declares; it is the second opinion in the tests. trimesh 5.2 and meshio 5.3 read 16 of the 33. Format:
https://paulbourke.net/dataformats/ply/.
"""

import codecs
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError
from data_processing.formats.plain_text import plain_text
from data_processing.geometry.polygons import strip_triangles, triangulated
from data_processing.geometry.triangle_mesh import TriangleMesh

END = re.compile(rb"(?:\A|[\r\n])[ \t]*end_header[ \t]*(\r\n|\n|\r)")
TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
    "float32": "f4",
    "float64": "f8",
    "int64": "i8",
    "uint64": "u8",
}
CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}  # of struct
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")
GATHERED = 1 << 22  # numbers that are gathered at once


@dataclass(frozen=True)
class Property:
    """`count`: the type of the length of a list; None for a single number."""

    name: str
    kind: str
    count: str | None = None


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: list[Property]


class Values(NamedTuple):
    """Numbers (N,) of all rows one after the other, and how many each row has (R,)."""

    numbers: NDArray
    sizes: NDArray[np.int64]


def read_ply(data: bytes) -> TriangleMesh:
    """All faces and strips. DamagedMeshError for files that are cut off or contradict their header."""
    rows, elements = _rows(data)
    needed = [element for element in elements if element.name in ("vertex", "face", "tristrips")]
    # What stands behind the last element that matters is not even parsed.
    last = max((elements.index(element) for element in needed if element.count), default=-1)
    values: dict[str, dict[str, Values]] = {}
    for element in elements[: last + 1]:
        values[element.name] = rows.read(element, _columns(element))
    vertices = _vertices(values.get("vertex", {}))
    faces = _corners(values.get("face", {}), len(vertices))
    strips = _corners(values.get("tristrips", {}), len(vertices), restart=True)
    # A restart behind every strip joins all of them into one sequence.
    ends = np.insert(strips.numbers, np.cumsum(strips.sizes), -1)
    return TriangleMesh(vertices, np.concatenate([triangulated(vertices, *faces), strip_triangles(ends)]))


def read_ply_points(data: bytes, names: Collection[str]) -> tuple[dict[str, NDArray], list[str]]:
    """Numbers (V,) of the vertices by property, those of `names` that are there; and the properties that there are.

    DamagedMeshError as `read_ply`, and where x, y or z is missing.
    """
    rows, elements = _rows(data)
    for element in elements:
        if element.name != "vertex":
            rows.read(element, [])
            continue
        _columns(element)
        found = [n for n, one in enumerate(element.properties) if one.count is None and one.name in names]
        values = rows.read(element, found)
        return {name: of_all.numbers for name, of_all in values.items()}, [one.name for one in element.properties]
    raise DamagedMeshError("no element vertex in its header")


def _rows(data: bytes) -> "tuple[_Text | _Binary, list[Element]]":
    marked = data[3:] if data.startswith(codecs.BOM_UTF8) else data
    order, elements, body = _header(marked if marked.startswith(b"ply") else plain_text(data))
    if order and not marked.startswith(b"ply"):
        raise DamagedMeshError("binary numbers in a text of UTF-16")
    return _Binary(body, order) if order else _Text(bytes(body)), elements


def _header(data: bytes) -> tuple[str, list[Element], memoryview]:
    """The byte order ("" for text), the elements, and what follows the header."""
    end = END.search(data)
    if not data.startswith(b"ply") or end is None:
        raise DamagedMeshError("no header from 'ply' to 'end_header'")
    # Properties belong to the element that was named last.
    elements, formats = list[tuple[str, int, list[Property]]](), []
    for line in data[3 : end.start()].decode("latin-1").replace("\r", "\n").split("\n"):
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) > 1:
            formats.append(words[1])
        elif words[0] == "element" and len(words) == 3:
            elements.append((words[1], _count(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1][2].append(_property(words))
        else:
            raise DamagedMeshError(f"a header line that is none: {line.strip()[:60]!r}")
    if len(formats) != 1 or formats[0] not in ORDERS:
        raise DamagedMeshError(f"expected one format of {', '.join(ORDERS)} in the header, got {formats[:3]}")
    if len({name for name, _, _ in elements}) < len(elements):
        raise DamagedMeshError("declares an element twice")
    return ORDERS[formats[0]], [Element(*one) for one in elements], memoryview(data)[end.end() :]


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or len(word) > 18:
        raise DamagedMeshError(f"declares {word[:40]!r} of an element")
    return int(word)


def _property(words: list[str]) -> Property:
    is_list = len(words) == 5 and words[1] == "list"
    if not (is_list or len(words) == 3) or any(word not in TYPES for word in words[1 + is_list : -1]):
        raise DamagedMeshError(f"a property that is none: {' '.join(words)[:60]!r}")
    if is_list and TYPES[words[2]][0] == "f":
        raise DamagedMeshError(f"lists whose length is a {words[2]}")
    return Property(words[-1].lower(), TYPES[words[-2]], TYPES[words[2]] if is_list else None)


def _columns(element: Element) -> list[int]:
    """Which properties of an element are needed."""
    if element.name == "vertex":
        places = [n for n, one in enumerate(element.properties) if one.name in ("x", "y", "z") and one.count is None]
    else:
        places = [n for n, one in enumerate(element.properties) if one.name in CORNERS and one.count is not None]
    there = sorted(element.properties[n].name for n in places)
    if element.name == "vertex" and there != ["x", "y", "z"]:
        raise DamagedMeshError(f"expected one x, y and z of its vertices, got {', '.join(there)[:20] or 'none'}")
    if element.name in ("face", "tristrips") and element.count and len(places) != 1:
        names = ", ".join(one.name for one in element.properties)[:80]
        raise RefusedMeshError(f"expected a list vertex_indices in element {element.name}, got {names or 'nothing'}")
    return places if element.name in ("vertex", "face", "tristrips") else []


class _Text:
    """Rows of a text, one a line."""

    def __init__(self, body: bytes) -> None:
        self.lines = [line for line in plain_text(body).split(b"\n") if line.strip()]
        self.at = 0

    def read(self, element: Element, columns: list[int]) -> dict[str, Values]:
        if not element.properties:
            return {}
        rows = self.lines[self.at : self.at + element.count]
        if len(rows) < element.count:
            raise DamagedMeshError(f"cut off: holds {len(rows):,} of {element.count:,} rows of element {element.name}")
        self.at += element.count
        if not columns or not rows:
            return {}
        # Most files have rows alike: these are read as columns of one long list of words, the others row by row.
        words = b" ".join(rows).split()
        try:
            return self._of_equal_rows(element, columns, words) or self._of_any_rows(element, columns, rows)
        except (ValueError, OverflowError, IndexError) as error:
            if isinstance(error, DamagedMeshError):
                raise
            raise DamagedMeshError(f"a row of element {element.name} that is not what its header says") from None

    def _of_equal_rows(self, element: Element, columns: list[int], words: list[bytes]) -> dict[str, Values]:
        """Where every list is as long as that of the first row; nothing otherwise."""
        # If every row looks like the first one, a column is every n-th word of the whole text: taken by slices, without
        # a loop over rows.
        starts, at = [], 0
        for one in element.properties:
            starts.append(at)
            at += 1 if one.count is None else 1 + int(words[at])
        if at * element.count != len(words):
            return {}
        lists = [start for start, one in zip(starts, element.properties, strict=True) if one.count]
        if any(set(words[start::at]) != {words[start]} for start in lists):
            return {}
        values = {}
        for column in columns:
            one, start = element.properties[column], starts[column]
            length = 1 if one.count is None else int(words[start])
            first = start + (one.count is not None)
            picked = [_numbers(words[first + place :: at], one.kind) for place in range(length)]
            numbers = np.stack(picked, axis=1).ravel() if picked else np.empty(0, np.int64)
            values[one.name] = Values(numbers, np.full(element.count, length))
        return values

    def _of_any_rows(self, element: Element, columns: list[int], rows: list[bytes]) -> dict[str, Values]:
        picked: dict[int, list[bytes]] = {column: [] for column in columns}
        sizes: dict[int, list[int]] = {column: [] for column in columns}
        for row in rows:
            words, at = row.split(), 0
            for number, one in enumerate(element.properties):
                length = 1 if one.count is None else int(words[at])
                at += one.count is not None
                if length < 0 or at + length > len(words):
                    raise DamagedMeshError(f"a row of element {element.name} that is too short: {_shown(row)}")
                if number in picked:
                    picked[number] += words[at : at + length]
                    sizes[number].append(length)
                at += length
            if at != len(words):
                raise DamagedMeshError(f"a row of element {element.name} that is too long: {_shown(row)}")
        return {
            element.properties[column].name: Values(
                _numbers(picked[column], element.properties[column].kind), np.array(sizes[column], dtype=np.int64)
            )
            for column in columns
        }


def _shown(row: bytes) -> str:
    return repr(row[:60].decode("latin-1"))


def _numbers(words: list[bytes], kind: str) -> NDArray:
    if kind[0] == "f":
        return np.array(list(map(float, words)))
    return np.array(list(map(int, words)), dtype=np.int64)


class _Binary:
    """Rows of bytes, without anything between them."""

    def __init__(self, body: memoryview, order: str) -> None:
        self.body, self.order, self.at = body, order, 0

    def read(self, element: Element, columns: list[int]) -> dict[str, Values]:
        if not element.properties or not element.count:
            return {}
        # Even with empty lists a row takes so many bytes: a header that declares more is refused before memory is asked
        # for it.
        least = sum(np.dtype(one.count or one.kind).itemsize for one in element.properties)
        there = (len(self.body) - self.at) // least
        if there < element.count:
            raise DamagedMeshError(f"cut off: {element.count:,} rows of element {element.name}, bytes for {there:,}")
        values = self._of_equal_rows(element, columns)
        return self._of_any_rows(element, columns) if values is None else values

    def _of_equal_rows(self, element: Element, columns: list[int]) -> dict[str, Values] | None:
        """Where every list is as long as that of the first row, or None: rows are then a table."""
        # The first row says how long each list is, and so how wide a row of the table.
        fields: list[tuple] = []
        lengths, at = dict[int, int](), self.at
        for number, one in enumerate(element.properties):
            if one.count is not None:
                (lengths[number],) = self._number(one.count, at)
                fields.append((f"count {number}", self.order + one.count))
                at += np.dtype(one.count).itemsize
            length = lengths.get(number, 1)
            size = np.dtype(one.kind).itemsize * length
            if length < 0 or at + size > len(self.body):
                return None
            fields.append((f"{number}", self.order + one.kind, (length,)))
            at += size
        # It is a table only if all rows have lists as long.
        dtype = np.dtype(fields)
        if self.at + dtype.itemsize * element.count > len(self.body):
            return None
        table = np.frombuffer(self.body, dtype, element.count, self.at)
        if any((table[f"count {number}"] != length).any() for number, length in lengths.items()):
            return None
        self.at += dtype.itemsize * element.count
        sizes = {number: np.full(element.count, lengths.get(number, 1)) for number in columns}
        return {
            element.properties[number].name: Values(table[f"{number}"].ravel(), sizes[number]) for number in columns
        }

    def _of_any_rows(self, element: Element, columns: list[int]) -> dict[str, Values]:
        """Where lists differ: from one length to the next, then all rows of one length at once."""
        starts: dict[int, list[int]] = {column: [] for column in columns}
        sizes: dict[int, list[int]] = {column: [] for column in columns}
        counts = [None if one.count is None else struct.Struct(self._code(one.count)) for one in element.properties]
        widths = [np.dtype(one.kind).itemsize for one in element.properties]
        # A row begins where the one before it ends: nothing of this can be done at once.
        at, end = self.at, len(self.body)
        for row in range(element.count):
            for number, (count, width) in enumerate(zip(counts, widths, strict=True)):
                length = 1
                if count is not None:
                    if at + count.size > end:
                        raise DamagedMeshError(f"cut off in row {row:,} of element {element.name}")
                    (length,) = count.unpack_from(self.body, at)
                    at += count.size
                if number in starts:
                    starts[number].append(at)
                    sizes[number].append(length)
                at += width * length
                if length < 0 or at > end:
                    raise DamagedMeshError(f"cut off in row {row:,} of {element.count:,} of element {element.name}")
        # What was found is copied by arrays.
        self.at = at
        return {
            element.properties[number].name: self._gathered(
                np.array(starts[number]), np.array(sizes[number]), self.order + element.properties[number].kind
            )
            for number in columns
        }

    def _gathered(self, starts_R: NDArray[np.int64], sizes_R: NDArray[np.int64], kind: str) -> Values:
        data, dtype = np.frombuffer(self.body, np.uint8), np.dtype(kind)
        numbers, firsts_R = np.empty(int(sizes_R.sum()), dtype), np.cumsum(sizes_R) - sizes_R
        # Rows of one length are gathered as a matrix of bytes and read as numbers; some at a time, to bound the memory.
        for size in np.unique(sizes_R[sizes_R > 0]).tolist():
            alike = np.flatnonzero(sizes_R == size)
            for some in np.array_split(alike, 1 + len(alike) * size * dtype.itemsize // GATHERED):
                places = starts_R[some, None] + np.arange(size * dtype.itemsize)
                numbers[firsts_R[some, None] + np.arange(size)] = data[places].view(dtype)
        return Values(numbers, sizes_R)

    def _number(self, kind: str, at: int) -> tuple[int]:
        if at + np.dtype(kind).itemsize > len(self.body):
            raise DamagedMeshError("cut off within its first row")
        return struct.unpack_from(self._code(kind), self.body, at)

    def _code(self, kind: str) -> str:
        return self.order + CODES[kind]


def _vertices(values: dict[str, Values]) -> NDArray[np.float64]:
    if not values:
        return np.empty((0, 3))
    return np.stack([values[axis].numbers for axis in ("x", "y", "z")], axis=1).astype(np.float64)


def _corners(values: dict[str, Values], vertices: int, *, restart: bool = False) -> Values:
    """Whole numbers of vertices that are there; -1 where a strip begins anew."""
    if not values:
        return Values(np.empty(0, np.int64), np.empty(0, np.int64))
    ((numbers, sizes),) = values.values()
    whole = numbers.astype(np.int64)
    if numbers.dtype.kind == "f" and (whole != numbers).any():
        raise DamagedMeshError("numbers of vertices that are no whole numbers")
    if len(whole) and (whole.min() < (-1 if restart else 0) or whole.max() >= vertices):
        bad = whole.max() if whole.max() >= vertices else whole.min()
        raise DamagedMeshError(f"a face refers to vertex {bad} of {vertices:,}")
    return Values(whole, sizes)
