"""The priors of an analysis: runs by the organs they know, judges where they are calibrated.

A run knows the structures that its data set was made of. Without calibration it still reconstructs: its masks are
UNSURE, whatever they look like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data_processing.medical.structures import LabelConfig, StructureConfig
from data_processing.preparation.config import DataConfig
from isofield.metrics.conformal import scores_needed
from isofield.outliers.scoring.calibration import Calibration
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.detector import Detector, Judgement, load_detector, nothing_drawn
from isofield.outliers.scoring.reconstruction import Reconstruction, at_once, reconstruct
from isofield.packs.find_run import find_run
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, preparation_of
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.invocation import kept_line
from isofield.runtime.json_files import read_object
from isofield.runtime.reasons import DAMAGED, reason_of

MAX_NOTE = 1000  # characters
OLDER_SCORE = (
    "its calibration is of an older version, whose score adds what the prior disagrees with: calibrate anew for a "
    "score that finds more"
)


@dataclass(frozen=True, eq=False)
class Prior:
    """A run that is ready to look at masks. `labels`: how its structures are cut from scans."""

    run: RunDir
    loaded: LoadedRun
    preparation: DataConfig
    labels: LabelConfig
    structures: tuple[StructureConfig, ...]
    detector: Detector | None
    device: torch.device
    notes: tuple[str, ...] = ()  # what the run says of itself that a reader has to know

    @property
    def calibration(self) -> Calibration | None:
        return None if self.detector is None else self.detector.calibration

    def about(self, fpr: float) -> str:
        """A line for the terminal: what it can judge, or how many clean masks it lacks."""
        organs, missing = ", ".join(organs_of(self)), self.missing(fpr)
        count = 0 if self.calibration is None else self.calibration.n
        enough = f"{missing} more are needed to flag at {fpr:g}: UNSURE until then" if missing else "enough"
        return "; ".join([f"{organs}: calibrated with {count} clean masks, {enough}", *self.notes])

    def missing(self, fpr: float) -> int:
        """How many more clean masks have to be calibrated with before it can flag at this rate."""
        return scores_needed(fpr) if self.calibration is None else self.calibration.missing(fpr)

    @property
    def fingerprint(self) -> str:
        """Of everything in the run that a judgement depends on."""
        files = self.run.calibration_file, self.run.judge_file, self.run.preparation_file
        contents = fingerprint(*(file if file.is_file() else "none" for file in files), size=8)
        return f"{self.loaded.model_hash}-{contents}"

    @property
    def at_once(self) -> int:
        """Masks in one pass of the encoder."""
        return at_once(self.loaded, self.device)

    def judge_masks(self, masks: Sequence[CubeMask], *, fpr: float) -> list[Judgement]:
        """One judgement for each mask; without calibration it says how far mask and reconstruction agree."""
        if self.detector is not None:
            return self.detector.judge(masks, fpr=fpr)
        # Cut as the training masks were.
        thin = self.preparation.inside.thin == "keep"
        rebuilt = reconstruct(self.loaded, masks, keep_thin=thin, device=self.device)
        return [self._unsure(mask, one) for mask, one in zip(masks, rebuilt, strict=True)]

    def _unsure(self, mask: CubeMask, rebuilt: Reconstruction) -> Judgement:
        make = kept_line("evaluate", "--run", str(self.run.path), "--calibrate")
        reason = f"{self.run.path} has no calibration: {make}"
        if not rebuilt.occupancy_RRR.any():
            reason = f"{nothing_drawn(self.loaded)}; {reason}"
        return Judgement(float("nan"), float("nan"), "UNSURE", reason, {}, rebuilt.dice, rebuilt, bool(mask.touched))


def load_priors(runs: Sequence[Path], *, which: str = "best", device: torch.device) -> list[Prior]:
    """Each run once, on the device.

    Raises FileNotFoundError when there is none, ValueError for a stale calibration (of another model), a run that was
    not made from labelled scans, and two runs that know the same organ.
    """
    # Two ways of writing one folder are one run, and not two that know the same organ.
    places = dict.fromkeys(find_run(path).path.resolve() for path in runs)
    priors = [_load(RunDir(path), which, device) for path in places]
    knowing: dict[str, Path] = {}
    for prior in priors:
        for organ in organs_of(prior):
            if organ in knowing:
                raise ValueError(f"{knowing[organ]} and {prior.run.path} both know {organ}: give one of them")
            knowing[organ] = prior.run.path
    return priors


def organs_of(prior: Prior) -> list[str]:
    """What its parts are called in results."""
    return [organ_name(structure, suffix) for structure in prior.structures for suffix in structure.suffixes()]


def organ_name(structure: StructureConfig, suffix: str) -> str:
    """kidney_left, as TotalSegmentator calls them."""
    return f"{structure.name}_{suffix}" if suffix else structure.name


def _load(run: RunDir, which: str, device: torch.device) -> Prior:
    loaded = load_run(run, which=which, device=device)
    preparation = preparation_of(run)
    labels = preparation.labels
    if labels is None:
        raise ValueError(f"{run.path} was not trained on labelled scans (kind: labels): it knows no organ by name")
    there = run.calibration_file.is_file() and run.judge_file.is_file()
    detector = load_detector(run, which=which, device=device) if there else None
    # The detector has loaded the same weights: one copy of them is kept.
    loaded = loaded if detector is None else detector.loaded
    categories = loaded.config.data.categories
    # The data set may hold more structures than the run was trained with.
    structures = tuple(one for one in labels.structures if not categories or one.name in categories)
    return Prior(run, loaded, preparation, labels, structures, detector, device, _notes(run, detector))


def _notes(run: RunDir, detector: Detector | None) -> tuple[str, ...]:
    """Of a run of published weights without calibration: thresholds that came along are shown, not used.

    Of a calibration of an older version: that its score is another one.
    """
    if detector is not None and detector.scorer.with_prior:
        return (OLDER_SCORE,)
    if detector is not None or not run.published_file.is_file():
        return ()
    try:
        note = str(read_object(run.published_file, again="import the run again")["note"])[:MAX_NOTE]
    except (ValueError, KeyError) as error:
        said = reason_of(error, otherwise=DAMAGED)
        raise ValueError(f"{run.published_file} is damaged ({said}): import the run again") from error
    return (f"published weights: {note}",)
