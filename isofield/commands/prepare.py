"""python -m data_processing --config configs/data/NAME.yaml [--set k=v ...]: a folder of raw files to a data set.

Run it again after an interruption, however it came: it does only what is missing. Under `torchrun` each rank takes its
share of the shards, and the first writes the index when all are done (and torchrun itself ends with 1, not 2, when some
shapes failed). In the end inspect.html in the data set shows what it made: failed and suspect shapes first.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, say, tell
from isofield.runtime.imports import without_collection
from isofield.runtime.invocation import as_typed
from isofield.runtime.parts import HELP, part_of, refuse_ranks, without_part

# Of the page: shapes, and of how many is shown where the inside tests disagree. A few seconds for any data set.
PICTURES, SLICES = 24, 2


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    prog = prog or "python -m data_processing"
    parser = Parser(prog=prog, description=as_typed(__doc__ or ""))
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one: data/meshes")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="K=V", help="override: seed=1")
    parser.add_argument(
        "--show-config", action="store_true", help="print the resolved config (the data set keeps it too)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the resolved config and stop")
    parser.add_argument("--no-inspect", action="store_true", help="draw no page of what was made (inspect.html)")
    parser.add_argument("--part", type=part_of, metavar="K/N", help=HELP)
    options = parser.parse_args(words)

    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    with without_collection():
        import torch

        from data_processing.preparation.config import DataConfig, config_file
        from data_processing.preparation.job import prepare_folder
        from data_processing.preparation.parts import prepare_part
        from isofield.runtime.config import read_config, to_yaml
        from isofield.runtime.distributed import session

    config = read_config(options.config, DataConfig, overrides=options.set)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank == 0:
        say(to_yaml(config) if options.show_config or options.dry_run else f"resolved config: {config_file(config)}")
    if options.dry_run:
        tell("a dry run: nothing was done; next: the same command without --dry-run")
        return DONE
    refuse_ranks(options.part)
    draw = None if options.no_inspect else draw_page
    if options.part is not None:
        command = f"{prog} {shlex.join(without_part(words))}"
        return prepare_part(config, options.part, command=command, draw=draw)
    # Ranks of other launchers do not know of each other: whoever finds all shards there writes the index.
    joined = torch.distributed.is_torchelastic_launched()
    with session("cpu", collectives=False) if joined else contextlib.nullcontext() as group:
        wait = None if group is None else group.wait
        command = f"{prog} {shlex.join(words)}"
        return prepare_folder(config, command=command, rank=rank, world=world, wait=wait, draw=draw)


def draw_page(folder: Path) -> Path:
    """The page of a data set, as `isofield inspect` draws it, with few pictures; returns where it is.

    ValueError for what cannot be drawn.
    """
    from data_processing.store.shape_set import open_shapes
    from isofield.reports.dataset import PAGE, write_dataset_page
    from isofield.runtime.compiled import sparing_kernels

    with sparing_kernels():
        write_dataset_page(folder / PAGE, open_shapes(folder), pictures=PICTURES, slices=SLICES)
    return folder / PAGE


command = command_of(main)
