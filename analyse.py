"""Find bad organ masks in a folder: `python analyse.py --models runs/ORGAN [...] --input FOLDER --out OUT`.

Each organ of each scan is reconstructed by the prior of that organ, judged, and told in a row of OUT/results.csv: OK,
OUTLIER, PARTIAL, UNSURE, NO_MODEL, EMPTY or ERROR. OUT/report.html shows where, the worst first. The input is never
written to. Exit status: 0 no outliers, 1 outliers, 2 errors. Stopped, it goes on with --resume.
"""

import sys

from data_processing.commandline import SOME_FAILED, run, say
from engine import distributed
from engine.run_dir import at_work
from outliers.analysis import Job, analyse, refuse_nameless
from outliers.analysis_options import read_options, settings_of, table_of
from outliers.priors import load_priors
from outliers.report import write_report
from outliers.rows import exit_status, settled, table, write_results
from outliers.scans import find_scans
from outliers.wanted import Naming, known_names


def main() -> int:
    options = read_options(sys.argv[1:], __doc__)
    settings = settings_of(options)
    naming = Naming(options.labels, options.threshold)
    with distributed.session(options.device) as group:
        priors = load_priors(options.models, which=options.checkpoint, device=group.device)
        known = known_names(priors, table_of(options.labels))
        scans = find_scans(options.input, known, pattern=options.pattern, layout=options.layout)
        refuse_nameless(scans, naming)  # before anything is written
        with at_work(options.out, group.rank, what="analysis"):
            job = Job(options.input, options.out, priors, naming, settings, group.device)
            rows = analyse(job, scans, group=group, resume=options.resume)
            if not group.is_first:
                return 0
            rows = settled(rows, fpr=options.fpr, across_folder=options.bh)
            write_results(options.out, rows, vars(options) | {"scans": len(scans)})
            title = f"Organ masks of {options.input.resolve().name}"
            report = write_report(options.out, rows, priors, fpr=options.fpr, title=title)
        for prior in priors:
            say(prior.about(options.fpr))
        say(table(rows, options.out))
        say(f"report: {report}")
    return exit_status(rows)


if __name__ == "__main__":
    run(main, error=SOME_FAILED, again=" with --resume")
