"""HSP .mat files: 256^3 voxels of a ShapeNet shape as 16^3 blocks of 16^3 (Häne, Tulsiani, Malik, 3DV 2017).

`b` (n, 16, 16, 16) holds the different blocks, `bi` (16, 16, 16) says which block stands where, counted from 1. An
index of 0 is read as an empty block. MATLAB 5 files (scipy) and 7.3 files (HDF5, axes reversed there) are read.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from data_processing.formats import hdf5
from data_processing.formats.npy import MAX_DEFLATE_RATIO
from data_processing.geometry.voxel_grid import (
    RefusedFileError,
    VoxelGrid,
    binary,
    check_dtype,
    cube_frame,
    reading,
)
from isofield.runtime.atomic_files import refuse_large

BLOCKS = 16
BLOCK_SHAPE = INDEX_SHAPE = (BLOCKS, BLOCKS, BLOCKS)
PLAIN = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
HDF5_MAGIC = b"\x89HDF"
HDF5_OFFSET = 512  # MATLAB puts its own header before the HDF5 file
HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, MATRIX, 16, 17, 18}  # of the parts of a matrix
MAX_BYTES = 1 << 28  # of a file, and of an unpacked variable: 4096 blocks of 16^3 doubles are half of it


def read_hsp(path: Path, *, threshold: float = 0.5) -> VoxelGrid:
    """Read an HSP file into the axes of the published IM-NET data: flip(transpose(voxels, (2, 1, 0)), axis 2).

    Raises ValueError for a file that is no such .mat file, is damaged, or points to blocks that it does not hold.
    """
    # On some overwritten headers scipy's own parser runs into UnboundLocalError.
    with reading(path, "a MATLAB file", scipy.io.matlab.MatReadError, UnboundLocalError):
        blocks, index = _read_hdf5(path) if _is_hdf5(path) else _read_matlab5(path)
    voxels = _assemble(binary(blocks, threshold=threshold, path=path), _checked_index(index, len(blocks), path))
    if not voxels.any():
        raise RefusedFileError(f"{path}: no voxel is occupied: remove the empty file")
    flipped = np.ascontiguousarray(np.flip(voxels.transpose(2, 1, 0), 2))
    return VoxelGrid(flipped, cube_frame(flipped.shape))


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as handle:
        start = handle.read(HDF5_OFFSET + len(HDF5_MAGIC))
    return HDF5_MAGIC in (start[: len(HDF5_MAGIC)], start[HDF5_OFFSET:])


def _read_matlab5(path: Path) -> tuple[NDArray, NDArray]:
    refuse_unsound(path)
    there = scipy.io.whosmat(str(path))
    _check_shapes({name: shape for name, shape, _ in there}, path)
    listed = [entry for entry in there if entry[0] in ("b", "bi")]
    for name, shape, kind in listed:
        if kind not in PLAIN or len(listed) > 2:
            raise RefusedFileError(
                f"{path}: expected one 'b' and one 'bi' of booleans, integers or real numbers, got {len(listed)} of "
                f"them, {name!r} is {kind}"
            )
        if math.prod(shape) > path.stat().st_size * MAX_DEFLATE_RATIO:
            raise RefusedFileError(f"{path}: declares {shape} numbers in {name!r}, more than the file can hold")
    # Only these two: cells, structs and objects that a file may hold besides are not built.
    content = scipy.io.loadmat(str(path), variable_names=["b", "bi"])
    return np.asarray(content["b"]), np.asarray(content["bi"])


def _read_hdf5(path: Path) -> tuple[NDArray, NDArray]:
    with hdf5.open_file(path) as file:
        blocks = hdf5.dataset(file, "b", shape=(BLOCKS, BLOCKS, BLOCKS, None), dtype=None)
        index = hdf5.dataset(file, "bi", shape=INDEX_SHAPE, dtype=None)
        _check_shapes({"b": blocks.shape[::-1], "bi": index.shape}, path)
        return hdf5.read(blocks, path, "b", slice(None)).T, hdf5.read(index, path, "bi", slice(None)).T


def _check_shapes(shapes: Mapping[str, Sequence[int]], path: Path) -> None:
    for name in ("b", "bi"):
        if name not in shapes:
            got = f"{sorted(shapes) or 'none'}: the file is cut off, or of another kind"
            raise RefusedFileError(f"{path}: expected the arrays 'b' and 'bi' of HSP, got {got}")
    blocks, index = tuple(shapes["b"]), tuple(shapes["bi"])
    if index != INDEX_SHAPE:
        raise RefusedFileError(f"{path}: expected 'bi' of shape {INDEX_SHAPE}, got {index}")
    if len(blocks) != 4 or blocks[1:] != BLOCK_SHAPE or not 0 < blocks[0] <= BLOCKS**3:
        raise RefusedFileError(f"{path}: expected 'b' of shape (1 to 4096 blocks, 16, 16, 16), got {blocks}")


def _checked_index(index: NDArray, block_count: int, path: Path) -> NDArray[np.int64]:
    check_dtype(index.dtype, path)
    numbers = np.nan_to_num(index.astype(np.float64), nan=-1.0)
    low, high = numbers.min(), numbers.max()
    if low < 0 or high > block_count or (numbers % 1).any():
        raise RefusedFileError(f"{path}: expected block numbers 1 to {block_count} in 'bi', got {low:g} to {high:g}")
    if low == 0 and high == block_count - 1 > 0:
        raise RefusedFileError(f"{path}: 'bi' seems to count the {block_count} blocks from 0, expected from 1: add 1")
    return numbers.astype(np.int64)


def _assemble(blocks: NDArray[np.uint8], index: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n, 16, 16, 16) blocks at their places: (256, 256, 256)."""
    # An empty block in front makes the counting from 1 an index, and 0 the empty block.
    with_empty = np.concatenate([np.zeros_like(blocks[:1]), blocks])
    side = BLOCKS * BLOCKS
    # (X, Y, Z of blocks, x, y, z within) interleaved to X x Y y Z z.
    return with_empty[index].transpose(0, 3, 1, 4, 2, 5).reshape(side, side, side)


def refuse_unsound(path: Path) -> None:
    """ValueError where an element is of no known type, or reaches beyond what it lies in."""
    refuse_large(path, MAX_BYTES)
    data = path.read_bytes()
    # The writer put "MI" there as one 16-bit number: a little-endian machine left "IM".
    order = ">" if data[126:HEADER_BYTES] == b"MI" else "<"
    for kind, body in _elements(data[HEADER_BYTES:], order, padded=False):
        for inner, parts in _elements(_unpacked(body), order, padded=True) if kind == COMPRESSED else [(kind, body)]:
            if inner != MATRIX:
                raise ValueError(f"an element of type {inner} where a variable is expected")
            for part, _ in _elements(parts, order, padded=True):
                if part not in TYPES:
                    raise ValueError(f"a part of unknown type {part}")


def _elements(data: bytes, order: str, *, padded: bool) -> Iterator[tuple[int, bytes]]:
    """Type and content of one after the other; `padded`: each begins at a multiple of eight bytes."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start, step = place + 8, 8 + (-(-size // 8) * 8 if padded else size)
        room = len(data) - start
        if kind >> 16:  # up to four bytes, within the tag
            kind, size, start, step, room = kind & 0xFFFF, kind >> 16, place + 4, 8, 4
        if size > room:
            raise ValueError(f"an element of {size:,} bytes where there are {room:,}")
        yield kind, data[start : start + size]
        place += step


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data, MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"a variable of more than {MAX_BYTES:,} bytes")
    return content
