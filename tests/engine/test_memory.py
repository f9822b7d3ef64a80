"""Memory that is freed and taken again."""

import resource
from collections.abc import Iterator

import pytest
import torch

from engine.ops import memory


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    memory.keep_freed(False)


def faults(times: int = 6) -> int:
    """Page faults of filling a tensor of 64 MiB anew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_kept_on_request() -> None:
    if not memory.keep_freed(False):
        pytest.skip("this C library cannot be told what to do with freed memory")
    given_back = faults()
    assert memory.keep_freed()
    faults(2)
    assert faults() * 10 < given_back


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed()
