"""Watch a run, or several beside each other: `isofield curves RUN [RUN ...]`, also while they are trained.

One page out of their event files: losses, validation IoU and Chamfer, learning rate, throughput, pictures over time.
TensorBoard shows the same files: tensorboard --logdir RUN/logs.
"""

from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, page_at, say


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs/NAME")
    parser.add_argument(
        "--out", type=Path, metavar="PAGE", help="a .html, or a folder for it [RUN/curves.html; of several curves.html]"
    )
    options = parser.parse_args(arguments)

    # Imported only now: --help need not wait for it.
    from isofield.reports.event_files import read_events
    from isofield.reports.training import write_training_page
    from isofield.run_dir import RunDir

    runs = [RunDir(path).existing() for path in options.runs]
    names = [run.path.resolve().name for run in runs]
    names = names if len(set(names)) == len(names) else [str(path) for path in options.runs]
    if len(set(names)) < len(names):
        raise ValueError(f"a run is named twice: {', '.join(names)}")
    events = {name: read_events(run.logs) for name, run in zip(names, runs, strict=True)}
    page = page_at(options.out, (runs[0].path if len(runs) == 1 else Path()) / "curves.html")
    write_training_page(page, events, title=", ".join(names))
    for note in [note for each in events.values() for note in each.notes]:
        say(f"note: {note}")
    say(f"done: {len(runs)} runs; next: open the page: {page}")
    return DONE


command = command_of(main)
