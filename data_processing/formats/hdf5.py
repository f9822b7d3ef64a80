"""Reading HDF5 files that may come from strangers, or be cut: checked before anything is read, links not followed.

Packed chunks are unpacked here: the library's own filter unpacks whatever a chunk holds, gigabytes out of a megabyte.
What the files hold is the business of shards.py (ours), published_hdf5.py and hsp_matlab.py.
"""

import contextlib
import itertools
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.npy import MAX_DEFLATE_RATIO
from isofield.runtime.reasons import reason_of

MAX_CHUNK_BYTES = 1 << 30
SMALL_CHUNK_BYTES = 1 << 24  # no larger than its data set, or than this
FEW_CHUNKS, LEAST_CHUNK_BYTES = 1 << 12, 1 << 12  # of data sets of more chunks, on average: each takes its time
SIGNATURE = b"\x89HDF\r\n\x1a\n"
SHOWN = 12  # keys in a message
MAX_COMPACT_BYTES = 1 << 16  # of what is stored in the header of a data set

Shape = tuple[int | None, ...]  # None: any length


@contextlib.contextmanager
def sound(path: Path | str) -> Iterator[None]:
    """What the library raises over a damaged file, as one ValueError that names it."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} cannot be read: {_cause(error)}") from error


def _cause(error: Exception, path: Path | None = None) -> str:
    """What an error of the library means."""
    if path is not None and not _has_signature(path):
        otherwise = f"expected an HDF5 file, its {path.stat().st_size:,} bytes begin otherwise; give the right file"
    else:
        otherwise = "it is cut off or damaged; fetch or make it again"
    return reason_of(error, otherwise=otherwise)


def _has_signature(path: Path) -> bool:
    """At the start, or behind a block of the user's at 512, 1024, 2048 ... bytes."""
    with open(path, "rb") as handle:
        size, place = os.fstat(handle.fileno()).st_size, 0
        while place < size:
            handle.seek(place)
            if handle.read(len(SIGNATURE)) == SIGNATURE:
                return True
            place = 2 * place or 512
    return False


def open_file(path: Path) -> h5py.File:
    """Open for reading. FileNotFoundError, or ValueError for a file that is cut or no HDF5."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return h5py.File(path, "r", locking=False)
    except PermissionError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {_cause(error, path)}") from error


def dataset(file: h5py.File, key: str, *, shape: Shape, dtype: str | None, contiguous: bool = False) -> h5py.Dataset:
    """The data set `key` after checking link, type, shape and storage; ValueError that says expected and got.

    `dtype` None: any numbers. `contiguous` demands one uncompressed block inside the file, as our own writer makes it.
    """
    with sound(file.filename):
        return _checked(file, key, shape, dtype, contiguous)


def _checked(file: h5py.File, key: str, shape: Shape, dtype: str | None, contiguous: bool) -> h5py.Dataset:
    where = f"{file.filename}: '{key}'"
    # Each check before the next: links would open other files, and types of strangers can hold references.
    if key not in file.keys():  # noqa: SIM118  (`in file` would follow links)
        keys = [str(key)[:80] for key in itertools.islice(file.keys(), SHOWN + 1)]
        there = ", ".join(sorted(keys[:SHOWN])) + (", ..." if len(keys) > SHOWN else "") or "nothing"
        raise ValueError(f"{file.filename}: no '{key}' inside; it has {there}")
    if file.get(key, getclass=True, getlink=True) is not h5py.HardLink:
        raise ValueError(f"{where} is a link to elsewhere: links are not followed")
    data_set = file[key]
    if not isinstance(data_set, h5py.Dataset):
        raise ValueError(f"{where}: expected a data set, got a group")
    if data_set.dtype.kind not in "biuf" if dtype is None else data_set.dtype != np.dtype(dtype):
        raise ValueError(f"{where}: expected type {np.dtype(dtype) if dtype else 'of numbers'}, got {data_set.dtype}")
    if not _matches(data_set.shape, shape):
        wanted = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
        raise ValueError(f"{where}: expected shape {wanted}, got {data_set.shape}")
    _check_storage(data_set, where, contiguous, size=Path(file.filename).stat().st_size)
    return data_set


def read(source: h5py.Dataset, path: Path, key: str, rows: slice | int | tuple[slice, ...]) -> NDArray[Any]:
    """Rows of a data set, of a tuple the part along its first axes; a block that cannot be read is a ValueError naming
    the file."""
    with sound(f"{path}: '{key}'"):
        if source.chunks is None:
            return np.asarray(source[rows])
        if not isinstance(rows, int | np.integer):
            return _of_chunks(source, rows if isinstance(rows, tuple) else (rows,), f"{path}: '{key}'")
        return _of_chunks(source, (slice(int(rows), int(rows) + 1),), f"{path}: '{key}'")[0]


def read_row(file: h5py.File, source: h5py.Dataset, path: Path, key: str, row: int) -> NDArray[Any]:
    """One row of a data set that `dataset` found contiguous: its bytes where they are. ValueError as `read`."""
    with sound(f"{path}: '{key}'"):
        if not 0 <= row < source.shape[0]:
            raise IndexError(f"row {row} of {source.shape[0]}")
        values = np.empty(source.shape[1:], source.dtype)
        # One contiguous block: a row's place is arithmetic, and one system call reads it without the library's locks
        # and caches.
        first = source.id.get_offset() + row * values.nbytes
        if os.preadv(file.id.get_vfd_handle(), [values.reshape(-1).view(np.uint8).data], first) != values.nbytes:
            raise OSError("the file ends before the row does")
        return values


def _matches(data_set: tuple[int, ...], wanted: Shape) -> bool:
    return len(data_set) == len(wanted) and all(w in (None, f) for f, w in zip(data_set, wanted, strict=True))


def _check_storage(data_set: h5py.Dataset, where: str, contiguous: bool, *, size: int) -> None:
    """Refuse data in other files, and more than a file of `size` bytes can hold."""
    if data_set.external is not None or data_set.is_virtual:
        raise ValueError(f"{where} keeps its data in another file: not followed")
    held, declared = data_set.id.get_storage_size(), math.prod(data_set.shape) * data_set.dtype.itemsize
    if data_set.chunks is None:
        # Small data sets may lie in the header itself and have no place of their own.
        compact = data_set.id.get_offset() is None
        if held != declared or held > (MAX_COMPACT_BYTES if compact else size - data_set.id.get_offset()):
            raise ValueError(f"{where}: declares {declared} bytes but holds {held}, in a file of {size}")
        return
    chunk = math.prod(data_set.chunks) * data_set.dtype.itemsize
    if contiguous or chunk > min(MAX_CHUNK_BYTES, max(declared, SMALL_CHUNK_BYTES)):
        raise ValueError(f"{where}: chunks of {chunk} bytes, not as this file should be stored")
    # Millions of tiny chunks are a way to make a reader spend hours.
    count = math.prod(-(-length // step) for length, step in zip(data_set.shape, data_set.chunks, strict=True))
    if count > FEW_CHUNKS and declared < count * LEAST_CHUNK_BYTES:
        raise ValueError(f"{where}: {declared} bytes in {count} chunks: pack it again in larger ones")
    others = set(_filters(data_set)) - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
    if others:
        raise ValueError(f"{where}: packed by filters {sorted(others)}, expected gzip: pack it again")
    if held > size or declared > held * MAX_DEFLATE_RATIO:
        raise ValueError(f"{where}: declares {declared} bytes but holds {held} packed ones, in a file of {size}")


def _filters(data_set: h5py.Dataset) -> list[int]:
    """Numbers of the filters, in the order in which they packed."""
    plan = data_set.id.get_create_plist()
    return [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]


def _of_chunks(source: h5py.Dataset, rows: Sequence[slice], where: str) -> NDArray[Any]:
    """The part of a chunked data set, a chunk at a time."""
    whole = [slice(None)] * (source.ndim - len(rows))
    bounds = [part.indices(length) for part, length in zip((*rows, *whole), source.shape, strict=True)]
    assert all(step == 1 for _, _, step in bounds)
    result = np.empty([max(0, stop - start) for start, stop, _ in bounds], source.dtype)
    if not result.size:
        return result
    filters = _filters(source)
    starts = [range(low // step * step, high, step) for (low, high, _), step in zip(bounds, source.chunks, strict=True)]
    # The part of the request that lies in this chunk: where in the chunk, and where in the result.
    for first in itertools.product(*starts):
        values = _chunk(source, first, filters, where)
        inside, outside = [], []
        for begin, step, (low, high, _) in zip(first, source.chunks, bounds, strict=True):
            inside.append(slice(max(low - begin, 0), min(high - begin, step)))
            outside.append(slice(max(begin - low, 0), min(begin + step, high) - low))
        result[tuple(outside)] = values[tuple(inside)]
    return result


def _chunk(source: h5py.Dataset, first: tuple[int, ...], filters: Sequence[int], where: str) -> NDArray[Any]:
    """One chunk, unpacked to the size that it should have and no further."""
    size = math.prod(source.chunks) * source.dtype.itemsize
    stored = source.id.get_chunk_info_by_coord(first)
    if stored.byte_offset is None:
        raise ValueError(f"{where}: the chunk at {first} is missing: the file is damaged; fetch or make it again")
    if stored.size > size + size // 100 + 1024:  # deflate adds less to what it cannot pack
        raise ValueError(f"{where}: the chunk at {first} has {stored.size} bytes for {size}")
    skipped, data = source.id.read_direct_chunk(first)
    for number, kind in reversed(list(enumerate(filters))):
        if skipped & (1 << number):
            continue
        if kind == h5py.h5z.FILTER_DEFLATE:
            data = _inflated(data, size, where)
        # Shuffled: all first bytes of the numbers stand before all second ones. What has another length is caught
        # below.
        elif len(data) == size:
            data = np.frombuffer(data, np.uint8).reshape(source.dtype.itemsize, -1).T.tobytes()
    if len(data) != size:
        raise ValueError(f"{where}: the chunk at {first} holds {len(data)} bytes, expected {size}: it is damaged")
    return np.frombuffer(data, source.dtype).reshape(source.chunks)


def _inflated(data: bytes, size: int, where: str) -> bytes:
    """What `data` unpacks to, if that has no more than `size` bytes. Its checksum is compared."""
    unpacking = zlib.decompressobj()
    try:
        # No more than `size` bytes are ever unpacked; one further byte tells that there would have been more.
        result = unpacking.decompress(data, size)
        rest = unpacking.decompress(unpacking.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(f"{where}: a chunk cannot be unpacked: the file is damaged; fetch or make it again") from error
    if rest or not unpacking.eof:
        raise ValueError(f"{where}: a chunk is cut off, or unpacks to more than its {size} bytes")
    return result
