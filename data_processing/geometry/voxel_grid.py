"""A voxel grid with its frame, and the checks that every voxel format shares. Reads no file.

A reader gives values and declared sizes; here they become 0/1, or one RefusedFileError that names it.
"""

import contextlib
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_VOXELS = 1024**3
Shape3 = tuple[int, int, int]

# What the libraries raise on files that were cut off or overwritten; a reader adds the classes of its own library.
UNREADABLE: tuple[type[Exception], ...] = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class RefusedFileError(ValueError):
    """A file that was understood but cannot be used; the message says path, expected, got and what to do."""


class AbsentPartError(RefusedFileError):
    """A sound scan in which the structure, or this part of it, has no voxel."""


@contextlib.contextmanager
def reading(path: Path, kind: str, *library_errors: type[Exception]) -> Iterator[None]:
    """Turn what a library raises on a damaged file into one ValueError; our own refusals pass as they are."""
    try:
        yield
    except RefusedFileError:
        raise
    except (*UNREADABLE, *library_errors) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RefusedFileError(
            f"{path}: cannot be read as {kind}, it is cut off, damaged or of another kind ({reason}): restore the file"
        ) from error


@dataclass(frozen=True)
class VoxelGrid:
    """Occupied voxels of one shape, and where they lie.

    `index_to_world` takes the index of a voxel's centre to the frame of the file: millimetres for NIfTI, the frame of
    the mesh for .binvox, the cube itself for .npy, .npz and .mat.
    """

    occupancy: NDArray[np.uint8]  # (X, Y, Z) 0/1
    index_to_world: NDArray[np.float64]  # 4x4


def spatial_shape(shape: Sequence[int], path: Path | str) -> Shape3:
    """The three sizes of an array, without trailing and then leading axes of 1; asked before anything is allocated.

    Raises RefusedFileError where three axes are not left, one is empty, or there are more than MAX_VOXELS voxels.
    """
    sizes = [int(size) for size in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    while len(sizes) > 3 and sizes[0] == 1:
        sizes.pop(0)
    if len(sizes) != 3:
        raise RefusedFileError(
            f"{path}: expected one 3D grid (axes of 1 around it are fine), got shape {tuple(shape)}: "
            "store one shape in a file"
        )
    if min(sizes) <= 0:
        raise RefusedFileError(f"{path}: expected voxels along every axis, got shape {tuple(shape)}")
    if math.prod(sizes) > MAX_VOXELS:
        raise RefusedFileError(
            f"{path}: declares {math.prod(sizes):,} voxels {tuple(shape)}, the limit is {MAX_VOXELS:,} (1024^3): "
            "crop it or resample it to a coarser grid"
        )
    return sizes[0], sizes[1], sizes[2]


def check_dtype(dtype: np.dtype, path: Path | str) -> None:
    """Raises RefusedFileError for all but booleans, integers and real numbers (objects would run a stranger's code)."""
    if dtype.kind not in "biuf":
        raise RefusedFileError(f"{path}: expected booleans, integers or real numbers, got {dtype}: save it as uint8")


def binary(values: NDArray, *, threshold: float, path: Path | str) -> NDArray[np.uint8]:
    """1 where `values` > `threshold`, else 0: a fresh C-contiguous uint8 array of the same shape.

    With the default threshold of 0.5 that is the identity on 0/1, takes 255 and labels as occupied, and forgives
    rounding in masks stored as floats. Raises RefusedFileError for other dtypes, NaN, or no occupied voxel.
    """
    check_dtype(values.dtype, path)
    if values.dtype.kind == "f" and bool(np.isnan(values).any()):
        raise RefusedFileError(f"{path}: holds {int(np.isnan(values).sum())} NaN, expected a number in every voxel")
    # For integers v > t is v > floor(t); that compares without a detour over float64.
    limit = math.floor(threshold) if values.dtype.kind in "iu" else threshold
    occupancy = np.greater(values, limit, order="C").view(np.uint8)
    if not occupancy.any():
        raise RefusedFileError(
            f"{path}: no voxel is above the threshold {threshold:g} (values run from {values.min():g} to "
            f"{values.max():g}): lower the threshold, or remove the empty file"
        )
    return occupancy


def cube_frame(shape: Sequence[int]) -> NDArray[np.float64]:
    """`index_to_world` of a file without a frame of its own: longest axis fills the cube, others are centred."""
    sizes = np.asarray(shape, dtype=np.float64)
    matrix = np.diag([*np.full(3, 1 / sizes.max()), 1.0])
    matrix[:3, 3] = (0.5 - sizes / 2) / sizes.max()
    return matrix
