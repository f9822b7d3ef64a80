"""How well a prior tells corrupted masks from clean ones, beside simple detectors.

    python -m isofield.outliers.benchmark --run runs/ORGAN [--data DATASET_OR_FOLDER]
        [--real DATASET_OR_FOLDER] [--out DIR]

Everything is fitted on the run's training patients. Held-out patients (of --data; default: the run's own data set, all
splits but train) are corrupted by every family, mild and moderate, and judged. AUROC is over all of them, as nothing
was fitted on them; for sensitivity they are divided at random, once for each of --seeds, into patients that calibrate
and patients that are tested. All of it is done again as other sources draw masks (--sources), by the same detectors.
--real holds masks with faults of their own; its categories are the kinds of fault. Writes benchmark.json, benchmark.csv
and benchmark.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from data_processing.preparation.config import DataConfig
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.outliers.benchmark.baselines import fit_baselines
from isofield.outliers.benchmark.cases import CLEAN, Case, MaskShape, folder_masks, kept_cases, measured_cases
from isofield.outliers.benchmark.corruptions import FAMILIES
from isofield.outliers.benchmark.seen_kinds import seen_kinds
from isofield.outliers.benchmark.sources import OWN, SOURCES
from isofield.outliers.benchmark.tables import (
    Benchmark,
    Detectors,
    ScoredCase,
    score_cases,
    tables,
    write_tables,
)
from isofield.outliers.scoring.augmented_training import (
    MeasuredTraining,
    measured_damage,
    redrawings,
    redrawn_masks,
    turn_mask,
)
from isofield.outliers.scoring.calibrate import MAX_FITTED, TRAIN, evenly, members, sdf_grid_around, subject
from isofield.outliers.scoring.calibration import hash_of_masks
from isofield.outliers.scoring.cube_masks import CubeMask, stored_mask
from isofield.outliers.scoring.detector import MaskPrior
from isofield.outliers.scoring.scores import fit_scorer
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.run_dir import preparation_of, refuse_unwritable
from isofield.runtime.commandline import DONE, Parser, run, say
from isofield.runtime.progress import with_progress

CHANGED = "changed"  # the family of training masks that were turned or redrawn


@dataclass(frozen=True)
class Patients:
    """What is held out: clean shapes, and real faults of the same patients or of others that did not train."""

    clean: list[MaskShape]
    real: list[MaskShape]


def main(arguments: Sequence[str] | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a prior trained on deformed masks")
    parser.add_argument("--data", type=Path, help="clean masks: a data set with 128^3 solids, or a folder of scans")
    parser.add_argument("--real", type=Path, help="masks with real faults, likewise; categories are the kinds")
    parser.add_argument("--seeds", type=int, default=20, help="divisions into calibration and test")
    parser.add_argument("--draw", type=int, default=0, help="seed of the corruptions")
    parser.add_argument(
        "--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="FAMILY", help="[all]"
    )
    parser.add_argument(
        "--sources",
        nargs="*",
        default=list(SOURCES),
        choices=list(SOURCES),
        metavar="SOURCE",
        help="ways in which others draw masks; none: only as they are [all]",
    )
    parser.add_argument("--most", type=int, help="use at most so many clean masks, spread evenly")
    parser.add_argument("--spoil", type=int, help="spoil so many of them, spread evenly; default: all")
    parser.add_argument("--fpr", type=float, default=0.05, help="rate of false positives")
    parser.add_argument("--out", type=Path, help="folder of the results; default: RUN/evaluation")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    place = find_run(options.run)
    out = options.out or place.evaluation
    refuse_unwritable(out)  # before hours of work
    loaded = load_run(place)
    prior = MaskPrior(loaded, preparation_of(place))
    own = open_shapes(loaded.config.data.path)
    patients = held_out(own, prior, data=options.data, real=options.real, most=options.most)
    say(f"{len(patients.clean)} clean masks of patients that did not train, {len(patients.real)} real faults")

    # Fitted on the training patients: their masks as they are; turned, as new ones are to the prior; and redrawn.
    chosen = evenly(members(own, TRAIN, loaded), MAX_FITTED)
    training = [MaskShape(f"training {n}", "", stored_mask(own, i), TRAIN) for n, i in enumerate(chosen)]
    sdf_grid = sdf_grid_around(shape.mask for shape in training)
    key = {"model": loaded.model_hash, "cell": sdf_grid.cell, "draw": options.draw}
    times = redrawings(len(training))

    def versions_of(number: int, mask: CubeMask) -> list[MaskShape]:
        redrawn = redrawn_masks(mask, prior.preparation, number, times=times)
        named = [("turned", turn_mask(mask, number)), *((f"redrawn {n}", one) for n, one in enumerate(redrawn))]
        return [MaskShape(f"{name} {number}", "", one, CHANGED) for name, one in named]

    clean = [shape.name for shape in patients.clean]
    corrupted = {clean[index] for index in evenly(range(len(clean)), options.spoil or len(clean))}

    def measure(shape: MaskShape, source: str = OWN) -> list[Case]:
        """Measuring takes hours: what is measured of a mask is kept, under what it was measured with."""
        families = options.families if shape.name in corrupted and shape.family == CLEAN else []
        make = partial(measured_cases, shape, prior, sdf_grid, families=families, draw=options.draw, source=source)
        digest = hash_of_masks([shape.family], [shape.mask.occupancy_RRR])
        return kept_cases(
            out / "cases", shape.name, {**key, "families": families, "mask": digest, "source": source}, make
        )

    # Detectors learn from clean training masks; corrupted and real faults only test them.
    fitted = MeasuredTraining([], [], [])
    for number, shape in enumerate(with_progress(training, what="measure", unit="training mask")):
        shapes = [shape, *versions_of(number, shape.mask)]
        seen, unseen, *others = [case.measured for one in shapes for case in measure(one)]
        fitted.add(seen, unseen, others, measured_damage(shape.mask, number, sdf_grid))
    detectors = fit_detectors(fitted, sdf_grid)
    # Of the others, 26 cases a mask and source, numbers stay: what was measured of all of them would be gigabytes.
    cases: list[ScoredCase] = []
    for shape in with_progress([*patients.clean, *patients.real], what="measure", unit="mask"):
        for source in (OWN, *options.sources):
            cases += score_cases(measure(shape, source), detectors)
    benchmark = Benchmark(cases, seeds=options.seeds, fpr=options.fpr, seen=seen_kinds(loaded.config.data.input))
    about = {"run": str(place.path), "model_hash": loaded.model_hash, "step": loaded.step, "draw": options.draw}
    results = tables(benchmark, about=about)
    say(write_tables(results, out))
    return DONE


def fit_detectors(fitted: MeasuredTraining, sdf_grid: SdfGrid) -> Detectors:
    """All detectors, of the training masks."""
    ours = fit_scorer(fitted.masks, sdf_grid, fitted.redrawn, fitted.damaged)
    return Detectors(sdf_grid, ours, fit_baselines(fitted.masks))


def held_out(own: ShapeSet, prior: MaskPrior, *, data: Path | None, real: Path | None, most: int | None) -> Patients:
    """Shapes of patients that own no training mask. ValueError when there are none."""
    trained = {subject(own, own.names[index]) for index in members(own, TRAIN, prior.loaded)}
    clean = [shape for shape in shapes_of(data or own.path, own, prior.preparation) if shape.subject not in trained]
    faults = shapes_of(real, own, prior.preparation, real=True) if real else []
    clean = [clean[index] for index in evenly(range(len(clean)), most or len(clean))]
    if len({shape.subject for shape in clean}) < 2:
        raise ValueError(f"{data or own.path}: expected clean masks of two patients or more that did not train the run")
    return Patients(clean, [shape for shape in faults if shape.subject not in trained])


def shapes_of(place: Path, own: ShapeSet, preparation: DataConfig, *, real: bool = False) -> Sequence[MaskShape]:
    """The masks of a data set, or of a folder of labelled scans read as the run's data were; partial ones left out."""
    if not (place / "dataset.json").is_file():
        return [
            MaskShape(name, subject(own, name), mask, name.split("/")[0] if real else CLEAN)
            for name, mask in folder_masks(place, preparation)
            if not mask.touched
        ]
    shapes = open_shapes(place)
    cut_off = set(shapes.splits.get("partial", ()))
    return [
        MaskShape(name, subject(own, name), stored_mask(shapes, index), shapes.categories[index] if real else CLEAN)
        for index, name in enumerate(shapes.names)
        if index not in cut_off
    ]


if __name__ == "__main__":
    run(main)
