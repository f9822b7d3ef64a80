"""Triangle meshes: reading, writing, closedness, surface samples.

Reading trusts nothing: parser errors of every kind come out as ValueError, materials and textures are not resolved,
and only a .gltf may open other files (its buffers, in its own folder). What is inside a mesh: see
occupancy/inside_outside.py.
"""

import functools
import io
import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from trimesh.resolvers import Resolver

from data_processing.formats.gltf import refuse_unsound
from data_processing.formats.obj import plain_obj
from data_processing.geometry.coordinates import transform_points
from isofield.runtime.atomic_files import refuse_large, replacing

# Those that were attacked in the tests. The library reads more where other packages are there (XML, archives, CAD).
MESH_SUFFIXES: frozenset[str] = frozenset({".ply", ".obj", ".stl", ".off", ".glb", ".gltf"})
WRITE_SUFFIXES: frozenset[str] = frozenset({".ply", ".obj", ".stl", ".off", ".glb"})
MAX_BYTES = 1 << 31  # of a file, and of those that it refers to
MAX_SIZE = 1e30  # larger coordinates overflow areas and volumes
HEADER_BYTES = 1 << 16

logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # its tracebacks on corrupt files are our ValueError


@dataclass(frozen=True)
class TriangleMesh:
    """Vertices (V, 3) float64 in any frame, faces (F, 3) int64 counter-clockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, (3,) each, of the vertices that faces use."""
        used = np.zeros(len(self.vertices), dtype=bool)
        used[self.faces] = True
        corners_3V = np.ascontiguousarray(self.vertices[used].T)  # rows are reduced ten times faster than columns
        return corners_3V.min(axis=1), corners_3V.max(axis=1)

    @functools.cached_property
    def merged_faces(self) -> NDArray[np.int64]:
        """Faces (F, 3) over merged vertices: corners at exactly equal positions get one number."""
        positions = self.vertices + 0.0  # -0.0 becomes 0.0
        order = np.lexsort(positions.T)
        ordered = positions[order]
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.cumsum(np.r_[False, (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(order)]
        return number[self.faces]

    @functools.cached_property
    def unbalanced_edges(self) -> NDArray[np.int64]:
        """Directed edges (E, 2) of the merged faces that are walked more often one way than the other: holes, flips."""
        return unbalanced_edges(self.merged_faces)

    def triangles(self) -> NDArray[np.float64]:
        """Corners of all faces: (F, 3, 3)."""
        return self.vertices[self.faces]

    def transformed(self, matrix_44: NDArray[np.floating]) -> "TriangleMesh":
        """The mesh under an affine; a mirroring one flips the faces, so that outside stays outside."""
        faces = self.faces[:, ::-1] if np.linalg.det(np.asarray(matrix_44)[:3, :3]) < 0 else self.faces
        return TriangleMesh(transform_points(self.vertices, matrix_44), np.ascontiguousarray(faces))


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


def unbalanced_edges(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows (E, 2) of directed edges that faces walk more often one way than the other: holes and flipped faces.

    None at all means that the winding number is an integer everywhere off the surface.
    """
    walked, width = _edge_keys(faces), int(faces.max(initial=0)) + 1
    if np.array_equal(np.sort(walked), np.sort(walked % width * width + walked // width)):
        return np.empty((0, 2), dtype=np.int64)  # a closed mesh: no need to ask which
    keys, count = np.unique(walked, return_counts=True)
    reverse = keys % width * width + keys // width
    at = np.searchsorted(keys, reverse).clip(max=max(len(keys) - 1, 0))
    found = keys[at] == reverse
    keys = keys[~(found & (count[at] == count))]
    return np.stack([keys // width, keys % width], axis=1)


def is_watertight(mesh: TriangleMesh) -> bool:
    """After merging equal vertices: every edge has exactly two faces, which walk it in opposite directions."""
    keys = np.sort(_edge_keys(mesh.merged_faces))
    unique = bool((keys[1:] != keys[:-1]).all())
    return len(mesh.faces) > 0 and unique and len(mesh.unbalanced_edges) == 0


def closed_faces(mesh: TriangleMesh) -> NDArray[np.bool_]:
    """Which faces (F,) belong to closed parts: pieces joined at vertices all of whose edges are balanced."""
    faces, unbalanced = mesh.merged_faces, mesh.unbalanced_edges
    if len(unbalanced) == 0:
        return np.ones(len(faces), dtype=bool)
    count = int(faces.max(initial=-1)) + 1
    links = coo_array((np.ones(2 * len(faces), dtype=np.int8), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())))
    links.resize((count, count))
    _, part = connected_components(links, directed=False)
    closed = np.ones(count, dtype=bool)
    closed[part[unbalanced[:, 0]]] = False
    return closed[part[faces[:, 0]]]


def sample_surface(
    mesh: TriangleMesh, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 3) uniform over the area, and the unit normals (N, 3) of their faces."""
    kernels = compiled_kernels()
    if kernels is None:
        return _sample_by_arrays(mesh, count, generator)
    vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    cumulative, normals = kernels.cumulative_area(vertices, faces)
    _refuse_no_area(cumulative)
    return kernels.place(vertices, faces, cumulative, normals, generator.random((3, count)))


def _sample_by_arrays(
    mesh: TriangleMesh, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = mesh.triangles()
    normals, area = _normals(corners)
    cumulative = np.cumsum(area)
    _refuse_no_area(cumulative)
    face = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right").clip(max=len(area) - 1)
    root, along = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
    a, b, c = corners[face].transpose(1, 0, 2)
    return a * (1 - root) + b * root * (1 - along) + c * root * along, normals[face]


def _refuse_no_area(cumulative_F: NDArray[np.float64]) -> None:
    if len(cumulative_F) == 0 or not cumulative_F[-1] > 0:
        raise ValueError("cannot sample a surface without area")


@functools.cache
def compiled_kernels() -> ModuleType | None:
    """The module surface_kernels, imported at the first need; None without numba."""
    try:
        from data_processing.geometry import surface_sampling_kernels
    except ImportError:
        return None
    return surface_sampling_kernels


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
            yield TriangleMesh(vertices, faces).transformed(np.asarray(matrix, dtype=np.float64))


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
    with_area = distinct & (_normals(mesh.triangles())[1] > 0)
    slivers_close = with_area.any() and (with_area != distinct).any() and len(unbalanced_edges(faces[distinct])) == 0
    kept = distinct if slivers_close else with_area
    return mesh if kept.all() else TriangleMesh(mesh.vertices, mesh.faces[kept])


def _normals(corners_F33: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals (F, 3) (0 where there is none) and areas (F,), in units that do not under- or overflow."""
    edges = corners_F33[:, 1:] - corners_F33[:, :1]
    scale = max(float(np.abs(edges).max(initial=0)), np.finfo(np.float64).tiny)
    cross = np.cross(edges[:, 0] / scale, edges[:, 1] / scale)
    doubled = np.linalg.norm(cross, axis=1)
    return cross / np.where(doubled > 0, doubled, 1)[:, None], doubled / 2


def _edge_keys(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    width = int(faces.max(initial=0)) + 1
    return (faces * width + np.roll(faces, -1, axis=1)).reshape(-1)
