"""How far a command is: a bar at a terminal, elsewhere (a file, a log of a cluster) a line every half a minute.

The one place that knows tqdm. All of it goes to the error stream, but for what `write` says.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from types import TracebackType
from typing import Self, TextIO, TypeVar

from tqdm import tqdm

from isofield.runtime.commandline import printable, say

EVERY = 30.0  # seconds between two lines
SILENT_VARIABLE = "TQDM_DISABLE"  # as tqdm itself understands it
Item = TypeVar("Item")


class Progress:
    """A context in which `update` counts units of work.

    `total`: of all units, None where nobody knows; `initial`: of those that were done before. `what`: the work, `unit`:
    one of its units. A bar if `stream` (the error stream) is a terminal, else lines. `clock`: seconds. `shown`: whether
    there is anything to see at all (only one of several ranks shows it).
    """

    def __init__(
        self,
        total: int | None,
        *,
        what: str,
        unit: str,
        initial: int = 0,
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._total, self._what, self._unit = total, what, unit
        self._first = self._done = initial
        self._values, self._told = "", -1
        self._withheld, self._wrote = "", -float("inf")  # a line of its own, and when the last one was written
        self._began = self._last = clock()
        self._limit, self._at_least = float("inf"), 0
        # What silences bars of other programs silences ours.
        shown = shown and os.environ.get(SILENT_VARIABLE, "") in ("", "0")
        at_terminal = shown and self._stream.isatty()
        self._in_lines = shown and not at_terminal
        # Made in any case: whether it is disabled decides below where a line goes.
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=what,
            unit=unit,
            smoothing=0.05,
            file=self._stream,
            disable=not at_terminal,
        )

    def __enter__(self) -> Self:
        self._say_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._withheld:
            say(self._withheld)
        self._say_line()

    def update(self, count: int = 1) -> None:
        """So many more units are done."""
        self._done += count
        self._bar.update(count)
        if self._in_lines and self._clock() - self._last >= EVERY:
            self._say_line()

    def limit(self, seconds: float, *, at_least: int = 0) -> None:
        """The work ends after so many seconds from its start, though not before `at_least` units are done."""
        self._limit, self._at_least = seconds, at_least

    def note(self, values: Mapping[str, object] | str) -> None:
        """What the work is at, or numbers of it: shown with the next line."""
        text = values if isinstance(values, str) else ", ".join(f"{name} {value}" for name, value in values.items())
        self._values = printable(text)
        self._bar.set_postfix_str(self._values, refresh=False)

    def write(self, line: str) -> None:
        """A line of its own on the output stream, above the bar where there is one."""
        if self._bar.disable:
            say(line)
        else:
            self._bar.write(printable(line))

    def write_at_times(self, line: str) -> None:
        """As `write`, of a line of which there may be thousands: without a bar the latest one every half a minute.

        The last one is written in any case, at the end.
        """
        if not self._bar.disable:
            self.write(line)
        elif self._clock() - self._wrote >= EVERY:
            self._wrote, self._withheld = self._clock(), ""
            self.write(line)
        else:
            self._withheld = line

    def _say_line(self) -> None:
        """Nothing where the last line said the same."""
        if self._in_lines and self._done != self._told:
            self._last, self._told = self._clock(), self._done
            self._stream.write(self._line() + "\n")
            self._stream.flush()

    def _line(self) -> str:
        """The work, how much of it, its numbers, and how long it takes: what is left, or in the end what it took."""
        # The rate is that of this start: what was done before it took time that is not known.
        seconds, new = self._last - self._began, self._done - self._first
        of_total = "" if self._total is None else f" of {self._total}"
        parts = [f"{self._what}: {self._done}{of_total} {self._unit}s"]
        parts += [self._values] * bool(self._values)
        if self._total is not None and self._done >= self._total:
            parts.append(f"took {_duration(seconds)}")
        elif new and seconds > 0:
            parts.append(f"{60 * new / seconds:.3g} a minute")
            if self._total is not None:
                parts.append(f"{_duration(self._left(seconds, seconds / new))} left")
        return ", ".join(parts)

    def _left(self, seconds: float, of_unit: float) -> float:
        """Seconds, at the rate so far: to the end, or to the limit where that comes first."""
        assert self._total is not None
        late = max(self._limit - seconds, (self._at_least - self._done) * of_unit, 0.0)
        return min((self._total - self._done) * of_unit, late)


def with_progress(
    items: Iterable[Item], *, what: str, unit: str, total: int | None = None, shown: bool = True
) -> Iterator[Item]:
    """The items, and how many of them were worked on. `total`: where they have no length."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with Progress(count, what=what, unit=unit, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()


def _duration(seconds: float) -> str:
    """Hours and minutes as people write them: 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
