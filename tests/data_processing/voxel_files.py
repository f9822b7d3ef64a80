"""Small real voxel files for tests, written without a line of the readers' code, and boxes that show an axis swap."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

HSP_SIDE = 16


def box(shape: tuple[int, int, int], lower: tuple[int, int, int], upper: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A grid with the voxels lower <= index < upper occupied."""
    grid = np.zeros(shape, dtype=np.uint8)
    grid[tuple(slice(low, high) for low, high in zip(lower, upper, strict=True))] = 1
    return grid


def corners(lower, upper) -> NDArray[np.float64]:
    """The eight corners of a box: (8, 3)."""
    both = np.array([lower, upper], dtype=np.float64)
    return np.array([both[bits, range(3)] for bits in np.ndindex(2, 2, 2)])


def occupied_corners(occupancy: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Corners (8, 3) of the box around the occupied voxels, in index units: voxel i reaches from i-0.5 to i+0.5."""
    index = np.argwhere(occupancy)
    return corners(index.min(axis=0) - 0.5, index.max(axis=0) + 0.5)


def write_binvox(path: Path, grid_xyz: NDArray[np.uint8], *, translate=(0.0, 0.0, 0.0), scale=1.0) -> None:
    """As the format's page says: x slowest, then z, y fastest; pairs of value and count up to 255."""
    size_x, size_y, size_z = grid_xyz.shape
    sequence = [int(grid_xyz[x, y, z]) for x in range(size_x) for z in range(size_z) for y in range(size_y)]
    data, start = bytearray(), 0
    while start < len(sequence):
        stop = start
        while stop < len(sequence) and stop - start < 255 and sequence[stop] == sequence[start]:
            stop += 1
        data += bytes([sequence[start], stop - start])
        start = stop
    words = " ".join(str(number) for number in translate)
    header = f"#binvox 1\ndim {size_x} {size_z} {size_y}\ntranslate {words}\nscale {scale}\ndata\n"
    path.write_bytes(header.encode() + bytes(data))


def hsp_blocks(voxels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Distinct blocks and their numbers (from 1) of a 256^3 grid in HSP's own axes."""
    numbers: dict[bytes, int] = {}
    index = np.zeros((16, 16, 16), dtype=np.uint16)
    for i, j, k in np.ndindex(16, 16, 16):
        block = voxels[tuple(slice(n * HSP_SIDE, (n + 1) * HSP_SIDE) for n in (i, j, k))]
        index[i, j, k] = numbers.setdefault(block.tobytes(), len(numbers) + 1)
    blocks = np.frombuffer(b"".join(numbers), dtype=np.uint8)
    return blocks.reshape(-1, HSP_SIDE, HSP_SIDE, HSP_SIDE), index


def write_hsp(path: Path, blocks: NDArray, index: NDArray) -> None:
    scipy.io.savemat(path, {"b": blocks, "bi": index}, do_compression=True)


def write_hsp_hdf5(path: Path, blocks: NDArray, index: NDArray) -> None:
    """As MATLAB 7.3 does: a header block of 512 bytes, and all axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["b"], file["bi"] = blocks.T, index.T
    with open(path, "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def ellipsoid(size: int, radii=(0.3, 0.2, 0.25), middle=(0.02, -0.05, 0.03)) -> np.ndarray:
    """Near to signed distances of an ellipsoid in the cube, below 0 inside, in cube units."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    inner = sum(((v - m) / r) ** 2 for v, m, r in zip((x, y, z), middle, radii, strict=True))
    return (np.sqrt(inner) - 1) * min(radii)
