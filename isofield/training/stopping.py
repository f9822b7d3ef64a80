"""When training ends early: a signal or a limit of time, and all ranks at the same step."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch

from isofield.runtime.commandline import Terminated
from isofield.runtime.distributed import Group

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEATED = 2.0  # seconds within which a signal is the same one again: a terminal and torchrun both send it
ASK_EVERY = 10  # steps between two times at which ranks ask each other, at most
ASK_SECONDS = 1.0  # ... and about so long, where steps are slow


class Stop:
    """What was heard on this rank, and what was agreed on by all."""

    def __init__(self, group: Group, *, minutes: float | None, min_steps: int = 0) -> None:
        self.agreed = False
        self.by_signal: int | None = None  # agreed on
        self._group, self._seconds = group, float("inf") if minutes is None else minutes * 60
        self._min_steps = min_steps  # the limit of time holds from there on
        self._heard: list[int] = []
        self._asked: tuple[int, float] | None = None  # step, and seconds of the monotonic clock
        self._next = 0

    def should_stop(self, *, step: int, seconds: float) -> bool:
        """Whether to end after `step` steps and `seconds` of training. Collective; once True, it stays so."""
        if not self.agreed and (self._group.size == 1 or step >= self._next):
            # Ranks ask each other only now and then, all at the same step: a question is a message over the network.
            late = seconds > self._seconds and step >= self._min_steps
            number = max(self._heard, default=0)
            if self._group.size > 1:
                number, late = self._ask(step, number, late)
            self.by_signal = number or None
            self.agreed = bool(number) or late
        return self.agreed

    def interrupt(self) -> KeyboardInterrupt:
        """What to raise after a signal."""
        return Terminated() if self.by_signal == signal.SIGTERM else KeyboardInterrupt()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """SIGINT and SIGTERM are heard, no more; a second one, later, does what it did before."""
        first = 0.0

        def hear(number: int, frame: FrameType | None) -> None:
            nonlocal first
            now = time.monotonic()
            # A signal that comes again at once is the same one: a terminal sends it, and torchrun passes it on.
            if self._heard and now - first > REPEATED:
                signal.signal(number, before[number])
                signal.raise_signal(number)
            first = first if self._heard else now
            self._heard.append(number)

        before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            for number in before:
                signal.signal(number, hear)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, step: int, number: int, late: bool) -> tuple[int, bool]:
        """The same answer on all ranks, from sums over them: who heard what, and the seconds since they last asked."""
        now = time.monotonic()
        last_step, then = self._asked or (step, now)
        flags = [number == signal.SIGINT, number == signal.SIGTERM, late, now - then]
        told = self._group.total(torch.tensor([float(flag) for flag in flags], device=self._group.device))
        interrupted, terminated, any_late, seconds = told.tolist()
        self._asked = step, now
        # The mean over ranks of the seconds a step: all come to the same number, and ask again at the same step.
        each = seconds / self._group.size / max(1, step - last_step)
        self._next = step + max(1, min(ASK_EVERY, int(ASK_SECONDS / max(each, 1e-6))))
        return int(signal.SIGTERM if terminated else signal.SIGINT if interrupted else 0), any_late > 0
