"""Memory that is freed and taken again."""

import subprocess
import sys
from pathlib import Path

import pytest

from isofield.ops import memory

ROOT = Path(__file__).parents[3]

# In a process of its own, as train.py is: what another test left in the heap lies between the freed pieces. The first
# rounds are not counted: small blocks that the allocator caches (seven of a size) part what is freed until they return.
FAULTS = """
import resource, torch
from isofield.ops import memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(1 << 24)  # 64 MiB: 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for keep in (False, True):
    told = memory.keep_freed(keep)
    faults(40)
    print(int(told), faults(10))
"""


def test_freed_memory_is_kept_on_request() -> None:
    pytest.importorskip("resource", reason="page faults are not counted here")
    done = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True)
    (told, given_back), (_, kept) = (map(int, line.split()) for line in done.stdout.splitlines())
    if not told:
        pytest.skip("this C library cannot be told what to do with freed memory")
    assert kept * 10 < given_back


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed()
