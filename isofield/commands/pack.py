"""Pack a trained run to be given away: `isofield pack RUN OUT`, a folder or a .zip, with a card and checksums.

--run and --models of every command, and isofield.load, take what comes out: the folder, the zip, or
hf:OWNER/NAME@REVISION where it lies on a hub. Meshes made with it equal those of the run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, say
from isofield.runtime.invocation import next_command


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory, such as runs/demo")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder, or a file that ends with .zip; not there yet")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step [best]")
    parser.add_argument("--precision", default="float32", choices=("float32", "float16", "bfloat16"), help="[float32]")
    parser.add_argument("--bound", type=float, default=0.02, help="most that rounding moves the field [0.02]")
    parser.add_argument("--licence", default="", metavar="TEXT", help="of the weights, such as cc-by-4.0 [not stated]")
    parser.add_argument("--card", type=Path, metavar="FILE", help="Markdown for its README.md: data, credits, limits")
    parser.add_argument("--no-calibration", action="store_true", help="leave all calibrations out")
    return pack(parser.parse_args(arguments))


def pack(options: argparse.Namespace) -> int:
    """From a run to a pack; returns the exit status."""
    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    from isofield.packs.find_run import find_run
    from isofield.packs.writing.card import CardText
    from isofield.packs.writing.pack import PackOptions, pack_run

    about = ""
    if options.card is not None:
        about = options.card.read_text(encoding="utf-8")
    if not options.bound >= 0:
        raise ValueError(f"--bound: expected a share of at least 0, got {options.bound}")
    asked = PackOptions(
        which=options.checkpoint,
        precision=options.precision,
        text=CardText(options.licence, about),
        bound=options.bound,
        with_calibration=not options.no_calibration,
    )
    made = pack_run(find_run(options.run), options.out, asked)
    if made.change is not None:
        say(f"{options.precision}: the field moves by at most {made.change}; bound {options.bound:.2%}")
    if made.unfinished:
        say(f"note: {made.unfinished}; its README.md says so")
    if not options.licence:
        say("note: no --licence was given; its README.md says 'not stated'")
    size = sum(map(len, made.images.values()))
    following = next_command("generate", "--run", options.out, "--input", "FILE")
    say(f"{options.out}: {len(made.images)} files, {size:,} bytes, model {made.manifest.model_hash}; next: {following}")
    return DONE


command = command_of(main)
