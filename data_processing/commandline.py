"""How every command of ours ends: one clear line on the error stream, and an exit status that means something.

0: all done. 1: an error, nothing (more) was done. 2: finished, but some shapes failed and are listed. 130: Ctrl-C.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

DONE, ERROR, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """argparse, but wrong usage exits with 1: 2 means that single shapes failed."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ERROR, f"error: {message}\n")


def say(line: str) -> None:
    """Print a line for the person at the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(main: Callable[[], int], *, error: int = ERROR, again: str = "") -> NoReturn:
    """Call `main` and exit with its status; turn the errors a user can cause into one line, and exit with `error`.

    `again`: how to call the command after an interrupt. ISOFIELD_TRACEBACK=1 prints the traceback too.
    """
    try:
        status = main()
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; run the same command again{again} to continue\n")
        status = INTERRUPTED
    except (ValueError, OSError) as problem:
        if os.environ.get("ISOFIELD_TRACEBACK"):
            traceback.print_exc()
        sys.stderr.write(f"error: {problem}\n")
        status = error
    sys.exit(status)
