"""Point clouds, with normals where the file has them: .ply without faces, .npz with `points`, .npy, .xyz, .pcd.

Meshes and voxels have readers of their own (geometry/triangle_mesh.py, voxel_files.py); what a .ply, .npz or .npy holds
decides. Readers check what a file declares before memory is asked for it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import trimesh
from numpy.typing import NDArray

from data_processing.formats.mesh_files import UNSEEN_LOSS, loss_of_float32
from data_processing.formats.npy import DAMAGED, npy_header, open_npz, read_npy_file, read_npz
from data_processing.geometry.coordinates import transform_points
from isofield.runtime.atomic_files import refuse_large, replacing

CLOUD_SUFFIXES = frozenset({".ply", ".npz", ".npy", ".xyz", ".pcd"})
MAX_HEADER_LINES, MAX_COLUMNS = 100, 10_000
MAX_BYTES = 1 << 33  # of points that are read
MAX_TEXT = 1 << 31  # of a .ply or a text file
MAX_COORDINATE = 1e30  # larger ones overflow sizes


@dataclass(frozen=True)
class PointCloud:
    """Points of a surface in the frame of the file, and the normals there where the file has them (any length)."""

    points_N3: NDArray[np.float64]
    normals_N3: NDArray[np.float64] | None = None

    def transform(self, matrix_44: NDArray[np.floating]) -> "PointCloud":
        """The cloud under an affine; normals as those of planes."""
        normals = None
        if self.normals_N3 is not None:
            normals = self.normals_N3 @ np.linalg.inv(np.asarray(matrix_44, np.float64)[:3, :3])
        return PointCloud(transform_points(self.points_N3, matrix_44), normals)


def read_cloud(path: Path) -> PointCloud | None:
    """The cloud in a file; None where the file holds something else (a mesh, voxels) by its suffix or content.

    FileNotFoundError; ValueError when it is a cloud but cannot be meant: cut off, empty, NaN, wrong shapes, one point.
    """
    suffix = path.suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    refuse_large(path, MAX_TEXT if suffix in (".ply", ".xyz") else MAX_BYTES)
    if suffix == ".ply":
        return _ply_cloud(path) if _declares_no_faces(path) else None
    read: dict[str, Callable[[Path], PointCloud | None]] = {
        ".npz": _npz_cloud,
        ".npy": _npy_cloud,
        ".xyz": _xyz_cloud,
        ".pcd": _pcd_cloud,
    }
    return read[suffix](path)


def write_cloud(path: Path, cloud: PointCloud) -> None:
    """Write a .ply (binary; float32, or float64 far from the origin), atomically. ValueError for another suffix."""
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: point clouds are written as .ply")
    names, columns = ["x", "y", "z"], [cloud.points_N3]
    if cloud.normals_N3 is not None:
        names, columns = [*names, "nx", "ny", "nz"], [*columns, cloud.normals_N3]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud.points_N3)}"]
    kind, dtype = ("double", "<f8") if loss_of_float32(cloud.points_N3) > UNSEEN_LOSS else ("float", "<f4")
    lines += [*(f"property {kind} {name}" for name in names), "end_header", ""]
    with replacing(path) as temporary:
        temporary.write_bytes("\n".join(lines).encode() + np.hstack(columns).astype(dtype).tobytes())


def _declares_no_faces(path: Path) -> bool:
    """Whether a PLY header names no element `face` (or `tristrips`) with anything in it."""
    counts = _ply_counts(path)
    if counts is None:
        return False  # the mesh reader says what is wrong
    return all(counts.get(name, "0") == "0" for name in ("face", "tristrips"))


def _ply_counts(path: Path) -> dict[str, str] | None:
    """How many of each element the header declares; None where it is no PLY."""
    with open(path, "rb") as handle:
        header, end, _ = handle.read(1 << 20).partition(b"end_header")
    lines = [line.split() for line in header.decode("latin-1").splitlines() if line.startswith("element ")]
    return {words[1]: words[2] for words in lines if len(words) == 3} if header.startswith(b"ply") and end else None


def _ply_cloud(path: Path) -> PointCloud:
    try:
        # Out of memory, without a name: the header may call a picture anywhere on the disk its texture.
        cloud = trimesh.load(io.BytesIO(path.read_bytes()), file_type="ply", process=False, skip_materials=True)
        columns = cloud.metadata["_ply_raw"]["vertex"]["data"]
        points = np.column_stack([np.ravel(columns[key]) for key in ("x", "y", "z")])
        normals = None
        if all(key in _names(columns) for key in ("nx", "ny", "nz")):
            normals = np.column_stack([np.ravel(columns[key]) for key in ("nx", "ny", "nz")])
        declared = (_ply_counts(path) or {}).get("vertex", "0")
        if len(points) != int(declared):
            raise ValueError(f"holds {len(points)} of the {declared[:40]} points that its header declares")
    except Exception as error:  # the parser raises every kind on a corrupt file; all of them become one
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"{path}: not a point cloud that can be read ({reason}); export it again") from error
    return _checked(points, normals, path)


def _names(columns: object) -> tuple[str, ...]:
    """Names of the columns, of a dict (text files) or a structured array (binary files)."""
    return tuple(columns) if isinstance(columns, dict) else (getattr(columns, "dtype", np.dtype("f4")).names or ())


def _npz_cloud(path: Path) -> PointCloud | None:
    """The cloud in a .npz, or None where it has no `points` (then it may hold voxels)."""
    try:
        with open_npz(path) as archive:
            there = [key for key in ("points", "normals") if f"{key}.npy" in archive.namelist()]
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as .npz: {error}") from error
    if "points" not in there:
        return None
    arrays = read_npz(path, most=MAX_BYTES, kinds="fiu", names=there)
    return _checked(arrays["points"], arrays.get("normals"), path)


def _npy_cloud(path: Path) -> PointCloud | None:
    """(N, 3) points, or (N, 6) with normals; None for other numbers of axes (then they may be voxels)."""
    try:
        with open(path, "rb") as handle:
            shape, _ = npy_header(handle, str(path))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as .npy, it is cut off or no array ({error})") from error
    return _of_columns(read_npy_file(path, most=MAX_BYTES, kinds="fiu"), path) if len(shape) == 2 else None


def _xyz_cloud(path: Path) -> PointCloud:
    """Lines of three numbers, or six with normals, between blanks or commas; lines with # are comments."""
    with open(path, encoding="utf-8", errors="replace") as handle:
        first = next((line for line in handle if line.strip() and not line.lstrip().startswith("#")), "")
    if not first:
        raise ValueError(f"{path}: expected lines of x y z, the file is empty")
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            values = np.loadtxt(handle, delimiter="," if "," in first else None, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines of three or six numbers: {error}") from error
    return _of_columns(values, path)


def _of_columns(values: NDArray, path: Path) -> PointCloud:
    if values.shape[1] not in (3, 6) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected numbers (N, 3), or (N, 6) with normals; got {values.shape} {values.dtype}")
    return _checked(values[:, :3], values[:, 3:] if values.shape[1] == 6 else None, path)


def _pcd_cloud(path: Path) -> PointCloud:
    """A .pcd of the Point Cloud Library, ASCII or binary."""
    with open(path, "rb") as handle:
        header = _pcd_header(handle, path)
        dtype, count = _pcd_columns(header, path)
        names = dtype.names or ()
        if header["DATA"] == ["ascii"]:
            try:  # without max_rows: memory would be asked for as many rows as are declared
                table = np.loadtxt(handle, ndmin=2, encoding="utf-8") if count else np.empty((0, len(names)))
            except ValueError as error:
                raise ValueError(f"{path}: its points are not numbers: {error}") from error
            if table.shape != (count, len(names)):
                raise ValueError(f"{path}: declares {count} points of {len(names)} values, holds {table.shape}")
            columns = dict(zip(names, table.T, strict=True))
        elif header["DATA"] == ["binary"]:
            there = (path.stat().st_size - handle.tell()) // dtype.itemsize
            if there < count:
                raise ValueError(f"{path}: cut off: declares {count} points, holds {there}")
            rows = np.frombuffer(handle.read(count * dtype.itemsize), dtype)
            columns = {name: rows[name] for name in names}
        else:
            raise ValueError(f"{path}: DATA {' '.join(header['DATA'])}: expected ascii or binary: convert it")
    points = np.column_stack([columns[name] for name in ("x", "y", "z")])
    normals = None
    if all(f"normal_{axis}" in columns for axis in "xyz"):
        normals = np.column_stack([columns[f"normal_{axis}"] for axis in "xyz"])
    return _checked(points, normals, path)


def _pcd_header(handle: BinaryIO, path: Path) -> dict[str, list[str]]:
    """Lines of KEY value ... up to DATA."""
    header: dict[str, list[str]] = {}
    for _ in range(MAX_HEADER_LINES):
        words = handle.readline(1 << 12).decode("latin-1").split()
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
        if words and words[0].upper() == "DATA":
            break
    absent = [key for key in ("FIELDS", "SIZE", "TYPE", "POINTS", "DATA") if not header.get(key)]
    if absent:
        raise ValueError(f"{path}: not a .pcd file: its header has no {', '.join(absent)}")
    return header


def _pcd_columns(header: dict[str, list[str]], path: Path) -> tuple[np.dtype, int]:
    """The type of a row, and the number of rows. A field of several values is as many columns."""
    names, kinds = header["FIELDS"], {"F": "f", "I": "i", "U": "u"}
    repeats = header.get("COUNT", ["1"] * len(names))
    try:
        fields = list(zip(names, header["TYPE"], header["SIZE"], repeats, strict=True))
        if not 0 <= sum(abs(int(repeat)) for repeat in repeats) <= MAX_COLUMNS:
            raise ValueError(f"more than {MAX_COLUMNS} values a point")
        columns = [
            (name if repeat == "1" and name != "_" else f"{name} {number} {place}", f"<{kinds[kind]}{int(size)}")
            for number, (name, kind, size, repeat) in enumerate(fields)
            for place in range(int(repeat))
        ]
        dtype, count = np.dtype(columns), int(header["POINTS"][0])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: a .pcd header that makes no sense: {error}") from error
    if count < 0 or not {"x", "y", "z"} <= {name for name, _ in columns}:
        raise ValueError(f"{path}: expected fields x y z and a number of points, got {' '.join(names)} and {count}")
    return dtype, count


def _checked(points: NDArray, normals: NDArray | None, path: Path) -> PointCloud:
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"{path}: expected points (N, 3) with N > 0, got {points.shape}")
    if normals is not None and normals.shape != points.shape:
        raise ValueError(f"{path}: expected a normal for each of {len(points)} points, got {normals.shape}")
    for array, what in ((points, "points"), (normals, "normals")):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"{path}: {what} hold NaN or infinity: remove those {what}")
    if (points == points[0]).all():
        raise ValueError(f"{path}: all {len(points)} points are one point")
    if np.abs(points).max() > MAX_COORDINATE:
        raise ValueError(f"{path}: coordinates up to {np.abs(points).max():g} (limit {MAX_COORDINATE:g})")
    return PointCloud(points.astype(np.float64), None if normals is None else normals.astype(np.float64))
