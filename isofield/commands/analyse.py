"""Find bad organ masks in a folder: `python analyse.py --models runs/ORGAN [...] --input FOLDER --out OUT`.

Each organ of each scan is reconstructed by the prior of that organ, judged, and told in a row of OUT/results.csv: OK,
OUTLIER, PARTIAL, UNSURE, NO_MODEL, EMPTY or ERROR. OUT/report.html shows where, the worst first. The input is never
written to. Exit status: 0 no outliers, 1 outliers, 2 errors. Stopped, it goes on with --resume.
"""

import argparse
import functools
from collections.abc import Sequence

from isofield.outliers.analysis.options import read_options, settings_of, table_of
from isofield.runtime.commandline import SOME_FAILED, command_of, say

WHAT = "analysis"  # in messages
MEANINGS = {0: "no outliers", 1: "some masks are outliers", 2: "some could not be read or judged"}


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    return analyse_folder(read_options(arguments, __doc__, prog=prog))


def analyse_folder(options: argparse.Namespace) -> int:
    """From a folder of scans to a table of rows and a report; returns the exit status."""
    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    from data_processing.medical.label_names import Naming
    from isofield.outliers.analysis.folder import AnalysisJob, analyse, are_analysed, refuse_nameless
    from isofield.outliers.analysis.journal import open_journal
    from isofield.outliers.analysis.organs import known_names
    from isofield.outliers.analysis.priors import load_priors
    from isofield.outliers.analysis.report import write_report
    from isofield.outliers.analysis.rows import apply_thresholds, exit_status, table, write_results
    from isofield.outliers.analysis.scans import find_scans, left_out_of
    from isofield.run_dir import exclusive
    from isofield.runtime import distributed
    from isofield.runtime.distributed import Group
    from isofield.runtime.shares import share_out

    settings = settings_of(options)
    naming = Naming(options.labels, options.threshold)
    with distributed.session(options.device, collectives=False, part=options.part) as group:
        priors = load_priors(options.models, which=options.checkpoint, device=group.device)
        known = known_names(priors, table_of(options.labels))
        scans = find_scans(options.input, known, pattern=options.pattern, layout=options.layout)
        left_out = left_out_of(options.input, pattern=options.pattern, layout=options.layout)
        if group.is_first and left_out:
            say(left_out)
        refuse_nameless(scans, naming)  # before anything is written
        job = AnalysisJob(options.input, options.out, priors, naming, settings, group.device)
        title = f"Organ masks of {options.input.resolve().name}"
        asked = {key: value for key, value in vars(options).items() if key != "part"} | {"scans": len(scans)}

        def work(group: Group, *, joining: bool = False) -> int | None:
            """The exit status where the results of all are written; None elsewhere."""
            with exclusive(options.out, group.rank, what=WHAT, part=group.part):
                rows = analyse(job, scans, group=group, resume=options.resume or joining, keep_failed=joining)
                if not group.is_first:
                    return None
                rows = apply_thresholds(rows, fpr=options.fpr, across_folder=options.bh)
                write_results(options.out, rows, asked)
                report = write_report(options.out, rows, priors, fpr=options.fpr, title=title, inputs=options.input)
                open_journal(options.out).keep_record()
            for prior in priors:
                say(prior.about(options.fpr))
            say(table(rows, options.out))
            status = exit_status(rows)
            say(f"done: {MEANINGS[status]} (exit status {status}); next: open the report: {report}")
            return status

        is_whole = functools.partial(are_analysed, job, scans)
        status = share_out(work, group, options.out, what=WHAT, is_whole=is_whole, again="--resume")
    return 0 if status is None else status


command = command_of(main, error=SOME_FAILED, again="--resume")
