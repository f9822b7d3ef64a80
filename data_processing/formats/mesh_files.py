"""Mesh files, read and written: .ply .obj .stl .off .glb .gltf.

Reading trusts nothing: whatever is wrong with a file comes out as one ValueError with its path, materials and textures
are not resolved, and only glTF may open other files (its buffers, in its own folder). Each format has a module of its
own, which says which libraries were measured on it. trimesh writes, except where numbers would lose precision.
"""

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.first_bytes import missing_file, refuse_other_content
from data_processing.formats.gltf_scene import read_gltf
from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError
from data_processing.formats.obj import read_obj
from data_processing.formats.off import read_off
from data_processing.formats.ply import read_ply
from data_processing.formats.stl import read_stl
from data_processing.geometry.polygons import PolygonLimitError
from data_processing.geometry.triangle_mesh import TriangleMesh, face_normals, unbalanced_edges
from isofield.runtime.atomic_files import refuse_large, replacing

if TYPE_CHECKING:
    import trimesh

READERS = {".ply": read_ply, ".obj": read_obj, ".stl": read_stl, ".off": read_off}
MESH_SUFFIXES: frozenset[str] = frozenset({*READERS, ".glb", ".gltf"})
WRITE_SUFFIXES: frozenset[str] = frozenset({".ply", ".obj", ".stl", ".off", ".glb"})
MAX_BYTES = 1 << 31  # of a file, and of those that it refers to
MAX_SIZE = 1e30  # larger coordinates overflow areas and volumes
# Rounding to float32 may move a vertex by so much of the longest edge of the mesh: beyond the first, files that can
# hold more do; beyond the second, those that cannot are refused.
UNSEEN_LOSS, REFUSED_LOSS = 1e-6, 1e-5
MAX_REASON = 400  # characters
PLY_COMMENT = "comment https://github.com/mikedh/trimesh\n"  # of its .ply files, which ours are equal to
SPACE, HEAD = re.compile(rb"\bSPACE=(LPS|RAS)\b"), 4096  # bytes of a header that are looked at
DIGITS = 9  # of the longest edge of a mesh, in texts


def read_mesh(path: Path) -> TriangleMesh:
    """Read a file of MESH_SUFFIXES; the parts of a scene are merged in the scene's frame.

    Degenerate faces are dropped. Raises FileNotFoundError, or ValueError for a suffix that is no mesh, and for files
    that are corrupt, hold no triangles (points only), only degenerate ones (zero size), NaN or infinite vertices, or
    anything that changes the shape and is not read.
    """
    # Before it is read whole: is it a mesh file at all, of a size that memory holds?
    path = Path(path)
    if not path.is_file():
        raise missing_file(path, "mesh")
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise ValueError(f"{path}: expected a mesh ({' '.join(sorted(MESH_SUFFIXES))}), got {suffix or 'no suffix'}")
    refuse_other_content(path)
    refuse_large(path, MAX_BYTES)
    # Readers give reasons without the path, and whether another copy of the file could help.
    data = path.read_bytes()
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            parts = [READERS[suffix](data)] if suffix in READERS else read_gltf(data, path.parent)
    except DamagedMeshError as error:
        raise ValueError(
            f"{path}: corrupt or cut-off {suffix} file: {_short(error)}; export or copy it again"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{path}: there is not memory enough for it: free some, or decimate the mesh") from error
    except (RefusedMeshError, PolygonLimitError) as error:
        raise ValueError(f"{path}: {_short(error)}") from error
    except Exception as error:  # what a damaged file makes of numbers is anything; all of it becomes one
        raise ValueError(f"{path}: corrupt {suffix} file: it contradicts itself; export or copy it again") from error
    return _checked(path, _merged_parts(path, [part for part in parts if len(part.faces)]))


def _short(error: Exception) -> str:
    """A reason may quote the file."""
    return str(error)[:MAX_REASON]


def named_space(path: Path) -> str:
    """LPS or RAS where a comment in the header of a mesh says it, as 3D Slicer writes it (SPACE=LPS); else ""."""
    try:
        with open(path, "rb") as handle:
            found = SPACE.search(handle.read(HEAD))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def mesh_in_memory(mesh: "trimesh.Trimesh", *, where: str) -> TriangleMesh:
    """A mesh of the trimesh library as `read_mesh` would give it, with the same errors; it is copied."""
    vertices, faces = np.array(mesh.vertices, dtype=np.float64), np.array(mesh.faces, dtype=np.int64)
    if faces.size == 0:
        raise ValueError(f"{where}: no triangles in it (points, lines or an empty scene); expected a surface mesh")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{where}: a face refers to vertex {faces.max()} of {len(vertices)}: repair the mesh")
    return _checked(where, TriangleMesh(vertices, faces))


def write_mesh(path: Path, mesh: TriangleMesh) -> None:
    """Write a mesh as binary PLY, OBJ, binary STL, OFF or GLB by its suffix, atomically.

    Far from the origin a .ply holds float64, and a .glb its offset in a node, so that no vertex moves by more than
    UNSEEN_LOSS of the longest edge. Raises ValueError on another suffix, and for .stl where it would lose REFUSED_LOSS.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise ValueError(f"{path}: cannot write {suffix or 'no suffix'}; choose {' '.join(sorted(WRITE_SUFFIXES))}")
    loss = loss_of_float32(mesh.vertices)
    if suffix == ".stl" and loss > REFUSED_LOSS:
        raise ValueError(
            f"{path}: .stl holds 32-bit numbers, which would move vertices by {loss:.1g} of the size of this mesh "
            f"(limit {REFUSED_LOSS:g}), so far is it from the origin: write .ply, .glb, .obj or .off"
        )
    data = _exact(mesh, suffix) if loss > UNSEEN_LOSS or suffix in (".obj", ".off") else _exported(mesh, suffix)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def loss_of_float32(vertices_V3: NDArray[np.float64]) -> float:
    """How far float32 moves a coordinate, as a share of the longest edge of the bounding box; 0 for no box."""
    edge = float(np.ptp(vertices_V3, axis=0).max()) if len(vertices_V3) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.abs(vertices_V3.astype(np.float32).astype(np.float64) - vertices_V3).max(initial=0)
    return float(moved / edge) if edge > 0 and np.isfinite(moved / edge) else 0.0


def _exported(mesh: TriangleMesh, suffix: str, offset: NDArray[np.float64] | None = None) -> bytes:
    """Of float32, by trimesh; .ply as it writes them, byte for byte. `offset`: of a scene's node."""
    if suffix == ".ply":
        return _binary_ply(mesh, "float", "<f4", comment=PLY_COMMENT)
    import trimesh  # only here: it takes a quarter of a second

    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
    if offset is not None:
        scene = trimesh.Scene()
        scene.add_geometry(plain, transform=trimesh.transformations.translation_matrix(offset))
        binary: Any = scene.export(file_type=suffix[1:])
        return bytes(binary)
    data: Any = plain.export(file_type=suffix[1:])
    return bytes(data)


def _exact(mesh: TriangleMesh, suffix: str) -> bytes:
    """Without loss (of a .glb: hardly any): trimesh writes eight decimals in texts, and float32 in the others."""
    if suffix == ".glb":
        middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
        return _exported(TriangleMesh(mesh.vertices - middle, mesh.faces), suffix, middle)
    faces, stream = mesh.faces, io.BytesIO()
    if suffix == ".ply":
        return _binary_ply(mesh, "double", "<f8")
    is_obj = suffix == ".obj"
    stream.write(b"" if is_obj else f"OFF\n{len(mesh.vertices)} {len(faces)} 0\n".encode())
    # As many decimals as the size of the mesh needs: eight would flatten one in metres that is a micrometre long.
    edge = float(np.ptp(mesh.vertices, axis=0).max()) if len(mesh.vertices) else 1.0
    decimals = min(max(DIGITS - math.floor(math.log10(edge)), 0), 300) if edge > 0 else 17
    np.savetxt(stream, mesh.vertices, fmt=("v " if is_obj else "") + " ".join([f"%.{decimals}f"] * 3))
    np.savetxt(stream, faces + is_obj, fmt="f %d %d %d" if is_obj else "3 %d %d %d")
    return stream.getvalue()


def _binary_ply(mesh: TriangleMesh, kind: str, stored: str, *, comment: str = "") -> bytes:
    """Vertices as `kind`, in numpy's words `stored`, and triangles."""
    head = f"ply\nformat binary_little_endian 1.0\n{comment}element vertex {len(mesh.vertices)}\n"
    head += "".join(f"property {kind} {axis}\n" for axis in "xyz")
    head += f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, mesh.faces
    return head.encode() + mesh.vertices.astype(stored).tobytes() + rows.tobytes()


def _merged_parts(path: Path, parts: list[TriangleMesh]) -> TriangleMesh:
    if not parts:
        raise ValueError(f"{path}: no triangles in it (points, lines or an empty scene); expected a surface mesh")
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)])
    return TriangleMesh(np.concatenate([part.vertices for part in parts]), faces)


def _checked(path: Path | str, mesh: TriangleMesh) -> TriangleMesh:
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
    # A sliver may be all that joins a long edge to two short ones: without it a closed mesh would have a crack.
    slivers_close = with_area.any() and (with_area != distinct).any() and len(unbalanced_edges(faces[distinct])) == 0
    kept = distinct if slivers_close else with_area
    return mesh if kept.all() else TriangleMesh(mesh.vertices, mesh.faces[kept])
