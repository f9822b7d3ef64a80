"""Published weights into a run: `isofield import imnet FILE --out runs/NAME`, `isofield import ifnet FILE ...`."""

import importlib
import sys
from collections.abc import Sequence

from isofield.runtime.commandline import DONE, ERROR, Parser, command_of

FAMILIES = {"imnet": "imnet.published", "ifnet": "ifnet.published"}


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """The family's own command reads the rest of the line. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(prog=prog, description="Make a run out of published weights, as train.py would have left it.")
    parser.add_argument("family", choices=FAMILIES, help="which model; `isofield import imnet --help`: its options")
    if not words or words[0] not in FAMILIES:
        parser.parse_args(words[:1])  # ends the process with its usage
        return DONE if words else ERROR
    status: int = importlib.import_module(FAMILIES[words[0]]).main(words[1:], prog=f"{parser.prog} {words[0]}")
    return status


command = command_of(main)
