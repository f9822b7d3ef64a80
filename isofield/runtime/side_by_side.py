"""Works that run side by side until each asks for the same kind of thing, which is then made for all of them at once.

A device that is asked for one small thing after the other spends its time on launches; asked for the same thing of
many shapes it launches as often as for one. Each work has a thread, of which one runs at a time: what a work does needs
to know nothing of the others, and every order is the same in every run.
"""

import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")
Place = tuple[int, ...]
_own: contextvars.ContextVar["_Work | None"] = contextvars.ContextVar("own work", default=None)


def ask(
    request: Request,
    *,
    alone: Callable[[Request], Answer],
    together: Callable[[list[Request]], Sequence[Answer]],
    place: Place,
) -> Answer:
    """What `alone` makes of the request; among works side by side, what `together` makes of it and those of others.

    Both have to give the same. `place`: where in the course of a work this is asked. Requests of one place go together,
    and those of the lowest place first, so that works that have come less far catch up. Where `together` fails, each is
    asked alone, and the error of one is raised in its own work.
    """
    work = _own.get()
    return alone(request) if work is None else work.ask(_Question(request, alone, together, place))


def seconds_elsewhere() -> tuple[float, float]:
    """Wall and CPU seconds that passed in this work while others ran, and their shares of what was made together."""
    work = _own.get()
    return (0.0, 0.0) if work is None else work.elsewhere


def run_side_by_side(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all works, in their order. What one raises is raised here, and ends the others."""
    running: list[_Work] = []
    try:
        for work_of_one in works:
            running.append(_Work(work_of_one))
        waiting = running
        while waiting:
            # Each goes on up to its next question, or to its end.
            for work in waiting:
                work.go_on()
            asking = [work for work in running if work.question is not None]
            lowest = min((work.question.place for work in asking if work.question), default=())
            waiting = [work for work in asking if work.question and work.question.place == lowest]
            if waiting:
                _answer(waiting)
        return [work.result for work in running]
    finally:
        for work in running:
            work.end()


def _answer(works: list["_Work"]) -> None:
    questions, before = [work.question for work in works if work.question is not None], _clocks()
    answers: list[Any] = []
    # Whose fault an error is, each finds out alone. By then the error is gone: it holds what was made for all of them,
    # and where memory was short, none would be left for one.
    try:
        answers = list(questions[0].together([question.request for question in questions]))
    except Exception as error:  # noqa: BLE001 (raised in a work, if it is raised for one alone)
        _let_go(error)
    if not answers:
        answers = [_tried(question) for question in questions]
    spent = [(after - first) / len(works) for after, first in zip(_clocks(), before, strict=True)]
    if len(answers) != len(works):
        raise ValueError(f"{len(answers)} answers to {len(works)} questions of {questions[0].together}")
    # Taken out one by one: an error among them holds this call, which must not hold the error.
    for work in reversed(works):
        work.answer, work.question, work.share = answers.pop(), None, spent


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _tried(question: "_Question") -> Any:
    try:
        return question.alone(question.request)
    except Exception as error:  # noqa: BLE001 (raised in the work that asked)
        _let_go(error)
        return _Raised(error)


def _let_go(error: BaseException) -> None:
    """Free what an error, and those it came from, hold of the calls that they ended: others need the memory next."""
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            errors += one.__cause__, one.__context__


class _Question:
    def __init__(
        self, request: Any, alone: Callable[[Any], Any], together: Callable[[list[Any]], Sequence[Any]], place: Place
    ) -> None:
        self.request, self.alone, self.together, self.place = request, alone, together, place


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Ended(BaseException):
    """Ends a work whose result nobody wants any more; no handler of errors takes it for one."""


class _Work:
    """A work on a thread of its own, which runs only between `go_on` and its next question."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.question: _Question | None = None
        self.answer: Any = None
        self.result: Any = None
        self.share: list[float] = [0.0, 0.0]  # seconds of the last answer
        self.elsewhere = 0.0, 0.0
        self._error: BaseException | None = None
        self._may_run, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._ends = self._is_done = False
        # What is set in this context, and the number of threads, holds in the work's thread as well.
        context, threads = contextvars.copy_context(), torch.get_num_threads()
        self._thread = threading.Thread(target=context.run, args=(self._run, work, threads), daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Run up to the next question, or to the end. Raises what the work raised."""
        if self._is_done:
            return
        self._may_run.release()
        self._has_stopped.acquire()
        if self._error is not None:
            raise self._error

    def ask(self, question: _Question) -> Any:
        """The answer; called in the work's thread."""
        if self._ends:  # by what a work does at its end: nobody would answer
            raise _Ended
        self.question, before = question, _clocks()
        self._has_stopped.release()
        self._may_run.acquire()
        if self._ends:
            raise _Ended
        passed = [after - first for after, first in zip(_clocks(), before, strict=True)]
        wall, cpu = (away + all - own for away, all, own in zip(self.elsewhere, passed, self.share, strict=True))
        self.elsewhere = wall, cpu
        answer, self.answer = self.answer, None  # the work's alone: it may be large
        if not isinstance(answer, _Raised):
            return answer
        try:
            raise answer.error
        finally:
            del answer  # else the error would hold this call, and this call the error, with all that the work holds

    def end(self) -> None:
        """Leave no thread behind."""
        self._ends = True
        self._may_run.release()
        self._thread.join()

    def _run(self, work: Callable[[], Any], threads: int) -> None:
        self._may_run.acquire()
        try:
            if not self._ends:
                torch.set_num_threads(threads)
                _own.set(self)
                self.result = work()
        except _Ended:
            pass
        except BaseException as error:  # noqa: BLE001 (raised where the work was started)
            self._error = error
        finally:
            self._is_done, self.question = True, None
            self._has_stopped.release()
