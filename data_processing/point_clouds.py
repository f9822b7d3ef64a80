"""Point clouds with normals, such as published surface samples: .ply without faces, or .npz with `points`, `normals`.

Meshes and voxels have readers of their own (meshes.py, voxels.py).
"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray


@dataclass(frozen=True)
class PointCloud:
    """Points of a surface in the frame of the file, and the normals there where the file has them (any length)."""

    points_N3: NDArray[np.float64]
    normals_N3: NDArray[np.float64] | None = None


def read_cloud(path: Path) -> PointCloud | None:
    """The cloud in a .ply without faces or in a .npz with `points`; None where the file holds something else.

    Raises ValueError when it is a cloud but cannot be meant: cut off, empty, NaN, wrong shapes.
    """
    if path.suffix.lower() == ".npz":
        return _npz_cloud(path)
    return _ply_cloud(path) if path.suffix.lower() == ".ply" and _declares_no_faces(path) else None


def _declares_no_faces(path: Path) -> bool:
    """Whether a PLY header names no element `face` (or `tristrips`) with anything in it."""
    with open(path, "rb") as handle:
        header = handle.read(1 << 16).partition(b"end_header")[0].decode("latin-1")
    if not header.startswith("ply"):
        return False  # the mesh reader says what is wrong
    elements = [line.split() for line in header.splitlines() if line.startswith("element ")]
    return not any(len(e) == 3 and e[1] in ("face", "tristrips") and e[2] != "0" for e in elements)


def _ply_cloud(path: Path) -> PointCloud:
    try:
        cloud = trimesh.load(path, process=False)
        columns = cloud.metadata["_ply_raw"]["vertex"]["data"]
        points = np.column_stack([np.ravel(columns[key]) for key in ("x", "y", "z")])
        normals = None
        if all(key in _names(columns) for key in ("nx", "ny", "nz")):
            normals = np.column_stack([np.ravel(columns[key]) for key in ("nx", "ny", "nz")])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError) as error:
        raise ValueError(f"{path}: not a point cloud that can be read: {error}") from error
    return _checked(points, normals, path)


def _names(columns: object) -> tuple[str, ...]:
    """Names of the columns, of a dict (text files) or a structured array (binary files)."""
    return tuple(columns) if isinstance(columns, dict) else (getattr(columns, "dtype", np.dtype("f4")).names or ())


def _npz_cloud(path: Path) -> PointCloud | None:
    """The cloud in a .npz, or None where it has no `points` (then it may hold voxels)."""
    try:
        with zipfile.ZipFile(path) as archive:
            if "points.npy" not in archive.namelist():
                return None
            normals = _member(archive, "normals") if "normals.npy" in archive.namelist() else None
            return _checked(_member(archive, "points"), normals, path)
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path}: cannot be read as .npz: {error}") from error


def _member(archive: zipfile.ZipFile, key: str) -> NDArray:
    """One array of a .npz; its declared size is held against the bytes that are there before it is allocated."""
    info = archive.getinfo(f"{key}.npy")
    where = f"{archive.filename}[{key}]"
    with archive.open(info) as handle:
        version = np.lib.format.read_magic(handle)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(handle)
        if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(
                f"{where}: declares {shape} {dtype}, holds {info.file_size} bytes: expected (N, 3) numbers"
            )
    with archive.open(info) as handle:
        return np.lib.format.read_array(handle, allow_pickle=False)


def _checked(points: NDArray, normals: NDArray | None, path: Path) -> PointCloud:
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"{path}: expected points (N, 3) with N > 0, got {points.shape}")
    if normals is not None and normals.shape != points.shape:
        raise ValueError(f"{path}: expected a normal for each of {len(points)} points, got {normals.shape}")
    for array, what in ((points, "points"), (normals, "normals")):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"{path}: {what} hold NaN or infinity")
    if (np.ptp(points, axis=0) == 0).all():
        raise ValueError(f"{path}: all {len(points)} points are one point")
    return PointCloud(points.astype(np.float64), None if normals is None else normals.astype(np.float64))
