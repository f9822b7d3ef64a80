"""A set of samples against a set of references, as evaluate.py was asked to: judged, written, reported."""

import argparse

from data_processing.commandline import DONE, SOME_FAILED, say
from engine import sets_summary
from engine.distributed import resolve_device
from engine.evaluation_options import LIGHT_FIELDS, generative_settings, sets_of
from engine.protocols import protocols_of_sets
from engine.run_dir import at_work
from engine.sets_evaluation import Machine, evaluate_sets
from engine.sets_report import write_sets_report
from engine.summary import write_json


def judge(options: argparse.Namespace) -> int:
    """Writes JSON and CSV for each protocol and the report; returns the exit status."""
    protocols, settings = protocols_of_sets(options.protocol), generative_settings(options)
    device, sets = resolve_device(options.device), sets_of(options)
    out = options.out or sets.out
    machine = Machine(device, options.workers, out / LIGHT_FIELDS)
    with at_work(out, 0, what="evaluation"):
        evaluations = evaluate_sets(sets, protocols, settings, machine)
        for evaluation in evaluations:
            write_json(sets.result_file(out, evaluation["protocol"], ".json"), evaluation)
            sets_summary.write_csv(sets.result_file(out, evaluation["protocol"], ".csv"), evaluation)
            say(sets_summary.table(evaluation))
        report = out / sets.report
        write_sets_report(report, evaluations, sets, up=options.up, pictures=options.pictures)
    say(f"report: {report}")
    return SOME_FAILED if any(evaluation["failed"] for evaluation in evaluations) else DONE
