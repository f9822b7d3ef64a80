"""How every command of ours ends: one clear line on the error stream, and an exit status that means something.

0: all done. 1: an error, nothing (more) was done. 2: finished, but some shapes failed and are listed. 130: Ctrl-C
(SIGINT). 143: SIGTERM, as schedulers send it before they take a machine away. (analyse.py: 1 outliers, 2 errors.)

After 1, 130 and 143 what is finished is kept, and the same command goes on from there. Training writes a checkpoint
first, after the step (or the validation) under way; a second signal, two seconds later or more, ends it at once.

torchrun hands signals on to its processes and gives them 30 seconds; it ends with 1 itself, whatever they ended with.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from isofield.runtime.atomic_files import WriteError
from isofield.runtime.invocation import same_command
from isofield.runtime.reasons import machine_reason, reason_of

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
MOST_NAMED = 10  # failed or suspect shapes
DONE, ERROR, SOME_FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever cleans up after Ctrl-C cleans up after it too."""


class Parser(argparse.ArgumentParser):
    """argparse, but wrong usage exits with 1: 2 means that single shapes failed."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ERROR, f"error: {message}\n")


def say(line: str) -> None:
    """Print a line for the person at the terminal, at once."""
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def tell(line: str) -> None:
    """The same on the error stream, where the output may go into a file."""
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def first_of(lines: Sequence[str], *, rest: str) -> list[str]:
    """The first ten lines, and how many more `rest` (a file) has: what fails names itself on the screen."""
    more = len(lines) - MOST_NAMED
    return [*lines[:MOST_NAMED], *([f"... and {more} more, see {rest}"] if more > 0 else [])]


def printable(text: str) -> str:
    """The text with escapes for what would move the cursor, turn the line around or is no text: names hold anything."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def page_at(out: Path | None, default: Path) -> Path:
    """The page that --out asks for: a file called .html, or one of the default's name in the folder that it names."""
    if out is None:
        return default
    return out if out.suffix.lower() in (".html", ".htm") and not out.is_dir() else out / default.name


def run(main: Callable[[], int], *, error: int = ERROR, again: str = "") -> NoReturn:
    """Call `main` and exit with its status; turn the errors a user can cause into one line, and exit with `error`.

    `again`: the option with which the command goes on after an interrupt. ISOFIELD_TRACEBACK=1 prints tracebacks too.
    """
    try:
        with _terminated_by_signal():
            status = main()
    except KeyboardInterrupt as problem:
        terminated = isinstance(problem, Terminated)
        how, status = ("terminated", TERMINATED) if terminated else ("interrupted", INTERRUPTED)
        sys.stderr.write(f"{how}; run the same command again{_with(again)} to continue{_typed(again)}\n")
    except (ValueError, OSError, MemoryError, RuntimeError) as problem:
        stopped = machine_reason(problem)
        if isinstance(problem, RuntimeError) and stopped is None:
            raise  # a mistake of ours: the traceback says where
        if os.environ.get("ISOFIELD_TRACEBACK"):
            traceback.print_exc()
        # A disk that is full is nobody's mistake: what to do is said beside the error.
        kept = stopped is not None or isinstance(problem, WriteError)
        hint = ". What is finished is kept: when the cause is gone, run the same command again" if kept else ""
        hint += _with(again) + _typed(again) if kept else ""
        sys.stderr.write(f"error: {printable(stopped or reason_of(problem))}{hint}\n")
        status = error
    sys.exit(status)


def command_of(main: Callable[..., int], *, error: int = ERROR, again: str = "") -> Callable[..., NoReturn]:
    """The whole process of a command: `main(arguments, prog=...)`, ending as `run` ends it."""

    def command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> NoReturn:
        run(lambda: main(arguments, prog=prog), error=error, again=again)

    return command


def _with(again: str) -> str:
    return f" with {again}" if again else ""


def _typed(again: str) -> str:
    """The command as it was typed, where that can be told."""
    line = same_command(*([again] if again else []))
    return f": {printable(line)}" if line else ""


@contextlib.contextmanager
def _terminated_by_signal() -> Iterator[None]:
    """SIGTERM raises Terminated, once: launchers send it twice, and the first one is still tidying up."""

    def end(number: int, frame: FrameType | None) -> None:
        # Ignored from here on: a second one would interrupt the cleaning up.
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    # Python lets the main thread alone set what a signal does.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    ended = False
    try:
        yield
    except Terminated:
        ended = True  # the process ends now, however often it is told to
        raise
    finally:
        if not ended:
            signal.signal(signal.SIGTERM, before)
