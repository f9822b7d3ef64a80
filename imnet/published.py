"""Published IM-NET weights become a run: `isofield import imnet FILE.pth --out runs/NAME [--data PATH]`.

`python -m imnet.published` is the same.
"""

from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog=prog or "python -m imnet.published", description="Make a run out of published IM-NET weights.")
    parser.add_argument("file", type=Path, help="published checkpoint (.pth) of an autoencoder or of single view")
    parser.add_argument("--out", type=Path, required=True, help="the run to make: runs/NAME")
    parser.add_argument("--data", type=Path, default=Path("datasets/published"), help="data set to evaluate on")
    parser.add_argument("--output-clip", choices=("leaky", "hard"), default="leaky", help="hard: trained in TensorFlow")
    parser.add_argument(
        "--autoencoder", type=Path, metavar="FILE", help="of single view: its autoencoder, for codes of voxels"
    )
    options = parser.parse_args(arguments)

    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    from imnet.published_weights import make_run

    make_run(options)
    return DONE


command = command_of(main)


if __name__ == "__main__":
    command()
