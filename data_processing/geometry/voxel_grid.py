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
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MAX_VOXELS = 1024**3
HALF = 0.5  # the threshold that nobody chose
MANY_VALUES = 32  # of a field; labels in a file of one shape are fewer
JUMP = 240  # from one byte to the next, of packed bits: from eight voxels inside to eight outside
ROUNDING = 0.02  # by which a value that means 0 or 1 may miss it
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
        # Libraries raise ValueError as well; ours is told by its naming the file, and is passed on word for word.
        ours = isinstance(error, ValueError) and str(path) in str(error)  # a check of ours that names the file
        ours &= not isinstance(error.__cause__, OSError)  # but not what it says of a library's
        said = str(error) if ours else f"{path}: cannot be read as {kind}, {_reason(error)}"
        raise RefusedFileError(said) from error


def _reason(error: Exception) -> str:
    """What became of a file, in our words; those of the system where it is the system that refuses."""
    if isinstance(error, MemoryError):
        return "there is not memory enough for it: free some, or take a coarser grid"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is cut off, damaged or of another kind: restore the file, or give it the suffix of what it is"


@dataclass(frozen=True)
class GridConfig:
    """What the numbers of a voxel file mean: keys of a data config, and of `evaluate.py --set` for ground truth.

    occupancy: a voxel is inside above `threshold`. sdf, tsdf: signed distances, truncated ones alike: inside below
    `iso_level`, or above it where `inside_sign` is positive; the surface runs between the voxels' centres as they say.
    """

    threshold: float = HALF
    voxel_key: str | None = None  # which array of a .npz; none: its only 3D one
    values: Literal["occupancy", "sdf", "tsdf"] = "occupancy"
    iso_level: float = 0.0
    inside_sign: Literal["negative", "positive"] = "negative"

    def __post_init__(self) -> None:
        if not math.isfinite(self.iso_level):
            raise ValueError(f"iso_level must be a number, got {self.iso_level}")


@dataclass(frozen=True)
class VoxelGrid:
    """Occupied voxels of one shape, and where they lie.

    `index_to_world` takes the index of a voxel's centre to the frame of the file: millimetres for NIfTI, the frame of
    the mesh for .binvox, the cube itself for .npy, .npz and .mat.
    """

    occupancy: NDArray[np.uint8]  # (X, Y, Z) 0/1
    index_to_world: NDArray[np.float64]  # 4x4
    signed: NDArray[np.float32] | None = None  # (X, Y, Z), above 0 inside, where the file has more than occupancy


def spatial_shape(shape: Sequence[int], path: Path | str) -> Shape3:
    """The three sizes of an array, without trailing and then leading axes of 1; asked before anything is allocated.

    Raises RefusedFileError where three axes are not left, one is empty, or there are more than MAX_VOXELS voxels.
    """
    sizes = [int(size) for size in shape]
    # Channels come last in most files and batches first: trailing axes go before leading ones, and never a third axis.
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    while len(sizes) > 3 and sizes[0] == 1:
        sizes.pop(0)
    if len(sizes) != 3:
        raise RefusedFileError(
            f"{path}: expected one 3D grid (axes of 1 around it are fine), got shape {tuple(shape)}: "
            "store one shape in a file"
        )
    # The product is asked last: with a size of 0 it would say that nothing is too large.
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
    rounding in masks stored as floats. Raises RefusedFileError for other dtypes, NaN, no occupied voxel, and for
    values that are no occupancy, unless another threshold says where it begins.
    """
    check_dtype(values.dtype, path)
    _refuse_nan(values, path)
    if threshold == HALF:
        _refuse_field(values, path)
    # For integers v > t is v > floor(t); that compares without a detour over float64.
    limit = math.floor(threshold) if values.dtype.kind in "iu" else threshold
    occupancy = np.greater(values, limit, order="C").view(np.uint8)
    if threshold == HALF:
        _refuse_inverted(values, occupancy, path)
    if not occupancy.any():
        raise RefusedFileError(
            f"{path}: no voxel is above the threshold {threshold:g} (values run from {values.min():g} to "
            f"{values.max():g}): lower it with --set threshold=VALUE, or remove the empty file"
        )
    return occupancy


def signed_inside(values: NDArray, grid: GridConfig, path: Path | str) -> NDArray[np.float32]:
    """Signed distances as float32, above 0 inside and with the surface at 0; infinite ones become the largest finite.

    Raises RefusedFileError for other dtypes, NaN, packed bits, a grid that is all inside or has nothing outside, and
    for one whose corners are inside: then the sign is the other way round.
    """
    check_dtype(values.dtype, path)
    _refuse_nan(values, path)
    _refuse_packed(values, path, steps=True)
    sign = 1.0 if grid.inside_sign == "positive" else -1.0
    signed = (sign * (values.astype(np.float64) - grid.iso_level)).astype(np.float32)
    # Truncated fields mark what is far away by infinity, which no interpolation of the surface survives.
    finite = np.abs(signed[np.isfinite(signed)])
    largest = float(finite.max(initial=0)) or 1.0
    signed = np.clip(signed, -largest, largest)
    inside, side = signed > 0, "below" if sign < 0 else "above"
    other = f"--set inside_sign={'negative' if sign > 0 else 'positive'}"
    if not inside.any():
        raise RefusedFileError(
            f"{path}: no voxel is {side} iso_level {grid.iso_level:g} (values run from {values.min():g} to "
            f"{values.max():g}), so nothing is inside as {grid.values}: if it is the other side, say so with {other}; "
            "if the surface lies at another value, with --set iso_level=VALUE (0.5 of distances stored from 0 to 1); "
            "of occupancy: --set values=occupancy"
        )
    # A shape leaves the corners of its grid empty. If all eight are inside, the sign is read the wrong way round.
    if inside[np.ix_(*[(0, -1)] * 3)].all():
        raise RefusedFileError(
            f"{path}: the corners of the grid are {side} iso_level {grid.iso_level:g}, and so inside as {grid.values}: "
            f"if inside is the other side, say so with {other}; else leave empty voxels around the shape"
        )
    # Distances are on both sides of their surface. Of 0 and 1 the surface would be the centres of the empty voxels.
    if not (signed < 0).any():
        raise RefusedFileError(
            f"{path}: no voxel is on the outer side of iso_level {grid.iso_level:g} (values run from {values.min():g} "
            f"to {values.max():g}), so these are no {grid.values}: of occupancy say --set values=occupancy; if the "
            "surface lies at another value, --set iso_level=VALUE"
        )
    return signed


def refuse_bytes(values: NDArray, path: Path | str) -> None:
    """RefusedFileError for whole numbers of one shape that are no occupancy: packed bits, probabilities as bytes."""
    if values.dtype.kind not in "iu" or not values.size or 0 <= values.min() <= values.max() < MANY_VALUES:
        return
    _refuse_packed(values, path, steps=False)
    different = _values_there(values)
    if len(different) > MANY_VALUES:
        raise RefusedFileError(
            f"{path}: {len(different)} different values from {different[0]} to {different[-1]} are no occupancy: of "
            f"probabilities as bytes say --set threshold={int(different[-1]) // 2}, of labels 0"
        )


def _refuse_packed(values: NDArray, path: Path | str, *, steps: bool) -> None:
    """RefusedFileError for bytes that hold eight voxels each, by the shape of the array.

    `steps`: by the jumps between them too, for distances stored as bytes go in steps.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 1 or not values.size:
        return
    values = values.view(np.uint8)  # signed ones are the same bits
    different = _values_there(values)
    inside = different[different != 0]
    if len(inside) < 2 or inside[-1] <= 127:  # two values alone are a mask
        return
    packed = max(values.shape) == 8 * min(values.shape)
    if steps:
        beside = [(values[1:], values[:-1]), (values[:, 1:], values[:, :-1]), (values[..., 1:], values[..., :-1])]
        packed |= any(bool((np.maximum(one, next_) - np.minimum(one, next_) > JUMP).any()) for one, next_ in beside)
    if packed:
        way_out = "; distances as real numbers" if steps else ", or where occupancy begins with --set threshold=VALUE"
        raise RefusedFileError(
            f"{path}: {values.shape} of bytes with {len(different)} values look like packed bits, eight voxels in each "
            f"byte: store np.unpackbits(array, axis=AXIS){way_out}"
        )


def _values_there(values: NDArray) -> NDArray:
    """As np.unique, which sorts; of bytes a table is enough, in a tenth of the time."""
    if values.dtype != np.uint8:
        return np.unique(values)
    seen = np.zeros(256, dtype=bool)
    seen[values.ravel(order="K")] = True
    return np.flatnonzero(seen)


def _refuse_nan(values: NDArray, path: Path | str) -> None:
    if values.dtype.kind == "f" and bool(np.isnan(values).any()):
        raise RefusedFileError(f"{path}: holds {int(np.isnan(values).sum())} NaN, expected a number in every voxel")


def _refuse_field(values: NDArray, path: Path | str) -> None:
    """RefusedFileError for values on both sides of 0, or mostly fractional: distances, intensities, logits."""
    if values.dtype.kind in "bu" or not values.size:
        return
    # A threshold of a half would make a solid of any field, and a wrong one: whoever means it says so.
    lowest, highest = float(values.min()), float(values.max())
    if lowest < -ROUNDING and highest > 0:
        what = "on both sides of 0"
    elif values.dtype.kind == "f" and _mostly_fractional(values, lowest, highest):
        what = "most of them no whole numbers"
    else:
        return
    raise RefusedFileError(
        f"{path}: values from {lowest:g} to {highest:g}, {what}, are no occupancy: say what they are with --set "
        "values=sdf or values=tsdf for signed distances (inside below iso_level=0; else inside_sign=positive), or "
        "where occupancy begins with --set threshold=VALUE"
    )


def _refuse_inverted(values: NDArray, occupancy: NDArray[np.uint8], path: Path | str) -> None:
    """RefusedFileError for many values that are inside at all corners: distances stored from 0 to 1, or as bytes."""
    corners = occupancy[np.ix_(*[(0, -1)] * occupancy.ndim)]
    if corners.all() and len(np.unique(values)) > MANY_VALUES:
        raise RefusedFileError(
            f"{path}: values from {values.min():g} to {values.max():g} that are above {HALF:g} in all corners of the "
            "grid are no occupancy: of distances say --set values=tsdf iso_level=VALUE (where the surface lies, such "
            f"as {(float(values.min()) + float(values.max())) / 2:g}), or where occupancy begins with "
            "--set threshold=VALUE"
        )


def _mostly_fractional(values: NDArray, lowest: float, highest: float) -> bool:
    """Whether most values are no whole numbers; never where there are but two values, whatever their scale."""
    fractional = bool(np.count_nonzero(np.abs(values - np.rint(values)) > ROUNDING) * 2 > values.size)
    return fractional and not bool(((values == lowest) | (values == highest)).all())


def cube_frame(shape: Sequence[int]) -> NDArray[np.float64]:
    """`index_to_world` of a file without a frame of its own: longest axis fills the cube, others are centred."""
    sizes = np.asarray(shape, dtype=np.float64)
    matrix = np.diag([*np.full(3, 1 / sizes.max()), 1.0])
    matrix[:3, 3] = (0.5 - sizes / 2) / sizes.max()
    return matrix
