"""Works side by side: each gets its own answer, those that ask the same are answered together, errors stay with one."""

import contextvars
import gc
import threading
import time
import weakref
from functools import partial

import pytest

from isofield.runtime import side_by_side
from isofield.runtime.side_by_side import ask, run_side_by_side, seconds_elsewhere

colour = contextvars.ContextVar("colour", default="none")


class Answering:
    """Doubles numbers, and notes which went together. Refuses those that are negative."""

    def __init__(self):
        self.together_of, self.alone_of = [], []

    def alone(self, number):
        self.alone_of.append(number)
        if number < 0:
            raise ValueError(f"{number} is negative")
        return 2 * number

    def together(self, numbers):
        self.together_of.append(numbers)
        if min(numbers) < 0:
            raise ValueError("one is negative")
        return [2 * number for number in numbers]

    def ask(self, number, place=(0,)):
        return ask(number, alone=self.alone, together=self.together, place=place)


def test_alone_nobody_waits_for_others():
    answering = Answering()
    assert answering.ask(4) == 8 and answering.together_of == []


def test_those_that_ask_the_same_are_answered_together():
    answering = Answering()
    works = [lambda number=number: answering.ask(number) + 1 for number in range(5)]
    assert run_side_by_side(works) == [1, 3, 5, 7, 9]
    assert answering.together_of == [[0, 1, 2, 3, 4]] and answering.alone_of == []


def test_who_has_come_less_far_catches_up():
    answering = Answering()

    def long(number):
        return answering.ask(answering.ask(number, (0, 96)), (0, 256))

    assert run_side_by_side([partial(answering.ask, 1, (0, 256)), partial(long, 5), lambda: 7]) == [2, 20, 7]
    assert answering.together_of == [[5], [1, 10]]


def test_the_error_of_one_is_its_own_and_the_others_lose_nothing():
    answering = Answering()

    def work(number):
        try:
            return answering.ask(number)
        except ValueError as error:
            return str(error)

    assert run_side_by_side([partial(work, number) for number in (1, -2, 3)]) == [2, "-2 is negative", 6]
    assert answering.alone_of == [1, -2, 3]


def test_what_a_work_raises_ends_all_and_leaves_no_thread():
    answering, before = Answering(), threading.active_count()

    def full():
        answering.ask(1)
        raise OSError("the disk is full")

    def other():
        answering.ask(2)
        answering.ask(3, (1,))
        pytest.fail("nobody wants this any more")

    with pytest.raises(OSError, match="disk is full"):
        run_side_by_side([other, full, other])
    assert threading.active_count() == before


def test_a_work_that_asks_at_its_end_is_not_waited_for():
    answering, asked = Answering(), []

    def tidying():
        try:
            return answering.ask(1)
        finally:
            asked.append(2)
            answering.ask(2)

    def full():
        raise OSError("the disk is full")

    before = threading.active_count()
    with pytest.raises(OSError, match="disk is full"):
        run_side_by_side([tidying, full])
    assert asked == [2] and answering.together_of == [] and threading.active_count() == before


def test_where_no_more_threads_can_be_started_none_stays(monkeypatch: pytest.MonkeyPatch):
    start, before = threading.Thread.start, threading.active_count()
    started: list[threading.Thread] = []

    def limited(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="new thread"):
        run_side_by_side([lambda: 1] * 3)
    assert len(started) == 2 and threading.active_count() == before


class Tensor:
    """Stands for one that is large."""


class Holding:
    """Notes what is still held of the tensors that were made, each time that a question is answered."""

    def __init__(self):
        self.made: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.held: list[int] = []

    def fail(self, reason):
        own = Tensor()  # a local of the call that fails
        self.made.add(own)
        error = MemoryError(reason)
        raise error  # which holds this call, and this call it: only a collector of cycles would end that

    def together(self, numbers):
        self.held.append(len(self.made))
        self.fail("for all")

    def alone(self, number):
        self.held.append(len(self.made))
        if number < 0:
            self.fail("for one")
        self.made.add(own := Tensor())
        return own

    def work(self, number):
        try:
            self.ask(number)
        except MemoryError as error:
            return str(error)
        self.held.append(len(self.made))
        return "made"

    def ask(self, number):
        own = Tensor()  # what the work has made so far
        self.made.add(own)
        return ask(number, alone=self.alone, together=self.together, place=(0,))


def test_what_failed_holds_no_memory_that_the_next_needs():
    """Made for all, then of one that fails alone: both are given up before the next is asked. Then answers are."""
    holding = Holding()
    gc.collect()
    gc.disable()
    try:
        assert run_side_by_side([partial(holding.work, number) for number in (-1, -2, 3)]) == ["for one"] * 2 + ["made"]
    finally:
        gc.enable()
    # Three have one each when all are asked, and when each is; the last goes on when the others have ended.
    assert holding.held == [3, 3, 3, 3, 0]


def test_one_runs_at_a_time_in_the_context_of_the_caller():
    running, seen = [], []

    def work(number):
        running.append(number)
        assert len(running) == 1
        time.sleep(0.01)
        seen.append(colour.get())
        running.remove(number)
        return Answering().ask(number)

    colour.set("green")
    assert run_side_by_side([partial(work, number) for number in range(4)]) == [0, 2, 4, 6]
    assert seen == ["green"] * 4


def test_seconds_of_others_are_not_booked_on_a_work(monkeypatch: pytest.MonkeyPatch):
    """By a clock that only this test moves on: what is made together is shared, all else is its own work's."""
    now = [0.0]
    monkeypatch.setattr(side_by_side, "_clocks", lambda: (now[0], 10 * now[0]))

    def slow(numbers):
        now[0] += 4
        return numbers

    def work(pause):
        began = now[0]
        ask(1, alone=lambda one: one, together=slow, place=(0,))
        now[0] += pause
        ask(2, alone=lambda one: one, together=lambda ones: ones, place=(1,))
        wall, cpu = seconds_elsewhere()
        assert cpu == 10 * wall
        return now[0] - began - wall

    assert run_side_by_side([partial(work, pause) for pause in (0, 3)]) == [2, 5]
    assert seconds_elsewhere() == (0.0, 0.0)
