"""Arrays out of .npy and .npz files that may come from strangers: what they declare is checked before it is allocated.

No pickles, no records; members of an archive are stored or deflated. What the arrays mean is the caller's business.
"""

import contextlib
import io
import lzma
import math
import os
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAX_HEADER = 10_000  # bytes, as numpy has it; but numpy unpacks longer ones first
MAX_WORDS = 2_000  # of them that are no blanks: Python fails on expressions of more levels
MAX_DEFLATE_RATIO = 1032  # nothing deflated unpacks to more than this many times its size
NUMBERS = "biuf"
KINDS = {"b": "booleans", "i": "integers", "u": "unsigned integers", "f": "real numbers", "U": "text"}
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGED: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, LookupError, RuntimeError, TypeError, ArithmeticError, MemoryError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip

Header = tuple[tuple[int, ...], "np.dtype"]


def npy_header(handle: IO[bytes], where: str) -> Header:
    """Shape and type that a .npy declares; the handle stands behind its header. ValueError for anything else."""
    magic = handle.read(8)
    # Versions 1 and 2 differ in how many bytes the header's length takes.
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(magic[6:])
    if magic[:6] != np.lib.format.MAGIC_PREFIX or width is None:
        raise ValueError(f"{where}: expected a .npy array, got {magic!r} at its start")
    length = handle.read(width)
    if int.from_bytes(length, "little") > MAX_HEADER:
        raise ValueError(f"{where}: a header of {int.from_bytes(length, 'little'):,} bytes (limit {MAX_HEADER:,})")
    said = handle.read(int.from_bytes(length, "little"))
    if len(said.replace(b" ", b"")) > MAX_WORDS:
        raise ValueError(f"{where}: expected a .npy array of plain numbers, its header has {len(said):,} bytes")
    # numpy's own parser reads it, once the header is known to be short: it takes literals of Python and runs nothing.
    text = io.BytesIO(length + said)
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read(text)
    except (ValueError, LookupError, TypeError, SyntaxError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(
            f"{where}: expected a .npy array of plain numbers, its header is damaged or no header"
        ) from error
    if min(shape, default=0) < 0:
        raise ValueError(f"{where}: declares the shape {shape}")
    return shape, dtype


def read_npy(handle: IO[bytes], size: int, where: str, *, most: int, kinds: str = NUMBERS) -> NDArray:
    """The array in an open .npy of `size` bytes. ValueError when it is none, declares more than is there, or `most`.

    `kinds`: types that are allowed, as numpy's `dtype.kind`.
    """
    shape, dtype = npy_header(handle, where)
    needed = max(dtype.itemsize, 1) * math.prod(shape)  # any number of empty texts would need nothing
    if dtype.hasobject or dtype.kind not in kinds:
        allowed = ", ".join(KINDS[kind] for kind in kinds)
        raise ValueError(f"{where}: holds {dtype} of shape {shape}, expected plain numbers ({allowed})")
    if needed > min(most, size - handle.tell()):
        raise ValueError(f"{where}: declares {needed:,} bytes {shape}, holds {size:,} (limit {most:,})")
    handle.seek(0)
    values = np.lib.format.read_array(handle, allow_pickle=False)
    if dtype.kind == "U" and values.size:
        # Text is stored as numbers of characters: one that is too large would crash whoever prints it.
        codes = np.ascontiguousarray(values).reshape(-1).view(f"{dtype.str[0]}u4")
        if codes.max(initial=0) > sys.maxunicode:
            raise ValueError(f"{where}: holds what is no text")
    return values


def read_npy_file(path: Path, *, most: int, kinds: str = NUMBERS) -> NDArray:
    """The array in a .npy file. FileNotFoundError; ValueError naming the file for everything else that is wrong."""
    with _sound(path), open(path, "rb") as handle:
        return read_npy(handle, os.fstat(handle.fileno()).st_size, str(path), most=most, kinds=kinds)


def read_npz(
    path: Path, *, most: int, kinds: str = NUMBERS + "U", names: Collection[str] | None = None
) -> dict[str, NDArray]:
    """Arrays of a .npz by name, `most` bytes of them; all, or those of `names`. Errors as of `read_npy_file`."""
    with _sound(path), open_npz(path) as archive:
        arrays, left = dict[str, NDArray](), most
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if names is not None and name not in names:
                continue
            with archive.open(member) as handle:
                arrays[name] = read_npy(handle, member.file_size, f"{path}[{name}]", most=left, kinds=kinds)
            left -= arrays[name].nbytes
        absent = sorted(set(names or ()) - set(arrays))
        if absent:
            raise ValueError(f"{path} lacks the arrays {', '.join(absent)}")
        return arrays


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose members declare no more than they can hold. BadZipFile, OSError; ValueError for those."""
    with zipfile.ZipFile(path) as archive:
        size, packed = path.stat().st_size, 0
        for member in archive.infolist():
            packed += member.compress_size
            if member.compress_type not in PACKINGS:
                raise ValueError(f"{path}[{member.filename}]: packed in a way that .npz files are not")
            ratio = MAX_DEFLATE_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1
            if packed > size or member.file_size > ratio * member.compress_size:
                raise ValueError(
                    f"{path}[{member.filename}]: declares {member.file_size:,} bytes, but the file has {size:,}"
                )
        yield archive


@contextlib.contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except DAMAGED as error:
        text = " ".join(str(error).split())[:500]
        ours = isinstance(error, ValueError) and str(path) in text
        memory = "there is not memory enough for it" if isinstance(error, MemoryError) else ""
        reason = (
            memory or (isinstance(error, OSError) and error.strerror) or "it is cut off, damaged or of another kind"
        )
        raise ValueError(text if ours else f"{path}: cannot be read as {path.suffix}: {reason}") from error
