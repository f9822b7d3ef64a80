"""How the user called us, so that what is to be typed next has the same form and works when it is pasted.

`isofield generate ...` after `isofield train ...`, `python generate.py ...` after `python train.py ...` in a checkout,
`python -m isofield generate ...` after that, `python mine.py generate ...` after a script that adds a model; with the
path of an interpreter or a command that is not the one on PATH.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = ("train", "generate", "evaluate", "analyse")  # at the root of a checkout, each called after its command
_handed_over = False  # the whole command line came from a program through isofield.__main__.main


def hand_over() -> None:
    """Told by `isofield.__main__.main` when it takes the command line of the program that called it."""
    global _handed_over
    _handed_over = True


def next_command(name: str, *words: object) -> str:
    """What to type to call the command `name` (of `isofield NAME`) with these arguments, as a line for the shell."""
    return shell_line([*_words(name), *map(str, words)])


def kept_line(name: str, *words: str) -> str:
    """`next_command` for rows and files: they say the same whichever way the command that wrote them was called."""
    return shlex.join(["isofield", name, *words])


def as_typed(text: str) -> str:
    """A text that names commands by their scripts, such as the docstring behind --help, with what the user types."""
    for name in SCRIPTS:
        text = text.replace(f"python {name}.py", shell_line(_words(name)))
    return text.replace("python -m data_processing", shell_line(_words("prepare")))


def resuming_command(*words: object) -> str:
    """What to type to train on: as `next_command`, under torchrun on as many processes of this machine as now."""
    launcher = _launcher()
    return shell_line([*(launcher or []), *_words("train", launched=bool(launcher)), *map(str, words)])


def same_command(*more: str) -> str:
    """What was typed, with `more` options where they were not there; "" where it cannot be told.

    That is so in a program that calls us, and on several machines, each of which was called in its own way.
    """
    launcher, own = _launcher(), _own_words()
    if launcher is None or own is None:
        return ""
    words = sys.argv[1:]
    # torchrun starts Python itself and wants the script, or -m and a module, behind its own options.
    own = own[1:] if launcher and own[0] == _python() else own
    return shell_line([*launcher, *own, *words, *(word for word in more if word not in words)])


def shell_line(words: Sequence[str]) -> str:
    """Words as one line of the system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _words(name: str, *, launched: bool = False) -> list[str]:
    """What a command begins with. `launched`: torchrun starts Python itself."""
    called, form = Path(sys.argv[0] if sys.argv else ""), _form()
    python = [] if launched else [_python()]
    if form == "script" and name in SCRIPTS:
        return [*python, str(called.with_name(f"{name}.py"))]
    if form in ("script", "prepare") and name == "prepare":
        return [*python, "-m", "data_processing"]
    if form == "own":  # `isofield` would not know the model that this script adds
        return [*python, str(called), name]
    if form in ("script", "prepare", "module") or launched:
        return [*python, "-m", "isofield", name]
    return [_shown("isofield", called) if form == "command" else "isofield", name]


def _own_words() -> list[str] | None:
    """What was typed before the arguments; None where we were not started by a command of ours."""
    called, form = Path(sys.argv[0] if sys.argv else ""), _form()
    if form == "command":
        return [_shown("isofield", called)]
    own = {
        "script": [str(called)],
        "own": [str(called)],
        "module": ["-m", "isofield"],
        "prepare": ["-m", "data_processing"],
    }
    return [_python(), *own[form]] if form in own else None


def _form() -> str:
    """script, module (python -m isofield), prepare (python -m data_processing), command (isofield), own; "" for others.

    own: a script of the user's that hands its line to `isofield.__main__.main` (docs/how-to/add-a-model.md).
    """
    called = Path(sys.argv[0] if sys.argv else "")
    if called.name == "__main__.py":
        return {"isofield": "module", "data_processing": "prepare"}.get(called.parent.name, "")
    if called.suffix == ".py" and called.stem in SCRIPTS:
        return "script"
    if called.suffix == ".py" and _handed_over:
        return "own"
    return "command" if called.stem == "isofield" else ""


def _launcher() -> list[str] | None:
    """torchrun, where it started us with several processes; None where they are on several machines."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return []
    if os.environ.get("WORLD_SIZE") != os.environ.get("LOCAL_WORLD_SIZE"):
        return None
    return ["torchrun", "--standalone", f"--nproc-per-node={os.environ['LOCAL_WORLD_SIZE']}"]


def _python() -> str:
    executable = Path(sys.executable or "python")
    # "python" where that is this very interpreter: with an environment that is not activated it is another one.
    return next((name for name in ("python", "python3") if _is_first(name, executable)), _near(executable))


def _shown(name: str, called: Path) -> str:
    """The name alone where the shell finds this very file by it."""
    return name if _is_first(name, called) else _near(called)


def _is_first(name: str, file: Path) -> bool:
    """Whether the shell finds this very file by its name. Links are not followed: an environment's Python is one."""
    there = shutil.which(name)
    return there is not None and os.path.abspath(there) == os.path.abspath(file)


def _near(file: Path) -> str:
    """A path from here where it is below, as people type it."""
    return os.path.relpath(file) if file.is_absolute() and Path.cwd() in file.parents else str(file)
