"""A command of ours that sends itself a signal before it renames a file: at the same moment on any machine.

    python -m tests.signalled SIGKILL '*.ply' 3 generate.py --run runs/NAME --split test

Just before the third file whose path fits the pattern gets its name. `-m MODULE` instead of a script as usual.
"""

import fnmatch
import os
import runpy
import signal
import sys
from typing import Any


def main() -> None:
    name, pattern, count, *words = sys.argv[1:]
    number, left = signal.Signals[name], int(count)
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)  # what runs in the background of a shell ignores it

    def heard(event: str, details: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.rename" and fnmatch.fnmatch(str(details[1]), pattern):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    sys.addaudithook(heard)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
