"""Point clouds, with normals where the file has them: .ply without faces, .npz with `points`, .npy, .pcd, text.

Meshes and voxels have readers of their own (geometry/triangle_mesh.py, voxel_files.py); what a .ply, .npz or .npy holds
decides. Readers check what a file declares before memory is asked for it.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.first_bytes import missing_file, refuse_other_content
from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError
from data_processing.formats.mesh_files import UNSEEN_LOSS, loss_of_float32
from data_processing.formats.npy import DAMAGED, npy_header, open_npz, read_npy_file, read_npz
from data_processing.formats.occupancy_samples import field_key
from data_processing.formats.pcd import read_pcd
from data_processing.formats.ply import read_ply_points
from data_processing.formats.text_clouds import TEXT_SUFFIXES, are_normals, read_text_cloud
from data_processing.geometry.coordinates import transform_points
from isofield.runtime.atomic_files import refuse_large, replacing

CLOUD_SUFFIXES = frozenset({".ply", ".npz", ".npy", ".pcd"}) | TEXT_SUFFIXES
MAX_BYTES = 1 << 33  # of points that are read
MAX_TEXT = 1 << 31  # of a .ply or a text file
MAX_COORDINATE = 1e30  # larger ones overflow sizes
SPLATS = ("f_dc_0", "scale_0", "rot_0")  # of Gaussian splats: their middles lie in the volume, not on the surface
NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))


@dataclass(frozen=True)
class CloudConfig:
    """What is done to a user's own cloud that is noticed to be noisy, where its run did not learn from noise."""

    noise: Literal["tell", "smooth"] = "tell"  # smooth: moved onto planes of neighbours; thin boards may come to harm


@dataclass(frozen=True)
class PointCloud:
    """Points of a surface in the frame of the file, and the normals there where the file has them (any length).

    `left_out`: how many points of the file hold no numbers.
    """

    points_N3: NDArray[np.float64]
    normals_N3: NDArray[np.float64] | None = None
    left_out: int = 0

    @property
    def note(self) -> str:
        """What a reader of the results should know of the file; empty when there is nothing."""
        total = len(self.points_N3) + self.left_out
        notes = [f"{self.left_out} of {total} points without numbers left out"] if self.left_out else []
        zeros = int((self.points_N3 == 0).all(axis=1).sum())
        if zeros > 1:  # depth cameras and batches of one length write them where they have nothing
            notes.append(f"{zeros} of {total} points are at 0 0 0 exactly: remove them if they are padding")
        return "; ".join(notes)

    def transform(self, matrix_44: NDArray[np.floating]) -> "PointCloud":
        """The cloud under an affine; normals as those of planes."""
        normals = None
        if self.normals_N3 is not None:
            # Normals go by the inverse transpose, as planes do; for vectors that are rows that is a product with the
            # inverse.
            normals = self.normals_N3 @ np.linalg.inv(np.asarray(matrix_44, np.float64)[:3, :3])
        return PointCloud(transform_points(self.points_N3, matrix_44), normals, self.left_out)


def read_cloud(path: Path) -> PointCloud | None:
    """The cloud in a file; None where the file holds something else (a mesh, voxels) by its suffix or content.

    Points that hold NaN or infinity are left out and counted. FileNotFoundError; ValueError when it is a cloud but
    cannot be meant: cut off, empty, wrong shapes, one point, samples of a field.
    """
    suffix = path.suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        return None
    if not path.is_file():
        raise missing_file(path)
    refuse_other_content(path)
    refuse_large(path, MAX_TEXT if suffix in (".ply", *TEXT_SUFFIXES) else MAX_BYTES)
    if suffix == ".ply":
        return _ply_cloud(path) if _declares_no_faces(path) else None
    if suffix in TEXT_SUFFIXES:
        return _cloud(*read_text_cloud(path), path)
    read: dict[str, Callable[[Path], PointCloud | None]] = {".npz": _npz_cloud, ".npy": _npy_cloud, ".pcd": _pcd_cloud}
    return read[suffix](path)


def cloud_in_memory(points_N3: NDArray, *, where: str) -> PointCloud:
    """An array (N, 3) as the points of a cloud; the errors are those of `read_cloud`."""
    if points_N3.dtype.kind not in "fiu":
        raise ValueError(f"{where}: expected real numbers (N, 3), got {points_N3.dtype}: give float64")
    return _cloud(points_N3, None, where)


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
        with np.errstate(invalid="ignore", over="ignore"):
            columns, names = read_ply_points(path.read_bytes(), {*"xyz", *itertools.chain(*NORMALS)})
    except (DamagedMeshError, RefusedMeshError) as error:
        raise ValueError(f"{path}: not a point cloud that can be read: {error}; export it again") from error
    if all(any(name.endswith(part) for name in names) for part in SPLATS):
        raise ValueError(f"{path}: it holds Gaussian splats, whose middles are no points of a surface: mesh them first")
    points = np.column_stack([columns[axis] for axis in "xyz"]) if columns else np.empty((0, 3))
    there = next((triple for triple in NORMALS if set(triple) <= set(columns)), None)
    return _cloud(points, np.column_stack([columns[name] for name in there]) if there else None, path)


def _npz_cloud(path: Path) -> PointCloud | None:
    """The cloud in a .npz, or None where it has no `points` (then it may hold voxels)."""
    try:
        with open_npz(path) as archive:
            # Looked at by name first: a .npz may as well hold voxels, or samples of a field.
            there = [key for key in ("points", "normals") if f"{key}.npy" in archive.namelist()]
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as .npz: it is cut off, damaged or of another kind") from error
    if "points" not in there:
        return None
    if key := field_key(path):
        raise ValueError(
            f"{path}: '{key}' beside points makes them samples of a field, points anywhere and no surface: give points "
            "of the surface (pointcloud.npz of Occupancy Networks); only ground truth may be occupancies"
        )
    arrays = read_npz(path, most=MAX_BYTES, kinds="fiu", names=there)
    return _cloud(arrays["points"], arrays.get("normals"), path)


def _npy_cloud(path: Path) -> PointCloud | None:
    """(N, 3) points, or (N, 6) with normals or colours, perhaps as a batch of one; None for what may be voxels."""
    try:
        with open(path, "rb") as handle:
            shape, _ = npy_header(handle, str(path))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as .npy, it is cut off or no array of numbers") from error
    is_batch = len(shape) == 3 and shape[0] == 1 and shape[2] in (3, 6)
    if len(shape) != 2 and not is_batch:
        return None
    values = read_npy_file(path, most=MAX_BYTES, kinds="fiu")
    values = values[0] if is_batch else values
    if values.shape[1] not in (3, 6):
        raise ValueError(f"{path}: expected numbers (N, 3), or (N, 6) with normals; got {values.shape} {values.dtype}")
    further = values[:, 3:] if values.shape[1] == 6 and are_normals(values[:, 3:], unit=False) else None
    return _cloud(values[:, :3], further, path)


def _pcd_cloud(path: Path) -> PointCloud:
    columns = read_pcd(path)
    points = np.column_stack([columns[name] for name in ("x", "y", "z")])
    normals = None
    if all(f"normal_{axis}" in columns for axis in "xyz"):
        normals = np.column_stack([columns[f"normal_{axis}"] for axis in "xyz"])
    return _cloud(points, normals, path)


def _cloud(points: NDArray, normals: NDArray | None, path: Path | str) -> PointCloud:
    """A cloud of the points that are numbers; depth cameras write NaN where they saw nothing."""
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"{path}: expected points (N, 3) with N > 0, got {points.shape}")
    if normals is not None and normals.shape != points.shape:
        raise ValueError(f"{path}: expected a normal for each of {len(points)} points, got {normals.shape}")
    points = points.astype(np.float64)
    normals = None if normals is None else normals.astype(np.float64)
    # A point whose normal is no number goes too: both are read together.
    finite = np.isfinite(points if normals is None else np.hstack([points, normals])).all(axis=1)
    left_out = len(points) - int(finite.sum())
    if left_out == len(points):
        raise ValueError(f"{path}: all {len(points)} points hold NaN or infinity: there is no cloud in it")
    points, normals = points[finite], None if normals is None else normals[finite]
    if (points == points[0]).all():
        raise ValueError(f"{path}: all {len(points)} points are one point")
    if np.abs(points).max() > MAX_COORDINATE:
        raise ValueError(f"{path}: coordinates up to {np.abs(points).max():g} (limit {MAX_COORDINATE:g})")
    return PointCloud(points, normals, left_out)
