"""Published IF-Net weights become a run: `isofield import ifnet FILE.tar --setup voxels_128 --align-corners true
--out runs/NAME`; `isofield import ifnet --organ-folder DIR [--out runs/ORGAN]` of a published organ model.

A published checkpoint does not say how points were sampled nor how convolutions were padded: both are asked for, and
stored in the run's config. `python -m ifnet.published` is the same.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of

# What each means: published_weights.SETUPS.
SETUP_NAMES = ("voxels_32", "voxels_128", "points_300", "points_3000", "single_view", "organs")


def read_options(arguments: Sequence[str] | None, *, prog: str | None = None) -> argparse.Namespace:
    """An organ folder brings its set-up along; else what the weights do not say is asked for."""
    parser = Parser(prog=prog or "python -m ifnet.published", description="Make a run out of published IF-Net weights.")
    parser.add_argument("file", type=Path, nargs="?", help="published checkpoint (.tar)")
    parser.add_argument("--organ-folder", type=Path, help="published organ model: a folder called by a label number")
    parser.add_argument("--checkpoint", help="of an organ folder [that of the least validation loss]")
    parser.add_argument("--setup", choices=SETUP_NAMES, help="what the weights were trained for")
    parser.add_argument("--align-corners", choices=("true", "false"), help="true: the original weights; false: organs")
    parser.add_argument("--conv-padding", choices=("zeros", "replicate"), help="none: zeros, but replicate for organs")
    parser.add_argument("--out", type=Path, help="the run to make: runs/NAME [runs/ORGAN of an organ folder]")
    parser.add_argument("--data", type=Path, default=Path("datasets/published"), help="data set to evaluate on")
    options = parser.parse_args(arguments)
    if (options.file is None) == (options.organ_folder is None):
        parser.error("expected a published checkpoint, or --organ-folder")
    # Organ models were all trained in one way; of other weights nobody can see how, so it has to be said.
    if options.organ_folder is not None:
        if options.setup not in (None, "organs"):
            parser.error("an organ folder has the set-up organs")
        options.setup, options.align_corners = "organs", options.align_corners or "false"
    missing = [name for name in ("setup", "align_corners", "out") if getattr(options, name) is None]
    if missing and (options.organ_folder is None or missing != ["out"]):
        named = ", ".join("--" + name.replace("_", "-") for name in missing)
        parser.error(f"the following arguments are required: {named}")
    return options


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    options = read_options(arguments, prog=prog)

    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    from ifnet.published_weights import make_run

    make_run(options)
    return DONE


command = command_of(main)


if __name__ == "__main__":
    command()
