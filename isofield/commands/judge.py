"""Judge a set of shapes against another: what `evaluate.py --samples` and its protocols of sets do."""

import argparse

from isofield.evaluation.options import LIGHT_FIELDS, generative_settings, pictured_up, sets_of
from isofield.runtime.commandline import DONE, SOME_FAILED, say

WHAT = "evaluation"  # in messages


def judge(options: argparse.Namespace) -> int:
    """Writes JSON and CSV for each protocol and the report; returns the exit status."""
    from isofield.evaluation import set_tables
    from isofield.evaluation.ending import describe_end
    from isofield.evaluation.protocols import protocols_of_sets
    from isofield.evaluation.set_rows import Machine, evaluate_sets
    from isofield.evaluation.tables import write_json
    from isofield.reports.sets import write_sets_report
    from isofield.run_dir import exclusive
    from isofield.runtime.distributed import describe_device, resolve_device

    protocols, settings = protocols_of_sets(options.protocol), generative_settings(options)
    device, sets = resolve_device(options.device), sets_of(options)
    say(describe_device(options.device, device))
    out = options.out or sets.out
    with exclusive(out, 0, what=WHAT):
        evaluations = evaluate_sets(sets, protocols, settings, Machine(device, options.workers, out / LIGHT_FIELDS))
        for evaluation in evaluations:
            write_json(sets.result_file(out, evaluation["protocol"], ".json"), evaluation)
            set_tables.write_csv(sets.result_file(out, evaluation["protocol"], ".csv"), evaluation)
            say(set_tables.table(evaluation))
        report = out / sets.report
        up = pictured_up(options, told=True)
        write_sets_report(report, evaluations, sets, up=up, pictures=options.pictures)
    for line in describe_end(evaluations, report):
        say(line)
    return SOME_FAILED if any(evaluation["failed"] for evaluation in evaluations) else DONE
