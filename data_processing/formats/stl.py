"""The .stl format, binary and text: triangles with three corners of their own. Normals and colours are left out.

Read here because no library reads files that are a little wrong: of 22 layouts of one box
(tests/data_processing/mesh_texts.py) trimesh 5.2 reads 14 and finds another one empty, meshio 5.3 reads 15,
point-cloud-utils 0.34 reads 16 and ends the process on two; numpy-stl 4.1 needs packages of its own.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_errors import DECIMAL_COMMA, DamagedMeshError, RefusedMeshError
from data_processing.formats.plain_text import plain_text
from data_processing.geometry.triangle_mesh import TriangleMesh

ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER, COUNT = 80, 4  # bytes before the triangles
HEAD = 1024  # bytes that tell a text
BLOCK = 1 << 23  # bytes of text
BEYOND = 10  # a triangle is none where it lies so many sizes of the others away
TITLE = re.compile(rb"solid\b[^\n]*?(?=\n|\sfacet\s+normal\s|\Z)")  # a name may be anything
FACET = 21  # words: facet normal x y z outer loop, three times vertex x y z, endloop endfacet
WORDS = {0: b"facet", 1: b"normal", 5: b"outer", 6: b"loop", 7: b"vertex", 11: b"vertex", 15: b"vertex"}
WORDS |= {19: b"endloop", 20: b"endfacet"}
CORNERS = (8, 9, 10, 12, 13, 14, 16, 17, 18)


def read_stl(data: bytes) -> TriangleMesh:
    """All triangles of all solids. DamagedMeshError for fewer or more than declared, and for texts that are cut off."""
    corners_F33 = _of_text(data) if _is_text(data) else _of_binary(data)
    vertices = corners_F33.reshape(-1, 3).astype(np.float64)
    return TriangleMesh(vertices, np.arange(len(vertices), dtype=np.int64).reshape(-1, 3))


def _is_text(data: bytes) -> bool:
    """A binary header may begin with "solid" as well, but the file has zeros: in its count, at the latest."""
    # The length is the better witness: many programs begin binary files with "solid" too.
    if len(data) >= HEADER + COUNT and len(data) == HEADER + COUNT + _declared(data) * ROW.itemsize:
        return False
    head = plain_text(data[:HEAD]).lstrip().lower()
    return b"\0" not in head and (head.startswith((b"solid", b"facet")))


def _declared(data: bytes) -> int:
    return int.from_bytes(data[HEADER : HEADER + COUNT], "little")


def _of_binary(data: bytes) -> NDArray[np.float32]:
    if len(data) < HEADER + COUNT:
        raise DamagedMeshError(f"{len(data)} bytes, too few for the header of a binary file, and no text")
    # What the file has room for: its own count is not believed.
    declared, there = _declared(data), (len(data) - HEADER - COUNT) // ROW.itemsize
    rows = np.frombuffer(data, ROW, there, HEADER + COUNT)
    if declared > there:
        raise DamagedMeshError(f"declares {declared:,} triangles, holds {there:,}: cut off")
    if declared < there and _is_triangle_of(rows["corners"][declared], rows["corners"][:declared]):
        raise DamagedMeshError(f"declares {declared:,} triangles, holds {there:,}: its count is wrong")
    # Files that were joined: the first alone would be half of the shape, and nobody would notice.
    tail = data[HEADER + COUNT + declared * ROW.itemsize :]
    if len(tail) > HEADER + COUNT and len(tail) == HEADER + COUNT + _declared(tail) * ROW.itemsize:
        raise RefusedMeshError("two binary STL files, one behind the other: cut them into one file each")
    return rows["corners"][:declared]


def _is_triangle_of(corners_33: NDArray[np.float32], others_F33: NDArray[np.float32]) -> bool:
    """Whether what follows the last triangle is one more, instead of a signature or padding."""
    distinct = len(np.unique(corners_33, axis=0)) == 3
    if not np.isfinite(corners_33).all() or not distinct:
        return False
    if not len(others_F33):
        return True
    places = others_F33.reshape(-1, 3).astype(np.float64)
    lower, upper = places.min(axis=0), places.max(axis=0)
    reach = BEYOND * (upper - lower).max()
    return bool(((corners_33 >= lower - reach) & (corners_33 <= upper + reach)).all())


def _of_text(data: bytes) -> NDArray[np.float64]:
    text = plain_text(data).lower()
    between, begun, ended = list[bytes](), 0, 0
    at = 0
    for title in TITLE.finditer(text):
        # The pattern finds the "solid" of "endsolid" as well: a name may stand behind both.
        is_end = text[title.start() - 3 : title.start()] == b"end"
        between.append(text[at : title.start() - 3 * is_end])
        begun, ended, at = begun + (not is_end), ended + is_end, title.end()
    facets = b" ".join([*between, text[at:]])
    corners_F33 = np.concatenate([np.empty((0, 3, 3)), *map(_corners, _blocks(facets))])
    # A text that stops between two facets reads without error: only its last line, or a surface without a hole, tells
    # that it is whole.
    if ended < max(begun, 1) and not _is_closed(corners_F33):
        raise DamagedMeshError(f"no endsolid, and the surface is open: cut off after {len(corners_F33):,} triangles")
    return corners_F33


def _blocks(text: bytes) -> Iterator[bytes]:
    """Whole facets of some megabytes each: the words of all would take ten times the memory of the text."""
    start = 0
    while start < len(text):
        end = text.find(b"endfacet", start + BLOCK)
        end = len(text) if end < 0 else end + len(b"endfacet")
        yield text[start:end]
        start = end


def _corners(facets: bytes) -> NDArray[np.float64]:
    """Corners (F, 3, 3)."""
    # Words at fixed places of each facet, whatever line breaks are between them; every 21st is compared at once.
    words = facets.split()
    if len(words) % FACET or any(set(words[place::FACET]) - {word} for place, word in WORDS.items()):
        begun, ended, corners = (words.count(word) for word in (b"facet", b"endfacet", b"vertex"))
        if begun > ended:
            raise DamagedMeshError("no endfacet: cut off within a facet")
        raise DamagedMeshError(f"facets of other than three corners ({corners:,} corners in {begun:,} facets)")
    try:
        columns = [np.array(list(map(float, words[place::FACET]))) for place in CORNERS]
    except ValueError:
        if b"," in b"".join(word for place in CORNERS for word in words[place::FACET]):
            raise RefusedMeshError(DECIMAL_COMMA) from None
        raise DamagedMeshError("a vertex that is no three numbers") from None
    return np.stack(columns, axis=1).reshape(-1, 3, 3)


def _is_closed(corners_F33: NDArray[np.float64]) -> bool:
    """Nothing can be missing where every edge is walked both ways."""
    vertices = corners_F33.reshape(-1, 3)
    mesh = TriangleMesh(vertices, np.arange(len(vertices), dtype=np.int64).reshape(-1, 3))
    return len(mesh.faces) > 0 and len(mesh.unbalanced_edges) == 0
