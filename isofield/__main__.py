"""One command for all: `isofield prepare | train | generate | evaluate | analyse` and those of COMMANDS below.

`python -m isofield` is the same, and under torchrun `torchrun -m isofield train ...`. Nothing heavy is imported before
the arguments of the command are read: --help and a misspelt option answer at once.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import isofield
from isofield.runtime.commandline import DONE, ERROR, say
from isofield.runtime.hints import did_you_mean
from isofield.runtime.invocation import hand_over

# Module and what the command does. Each module has `command(arguments, prog=...)`, which ends the process.
COMMANDS = {
    "prepare": ("isofield.commands.prepare", "a folder of meshes, voxels or label volumes to a data set"),
    "inspect": ("isofield.commands.inspect", "what preparation made of your data, what to look at first: a page"),
    "train": ("isofield.commands.train", "a model on a data set"),
    "curves": ("isofield.commands.curves", "a run, or several, over their steps: losses, scores, pictures"),
    "generate": ("isofield.commands.generate", "meshes of a split, of your own files, out of noise, of a walk"),
    "evaluate": ("isofield.commands.evaluate", "meshes or masks against their ground truth: tables and a report"),
    "compare": ("isofield.commands.compare", "evaluated runs side by side: one table, who wins, where they differ"),
    "analyse": ("isofield.commands.analyse", "bad organ masks in a folder of scans"),
    "import": ("isofield.commands.import_weights", "published weights into a run"),
    "pack": ("isofield.commands.pack", "a trained run into a folder or zip that can be given away"),
    "configs": ("isofield.commands.configs", "the configurations that come along: --config imnet/small"),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Hand the rest of the line to a command; it ends with the command's exit status, 1 for wrong usage."""
    if arguments is None:
        hand_over()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        say(usage())
        sys.exit(DONE if words else ERROR)
    if words[0] in ("-V", "--version"):
        say(f"isofield {isofield.__version__}")
        sys.exit(DONE)
    name = words[0]
    if name not in COMMANDS:
        hint = f"{did_you_mean(name, COMMANDS)} known: {', '.join(COMMANDS)}".lstrip()
        sys.stderr.write(f"error: isofield {name}: no such command; {hint}\n")
        sys.exit(ERROR)
    importlib.import_module(COMMANDS[name][0]).command(words[1:], prog=f"isofield {name}")
    raise AssertionError(f"{name} came back")  # a command ends its process


def usage() -> str:
    """What `isofield --help` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: isofield COMMAND ... (isofield COMMAND --help tells its options)", "", *lines])


if __name__ == "__main__":
    main()
