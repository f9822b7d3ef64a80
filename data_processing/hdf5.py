"""Reading HDF5 files that may come from strangers, or be cut: checked before anything is read, links not followed.

What the files hold is the business of shards.py (ours) and published_hdf5.py.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

MAX_CHUNK_BYTES = 1 << 30

Shape = tuple[int | None, ...]  # None: any length


@contextlib.contextmanager
def sound(path: Path | str) -> Iterator[None]:
    """What the library raises over a damaged file, as one ValueError that names it."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read, the file is damaged ({reason}); fetch or make it again") from error


def open_file(path: Path) -> h5py.File:
    """Open for reading. FileNotFoundError, or ValueError for a file that is cut or no HDF5."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return h5py.File(path, "r", locking=False)
    except PermissionError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cut, damaged or not an HDF5 file ({error}); fetch or make it again") from error


def dataset(file: h5py.File, key: str, *, shape: Shape, dtype: str, contiguous: bool = False) -> h5py.Dataset:
    """The data set `key` after checking link, type, shape and storage; ValueError that says expected and got.

    `contiguous` demands one uncompressed block inside the file, as our own writer makes it.
    """
    with sound(file.filename):
        return _checked(file, key, shape, dtype, contiguous)


def _checked(file: h5py.File, key: str, shape: Shape, dtype: str, contiguous: bool) -> h5py.Dataset:
    where = f"{file.filename}: '{key}'"
    if key not in file.keys():  # noqa: SIM118  (`in file` would follow links)
        there = ", ".join(sorted(file.keys())) or "nothing"
        raise ValueError(f"{file.filename}: no '{key}' inside; it has {there}")
    if file.get(key, getclass=True, getlink=True) is not h5py.HardLink:
        raise ValueError(f"{where} is a link to elsewhere: links are not followed")
    found = file[key]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{where}: expected a data set, got a group")
    if found.dtype != np.dtype(dtype):
        raise ValueError(f"{where}: expected type {np.dtype(dtype)}, got {found.dtype}")
    if not _matches(found.shape, shape):
        wanted = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
        raise ValueError(f"{where}: expected shape {wanted}, got {found.shape}")
    _check_storage(found, where, contiguous)
    return found


def read(source: h5py.Dataset, path: Path, key: str, rows: slice | int) -> NDArray[Any]:
    """Rows of a data set; a block that cannot be read is a ValueError naming the file."""
    with sound(f"{path}: '{key}'"):
        return np.asarray(source[rows])


def _matches(found: tuple[int, ...], wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(w in (None, f) for f, w in zip(found, wanted, strict=True))


def _check_storage(found: h5py.Dataset, where: str, contiguous: bool) -> None:
    if found.external is not None or found.is_virtual:
        raise ValueError(f"{where} keeps its data in another file: not followed")
    if found.chunks is not None:
        size = int(np.prod(found.chunks)) * found.dtype.itemsize
        if contiguous or size > MAX_CHUNK_BYTES:
            raise ValueError(f"{where}: chunks of {size} bytes, not as this file should be stored")
    elif found.size and found.id.get_storage_size() != found.nbytes:
        raise ValueError(f"{where}: declares {found.nbytes} bytes but holds {found.id.get_storage_size()}")
