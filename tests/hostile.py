"""Limits and canaries for tests that read attacks: memory, time, files outside, code."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

SECRET = "canary-7c1f"  # in a file outside: what a reader says may not hold it
MEMORY = 1 << 30  # bytes of address space beyond what the process has
PEAK = 400 << 20  # bytes of memory
SECONDS = 5


class TooSlow(BaseException):
    """No reader may swallow it."""


def _page_count(field: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


@contextlib.contextmanager
def limited(*, memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[None]:
    """The process may take so much more address space and so many seconds, or MemoryError and TooSlow."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (_page_count(0) + memory, hard))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def refusal(read: Callable[[Path], object], file: Path, *, named: bool = True) -> str:
    """What a reader says of an attack: a ValueError or OSError that names the file, in bounded memory and time.

    AssertionError when it read it, asked for the memory that was declared, or left or told anything from outside.
    """
    before, began = _listing(file.parent.parent), _page_count(1)
    try:
        with limited():
            result = read(file)
    except (ValueError, OSError) as error:
        said: BaseException | None = error
        while said is not None:
            assert not isinstance(said, MemoryError), f"asked for the memory: {error}"
            said = said.__cause__ or said.__context__
        text = str(error)
    else:
        raise AssertionError(f"{file.name} was read: {str(result)[:200]}")
    assert text.strip() and (not named or file.name in text), text
    assert SECRET not in text and len(text) < 4000, text
    assert _page_count(1) - began < PEAK
    assert _listing(file.parent.parent) == before, "a file was made or changed"
    return text


def _listing(folder: Path) -> list[tuple[str, float]]:
    return sorted(
        (os.path.join(root, name), os.stat(os.path.join(root, name), follow_symlinks=False).st_mtime)
        for root, _, names in os.walk(folder)
        for name in names
    )
