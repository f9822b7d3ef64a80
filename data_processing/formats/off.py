"""The .off format of Geomview: text with colours, normals and texture coordinates, which are left out.

Read here because no library reads its variants: of 27 layouts of one box (tests/data_processing/mesh_texts.py) trimesh
5.2 reads 22 and takes one for another shape, meshio 5.3 and point-cloud-utils 0.34 read one. Format:
http://www.geomview.org/docs/html/OFF.html.
"""

import re

import numpy as np

from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError
from data_processing.formats.plain_text import plain_text
from data_processing.geometry.polygons import triangulated
from data_processing.geometry.triangle_mesh import TriangleMesh

COMMENT = re.compile(rb"#[^\n]*")
# Letters in any order: MeshLab writes NCOFF, the format CNOFF.
KEYWORD = re.compile(rb"\s*((?:ST|C|N){0,3}4?n?OFF|off)\b|\s*((?:ST|C|N){0,3}OFF)(?=\d)")
BESIDE = {"N": 3, "C": 4, "ST": 2}  # numbers behind the three of a vertex, by the letters of the keyword


def read_off(data: bytes) -> TriangleMesh:
    """All faces. RefusedMeshError for binary files and other than three dimensions, DamagedMeshError for cut ones."""
    text = COMMENT.sub(b"", plain_text(data))
    keyword = KEYWORD.match(text)
    word = (keyword[1] or keyword[2]).decode().replace("off", "OFF") if keyword else "OFF"
    if "4" in word or "n" in word:
        raise RefusedMeshError(f"its points are not three-dimensional ({word}): export it as OFF")
    rest = text[keyword.end() :] if keyword else text
    if rest.split(None, 1)[:1] == [b"BINARY"]:
        raise RefusedMeshError("binary OFF is not read: export it as text, or as .ply")
    rows = [row for row in map(bytes.split, rest.split(b"\n")) if row]
    vertex_count, face_count = _counts(rows[0] if rows else [])
    # A file that is cut at a line's end is noticed by nothing but the count of its lines.
    if len(rows) - 1 != vertex_count + face_count:
        rows = _unfolded(rest.split(), word) or rows
    if len(rows) - 1 != vertex_count + face_count:
        raise DamagedMeshError(
            f"declares {vertex_count:,} vertices and {face_count:,} faces, holds {len(rows) - 1:,} lines of them"
        )
    vertices = _numbers([row[:3] for row in rows[1 : 1 + vertex_count]])
    return TriangleMesh(vertices, _faces(rows[1 + vertex_count :], vertices))


def _unfolded(words: list[bytes], keyword: str) -> list[list[bytes]]:
    """A row for the counts, each vertex and each face, where line ends mean nothing; [] unless every word fits.

    Faces without colours only: behind those nobody can tell where the next one begins.
    """
    try:
        vertex_count, face_count = _counts(words[:3])
        width = 3 + sum(more for letters, more in BESIDE.items() if letters in keyword)
        at = 3 + vertex_count * width
        if vertex_count * width + face_count > len(words):
            return []
        rows = [words[:3], *(words[start : start + width] for start in range(3, at, width))]
        for _ in range(face_count):
            size = int(words[at])
            rows.append(words[at : at + 1 + size])
            at += 1 + max(size, 0)
    except (ValueError, IndexError):
        return []
    return rows if at == len(words) else []


def _counts(row: list[bytes]) -> tuple[int, int]:
    try:
        vertices, faces = (int(word) for word in row[:2])
    except ValueError:
        raise DamagedMeshError("no numbers of vertices and faces at its beginning") from None
    if vertices < 0 or faces < 0:
        raise DamagedMeshError(f"declares {vertices} vertices and {faces} faces")
    return vertices, faces


def _numbers(rows: list[list[bytes]]) -> np.ndarray:
    """Vertices (V, 3)."""
    try:
        return np.array([list(map(float, row)) for row in rows], dtype=np.float64).reshape(len(rows), 3)
    except ValueError:
        raise DamagedMeshError("a vertex that is no three numbers") from None


def _faces(rows: list[list[bytes]], vertices: np.ndarray) -> np.ndarray:
    """Triangles (F, 3) of lines of a number of corners and as many vertices; colours may follow."""
    try:
        sizes = np.array([int(row[0]) for row in rows], dtype=np.int64)
        corners = [word for row, size in zip(rows, sizes.tolist(), strict=True) for word in row[1 : 1 + size]]
        numbers = np.array(list(map(int, corners)), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DamagedMeshError("a face whose corners are no numbers of vertices") from None
    if (sizes < 0).any() or len(numbers) != sizes.sum():
        raise DamagedMeshError("a face has fewer corners in its line than it declares")
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(vertices)):
        raise DamagedMeshError(f"a face refers to vertex {numbers.max()} or {numbers.min()} of {len(vertices):,}")
    return triangulated(vertices, numbers, sizes)
