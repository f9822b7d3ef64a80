"""What a fuzzer does to a file: bytes anywhere, numbers where numbers stand, lines and words of texts, inner files."""

import gzip
import io
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable

import h5py
import numpy as np

WHOLE_NUMBERS = (0, 1, 2, 3, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, -1, -5)
BYTES = (
    *(b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"),
    *(struct.pack(form, value) for form in ("<f", "<d") for value in (float("nan"), float("inf"), -1.0, 1e30)),
)
NUMBERS = (
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1", b"3", b"0.5", b"99999999999", b"2147483648"),
    *(b"18446744073709551616", b"9" * 400, b"1e-320", b"null", b"true", b'""', b"[]", b"{}"),
)
WORDS = (
    *(b"../../x", b"/etc/passwd", b"\x00", b"!!python/object/apply:os.system ['x']", b"&a [*a,*a]", b"\xff\xfe"),
    *(b"O", b"|O", b"<f8", b"list", b"inf", b"__class__", b"x" * 300, "\u202e\u00e9".encode(), b"[" * 200),
)


def damaged(content: bytes, moments: random.Random) -> bytes:
    """One to four damages of any kind."""
    data = bytearray(content)
    for _ in range(moments.randint(1, 4)):
        if data:
            moments.choice(DAMAGES)(data, moments)
    return bytes(data)


def _place(data: bytearray, moments: random.Random) -> int:
    """Headers decide what is allocated: half of all damages hit the first bytes."""
    return moments.randrange(min(len(data), 400) if moments.random() < 0.5 else len(data))


def _bytes(data: bytearray, moments: random.Random) -> None:
    """Cut, flipped, overwritten, doubled, zeroed, taken out."""
    place, how, length = _place(data, moments), moments.randrange(6), moments.randrange(1, 64)
    if how == 0:
        del data[place:]
    elif how == 1:
        data[place] ^= 1 << moments.randrange(8)
    elif how == 2:
        word = moments.choice(BYTES + WORDS)
        data[place : place + len(word)] = word
    elif how == 3:
        data[place:place] = data[place : place + length]
    elif how == 4:
        data[place : place + length] = bytes(length)
    else:
        del data[place : place + length]


def _number(data: bytearray, moments: random.Random) -> None:
    """A binary number that could be a size or an offset becomes a near or an odd one."""
    size, order = moments.choice((2, 4, 8)), moments.choice(("little", "big"))
    for _ in range(30):
        place = _place(data, moments)
        place -= place % moments.choice((1, 2, 4))
        now = int.from_bytes(data[place : place + size], order)
        if 0 < now <= 4 * len(data) and place + size <= len(data):
            odd = (now + 1, now - 1, 2 * now, len(data), *WHOLE_NUMBERS)
            data[place : place + size] = (moments.choice(odd) % (1 << 8 * size)).to_bytes(size, order)
            return


def _text_number(data: bytearray, moments: random.Random) -> None:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[:4096]))
    if found:
        one = moments.choice(found)
        data[one.start() : one.end()] = moments.choice(NUMBERS)


def _word(data: bytearray, moments: random.Random) -> None:
    found = list(re.finditer(rb"[A-Za-z_./]{2,}", data[:4096]))
    if found:
        one, other = moments.choice(found), moments.choice(found)
        new = bytes(other.group()) if moments.random() < 0.5 else moments.choice(WORDS + NUMBERS)
        data[one.start() : one.end()] = new


def _line(data: bytearray, moments: random.Random) -> None:
    lines = bytes(data[:4096]).split(b"\n")
    rest = bytes(data[4096:])
    place, how = moments.randrange(len(lines)), moments.randrange(4)
    if how == 0:
        del lines[place]
    elif how == 1:
        lines[place:place] = [lines[place]] * moments.choice((1, 2, 50))
    elif how == 2:
        moments.shuffle(lines)
    else:
        lines[place] = b" " * moments.randrange(9) + lines[place]
    data[:] = b"\n".join(lines) + rest


DAMAGES = (_bytes, _number, _text_number, _word, _line)


def inside_gzip(content: bytes, moments: random.Random) -> bytes:
    return gzip.compress(damaged(gzip.decompress(content), moments), 1)


def inside_zip(content: bytes, moments: random.Random) -> bytes:
    """One member damaged; checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(one.filename, one.compress_type, archive.read(one)) for one in archive.infolist()]
    chosen = moments.randrange(len(members))
    if moments.random() < 0.6:  # the one that says what the others are
        chosen = next((n for n, (name, _, _) in enumerate(members) if name.endswith("data.pkl")), chosen)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for number, (name, packing, data) in enumerate(members):
            archive.writestr(name, damaged(data, moments) if number == chosen else data, packing)
    return stream.getvalue()


def inside_shard(content: bytes, moments: random.Random) -> bytes:
    """The JSON in the header of a shard."""
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        text = damaged(bytes(file["header"][()].tobytes()), moments)
        del file["header"]
        file.create_dataset("header", data=np.frombuffer(text, np.uint8))
    return stream.getvalue()


INSIDE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "nii.gz": inside_gzip,
    "shard": inside_shard,
    **dict.fromkeys(("npz", "pt", "pth", "tar", "codes", "judge"), inside_zip),
}
