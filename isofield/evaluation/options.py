"""What evaluate.py can be asked for: its options, which of them belong together, and the shapes that they mean.

What takes long to import is imported where it is needed: --help and a misspelt option wait for nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.evaluation.names import AGAINST, GENERATIVE, KNOWN, MASKS, MOST_TRAINING_SHAPES, NORMALISATIONS
from isofield.runtime.commandline import Parser, say
from isofield.runtime.invocation import as_typed
from isofield.runtime.parts import HELP, part_of

if TYPE_CHECKING:
    from data_processing.geometry.rendering import Up
    from data_processing.geometry.voxel_grid import GridConfig
    from isofield.evaluation.pairs import Comparison
    from isofield.evaluation.sets import Sets
    from isofield.metrics.sets import GenerativeConfig

OF_SETS = ("normalisation", "emd_points", "emd_solver", "training", "training_shapes")
OF_MASKS = ("labels", "threshold", "pattern")
KEYS = "values, iso_level, inside_sign, threshold, voxel_key"  # of GridConfig
LIGHT_FIELDS = "light-fields"  # descriptors, kept in the folder of the results
EMD_POINTS = 512  # of 2,048: 500 x 500 shapes in minutes, not hours


def read_options(
    arguments: Sequence[str] | None, description: str | None, *, prog: str | None = None
) -> argparse.Namespace:
    """The options; `samples` says whether sets are judged. Wrong combinations end the program with a line."""
    parser = Parser(prog=prog, description=as_typed(description or ""))
    parser.add_argument("--run", type=Path, help="run, or packed one, to judge; with --split or --samples")
    parser.add_argument("--split", help="train, val or test of the run's data set; with --samples [test]")
    parser.add_argument("--pred", type=Path, help="folder of meshes to judge, instead of a run")
    parser.add_argument("--gt", type=Path, help="folder of ground truth of the same names: meshes, voxels or clouds")
    parser.add_argument("--match", nargs="+", default=[], metavar="RULE", help="case, or PRED=TRUTH: '*_pred=*'")
    parser.add_argument(
        "--set", nargs="+", default=[], action="extend", metavar="K=V", help=f"of voxels in --gt: {KEYS}"
    )
    parser.add_argument("--data", type=Path, help="another data set than the run's own")
    parser.add_argument("--against", choices=AGAINST, default="source", help="of a run: source meshes or stored voxels")
    parser.add_argument("--protocol", nargs="+", metavar="NAME", help=f"of {', '.join(KNOWN)} [imnet onet]")
    parser.add_argument("--tolerance", type=float, help="mm within which the surfaces of masks count as equal")
    parser.add_argument(
        "--labels", metavar="TABLE", help=f"of masks: what labels mean: {', '.join(NAMED_TABLES)}, a file"
    )
    parser.add_argument("--threshold", type=float, help="of masks: maps of probabilities, inside above [whole numbers]")
    parser.add_argument(
        "--pattern", metavar="GLOB", help="of masks: the files to look at, such as '*_seg.nii.gz' [all]"
    )
    parser.add_argument("--points", type=int, help="surface points, instead of the protocol's number")
    parser.add_argument("--iou-points", type=int, help="points for IoU, instead of the protocol's number")
    parser.add_argument("--seed", type=int, default=0, help="of the points that are drawn [0]")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: by cores and shapes; same numbers")
    parser.add_argument("--pictures", type=int, default=60, help="most shapes shown in the report; 0: none")
    parser.add_argument("--up", choices=["y", "z"], help="the axis that points up in pictures [as in the data]")
    parser.add_argument("--out", type=Path, help="folder of the results; default: beside the meshes")
    parser.add_argument("--part", type=part_of, metavar="K/N", help=HELP)
    parser.add_argument(
        "--calibrate",
        nargs="?",
        const="masks",
        choices=("masks", "inputs"),
        help="learn what is usual: masks of a prior of organs [masks]; inputs of any run, so that others are told",
    )
    sets = parser.add_argument_group("sets of shapes, whatever their names (protocols generative, lfd)")
    sets.add_argument("--samples", action="store_true", help="judge the samples of --run, or --pred, as a set")
    sets.add_argument("--normalisation", choices=NORMALISATIONS, help="of each shape's points [diagonal]")
    sets.add_argument("--emd-points", type=int, help=f"of the earth mover's distance; 0: without it [{EMD_POINTS}]")
    sets.add_argument("--emd-solver", choices=["auction", "exact"], help="auction: within 1 %%, proved [auction]")
    sets.add_argument("--training", type=Path, metavar="DIR", help="training shapes of --pred; a run knows its own")
    sets.add_argument("--training-shapes", type=int, metavar="N", help=f"most looked at [{MOST_TRAINING_SHAPES}]")
    sets.add_argument(
        "--device", default="auto", help="for distances between shapes of sets: auto, cpu, cuda or cuda:N"
    )
    options = parser.parse_args(arguments)
    # Two folders under the protocol of sets are samples and references, whether or not anyone said so.
    options.samples |= options.pred is not None and GENERATIVE in (options.protocol or ())
    options.protocol = options.protocol or ([GENERATIVE] if options.samples else ["imnet", "onet"])
    _check(parser, options)
    return options


def pictured_up(options: argparse.Namespace, *, told: bool) -> "Up":
    """The axis that is up in the report: of --up, of the run's data, or y. `told`: a line says which."""
    from data_processing.preparation.up_axis import SCANS
    from isofield.packs.find_run import find_run
    from isofield.up_axis import up_in_pictures, up_of_run

    if MASKS in options.protocol:
        return SCANS.axis  # whatever --up says: slices and surfaces of scans have the head up
    known = up_of_run(find_run(options.run)) if options.run and options.up is None else None
    up, line = up_in_pictures(options.up, known)
    if line and told and options.pictures:
        say(line)
    return up


def grid_config(options: argparse.Namespace) -> "GridConfig":
    """What the numbers of voxel files in the folder of ground truth mean. Raises ValueError for unknown keys."""
    from data_processing.geometry.voxel_grid import GridConfig
    from isofield.runtime.config import build, override

    settings: dict[str, Any] = {}
    for text in options.set:
        override(settings, text)
    return build(GridConfig, settings, where="--set")


def generative_settings(options: argparse.Namespace) -> "GenerativeConfig":
    """What decides the numbers of judged sets. Raises ValueError for settings that cannot be meant."""
    from isofield.metrics.sets import GenerativeConfig

    points = GenerativeConfig.points if options.points is None else options.points
    emd_points = min(EMD_POINTS, points) if options.emd_points is None else options.emd_points
    return GenerativeConfig(
        points=points,
        seed=options.seed,
        normalisation=options.normalisation or "diagonal",
        distances=("chamfer", "emd") if emd_points else ("chamfer",),
        emd_points=emd_points or None,
        emd_solver=options.emd_solver or "auction",
    )


def pairs_of(options: argparse.Namespace) -> "Comparison":
    """The pairs of a run's split, or of two folders."""
    from data_processing.medical.label_names import Naming
    from isofield.evaluation.mask_pairs import folder_masks_to_compare, run_masks_to_compare
    from isofield.evaluation.matching import matching_of
    from isofield.evaluation.pairs import folders_to_compare, run_to_compare

    # Masks are paired by labels, shapes by names; and each of both by a run or by two folders.
    against, truth, data = options.against, options.gt, options.data
    how: dict[str, Any] = {"matching": matching_of(options.match), "grid": grid_config(options)}
    if set(options.protocol) == {MASKS}:
        if options.run is None:
            naming = Naming(options.labels, options.threshold)
            refuse_table(options.labels)
            pattern, workers = options.pattern or "*", options.workers
            matching = how["matching"]
            return folder_masks_to_compare(
                options.pred, truth, naming, pattern=pattern, matching=matching, workers=workers
            )
        return run_masks_to_compare(options.run, options.split, truth_folder=truth, data=data, matching=how["matching"])
    if options.run is None:
        return folders_to_compare(options.pred, truth, **how)
    return run_to_compare(options.run, options.split, against=against, truth_folder=truth, data=data, **how)


def refuse_table(labels: str | None) -> None:
    """FileNotFoundError, ValueError for a table of labels that cannot be read, before any volume is."""
    from data_processing.medical.label_names import read_table

    if labels and labels not in NAMED_TABLES and Path(labels).is_file():
        read_table(Path(labels))


def sets_of(options: argparse.Namespace) -> "Sets":
    """The samples of a run and a split of its data set, or two folders."""
    from isofield.evaluation.sets import folders_to_judge, run_to_judge

    most = MOST_TRAINING_SHAPES if options.training_shapes is None else options.training_shapes
    drawn: dict[str, int] = {"training_shapes": most, "seed": options.seed}
    if options.run is None:
        grid = grid_config(options)
        return folders_to_judge(options.pred, options.gt, training=options.training, grid=grid, **drawn)
    split, against = options.split or "test", options.against
    return run_to_judge(options.run, split, against=against, data=options.data, **drawn)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.part is not None and (options.calibrate or options.samples):
        what = "--calibrate" if options.calibrate else "judging sets of shapes (--samples)"
        parser.error(f"--part {options.part}: {what} is not shared out: one process does it; leave --part out")
    if options.calibrate:
        if options.run is None or options.pred or options.gt or options.samples:
            parser.error(
                "--calibrate goes with --run, and if wanted --data and --split of masks or shapes it never saw"
            )
        return
    if (options.run is None) == (options.pred is None):
        parser.error("give either --run (with --split or --samples) or --pred (with --gt)")
    if options.pred and not options.gt:
        parser.error("--run needs --split, --pred needs --gt")
    if options.run and not (options.split or options.samples):
        parser.error("--run needs --split (or --samples), --pred needs --gt")
    # An option that the chosen protocol would not look at is refused: it was meant for something.
    wrong = [f"--{name}" for name in OF_MASKS if getattr(options, name) is not None]
    if wrong and (set(options.protocol) != {MASKS} or options.run is not None):
        parser.error(f"{', '.join(wrong)}: only folders of masks have it: --pred DIR --gt DIR --protocol {MASKS}")
    if options.match and (options.samples or options.gt is None):
        parser.error("--match: only for shapes with their own ground truth in a folder (--gt)")
    if options.set and options.gt is None:
        parser.error("--set: only for voxels in a folder of ground truth (--gt)")
    if not options.samples:
        wrong = [f"--{name.replace('_', '-')}" for name in OF_SETS if getattr(options, name) is not None]
        if wrong:
            parser.error(f"{', '.join(wrong)}: only sets of shapes have it; add --samples or --protocol {GENERATIVE}")
        return
    if options.run and (options.gt or options.training):
        parser.error("samples of a run are judged against its data set: give --pred instead, or no --gt and --training")
    for name in ("iou_points", "tolerance"):
        if getattr(options, name) is not None:
            parser.error(f"--{name.replace('_', '-')}: sets of shapes have none")
    if options.training_shapes is not None and options.training_shapes < 0:
        parser.error(f"--training-shapes: expected at least 0, got {options.training_shapes}")
