"""Compare meshes with their ground truth: `python evaluate.py --run runs/NAME --split test [--protocol imnet ...]`.

Or any two folders: `python evaluate.py --pred DIR --gt DIR`. Writes JSON and CSV for each protocol, and report.html.
`--protocol masks` compares NIfTI masks on the grid of their scan, in millimetres.
"""

import argparse
from pathlib import Path

import torch

from data_processing.commandline import DONE, SOME_FAILED, Parser, run, say
from engine.evaluation import Draws, evaluate_pairs
from engine.mask_pairs import folder_masks_to_compare, run_masks_to_compare
from engine.pairs import AGAINST, Comparison, folders_to_compare, run_to_compare
from engine.protocols import KNOWN, MASKS, find_protocols
from engine.report import write_report
from engine.summary import summarise, table, write_csv, write_json


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("--run", type=Path, help="run whose generated meshes are judged; give --split too")
    parser.add_argument("--split", help="train, val or test of the run's data set")
    parser.add_argument("--pred", type=Path, help="folder of meshes to judge, instead of a run")
    parser.add_argument("--gt", type=Path, help="folder of ground truth of the same names: meshes, voxels or clouds")
    parser.add_argument("--data", type=Path, help="another data set than the run's own")
    parser.add_argument("--against", choices=AGAINST, default="source", help="of a run: source meshes or stored voxels")
    parser.add_argument(
        "--protocol", nargs="+", default=["imnet", "onet"], metavar="NAME", help=f"of {', '.join(KNOWN)}"
    )
    parser.add_argument("--tolerance", type=float, help="mm within which the surfaces of masks count as equal")
    parser.add_argument("--points", type=int, help="surface points, instead of the protocol's number")
    parser.add_argument("--iou-points", type=int, help="points for IoU, instead of the protocol's number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: by cores and shapes; same numbers")
    parser.add_argument("--pictures", type=int, default=60, help="most shapes shown in the report; 0: none")
    parser.add_argument("--up", choices=["y", "z"], default="y", help="the axis that points up in the pictures")
    parser.add_argument("--out", type=Path, help="folder of the results; default: beside the meshes")
    arguments = parser.parse_args()
    if (arguments.run is None) == (arguments.pred is None):
        parser.error("give either --run (with --split) or --pred (with --gt)")
    if (arguments.run and not arguments.split) or (arguments.pred and not arguments.gt):
        parser.error("--run needs --split, --pred needs --gt")

    protocols = find_protocols(arguments.protocol, tolerance=arguments.tolerance)
    draws = Draws(seed=arguments.seed, points=arguments.points, iou_points=arguments.iou_points)
    what = compared(arguments)
    out = arguments.out or what.out
    out.mkdir(parents=True, exist_ok=True)  # fails now rather than after the work
    torch.set_num_threads(1)  # the operators are small: more processes pay, more threads do not
    rows = evaluate_pairs(what.pairs, protocols, draws, workers=arguments.workers)
    evaluations = []
    for protocol in protocols:
        evaluation = summarise(rows[protocol.name], protocol, draws, split=what.split, about=what.about)
        write_json(what.result_file(out, protocol.name, ".json"), evaluation)
        write_csv(what.result_file(out, protocol.name, ".csv"), evaluation)
        say(table(evaluation))
        evaluations.append(evaluation)
    report = out / what.report
    write_report(report, evaluations, what.pairs, title=what.title, up=arguments.up, pictures=arguments.pictures)
    say(f"report: {report}")
    return SOME_FAILED if any(evaluation["failed"] for evaluation in evaluations) else DONE


def compared(arguments: argparse.Namespace) -> Comparison:
    """The pairs of a run's split, or of two folders."""
    against, truth, data = arguments.against, arguments.gt, arguments.data
    if set(arguments.protocol) == {MASKS}:
        if arguments.run is None:
            return folder_masks_to_compare(arguments.pred, truth)
        return run_masks_to_compare(arguments.run, arguments.split, truth_folder=truth, data=data)
    if arguments.run is None:
        return folders_to_compare(arguments.pred, truth)
    return run_to_compare(arguments.run, arguments.split, against=against, truth_folder=truth, data=data)


if __name__ == "__main__":
    run(main)
