"""Files of the Point Cloud Library (.pcd): ASCII, binary, and binary_compressed (LZF, one field behind the other).

What the header declares is checked before memory is asked for it. What the fields mean is the caller's business.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

KEYS = ("FIELDS", "SIZE", "TYPE", "COUNT", "POINTS")
MAX_HEADER_LINES, MAX_COLUMNS = 100, 10_000
MAX_BYTES = 1 << 33  # of the points
MAX_LZF_RATIO = 88  # three bytes of LZF stand for 264 at most


def read_pcd(path: Path) -> Mapping[str, NDArray]:
    """Columns of a .pcd by the names of its fields, with x, y and z among them. ValueError for what makes no sense."""
    with open(path, "rb") as handle:
        header = _header(handle, path)
        dtype, count = _row_type(header, path)
        names = dtype.names or ()
        match header["DATA"]:
            case ["ascii"]:
                return _read_ascii(handle, names, count, path)
            case ["binary"]:
                # What the header declares is compared with the file before as many bytes are asked for.
                there = (path.stat().st_size - handle.tell()) // dtype.itemsize
                if there < count:
                    raise ValueError(f"{path}: cut off: declares {count} points, holds {there}")
                rows = np.frombuffer(handle.read(count * dtype.itemsize), dtype)
                return {name: rows[name] for name in names}
            case ["binary_compressed"]:
                return _read_compressed(handle, dtype, header, count, path)
            case words:
                said = " ".join(words)[:80]
                raise ValueError(f"{path}: DATA {said}: expected ascii, binary or binary_compressed")


def _header(handle: BinaryIO, path: Path) -> dict[str, list[str]]:
    """Lines of KEY value ... up to DATA."""
    header: dict[str, list[str]] = {}
    for _ in range(MAX_HEADER_LINES):
        words = handle.readline(1 << 12).decode("latin-1").split()
        if words and not words[0].startswith("#"):
            header["FIELDS" if words[0].upper() == "COLUMNS" else words[0].upper()] = words[1:]
        if words and words[0].upper() == "DATA":
            break
    if "POINTS" not in header and header.get("WIDTH") and header.get("HEIGHT"):
        header["POINTS"] = [_product(header["WIDTH"][0], header["HEIGHT"][0])]
    absent = [key for key in ("FIELDS", "SIZE", "TYPE", "POINTS", "DATA") if not header.get(key)]
    if absent:
        raise ValueError(f"{path}: not a .pcd file: its header has no {', '.join(absent)}")
    return header


def _product(width: str, height: str) -> str:
    return str(int(width) * int(height)) if width.isdecimal() and height.isdecimal() else f"{width} x {height}"


def _row_type(header: dict[str, list[str]], path: Path) -> tuple[np.dtype, int]:
    """The type of a row, and the number of rows. A field of several values is as many columns."""
    names, kinds = header["FIELDS"], {"F": "f", "I": "i", "U": "u", "f": "f", "i": "i", "u": "u"}
    repeats = header.get("COUNT", ["1"] * len(names))
    try:
        fields = list(zip(names, header["TYPE"], header["SIZE"], repeats, strict=True))
        if min(map(int, repeats)) < 0 or sum(map(int, repeats)) > MAX_COLUMNS:
            raise ValueError(f"a count below 0, or more than {MAX_COLUMNS} values a point")
        # A field of several values becomes as many columns. Padding is called "_", and as often as the writer likes: it
        # gets names that differ.
        columns = [
            (
                name if repeat == "1" and name != "_" else f"{name} {number} {place}",
                f"<{kinds[kind]}{int(size)}",
            )
            for number, (name, kind, size, repeat) in enumerate(fields)
            for place in range(int(repeat))
        ]
        dtype, count = np.dtype(columns), int(header["POINTS"][0])
    except (ValueError, KeyError, TypeError) as error:
        said = "; ".join(f"{key} {' '.join(header[key])[:80]}" for key in KEYS if key in header)
        raise ValueError(
            f"{path}: a .pcd header that makes no sense ({said}): expected a size, a type and a count for each field, "
            "and a number of points"
        ) from error
    if count < 0 or not {"x", "y", "z"} <= {name for name, _ in columns}:
        raise ValueError(f"{path}: expected fields x y z and a number of points, got {' '.join(names)} and {count}")
    return dtype, count


def _read_ascii(handle: BinaryIO, names: tuple[str, ...], count: int, path: Path) -> dict[str, NDArray]:
    try:  # without max_rows: memory would be asked for as many rows as are declared
        table = np.loadtxt(handle, ndmin=2, encoding="utf-8") if count else np.empty((0, len(names)))
    except ValueError as error:
        raise ValueError(f"{path}: its points are not numbers, or not {len(names)} in each line") from error
    if table.shape != (count, len(names)):
        raise ValueError(f"{path}: declares {count} points of {len(names)} values, holds {table.shape}")
    return dict(zip(names, table.T, strict=True))


def _read_compressed(
    handle: BinaryIO, dtype: np.dtype, header: dict[str, list[str]], count: int, path: Path
) -> dict[str, NDArray]:
    """Two sizes, then LZF; unpacked, all values of the first field stand before those of the second."""
    sizes = handle.read(8)
    packed, unpacked = (int.from_bytes(part, "little") for part in (sizes[:4], sizes[4:]))
    content = handle.read(min(packed, MAX_BYTES))
    if len(sizes) < 8 or len(content) < packed:
        raise ValueError(f"{path}: cut off: declares {packed} packed bytes, holds {len(content)}")
    # Both sizes come from the file: they must fit the header, and what LZF can make of so many bytes.
    if unpacked != count * dtype.itemsize or unpacked > MAX_LZF_RATIO * packed:
        raise ValueError(
            f"{path}: declares {count} points of {dtype.itemsize} bytes, and {packed} packed bytes that hold "
            f"{unpacked}: its header is wrong"
        )
    buffer, columns, place = _unpack_lzf(content, unpacked, path), dict[str, NDArray](), 0
    fields = list(dtype.names or ())
    # The values of one field stand together, those of a point side by side within it: a column is every n-th of them.
    for repeat in map(int, header.get("COUNT", ["1"] * len(header["FIELDS"]))):
        own, fields = fields[:repeat], fields[repeat:]
        for number, name in enumerate(own):
            kind = dtype[name]
            columns[name] = np.frombuffer(buffer, kind, count * repeat, place)[number::repeat]
        place += count * sum(dtype[name].itemsize for name in own)
    return columns


def _unpack_lzf(content: bytes, size: int, path: Path) -> bytes:
    """LZF: a byte below 32 is a run of as many bytes plus one; else its upper bits are a length, and with the next
    byte how far back to copy from. ValueError when it does not come to `size` bytes.
    """
    out, place = bytearray(), 0
    try:
        while place < len(content) and len(out) <= size:
            control = content[place]
            place += 1
            if control < 32:
                out += content[place : place + control + 1]
                place += control + 1
                continue
            # Three bits of length, 7 saying that a whole byte follows; five bits and another byte of distance.
            length = control >> 5
            if length == 7:
                length += content[place]
                place += 1
            start = len(out) - ((control & 31) << 8) - content[place] - 1
            place += 1
            length += 2
            if start < 0:
                raise IndexError
            piece = bytes(out[start : start + length])
            out += (piece * (length // len(piece) + 1))[:length]  # a copy may run into what it has just written
    except IndexError as error:
        raise ValueError(f"{path}: its packed points are damaged") from error
    if len(out) != size:
        raise ValueError(f"{path}: its packed points are damaged: {len(out)} bytes instead of {size}")
    return bytes(out)
