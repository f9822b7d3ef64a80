"""Voxel files into a `VoxelGrid`, and a grid into the cube. Reads .npy and .npz itself; other formats have their file.

Every reader refuses what it cannot mean: errors are ValueError with the path, what was expected, and what came.
"""

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy
from numpy.typing import NDArray

from data_processing.formats.binvox import read_binvox
from data_processing.formats.first_bytes import missing_file, refuse_other_content
from data_processing.formats.hsp_matlab import read_hsp
from data_processing.formats.npy import npy_header, open_npz
from data_processing.formats.scans import SCAN_SUFFIXES, read_scan_mask, scan_suffix
from data_processing.geometry.coordinates import Normalisation, normalising_to_world, scaling_about
from data_processing.geometry.voxel_grid import (
    HALF,
    GridConfig,
    RefusedFileError,
    VoxelGrid,
    binary,
    check_dtype,
    cube_frame,
    reading,
    refuse_bytes,
    signed_inside,
    spatial_shape,
)

__all__ = ["VOXEL_SUFFIXES", "GridConfig", "VoxelGrid", "read_voxels", "to_cube", "voxel_suffix"]

SHOWN = 8  # arrays in a message
VOXEL_SUFFIXES: frozenset[str] = frozenset({".npy", ".npz", ".binvox", ".mat", *SCAN_SUFFIXES})


def voxel_suffix(path: Path | str) -> str:
    """The suffix in lower case, `.nii.gz` and `.seg.nrrd` in one piece."""
    name = os.path.basename(path).lower()  # not pathlib: folders have 50,000 files, and each is asked several times
    return scan_suffix(name) or os.path.splitext(name)[1].removesuffix(".")


def read_voxels(path: Path, grid: GridConfig | None = None) -> VoxelGrid:
    """Read any voxel file. `grid` says what its numbers mean; signed distances are those of .npy and .npz.

    Raises FileNotFoundError, and ValueError for an unknown suffix, a damaged file, one without an occupied voxel, and
    one whose values are not what `grid` says.
    """
    path, grid = Path(path), grid or GridConfig()
    if not path.is_file():
        raise missing_file(path, "voxel file")
    refuse_other_content(path)
    match voxel_suffix(path):
        case ".npy":
            return _cube_grid(_read_npy_file(path), grid, path)
        case ".npz":
            return _cube_grid(_read_npz_file(path, grid.voxel_key), grid, path)
        case ".binvox":
            return read_binvox(path)  # its format knows 0 and 1 alone
        # All formats below hold occupancy alone.
        case suffix if suffix in VOXEL_SUFFIXES and grid.values != "occupancy":
            raise ValueError(f"{path}: {grid.values} is read from .npy and .npz, got '{suffix}': save the grid as .npy")
        case ".mat":
            return read_hsp(path, threshold=grid.threshold)
        case suffix if suffix in SCAN_SUFFIXES:
            return read_scan_mask(path, threshold=grid.threshold)
        case suffix:
            known = ", ".join(sorted(VOXEL_SUFFIXES))
            raise ValueError(f"{path}: expected a voxel file ({known}), got '{suffix}': convert it")


def voxels_in_memory(values: NDArray, *, where: str) -> VoxelGrid:
    """An array (X, Y, Z) of booleans, or of the numbers 0 and 1, as a file .npy with it would be read.

    Raises ValueError for other values and ranks, NaN, and no occupied voxel.
    """
    check_dtype(values.dtype, where)
    spatial_shape(values.shape, where)
    others = values[(values != 0) & (values != 1)]
    if others.size:
        raise ValueError(
            f"{where}: expected booleans or the numbers 0 and 1, got {others.flat[0]} in {others.size} of "
            f"{values.size} voxels: give values > threshold"
        )
    if values.size and not values.any():  # what a file is told, to choose another threshold, is no advice here
        raise ValueError(f"{where}: no voxel of {values.shape} is 1 or True: there is no shape in it")
    return _cube_grid(values, GridConfig(), where)


def to_cube(
    grid: VoxelGrid, resolution: int, *, by: Normalisation, length: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The grid resampled to (R, R, R) voxels of the cube, and `to_world` from the cube to the frame of the file.

    `by` "none": the grid's longest side (in world units) fills the cube, the others are centred; `length` has no say.
    "longest_edge" and "diagonal": the box of the occupied voxels is centred and scaled to `length`. Cube axes follow
    the grid's axes, whatever its spacing or direction; `to_world` holds both.

    Along an axis where voxels of the cube are smaller than the file's, each takes the file's voxel at its centre;
    where they are larger, each is the maximum over the file's voxels whose centres it holds. So every occupied voxel
    leaves a trace: thin parts grow up to one voxel thick, never vanish. Equal grids pass unchanged. Signed distances
    are interpolated where all voxels of the cube are smaller.
    """
    # The box is measured in world units along the grid's own axes: voxels may be longer along one of them, and turned.
    spacing = np.linalg.norm(grid.index_to_world[:3, :3], axis=0)
    lower, upper = _occupied_box(grid.occupancy)
    shape = np.array(grid.occupancy.shape)
    if by == "none":
        cube_to_box = scaling_about((shape - 1) / 2 * spacing, float((shape * spacing).max()))
    else:
        cube_to_box = normalising_to_world((lower - 0.5) * spacing, (upper - 0.5) * spacing, by=by, length=length)
    cube_to_index = np.diag([*(1 / spacing), 1.0]) @ cube_to_box
    if grid.signed is not None and (cube_to_index.diagonal()[:3] < resolution).all():
        return _interpolate(grid.signed, cube_to_index, resolution), grid.index_to_world @ cube_to_index
    scale, offset = cube_to_index.diagonal()[:3], cube_to_index[:3, 3] - lower
    voxels = grid.occupancy[tuple(slice(low, high) for low, high in zip(lower, upper, strict=True))]
    for axis in np.argsort(-scale):  # what shrinks most goes first: less work for the rest
        voxels = _resampled(voxels, int(axis), resolution, scale=float(scale[axis]), offset=float(offset[axis]))
    return np.ascontiguousarray(voxels), grid.index_to_world @ cube_to_index


def _cube_grid(values: NDArray, grid: GridConfig, path: Path | str) -> VoxelGrid:
    if grid.values != "occupancy":
        signed = signed_inside(values, grid, path)
        return VoxelGrid((signed > 0).view(np.uint8), cube_frame(signed.shape), signed)
    occupancy = binary(values, threshold=grid.threshold, path=path)
    if grid.threshold == HALF:
        refuse_bytes(values, path)
    return VoxelGrid(occupancy, cube_frame(occupancy.shape))


def _interpolate(signed: NDArray[np.float32], cube_to_index: NDArray, resolution: int) -> NDArray[np.uint8]:
    """(R, R, R): whether the trilinear field is inside at the centres of the cube's voxels; beyond the grid nothing."""
    # One voxel of padding that is far outside: the field falls off at the border, and a shape that is cut there is
    # closed.
    step = cube_to_index.diagonal()[:3] / resolution
    start = cube_to_index[:3, 3] + cube_to_index.diagonal()[:3] * (0.5 / resolution - 0.5)
    shape = (resolution,) * 3
    field = scipy.ndimage.affine_transform(
        np.pad(signed, 1, constant_values=-np.abs(signed).max()), step, start + 1, shape, order=1, cval=-1.0
    )
    return (field > 0).view(np.uint8)


def _read_npy_file(path: Path) -> NDArray:
    with reading(path, ".npy"), open(path, "rb") as handle:
        return _read_npy(handle, path.stat().st_size, str(path))


def _read_npz_file(path: Path, key: str | None) -> NDArray:
    with reading(path, ".npz"), open_npz(path) as archive:
        member = archive.getinfo(_npz_member(archive, key, path))
        with archive.open(member) as handle:
            return _read_npy(handle, member.file_size, f"{path}[{member.filename}]")


def _npz_member(archive: zipfile.ZipFile, key: str | None, path: Path) -> str:
    """The name of the member to read: `key`, or the only one that is a 3D grid."""
    # Only headers are read: the arrays may be large, and but one of them is wanted.
    shapes = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as handle:
                shapes[name.removesuffix(".npy")] = _npy_header(handle, f"{path}[{name}]")[0]
    known = ", ".join(f"{name[:80]} {shape}" for name, shape in [*shapes.items()][:SHOWN]) or "no arrays"
    known += f", ... ({len(shapes)} arrays)" if len(shapes) > SHOWN else ""
    if key is not None and key not in shapes:
        raise RefusedFileError(f"{path}: no array is called '{key}'; the file holds {known}")
    grids = [name for name, shape in shapes.items() if _is_grid(shape)] if key is None else [key]
    if not grids:
        what = (
            "a cloud, or samples of a field"
            if {"points", "pos", "neg"} & set(shapes)
            else "something else (a cloud is called points)"
        )
        raise RefusedFileError(f"{path}: expected one 3D array, got none: it holds {known}, which is {what}")
    if len(grids) > 1:
        raise RefusedFileError(
            f"{path}: expected one 3D array, got {len(grids)}: name it with --set voxel_key=NAME; it holds {known}"
        )
    return f"{grids[0]}.npy"


def _is_grid(shape: tuple[int, ...]) -> bool:
    try:
        spatial_shape(shape, "")
    except RefusedFileError:
        return False
    return True


def _npy_header(handle: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        return npy_header(handle, where)
    except ValueError as error:
        raise RefusedFileError(str(error)) from error


def _read_npy(handle: IO[bytes], size: int, where: str) -> NDArray:
    """One array out of an open .npy of `size` bytes, with axes of 1 around the three taken away."""
    shape, dtype = _npy_header(handle, where)
    check_dtype(dtype, where)
    volume = spatial_shape(shape, where)
    needed = handle.tell() + dtype.itemsize * math.prod(shape)
    if size < needed:
        raise RefusedFileError(f"{where}: declares {needed} bytes, holds {size}: it is cut off, restore the file")
    handle.seek(0)
    return np.lib.format.read_array(handle, allow_pickle=False).reshape(volume)


def _occupied_box(occupancy: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First index of an occupied voxel along each axis, and one past the last."""
    planes = [np.flatnonzero(occupancy.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    return np.array([found[0] for found in planes]), np.array([found[-1] + 1 for found in planes])


def _resampled(
    voxels: NDArray[np.uint8], axis: int, resolution: int, *, scale: float, offset: float
) -> NDArray[np.uint8]:
    """`voxels` resampled along one axis to the cube, where index = scale * (cube coordinate) + offset."""
    result = np.zeros([*voxels.shape[:axis], resolution, *voxels.shape[axis + 1 :]], dtype=np.uint8)
    before: tuple[Any, ...] = (slice(None),) * axis
    if scale <= resolution * (1 + 1e-9):
        index = np.floor(((np.arange(resolution) + 0.5) / resolution - 0.5) * scale + offset + 0.5).astype(np.int64)
        (inside,) = np.nonzero((index >= 0) & (index < voxels.shape[axis]))
        result[(*before, inside)] = voxels.take(index[inside], axis=axis)
    else:
        place = ((np.arange(voxels.shape[axis]) - offset) / scale + 0.5) * resolution
        cells, starts = np.unique(np.clip(np.floor(place), 0, resolution - 1).astype(np.int64), return_index=True)
        result[(*before, cells)] = np.maximum.reduceat(voxels, starts, axis=axis)
    return result
