"""A judge of masks: a run's prior, a score fitted on its training masks, calibration on masks it never saw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from data_processing.preparation.config import DataConfig
from isofield.metrics.conformal import is_flagged, scores_needed
from isofield.outliers.scoring.calibration import Calibration, load_calibration
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.reconstruction import Reconstruction, reconstruct
from isofield.outliers.scoring.scores import PRIOR, VISIBLE, Measured, Scorer, measure, scorer_of
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.packs.find_run import find_run
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, preparation_of

Verdict = Literal["OK", "OUTLIER", "UNSURE"]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is thought of one mask, and why.

    `components`: strangeness of each group of numbers in deviations above the median clean mask, the largest first; the
    prior's is shown with them, and counts where a mask is partial.
    `dice`: mask against reconstruction on the judged grid, of what is visible. `reconstruction`: None of an empty mask.
    `drawing_p`: the share of known drawings as unusual as its own; None of a part of an organ, or where none are known.
    """

    score: float
    p: float
    verdict: Verdict
    reason: str
    components: dict[str, float]
    dice: float
    reconstruction: Reconstruction | None
    partial: bool = False
    drawing_p: float | None = None


@dataclass(frozen=True, eq=False)
class MaskPrior:
    """A trained run, how its data were prepared, and where it computes."""

    loaded: LoadedRun
    preparation: DataConfig
    device: torch.device | str = "cpu"


@dataclass(frozen=True, eq=False)
class Detector:
    """Fitted and calibrated; see `load_detector`."""

    loaded: LoadedRun
    preparation: DataConfig
    scorer: Scorer
    calibration: Calibration
    device: torch.device | str = "cpu"

    def judge(self, masks: Sequence[CubeMask], *, fpr: float = 0.05) -> list[Judgement]:
        """One judgement for each mask, in their order; the encoder sees them in batches."""
        scores_needed(fpr)  # refuses a rate that is none
        # An empty mask has no box to put into the middle and no surface to measure.
        there = [mask for mask in masks if mask.occupancy_RRR.any()]
        prior = MaskPrior(self.loaded, self.preparation, self.device)
        measurements = measured_masks(prior, there, self.scorer.sdf_grid)
        return [
            self._judged(mask, *next(measurements), fpr=fpr) if mask.occupancy_RRR.any() else _empty(self.calibration)
            for mask in masks
        ]

    def _judged(self, mask: CubeMask, measured: Measured, rebuilt: Reconstruction, *, fpr: float) -> Judgement:
        partial = bool(mask.touched)
        strangeness = {group: float(values[0]) for group, values in self.scorer.strangeness([measured]).items()}
        if partial:  # the other groups speak of the whole shape
            strangeness = {VISIBLE: strangeness[VISIBLE]}
        components = dict(sorted(strangeness.items(), key=lambda item: -item[1]))
        # What is cut off by the field of view is compared with visible parts of clean masks, never with whole ones.
        score = float((self.scorer.visible_scores if partial else self.scorer.scores)([measured])[0])
        lost = not rebuilt.occupancy_RRR.any()
        # Nothing drawn has no measurement that means anything: strangest of all, and the reason says whose fault it may
        # be.
        score = float("inf") if lost else score
        p = self.calibration.p_value(score, partial=partial)
        # Where the field of view cuts an organ off, that face is no drawing of anybody.
        drawing_p = None if partial else self.scorer.drawing_p([measured])
        verdict, reason = verdict_of(p, self.calibration, fpr)
        if lost:
            verdict, reason = "OUTLIER", nothing_drawn(self.loaded)
        elif verdict == "OUTLIER":
            # What is shown besides and is no part of the score explains no verdict.
            worst = next(group for group in components if partial or self.scorer.with_prior or group != PRIOR)
            reason = f"{reason}; most by {worst} ({components[worst]:.1f} deviations above the median clean mask)"
        drawn = None if drawing_p is None else float(drawing_p[0])
        return Judgement(score, p, verdict, reason, components, rebuilt.dice, rebuilt, partial, drawn)


def measured_masks(
    prior: MaskPrior, masks: Sequence[CubeMask], sdf_grid: SdfGrid
) -> Iterator[tuple[Measured, Reconstruction]]:
    """Each mask as numbers, with what the prior makes of it; none may be empty."""
    thin = prior.preparation.inside.thin == "keep"
    for mask, one in zip(masks, reconstruct(prior.loaded, masks, keep_thin=thin, device=prior.device), strict=True):
        yield measure(mask, sdf_grid, one), one


def nothing_drawn(loaded: LoadedRun) -> str:
    """What a judgement says of a mask for which the prior draws none: the prior may be at fault."""
    return "the prior makes nothing of this mask" + (f" yet: {loaded.unfinished}" if loaded.unfinished else "")


def verdict_of(p: float, calibration: Calibration, fpr: float) -> tuple[Verdict, str]:
    """What a p-value says at a rate of false positives, and in words."""
    missing = calibration.missing(fpr)
    if missing:
        return "UNSURE", (
            f"{calibration.n} clean masks are too few to flag {fpr:.3g} of them: calibrate with {missing} more"
        )
    if is_flagged(p, fpr):
        return "OUTLIER", f"stranger than clean masks are (p {p:.3g})"
    return "OK", f"{p:.0%} of clean masks are as strange or stranger"


def _empty(calibration: Calibration) -> Judgement:
    """An empty mask is always an outlier."""
    p = calibration.p_value(float("inf"))
    return Judgement(float("inf"), p, "OUTLIER", "the mask is empty", {}, 0.0, None)


def load_detector(run: Path | RunDir, *, which: str = "best", device: torch.device | str = "cpu") -> Detector:
    """The judge of a run. FileNotFoundError without calibration, ValueError when it is of another model."""
    place = find_run(run)
    loaded = load_run(place, which=which, device=device)
    calibration, arrays = load_calibration(place, model_hash=loaded.model_hash)
    return Detector(loaded, preparation_of(place), scorer_of(arrays), calibration, device)
