"""Limits and canaries for tests that read attacks: memory, time, files outside, code."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

try:
    import resource
except ImportError:  # of other systems: nothing can be limited there
    resource = None  # type: ignore[assignment]

SECRET = "canary-7c1f"  # in a file outside: what a reader says may not hold it
MEMORY = 1 << 30  # bytes of address space beyond what the process has
PEAK = 400 << 20  # bytes of memory that a refusal may take for a moment
SECONDS = 20  # of the processor: another job on the machine takes none of them
PATIENCE = 300  # seconds of the clock, for what waits without work


class TooSlow(BaseException):
    """No reader may swallow it."""


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _peak() -> int:
    """Bytes of memory that the process had at most since `_forget_peak`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # then the peak is that of the whole process, and too high to tell anything
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def limited(*, memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[None]:
    """The process may take so much more address space and so many seconds of work, or MemoryError and TooSlow."""

    if resource is None:
        yield
        return
    late = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal late
        late = True
        raise TooSlow

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory, hard))
    signal.alarm(PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)
    if late:
        raise TooSlow  # again: a library's `except BaseException` swallowed it


def refusal(read: Callable[[Path], object], file: Path, *, named: bool = True) -> str:
    """What a reader says of an attack: a ValueError or OSError that names the file, in bounded memory and time.

    AssertionError when it read it, asked for the memory that was declared, or left or told anything from outside.
    """
    _forget_peak()
    before, began = _listing(file.parent.parent), _peak()
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
    assert _peak() - began < PEAK
    assert _listing(file.parent.parent) == before, "a file was made or changed"
    return text


def _listing(folder: Path) -> list[tuple[str, float]]:
    return sorted(
        (os.path.join(root, name), os.stat(os.path.join(root, name), follow_symlinks=False).st_mtime)
        for root, _, names in os.walk(folder)
        for name in names
    )
