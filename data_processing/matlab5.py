"""What is asked of a MATLAB 5 file before scipy reads it: elements of known types, no longer than what holds them.

scipy's compiled reader looks up the type of an element without a check, which may end the process, and asks for as much
memory as an element declares. Layout: "MAT-File Format" (MathWorks), level 5.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_processing.files import refuse_large

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, MATRIX, 16, 17, 18}  # of the parts of a matrix
MAX_BYTES = 1 << 28  # of a file, and of an unpacked variable: 4096 blocks of 16^3 doubles are half of it


def refuse_unsound(path: Path) -> None:
    """ValueError where an element is of no known type, or reaches beyond what it lies in."""
    refuse_large(path, MAX_BYTES)
    data = path.read_bytes()
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
