"""A run becomes a judge: a score fitted on its training masks, calibrated on masks of subjects it never saw."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy.ndimage
import torch

from data_processing.preparation.config import config_of
from data_processing.store.shape_set import ShapeSet, open_shapes
from data_processing.store.splits import subject_of
from isofield.outliers.scoring.augmented_training import measured_as_unseen
from isofield.outliers.scoring.calibration import Calibration, hash_of_masks, save_calibration
from isofield.outliers.scoring.cube_masks import CubeMask, stored_mask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.outliers.scoring.scores import Scorer, fit_scorer, scorer_arrays
from isofield.outliers.scoring.shape_space import SdfGrid, sdf_grid_of
from isofield.packs.find_run import find_run
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, preparation_of, refuse_calibration
from isofield.runtime.progress import with_progress

TRAIN, TEST, CALIBRATION, VALIDATION = "train", "test", "calibration", "val"
MAX_FITTED = 500  # training masks that the score is fitted on


def calibrate_run(
    run: Path | RunDir,
    *,
    data: Path | None = None,
    split: str | None = None,
    which: str = "best",
    device: torch.device | str = "cpu",
) -> Calibration:
    """Fit the score on a run's training masks and calibrate it on clean masks of subjects in neither train nor test.

    `data`: another data set than the run's own. `split`: none: `calibration` if there is such a one, else `val`. Writes
    calibration.json and judge.npz into the run. ValueError when a subject is shared, the masks cannot be judged, or the
    prior makes nothing of most of them.
    """
    place = find_run(run)
    refuse_calibration(place)
    prior = MaskPrior(load_run(place, which=which, device=device), preparation_of(place), device)
    calibration, scorer = calibrate_prior(prior, data=data, split=split, where=place.path)
    save_calibration(place, calibration, scorer_arrays(scorer))
    return calibration


def calibrate_prior(
    prior: MaskPrior, *, data: Path | None, split: str | None, where: Path | str
) -> tuple[Calibration, Scorer]:
    """What `calibrate_run` writes, of any prior: its weights may be in memory alone. `where`: its run, in errors."""
    loaded = prior.loaded
    # Clean masks that the model never saw, of subjects that neither trained nor are tested.
    own = open_shapes(loaded.config.data.path)
    shapes = own if data is None else open_shapes(data)
    split = split or (CALIBRATION if CALIBRATION in shapes.splits else VALIDATION)
    chosen = members(shapes, split, loaded)
    refuse_shared_subjects(own, shapes, chosen)
    # The score is fitted on training masks alone: calibration masks decide nothing but the level.
    training = [stored_mask(own, index) for index in evenly(members(own, TRAIN, loaded), MAX_FITTED)]
    scorer = fit_judge(prior, training)
    masks = [stored_mask(shapes, index) for index in chosen]
    # Their scores. A prior that draws nothing would call every mask equally bad.
    measured, empty = [], 0
    one_by_one = measured_masks(prior, masks, scorer.sdf_grid)
    for one, rebuilt in with_progress(one_by_one, what="calibrate", unit="mask", total=len(masks)):
        measured.append(one)
        empty += not rebuilt.occupancy_RRR.any()
    if 2 * empty > len(masks):
        raise ValueError(
            f"{where}: the prior makes nothing of {empty} of {len(masks)} clean masks and cannot judge others: "
            f"{loaded.unfinished or 'train it longer, with --resume'}"
        )
    calibration = Calibration(
        np.sort(scorer.scores(measured)),
        np.sort(scorer.visible_scores(measured)),
        model_hash=loaded.model_hash,
        data_hash=hash_of_masks([shapes.names[i] for i in chosen], [mask.occupancy_RRR for mask in masks]),
        data=str(shapes.path),
        split=split,
    )
    return calibration, scorer


def fit_judge(prior: MaskPrior, training: Sequence[CubeMask]) -> Scorer:
    """The score of clean training masks."""
    sdf_grid = sdf_grid_around(training)
    measured = measured_as_unseen(prior, training, sdf_grid)
    return fit_scorer(measured.masks, sdf_grid, measured.redrawn, measured.damaged)


def sdf_grid_around(masks: Iterable[CubeMask]) -> SdfGrid:
    """A grid in mm that holds all these masks."""
    return sdf_grid_of([extent_mm(mask) for mask in masks])


def extent_mm(mask: CubeMask) -> float:
    """The longest edge of a mask's box."""
    (box,) = scipy.ndimage.find_objects(mask.occupancy_RRR.view(np.uint8))
    return max(side.stop - side.start for side in box) * mask.spacing


def members(shapes: ShapeSet, split: str, loaded: LoadedRun) -> list[int]:
    """Shapes of a split in the categories that the run was trained on."""
    categories = loaded.config.data.categories
    return [int(i) for i in shapes.indices(split) if not categories or shapes.categories[int(i)] in categories]


def evenly(indices: Sequence[int], most: int) -> list[int]:
    """All of them, or `most`, spread evenly."""
    if len(indices) <= most:
        return list(indices)
    return [indices[int(place)] for place in np.linspace(0, len(indices) - 1, most)]


def refuse_shared_subjects(own: ShapeSet, shapes: ShapeSet, chosen: Sequence[int]) -> None:
    """ValueError when a mask comes from a subject in train or test of the run's own data set."""
    used = {subject(own, own.names[int(index)]): name for name in (TRAIN, TEST) for index in own.splits.get(name, ())}
    for index in chosen:
        whose = subject(own, shapes.names[index])
        if whose in used:
            raise ValueError(
                f"{shapes.names[index]} is of subject {whose}, which is in the split {used[whose]} of {own.path}: "
                "calibrate with masks of other subjects"
            )


def subject(own: ShapeSet, name: str) -> str:
    """Whose shape it is by the rule of the run's data set; the name itself where there is no rule."""
    settings = config_of(own.settings).splits
    return subject_of(name, settings) if settings.subject else name
