"""Mesh files, read and written: .ply .obj .stl .off .glb .gltf.

Reading trusts nothing: parser errors of every kind come out as ValueError, materials and textures are not resolved,
and only a .gltf may open other files (its buffers, in its own folder).
"""

import io
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.resolvers import Resolver

from data_processing.formats.gltf import refuse_unsound
from data_processing.formats.obj import plain_obj
from data_processing.geometry.triangle_mesh import TriangleMesh, face_normals, unbalanced_edges
from isofield.runtime.atomic_files import refuse_large, replacing

# Those that were attacked in the tests. The library reads more where other packages are there (XML, archives, CAD).
MESH_SUFFIXES: frozenset[str] = frozenset({".ply", ".obj", ".stl", ".off", ".glb", ".gltf"})
WRITE_SUFFIXES: frozenset[str] = frozenset({".ply", ".obj", ".stl", ".off", ".glb"})
MAX_BYTES = 1 << 31  # of a file, and of those that it refers to
MAX_SIZE = 1e30  # larger coordinates overflow areas and volumes

HEADER_BYTES = 1 << 16
logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # its tracebacks on corrupt files are our ValueError


class FolderResolver(Resolver):
    """Opens files beside the mesh file and nowhere else (buffers of a .gltf); no network, no writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.found: dict[Path, bytes] = {}

    def get(self, name: str) -> bytes:
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder):
            raise ValueError(f"refers to {name!r} outside its own folder")
        if not path.is_file():
            raise FileNotFoundError(f"refers to {name!r}, which is no file")
        if path not in self.found:  # it may be named any number of times
            refuse_large(path, MAX_BYTES - sum(map(len, self.found.values())))
            self.found[path] = path.read_bytes()
        return self.found[path]

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> "FolderResolver":
        return self

    def write(self, name: str, data: Any) -> None:
        raise ValueError("reading a mesh writes nothing")


def read_mesh(path: Path) -> TriangleMesh:
    """Read a file of MESH_SUFFIXES; the parts of a scene are merged in the scene's frame.

    Degenerate faces are dropped. Raises FileNotFoundError, or ValueError for a suffix that is no mesh, and for files
    that are corrupt, hold no triangles (points only), only degenerate ones (zero size), or NaN or infinite vertices.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"mesh {path} does not exist")
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise ValueError(f"{path}: expected a mesh ({' '.join(sorted(MESH_SUFFIXES))}), got {suffix or 'no suffix'}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty, expected a mesh; export it again")
    refuse_large(path, MAX_BYTES)
    data = path.read_bytes()
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            parts = list(_parts(_parse(data, suffix, path.parent)))
        _refuse_cut_text(data, suffix, sum(len(part.faces) for part in parts))
    except Exception as error:  # parsers raise every kind on a corrupt file; all of them become one
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"{path}: corrupt or truncated {suffix} file ({reason}); export it again") from error
    return _checked(path, _merged_parts(path, parts))


def write_mesh(path: Path, mesh: TriangleMesh) -> None:
    """Write a mesh as binary PLY, OBJ, binary STL, OFF or GLB by its suffix, atomically.

    Raises ValueError on another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise ValueError(f"{path}: cannot write {suffix or 'no suffix'}; choose {' '.join(sorted(WRITE_SUFFIXES))}")
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
    options: dict[str, Any] = {".ply": {"vertex_normal": False}, ".obj": {"include_normals": False}}.get(suffix, {})
    data: Any = plain.export(file_type=suffix[1:], **options)
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def _parse(data: bytes, suffix: str, folder: Path) -> trimesh.Scene:
    if suffix in (".glb", ".gltf"):
        beside = sum(file.stat().st_size for file in folder.glob("*.bin")) if suffix == ".gltf" else 0
        refuse_unsound(data, beside=beside)
    resolver = FolderResolver(folder) if suffix == ".gltf" else None
    handle = io.BytesIO(plain_obj(data) if suffix == ".obj" else data)  # no name that a loader could follow
    return trimesh.load_scene(handle, file_type=suffix[1:], resolver=resolver, process=False, skip_materials=True)


def _refuse_cut_text(data: bytes, suffix: str, faces: int) -> None:
    """Text formats that declare their number of faces are parsed as far as they go: compare."""
    head = data[:HEADER_BYTES]
    declared = None
    if suffix == ".ply" and b"format ascii" in head:
        declared = re.search(rb"element\s+face\s+(\d+)", head)
    elif suffix == ".off":
        words = b" ".join(line.partition(b"#")[0] for line in head.splitlines()[:-1]).split()[:3]
        declared = re.fullmatch(rb"\w*OFF \+?\d+ \+?(\d+)", b" ".join(words))
    if declared and 0 < faces < int(declared[1]):
        raise ValueError(f"holds {faces} of the {int(declared[1])} faces that its header declares")


def _parts(scene: trimesh.Scene) -> Iterator[TriangleMesh]:
    for node, matrix in _placements(scene):
        geometry = scene.geometry[scene.graph.transforms.node_data[node]["geometry"]]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            vertices = np.array(geometry.vertices, dtype=np.float64)
            faces = np.array(geometry.faces, dtype=np.int64)
            if faces.min() < 0 or faces.max() >= len(vertices):
                raise ValueError(f"a face refers to vertex {faces.max()} of {len(vertices)}")
            yield TriangleMesh(vertices, faces).transform(np.asarray(matrix, dtype=np.float64))


def _placements(scene: trimesh.Scene) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    """Nodes that show a geometry, and their transforms (4, 4) to the scene's frame.

    The library goes from each node to the root and back, in time that grows with the square of the levels.
    """
    forest = scene.graph.transforms
    known = {scene.graph.base_frame: np.eye(4)}
    for node in scene.graph.nodes_geometry:
        way = [node]
        while way[-1] not in known:
            if way[-1] not in forest.parents or len(way) > len(forest.parents):
                raise ValueError("its nodes hang on no scene, or in a circle")
            way.append(forest.parents[way[-1]])
        for child, parent in reversed(list(itertools.pairwise(way))):
            known[child] = known[parent] @ forest.edge_data[parent, child].get("matrix", known[scene.graph.base_frame])
        yield node, known[node]


def _merged_parts(path: Path, parts: list[TriangleMesh]) -> TriangleMesh:
    if not parts:
        raise ValueError(f"{path}: no triangles in it (points, lines or an empty scene); expected a surface mesh")
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)])
    return TriangleMesh(np.concatenate([part.vertices for part in parts]), faces)


def _checked(path: Path, mesh: TriangleMesh) -> TriangleMesh:
    used = mesh.triangles()
    if not np.isfinite(used).all():
        bad = int((~np.isfinite(used).all(axis=(1, 2))).sum())
        raise ValueError(f"{path}: {bad} of {len(used)} faces have NaN or infinite vertices; repair the mesh")
    if np.abs(used).max() > MAX_SIZE:
        raise ValueError(f"{path}: coordinates up to {np.abs(used).max():.3g}, expected at most {MAX_SIZE:g}")
    mesh = _without_degenerate(mesh)
    if len(mesh.faces) == 0:
        raise ValueError(f"{path}: zero size: none of its {len(used)} triangles has an area")
    return mesh


def _without_degenerate(mesh: TriangleMesh) -> TriangleMesh:
    """Drop faces without area; but keep slivers between three distinct corners where they close a T-junction."""
    faces = mesh.merged_faces
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    with_area = distinct & (face_normals(mesh.triangles())[1] > 0)
    slivers_close = with_area.any() and (with_area != distinct).any() and len(unbalanced_edges(faces[distinct])) == 0
    kept = distinct if slivers_close else with_area
    return mesh if kept.all() else TriangleMesh(mesh.vertices, mesh.faces[kept])
