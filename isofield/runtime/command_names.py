"""What to type for a command of ours, in hints: as the user typed the one that prints the hint.

`isofield train` where he came through `isofield` (or calls us as a library), `python -m isofield train` where he typed
that, and the script where he started a script of the checkout.
"""

import shlex
import sys
from pathlib import PurePath

SCRIPTS = {
    "prepare": ("python", "-m", "data_processing"),
    "train": ("python", "train.py"),
    "generate": ("python", "generate.py"),
    "evaluate": ("python", "evaluate.py"),
    "analyse": ("python", "analyse.py"),
}
# What stands in sys.argv[0] after each of them; worker processes inherit it.
STARTED_BY_SCRIPT = {("data_processing", "__main__.py")} | {("", words[-1]) for words in SCRIPTS.values()}


def command_line(command: str, *words: str) -> str:
    """A line to type: `command` as `isofield --help` lists it, then its arguments, quoted where a shell needs it."""
    return shlex.join([*_door(command), *words])


def kept_line(command: str, *words: str) -> str:
    """`command_line` for rows and files: they say the same whichever way the command that wrote them was called."""
    return shlex.join(["isofield", command, *words])


def as_typed(text: str) -> str:
    """A text that names commands by their scripts, such as the docstring behind --help, with what the user types."""
    for command, words in SCRIPTS.items():
        text = text.replace(" ".join(words), " ".join(_door(command)))
    return text


def _door(command: str) -> tuple[str, ...]:
    started = PurePath(sys.argv[0] if sys.argv else "")
    folder, name = started.parent.name, started.name
    if (folder, name) == ("isofield", "__main__.py"):
        return "python", "-m", "isofield", command
    by_script = (folder, name) in STARTED_BY_SCRIPT or ("", name) in STARTED_BY_SCRIPT
    return SCRIPTS.get(command, ("isofield", command)) if by_script else ("isofield", command)
