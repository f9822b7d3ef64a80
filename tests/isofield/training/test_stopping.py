"""Signals during training: heard once, however often they are sent within a moment."""

import signal

import pytest

from isofield.runtime.commandline import Terminated
from isofield.training import stopping
from isofield.training.stopping import Stop
from tests.isofield.training.in_process import ALONE


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_the_same_signal_from_terminal_and_launcher_is_one(
    number: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stopping, "REPEATED", 1e9)  # however slow this machine is
    stop, before = Stop(ALONE, minutes=None), signal.getsignal(number)
    with stop.listening():
        assert not stop.should_stop(step=3, seconds=1e9)
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert stop.should_stop(step=4, seconds=0) and stop.by_signal == number
    assert type(stop.interrupt()) is error and signal.getsignal(number) is before


def test_a_second_one_later_ends_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stopping, "REPEATED", -1.0)
    stop = Stop(ALONE, minutes=None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it for background jobs
    try:
        with pytest.raises(KeyboardInterrupt), stop.listening():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_limit_of_time_is_no_signal():
    stop = Stop(ALONE, minutes=0.5)
    assert not stop.should_stop(step=1, seconds=29)
    assert stop.should_stop(step=2, seconds=31) and stop.by_signal is None
    assert stop.should_stop(step=3, seconds=0)  # decided


def test_the_limit_of_time_holds_from_a_floor_of_steps_on_and_signals_before_it():
    stop = Stop(ALONE, minutes=0.5, min_steps=5)
    assert not stop.should_stop(step=4, seconds=1e9)
    assert stop.should_stop(step=5, seconds=31)
    stop = Stop(ALONE, minutes=0.5, min_steps=5)
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        assert stop.should_stop(step=1, seconds=0) and stop.by_signal == signal.SIGTERM


def test_a_signal_after_the_last_question_changes_nothing():
    """Otherwise one rank would leave out the last validation, and the others wait for it there."""
    stop = Stop(ALONE, minutes=None)
    with stop.listening():
        assert not stop.should_stop(step=9, seconds=0)
        signal.raise_signal(signal.SIGTERM)
    assert stop.by_signal is None
