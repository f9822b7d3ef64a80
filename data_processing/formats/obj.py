"""Wavefront .obj: vertices and faces. Materials, textures, normals, groups, points and lines are not looked at.

Read here because no library reads what programs write: of 37 layouts of one box (tests/data_processing/mesh_texts.py)
tinyobjloader 2.0.0rc13 reads 27, two of them as another shape, trimesh 5.2 reads 19 and three as another shape, meshio
5.3 reads 16. Format: http://paulbourke.net/dataformats/obj/.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_errors import DECIMAL_COMMA, DamagedMeshError, RefusedMeshError
from data_processing.formats.part_names import MARKS, refuse_same_object
from data_processing.formats.plain_text import plain_text
from data_processing.geometry.polygons import triangulated
from data_processing.geometry.triangle_mesh import TriangleMesh

BLOCK = 1 << 23  # bytes of text that are taken apart at once: words of Python take 20 times as much
NOT_A_NUMBER = re.compile(rb"\d\.#(?:QNAN|SNAN|NAN|IND|INF)\w*", re.IGNORECASE)  # as Microsoft's C library printed them
COMMENT = re.compile(rb"#[^\n]*")
NOT_READ = re.compile(rb"^[ \t]*(surf|call|csh)[ \t]", re.MULTILINE | re.IGNORECASE)
PART = re.compile(rb"^[ \t]*[og][ \t]+([^\r\n]*\S)", re.MULTILINE)
SAME_OBJECT = [mark.encode() for mark in MARKS]
VERTEX, FACE = 1, 2  # kinds of lines; all others are 0
IS_BLANK = np.isin(np.arange(256), list(b" \t\n\r\v\f"))  # as bytes.split() has it


@dataclass(frozen=True)
class Words:
    """Words (W,) of some lines: the kind of line, the first word of each line, and how far each one is behind it."""

    words: list[bytes]
    kind_W: NDArray[np.int8]
    is_first_W: NDArray[np.bool_]
    place_W: NDArray[np.int64]

    def chosen(self, mask_W: NDArray[np.bool_]) -> Iterator[bytes]:
        return compress(self.words, mask_W.tolist())

    def per_line(self, kind: int) -> NDArray[np.int64]:
        """Numbers of words (L,) behind the first one in each line of a kind."""
        # From the first word of a line to that of the next: as many words as the line has.
        firsts = np.flatnonzero(self.is_first_W)
        return np.diff(np.append(firsts, len(self.words)))[self.kind_W[firsts] == kind] - 1


def read_obj(data: bytes) -> TriangleMesh:
    """All faces of the file. DamagedMeshError for lines without numbers, and faces without their vertices."""
    text = _statements(data)
    vertices, corners, sizes, seen = [np.empty((0, 3))], [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for block in _blocks(text):
        words = _words_of(block)
        vertices.append(_coordinates(words))
        corners.append(_corners(words, seen))
        sizes.append(words.per_line(FACE))
        seen += len(vertices[-1])
    corners_C, vertices_V3 = np.concatenate(corners), np.concatenate(vertices)
    if len(corners_C) and corners_C.max() >= len(vertices_V3):
        raise DamagedMeshError(f"a face refers to vertex {corners_C.max() + 1:,} of {len(vertices_V3):,}")
    return TriangleMesh(vertices_V3, triangulated(vertices_V3, corners_C, np.concatenate(sizes)))


def _statements(data: bytes) -> bytes:
    """One statement a line: no comments, and none continued on the next line."""
    text = plain_text(data)
    # Before comments go, for this # begins none.
    if b".#" in text:
        text = NOT_A_NUMBER.sub(b"nan", text)
    if b"#" in text:
        text = COMMENT.sub(b"", text)
    if b"\\" in text:
        text = _joined(text)
    if unread := NOT_READ.search(text):
        word = unread[1].decode().lower()
        what = "another file" if word != "surf" else "a free-form surface"
        raise RefusedMeshError(f"holds {what} ({word}), which is not read: export it as polygons")
    if any(mark in text for mark in SAME_OBJECT):  # a hundred times as fast as taking the lines apart
        refuse_same_object(name.decode(errors="replace") for name in PART.findall(text))
    return text


def _joined(text: bytes) -> bytes:
    """Vertices and faces whose lines end in a backslash go on in the next line."""
    lines, open_line = [], b""
    for line in text.split(b"\n"):
        line = open_line + line
        whole = line.rstrip()
        # Names may end in a backslash, as folders of Windows do: only numbers go on.
        goes_on = whole.endswith(b"\\") and line.lstrip()[:1] in b"vfVF"
        open_line = whole[:-1] + b" " if goes_on else b""
        if not goes_on:
            lines.append(line)
    return b"\n".join([*lines, open_line])


def _blocks(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + BLOCK)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _words_of(block: bytes) -> Words:
    """Found by arrays of bytes: lists of the words of each line take twice the time."""
    # Line breaks at the end let the looks at the second and third letter stay within the array.
    letters = np.frombuffer(block + b"\n\n\n", np.uint8)
    blank = IS_BLANK[letters]
    begins = np.flatnonzero(~blank & np.append(True, blank[:-1]))
    # The number of a line: so many breaks stand before its words.
    line = np.cumsum(letters == ord("\n"), dtype=np.int32)[begins]
    is_first = np.append(True, line[1:] != line[:-1])[: len(begins)]
    firsts = np.flatnonzero(is_first)
    first, second, third = (begins[firsts] + step for step in range(3))
    small = letters | 32  # some programs write V and F
    old_face = (small[second] == ord("o")) & blank[third]  # "fo"
    kind = np.zeros(len(firsts), dtype=np.int8)
    kind[(small[first] == ord("v")) & blank[second]] = VERTEX
    kind[(small[first] == ord("f")) & (blank[second] | old_face)] = FACE
    number = np.cumsum(is_first) - 1
    return Words(block.split(), kind[number], is_first, np.arange(len(begins)) - firsts[number])


def _coordinates(words: Words) -> NDArray[np.float64]:
    """(V, 3). Weights and colours behind the three numbers are left out."""
    if (words.per_line(VERTEX) < 3).any():
        raise DamagedMeshError("a vertex of fewer than three numbers")
    mask = (words.kind_W == VERTEX) & (words.place_W >= 1) & (words.place_W <= 3)
    try:
        return np.array(list(map(float, words.chosen(mask))), dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        word = _word(error)
        if "," in word:
            raise RefusedMeshError(f"{DECIMAL_COMMA} ({word})") from None
        raise DamagedMeshError(f"a vertex that is no three numbers ({word})") from None


def _corners(words: Words, seen: int) -> NDArray[np.int64]:
    """Numbers of vertices (C,) from 0 of all faces, one after the other. `seen`: vertices before these lines."""
    mask = (words.kind_W == FACE) & (words.place_W >= 1)
    try:
        spelt = (word.partition(b"/")[0] for word in words.chosen(mask))
        numbers = np.array(list(map(int, spelt)), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DamagedMeshError(f"a face whose corners are no numbers of vertices ('{_word(error)}')") from None
    if len(numbers) and numbers.min() < 1:
        # Negative numbers count back from the vertices that stand before the face, not from all of the file.
        before = np.cumsum(words.is_first_W & (words.kind_W == VERTEX))[mask] + seen
        numbers = _counted_back(numbers, before)
    return numbers - 1


def _counted_back(numbers: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers such as -1 as absolute ones: they count back from the last vertex `before` the face."""
    wrong = np.flatnonzero((numbers == 0) | (numbers < -before))
    if len(wrong):
        raise DamagedMeshError(f"a face refers to vertex {numbers[wrong[0]]} of {before[wrong[0]]:,}")
    return np.where(numbers < 0, before + numbers + 1, numbers)


def _word(error: Exception) -> str:
    """What Python could not read as a number."""
    if not isinstance(error, ValueError):
        return "too large"
    return str(error).rpartition(": ")[2].removeprefix("b").strip("'")[:60]
