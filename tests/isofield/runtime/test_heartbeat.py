"""Ranks that work long are waited for; one that stops is noticed. The store is a real one, shared by threads."""

import threading
import time

import pytest
import torch.distributed as dist

from isofield.runtime import heartbeat
from isofield.runtime.heartbeat import Heartbeat, LostRankError

LIMIT = 0.3  # seconds without a sign of life


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.02)


def pulses(count: int) -> list[Heartbeat]:
    store = dist.HashStore()
    return [Heartbeat(store, rank=rank, size=count, timeout=LIMIT) for rank in range(count)]


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_rank_that_works_longer_than_the_limit_is_waited_for():
    first, second = pulses(2)
    worked = []

    def work() -> None:
        time.sleep(3 * LIMIT)
        worked.append(True)
        second.wait()

    thread = in_thread(work)
    first.wait()
    assert worked
    thread.join()
    thread = in_thread(second.leave)
    first.leave()
    thread.join()
    for one in (first, second):
        one.stop()


def test_a_machine_that_stood_still_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch):
    """Every look an hour after the one before, in which nobody could give a sign: it counts as a moment."""
    first, second = pulses(2)
    second.stop()
    hours = iter(range(0, 10**9, 3600))
    looks, look = list[float](), first._look

    def counted(seen: dict[int, tuple[int, float]], passed: float) -> None:
        looks.append(passed)
        look(seen, passed)

    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: float(next(hours)))
    monkeypatch.setattr(first, "_look", counted)
    with pytest.raises(LostRankError, match=r"rank 1\b"):
        first.wait()
    assert len(looks) > LIMIT / heartbeat.INTERVAL / 2 and set(looks) == {2 * heartbeat.INTERVAL}
    first.stop()


def test_a_rank_that_gives_no_sign_is_named():
    first, second, third = pulses(3)
    second.stop()

    def wait() -> None:
        with pytest.raises(LostRankError):
            third.wait()

    thread = in_thread(wait)
    with pytest.raises(LostRankError, match=r"rank 0: rank 1\b"):
        first.wait()
    thread.join()
    first.stop()
    third.stop()


def test_nobody_overtakes():
    """Wait by wait: the count of those before is never less than a rank's own."""
    first, second = pulses(2)
    counts = [0, 0]

    def go(number: int, one: Heartbeat) -> None:
        for _ in range(50):
            counts[number] += 1
            one.wait()
            assert abs(counts[0] - counts[1]) <= 1

    thread = in_thread(lambda: go(1, second))
    go(0, first)
    thread.join()
    assert counts == [50, 50]
    first.stop()
    second.stop()
