"""Progress in lines, with a clock that stands still until it is told to go on."""

import io
import os

import pytest

from isofield.runtime.progress import EVERY, Progress, with_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds, as they are set."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of everything else are."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def test_a_line_every_half_a_minute_says_how_far_it_is_and_what_is_left():
    stream, clock = io.StringIO(), Clock()
    with Progress(300, what="train", unit="step", initial=100, stream=stream, clock=clock) as progress:
        for step in range(100, 160):
            clock.seconds += 1
            progress.note({"level": 16, "loss": f"{step / 1000:.4g}"})
            progress.update()
    assert stream.getvalue().splitlines() == [
        "train: 100 of 300 steps",
        "train: 130 of 300 steps, level 16, loss 0.129, 60 a minute, 2:50 left",
        "train: 160 of 300 steps, level 16, loss 0.159, 60 a minute, 2:20 left",
    ]


def test_where_time_ends_it_first_that_is_what_is_left():
    """100 s, of 200 more units at one a second; and not before 250 are done."""
    for at_least, left in ((0, "1:10"), (250, "2:00")):
        stream, clock = io.StringIO(), Clock()
        with Progress(300, what="train", unit="step", initial=100, stream=stream, clock=clock) as progress:
            progress.limit(100, at_least=at_least)
            for _ in range(30):
                clock.seconds += 1
                progress.update()
        assert stream.getvalue().splitlines()[1] == f"train: 130 of 300 steps, 60 a minute, {left} left"


def test_the_end_says_how_long_it_took():
    stream, clock = io.StringIO(), Clock()
    with Progress(2, what="prepare", unit="shape", stream=stream, clock=clock) as progress:
        clock.seconds += 3723
        progress.update(2)
    assert stream.getvalue().splitlines() == ["prepare: 0 of 2 shapes", "prepare: 2 of 2 shapes, took 1:02:03"]


def test_an_hour_is_less_than_50_kilobytes():
    stream, clock = io.StringIO(), Clock()
    with Progress(10**7, what="train", unit="step", stream=stream, clock=clock) as progress:
        for step in range(3600 * 20):
            clock.seconds += 1 / 20
            progress.note({"level": "boundary", "loss": step / 7, "points/s": 1.2345e6})
            progress.update()
    lines = stream.getvalue().splitlines()
    assert abs(len(lines) - 3600 / EVERY) <= 2 and len(stream.getvalue()) < 20_000
    assert "\r" not in stream.getvalue()


def test_without_a_total_nothing_is_left():
    stream, clock = io.StringIO(), Clock()
    with Progress(None, what="read", unit="file", stream=stream, clock=clock) as progress:
        clock.seconds += EVERY
        progress.update(7)
    assert stream.getvalue().splitlines() == ["read: 0 files", "read: 7 files, 14 a minute"]


def test_what_was_under_way_at_an_error_is_told():
    stream, clock = io.StringIO(), Clock()
    with (
        pytest.raises(ValueError, match="seven"),
        Progress(9, what="read", unit="file", stream=stream, clock=clock) as progress,
    ):
        clock.seconds += 1
        progress.update(3)
        raise ValueError("seven")
    assert "read: 3 of 9 files" in stream.getvalue()


def test_a_terminal_has_a_bar():
    stream = Terminal()
    with Progress(3, what="read", unit="file", stream=stream) as progress:
        progress.note("scan\x1b[2J7")
        progress.update(3)
    assert "\r" in stream.getvalue() and "3/3" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_other_ranks_and_the_silent_show_nothing(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    with Progress(3, what="read", unit="file", shown=False, stream=stream) as progress:
        progress.update(3)
    monkeypatch.setitem(os.environ, "TQDM_DISABLE", "1")
    with Progress(3, what="read", unit="file", stream=stream) as progress:
        progress.update(3)
    assert stream.getvalue() == ""


def test_lines_of_their_own_go_to_the_output(capsys: pytest.CaptureFixture[str]):
    with Progress(1, what="train", unit="step") as progress:
        progress.write("step 5: validation\x1b[2J")
    said = capsys.readouterr()
    assert said.out == "step 5: validation\\x1b[2J\n" and said.err.startswith("train: 0 of 1 steps")


def test_lines_of_which_there_are_thousands_come_every_half_a_minute(capsys: pytest.CaptureFixture[str]):
    """An hour with a validation each second: all of it stays below 50 kB, and the last one is there."""
    stream, clock = io.StringIO(), Clock()
    with Progress(3600, what="train", unit="step", stream=stream, clock=clock) as progress:
        for step in range(1, 3601):
            clock.seconds += 1
            progress.note({"level": "boundary", "loss": step / 7, "points/s": 1.2345e6})
            progress.update()
            progress.write_at_times(f"step {step}: validation loss {1 / step:.6f} (best)")
    said = capsys.readouterr().out
    assert len(said) + len(stream.getvalue()) < 50_000
    steps = [int(line.split()[1][:-1]) for line in said.splitlines()]
    assert steps[:3] == [1, 31, 61] and steps[-1] == 3600 and len(steps) == 121


def test_above_a_bar_each_of_them_is_shown(capsys: pytest.CaptureFixture[str]):
    with Progress(3, what="train", unit="step", stream=Terminal()) as progress:
        for number in range(3):
            progress.write_at_times(f"line {number}")
    assert capsys.readouterr().out == "line 0\nline 1\nline 2\n"


def test_items_are_counted_when_they_are_done(capsys: pytest.CaptureFixture[str]):
    assert list(with_progress("abc", what="read", unit="file")) == ["a", "b", "c"]
    assert list(with_progress(iter("ab"), what="go", unit="file", total=2)) == ["a", "b"]
    assert list(with_progress("ab", what="hide", unit="file", shown=False)) == ["a", "b"]
    said = capsys.readouterr().err
    assert "read: 0 of 3 files\nread: 3 of 3 files" in said and "go: 2 of 2 files" in said and "hide" not in said
