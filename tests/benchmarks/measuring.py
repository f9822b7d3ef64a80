"""How benchmarks measure: wall and CPU seconds, works in turn, peak memory, what the machine can do at most; tables.

A ratio is taken between works that ran in turn in one process; a floor is measured in the same run. On a GPU the device
is waited for before the clock starts and before it stops.
"""

import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from isofield.ops.linear_leaky import linear_leaky
from isofield.runtime.commandline import say
from isofield.runtime.cores import usable_cores

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Device = torch.device | str
Work = Callable[[], Any]


class Timing(NamedTuple):
    """Seconds, of all threads where they are of the CPU, and what the (last) call returned."""

    wall: float
    cpu: float
    result: Any = None


def once(work: Work, device: Device = "cpu") -> Timing:
    """One call."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    synchronise(device)
    return Timing(time.perf_counter() - wall, time.process_time() - cpu, result)


def timed(work: Work, repeats: int = 1, device: Device = "cpu") -> Timing:
    """Medians of some calls."""
    return middle([once(work, device) for _ in range(repeats)])


def in_turn(
    works: Mapping[str, Work],
    rounds: int,
    device: Device = "cpu",
    *,
    warm: bool = True,
    settled: Collection[str] = (),
) -> dict[str, Timing]:
    """Medians of each work; the works alternate, so that drift hits all.

    `warm`: a round before that does not count. `settled`: works of which a call right before each that counts does not
    count either, so that they find what one of their own kind left behind (as steps of a training do).
    """
    times: dict[str, list[Timing]] = {name: [] for name in works}
    for number in range(-int(warm), rounds):
        for name, work in works.items():
            if name in settled and number >= 0:
                work()
            timing = once(work, device)
            if number >= 0:
                times[name].append(timing)
    return {name: middle(each) for name, each in times.items()}


def middle(timings: list[Timing]) -> Timing:
    """Medians, and the last result."""
    wall, cpu = (statistics.median(timing[i] for timing in timings) for i in (0, 1))
    return Timing(wall, cpu, timings[-1].result)


def synchronise(device: Device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(work: Work, device: Device = "cpu") -> tuple[Timing, int]:
    """One call, and the bytes that memory at its peak lies above what was taken before (resident memory on a CPU)."""
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        timing = once(work, device)
        return timing, torch.cuda.max_memory_allocated(device) - before
    # The kernel's own mark misses nothing. Where it can't be set back a thread looks, which a busy machine may hold up.
    if _forget_highest():
        before = _resident()
        timing = once(work)
        return timing, max(_highest(), _resident()) - before
    before, peak, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        timing = once(work)
    finally:
        done.set()
        watcher.join()
    return timing, max(peak, _resident()) - before


def _forget_highest() -> bool:
    """Whether the highest resident memory of this process counts from now on (Linux: proc(5), clear_refs and VmHWM)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _highest() <= _resident() + (1 << 20)
    except (OSError, StopIteration):
        return False


def _highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def highest_memory() -> float:
    """GiB that this process has taken at most until now."""
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Product(NamedTuple):
    """A matrix product to be timed in turn with a work that consists of such products."""

    multiply_adds: float
    work: Work


def products(dtype: torch.dtype, device: Device = "cpu", *, rows: int = 32768) -> dict[str, Product]:
    """What a machine does fastest: on a CPU a product of `rows` x 1024 x 1024 by either of torch's two libraries, on a
    GPU this size and 8192 cubed. In the precision that torch is set to (float32 without TF32, unless it is allowed).
    """
    made = {}
    for n, i, o in [(rows, 1024, 1024)] + [(8192, 8192, 8192)] * (torch.device(device).type == "cuda"):
        a, b = torch.randn(n, i, device=device).to(dtype), torch.randn(o, i, device=device).to(dtype)
        bias = torch.zeros(o, dtype=dtype, device=device)
        name, count = f"product {n} x {i} x {o} {dtype}", float(n * i * o)
        made[name] = Product(count, partial(torch.nn.functional.linear, a, b))
        made[f"{name}, fused"] = Product(count, partial(linear_leaky, a, b, bias, slope=1.0))
    return made


def best_rate(made: Mapping[str, Product], timings: Mapping[str, Timing]) -> float:
    """Multiply-adds a second of wall time of the fastest product."""
    return max(product.multiply_adds / timings[name].wall for name, product in made.items())


def product_rate(dtype: torch.dtype, device: Device = "cpu") -> float:
    """The same, measured now."""
    made = products(dtype, device)
    return best_rate(made, in_turn({name: product.work for name, product in made.items()}, 5, device))


def copy_rate(device: Device = "cpu", *, megabytes: int = 0) -> float:
    """Bytes a second, read and written ones together, of copying a block on the device; larger than any cache."""
    size = megabytes or (4096 if torch.device(device).type == "cuda" else 256)
    source = torch.zeros(size << 20, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * source.numel() / timed(lambda: target.copy_(source), 7, device).wall


def machine(device: Device) -> dict[str, Any]:
    """Hardware and versions, and nothing else that tells machines apart."""
    description: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "amx": has_amx(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # with the build (+cpu, +cu124), which its package may leave out
        **{name: metadata.version(name) for name in ("numpy", "numba")},
    }
    if torch.device(device).type == "cuda":
        description |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return description


def cpu_model() -> str:
    """As the processor calls itself."""
    return _processor_line("model name") or platform.processor() or platform.machine()


def has_amx() -> bool:
    """Matrix units for bfloat16."""
    return "amx_bf16" in _processor_line("flags").split()


def _processor_line(key: str) -> str:
    file = Path("/proc/cpuinfo")
    found = re.search(rf"^{key}\s*:\s*(.*)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return found[1].strip() if found else ""


def threads() -> str:
    """For the line above a table."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


class Table:
    """Lines of equal columns, printed as they come: a label, cells to the right, a note that may be any length."""

    def __init__(self, *titles: str, label: int = 44, cell: int = 10) -> None:
        self._label, self._widths = label, [max(cell, len(title) + 1) for title in titles[1:]]
        self.row(*titles)

    def row(self, label: str, *cells: float | str, note: str = "") -> None:
        shown = (cell if isinstance(cell, str) else number(cell) for cell in cells)
        right = "".join(f"{cell:>{width}}" for cell, width in zip(shown, self._widths, strict=False))
        say(f"{label:{self._label}}{right}{'  ' * bool(note)}{note}".rstrip())


def number(value: float) -> str:
    """Three figures at least, whole numbers whole: 0.00123, 12.3, 1,234."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
