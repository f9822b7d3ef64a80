"""What something was made from, in a few hexadecimal digits: every digest of the project is made here.

Digests are stored in data sets, runs, calibrations and journals: what a part counts as never changes. (Random draws
have keys of their own, in seeds.py.)
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 1 << 20  # bytes of a file read at once
Part = str | bytes | Path | NDArray[Any] | torch.Tensor | Mapping[str, Any] | Sequence[Any] | Iterator[Any]


def fingerprint(*parts: Part, size: int = 16) -> str:
    """BLAKE2b of the parts one after the other, `size` bytes of it in hexadecimal.

    A text counts as its UTF-8, a path as the content of its file, arrays and tensors as their numbers in C order
    (neither shape nor type), mappings and lists as their JSON, an iterator as the parts that it yields. Nothing
    separates two parts: where both may be of any length, put something between them. OSError when a file cannot be
    read.
    """
    return _hexadecimal(hashlib.blake2b(digest_size=size), parts)


def sha256_of(*parts: Part) -> str:
    """SHA-256 of the same, in hexadecimal: for what other programs check too."""
    return _hexadecimal(hashlib.sha256(), parts)


def of_contents(files: Iterable[Path]) -> str:
    """Of the content of each file. OSError when one cannot be read.

    A file is read once as long as its size and its time of change stay the same.
    """
    # Size and time of change are part of the cache's key: a file that changed is read again.
    states = [(file, file.stat()) for file in files]
    return fingerprint([[_content(file, state.st_mtime_ns, state.st_size) for file, state in states]], size=8)


def of_states(files: Iterable[Path]) -> list[list[str | int]]:
    """Place, size and time of change of each file, of one that is not there its place: to be compared, unread."""
    return [_state(file) for file in files]


def _hexadecimal(state: Any, parts: Iterable[Part]) -> str:
    for piece in _pieces(iter(parts)):
        state.update(piece)
    return str(state.hexdigest())


def _pieces(part: Part) -> Iterable[Any]:
    """The bytes that a part counts as, a large file block by block."""
    if isinstance(part, Path):
        with open(part, "rb") as handle:
            yield from iter(functools.partial(handle.read, BLOCK), b"")
    elif isinstance(part, str):
        yield part.encode("utf-8", "surrogatepass")
    elif isinstance(part, bytes):
        yield part
    elif isinstance(part, torch.Tensor):
        yield part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data  # numpy has no bfloat16
    elif isinstance(part, np.ndarray):
        yield np.ascontiguousarray(part).data
    elif isinstance(part, Iterator):
        for one in part:
            yield from _pieces(one)
    else:
        yield json.dumps(part, sort_keys=True, default=str).encode()


@functools.lru_cache(maxsize=1024)
def _content(file: Path, changed: int, size: int) -> str:
    return fingerprint(file, size=64)


def _state(file: Path) -> list[str | int]:
    try:
        state = file.stat()
    except OSError:
        return [str(file)]
    return [str(file), state.st_size, state.st_mtime_ns]
