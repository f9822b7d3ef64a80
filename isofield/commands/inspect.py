"""See what preparation made of your data: `isofield inspect DATASET [--config TRAINING]`.

One page: suspect and failed shapes first, each with method, quality, reason, volume and what to do about it; where the
two tests of inside disagree, in colour; splits and categories as bars; with --config what that network will see.
"""

from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, page_at, say


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="a prepared data set, or published files")
    parser.add_argument("--config", metavar="FILE", help="a training config, a file or a name of one that comes along")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of --config")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="a .html, or a folder for it [DATASET/inspect.html]")
    parser.add_argument("--up", choices=["y", "z"], help="axis that is up in pictures [as in the data]")
    parser.add_argument("--pictures", type=int, default=60, metavar="N", help="most shapes to show [60]")
    options = parser.parse_args(arguments)
    if options.set and options.config is None:
        parser.error("--set: only for --config")
    if options.pictures < 0:
        parser.error(f"--pictures: expected at least 0, got {options.pictures}")

    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    from data_processing.store.shape_set import open_shapes
    from isofield.config import read_run_config
    from isofield.registry import resolve
    from isofield.reports.dataset import PAGE, write_dataset_page
    from isofield.up_axis import up_in_pictures, up_of_shapes

    config = None
    if options.config is not None:
        config = resolve(read_run_config(options.config, overrides=options.set), where=options.config)
    shapes = open_shapes(options.dataset)
    in_folder = options.dataset if options.dataset.is_dir() else options.dataset.parent
    page = page_at(options.out, in_folder / PAGE)
    up, line = up_in_pictures(options.up, up_of_shapes(shapes))
    if line:
        say(line)
    kinds = write_dataset_page(page, shapes, config=config, up=up, pictures=options.pictures)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    say(f"done: {counts}; next: open the page: {page}")
    return DONE


command = command_of(main)
