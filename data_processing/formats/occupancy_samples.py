"""Points anywhere and whether each is inside a shape, as Occupancy Networks' points.npz: a way to IoU, and no surface.

`points` (N, 3) and `occupancies`, as N values of 0 and 1 or as ceil(N / 8) bytes of packed bits, the first in the
highest bit. `loc` and `scale`, which lead back to the mesh that was normalised, are not applied there and not here:
points, pointcloud.npz and the meshes that are compared with them lie in one normalised frame. A prediction that lies
in the other frame is found by them (`to_source`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.npy import DAMAGED, npy_header, open_npz, read_npz

INSIDE_KEYS = ("occupancies", "occupancy", "occ", "inside")
DISTANCE_KEYS = ("sdf", "sdfs", "tsdf", "udf", "signed_distance", "signed_distances", "sdf_values", "distances")
MAX_BYTES = 1 << 33


@dataclass(frozen=True)
class OccupancySamples:
    """Points (N, 3) float64 and whether each is inside (N,)."""

    points_N3: NDArray[np.float64]
    inside_N: NDArray[np.bool_]


def to_source(path: Path) -> NDArray[np.float64] | None:
    """The matrix (4, 4) of `loc` and `scale`, from the frame of the points to that of the mesh they were made from.

    None for files without them, and where they change nothing. ValueError for what is no place and no size.
    """
    try:
        with open_npz(path) as archive:
            if not {"loc.npy", "scale.npy"} <= set(archive.namelist()):
                return None
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as .npz: it is cut off, damaged or of another kind") from error
    arrays = read_npz(path, most=MAX_BYTES, kinds="fiu", names=("loc", "scale"))
    place, size = arrays["loc"].ravel().astype(np.float64), arrays["scale"].ravel().astype(np.float64)
    if len(place) != 3 or len(size) not in (1, 3) or not (np.isfinite([*place, *size]).all() and (size > 0).all()):
        raise ValueError(f"{path}: expected loc of 3 numbers and a scale above 0, got {place[:4]} and {size[:4]}")
    matrix = np.diag([*np.broadcast_to(size, 3), 1.0])
    matrix[:3, 3] = place
    return None if np.allclose(matrix, np.eye(4), atol=1e-6) else matrix


def field_key(path: Path) -> str | None:
    """The array of an .npz that says that its `points` are samples of a field; None where there is none.

    ValueError for a file that is no .npz.
    """
    try:
        with open_npz(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            found = next((key for key in (*INSIDE_KEYS, *DISTANCE_KEYS) if key in names), None)
            if found is None or "points" not in names:
                return None
            with archive.open(f"{found}.npy") as handle:
                shape, _ = npy_header(handle, f"{path}[{found}]")
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read as .npz: it is cut off, damaged or of another kind") from error
    return found if len(shape) != 3 else None  # a grid beside points is a grid


def read_samples(path: Path) -> OccupancySamples | None:
    """The samples in an .npz; None where it holds none (a cloud, a grid). ValueError for what cannot be meant."""
    key = field_key(path)
    if key is None:
        return None
    if key in DISTANCE_KEYS:
        raise ValueError(
            f"{path}: expected {' or '.join(INSIDE_KEYS)} beside points, got '{key}': store what is inside"
        )
    arrays = read_npz(path, most=MAX_BYTES, kinds="biuf", names=("points", key))
    points, flags = arrays["points"].astype(np.float64), arrays[key].reshape(-1)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"{path}: expected points (N, 3) with N > 0, got {points.shape}")
    # Points without numbers go, and with them their flags.
    inside = _flags(flags, len(points), key, path)
    finite = np.isfinite(points).all(axis=1)
    if not inside[finite].any():
        raise ValueError(f"{path}: none of its {len(points)} points is inside")
    return OccupancySamples(points[finite], inside[finite])


def _flags(values: NDArray, count: int, key: str, path: Path) -> NDArray[np.bool_]:
    """One flag a point, out of values or packed bits."""
    if values.dtype == np.uint8 and len(values) == -(-count // 8) != count:
        return np.unpackbits(values, count=count).astype(bool)
    if len(values) != count:
        raise ValueError(
            f"{path}: expected {key} for {count} points, as numbers or as {-(-count // 8)} bytes of bits; got "
            f"{len(values)} {values.dtype}"
        )
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{path}: expected {key} of 0 and 1, got values from {values.min()} to {values.max()}")
    return values.astype(bool)
