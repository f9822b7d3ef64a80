"""Compare meshes with their ground truth: `python evaluate.py --run runs/NAME --split test [--protocol imnet ...]`.

Or any two folders: `python evaluate.py --pred DIR --gt DIR`. Writes JSON and CSV for each protocol, and report.html.
`--protocol masks` compares NIfTI masks on the grid of their scan, in millimetres. `--run runs/NAME --samples`, or
`--pred DIR --gt DIR --protocol generative lfd`, judge a set of shapes against another, whatever their names.
`--run runs/ORGAN --calibrate` lets clean masks that the run never saw say what is usual, for analyse.py;
`--run runs/NAME --calibrate inputs` held-out shapes, so that generate.py says which inputs are unlike the training.
Under torchrun the ranks share the shapes out; stopped, it goes on, with any number of ranks.
"""

import argparse
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isofield.commands.judge import WHAT, judge
from isofield.evaluation.options import LIGHT_FIELDS, pairs_of, pictured_up, read_options
from isofield.runtime.atomic_files import remove_leftovers
from isofield.runtime.commandline import DONE, SOME_FAILED, command_of, say
from isofield.runtime.invocation import next_command

if TYPE_CHECKING:
    from isofield.runtime.distributed import Group


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    return evaluate(read_options(arguments, __doc__, prog=prog))


def evaluate(options: argparse.Namespace) -> int:
    """Pairs, sets or a calibration, whichever was asked for; returns the exit status."""
    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    import torch

    from isofield.outliers.scoring.calibrate import calibrate_run
    from isofield.packs.writing.calibrate_inputs import calibrate_inputs_of_run
    from isofield.runtime.distributed import resolve_device, session
    from isofield.runtime.processes import is_first_alone

    if options.calibrate:
        if not is_first_alone("calibration"):
            return DONE
        device = resolve_device(options.device)
        if options.calibrate == "inputs":
            found = calibrate_inputs_of_run(options.run, data=options.data, split=options.split, device=device)
            say(found.description())
            say(f"done; next: {next_command('generate', '--run', options.run, '--input', 'FILE')}")
            return DONE
        say(calibrate_run(options.run, data=options.data, split=options.split, device=device).description())
        following = next_command("analyse", "--models", options.run, "--input", "FOLDER_OF_SCANS", "--out", "OUT")
        say(f"done: {options.run} judges masks now; next: {following}")
        return DONE
    torch.set_num_threads(1)  # the operators are small: more processes pay, more threads do not
    if options.samples:
        return judge(options) if is_first_alone("judging sets of shapes") else DONE
    with session("cpu", collectives=False, part=options.part) as group:
        return compare(options, group)


def compare(options: argparse.Namespace, group: "Group") -> int:
    """Every shape with its own ground truth."""
    from isofield.evaluation.ending import describe_end
    from isofield.evaluation.protocols import find_protocols
    from isofield.evaluation.resume import are_evaluated, journal_of, rows_of_ranks
    from isofield.evaluation.rows import SampleCounts, by_protocol, each_pair
    from isofield.evaluation.tables import write_tables
    from isofield.reports.pairs import drawing_of, write_report
    from isofield.run_dir import exclusive
    from isofield.runtime.shares import share_out

    protocols = find_protocols(options.protocol, tolerance=options.tolerance)
    draws = SampleCounts(seed=options.seed, points=options.points, iou_points=options.iou_points)
    what = pairs_of(options)
    out = options.out or what.out
    with_options = {"workers": options.workers, "light_fields": out / LIGHT_FIELDS, "progress": group.is_shown}
    # Where the report shows every shape, pictures are drawn while its files are in memory; of more, some are chosen.
    up = pictured_up(options, told=group.is_first)
    draw = drawing_of(protocols, up=up) if len(what.pairs) <= options.pictures else None
    each = functools.partial(each_pair, protocols=protocols, draws=draws, draw=draw, **with_options)

    def work(group: "Group", *, joining: bool = False) -> int | None:
        """The exit status where the results of all are written; None elsewhere."""
        with exclusive(out, group.rank, what=WHAT, part=group.part):
            remove_leftovers([out, out / LIGHT_FIELDS] if group.is_first else [])
            # Shapes are shared out among the ranks; rows that an earlier call noted are taken from the journal.
            journal = journal_of(out, what, protocols, draws, rank=group.rank)
            rows = rows_of_ranks(what.pairs, each, journal, group, keep_failed=joining)
            if not group.is_first:
                return None
            # The first rank alone has all rows. Pictures belong to the report, not to the tables.
            drawn = {of_pair[0]["name"]: of_pair[0].pop("pictures", None) for of_pair in rows}
            evaluations = write_tables(by_protocol(rows, protocols), protocols, draws, what, out)
            report, most = out / what.report, options.pictures
            write_report(report, evaluations, what.pairs, title=what.title, up=up, pictures=most, drawn=drawn)
            journal.remove()
        for line in describe_end(evaluations, report):
            say(line)
        return SOME_FAILED if any(evaluation["failed"] for evaluation in evaluations) else DONE

    is_whole = lambda: are_evaluated(what.pairs, journal_of(out, what, protocols, draws))  # noqa: E731
    status = share_out(work, group, out, what=WHAT, is_whole=is_whole)
    return DONE if status is None else status


command = command_of(main)
