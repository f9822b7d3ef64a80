"""The .binvox format: a text header, then run lengths over (x, z, y), y fastest. Reads; writes nothing.

Format: https://www.patrickmin.com/binvox/binvox.html
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.voxel_grid import MAX_VOXELS, RefusedFileError, Shape3, VoxelGrid, binary, spatial_shape
from isofield.runtime.atomic_files import refuse_large

MAX_LINE, MAX_LINES = 1024, 64


def read_binvox(path: Path) -> VoxelGrid:
    """Read a .binvox file; axes come out as (x, y, z).

    Its frame is that of the mesh it was made from: translate + scale * (index + 0.5) / (longest side in voxels).
    Raises ValueError for a header without dim and data, values other than 0 and 1, and run lengths that do not sum
    up to the declared size (checked before the grid is allocated).
    """
    refuse_large(path, 2 * MAX_VOXELS + MAX_LINE * MAX_LINES)  # runs of one voxel each
    with open(path, "rb") as handle:
        header = _read_header(handle, path)
        runs = np.frombuffer(handle.read(), dtype=np.uint8)
    depth, height, width = _declared_shape(header, path)
    values, counts = _split_runs(runs, depth * height * width, path)
    voxels_xzy = np.repeat(values, counts).reshape(depth, height, width)
    occupancy = binary(voxels_xzy.transpose(0, 2, 1), threshold=0.5, path=path)
    return VoxelGrid(occupancy, _index_to_world(header, max(depth, height, width), path))


def _read_header(handle: BinaryIO, path: Path) -> dict[str, str]:
    if not handle.readline(MAX_LINE).startswith(b"#binvox"):
        raise RefusedFileError(f"{path}: expected a .binvox file that starts with '#binvox', got something else")
    header: dict[str, str] = {}
    for _ in range(MAX_LINES):
        key, _, value = handle.readline(MAX_LINE).decode("ascii", "replace").strip().partition(" ")
        if key == "data":
            return header
        header[key] = value
    raise RefusedFileError(f"{path}: no line 'data' in the header of this .binvox file: it is corrupt or cut off")


def _declared_shape(header: dict[str, str], path: Path) -> Shape3:
    sizes = _numbers(header, "dim", "", 3, path)
    if any(size % 1 for size in sizes):
        raise RefusedFileError(f"{path}: expected whole numbers as 'dim' in the .binvox header, got {sizes}")
    return spatial_shape([int(size) for size in sizes], path)


def _numbers(header: dict[str, str], key: str, default: str, count: int, path: Path) -> list[float]:
    text = header.get(key, default)
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise RefusedFileError(f"{path}: expected '{key}' with {count} numbers in the .binvox header, got {text!r}")
    return numbers


def _split_runs(runs: NDArray[np.uint8], voxel_count: int, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Values and lengths of the runs, once they are known to make `voxel_count` voxels of 0 and 1."""
    # Lengths are summed before anything is repeated: two bytes of a stranger's file stand for up to 255 voxels.
    if len(runs) % 2:
        raise RefusedFileError(f"{path}: expected pairs of value and run length, got an odd number of bytes: cut off")
    values, counts = runs[::2], runs[1::2]
    if len(values) and values.max() > 1:
        raise RefusedFileError(f"{path}: expected voxels of 0 and 1, got the value {values.max()}: the file is corrupt")
    total = int(counts.sum(dtype=np.int64))
    if total != voxel_count:
        raise RefusedFileError(f"{path}: the header declares {voxel_count} voxels, the data holds {total}: corrupt")
    return values, counts


def _index_to_world(header: dict[str, str], longest: int, path: Path) -> NDArray[np.float64]:
    translate = np.array(_numbers(header, "translate", "0 0 0", 3, path))
    (scale,) = _numbers(header, "scale", "1", 1, path)
    if scale <= 0:
        raise RefusedFileError(f"{path}: expected a scale above 0 in the .binvox header, got {scale:g}")
    matrix = np.diag([*np.full(3, scale / longest), 1.0])
    matrix[:3, 3] = translate + 0.5 * scale / longest
    return matrix
