"""How strange clean masks look to a judge that never saw them: split-conformal p-values, and the files of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.npy import read_npz
from isofield.metrics.conformal import conformal_p, conformal_threshold, scores_needed
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import replacing, write_text
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import read_object
from isofield.runtime.reasons import DAMAGED, reason_of

Array = NDArray[np.float64]
FORMAT = 3  # 1: scores were a soft maximum of groups; 2: without what the prior is sure of
QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)
MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of clean masks, ascending: `scores` of whole masks, `visible_scores` of what counts in partial ones."""

    scores: Array
    visible_scores: Array
    model_hash: str
    data_hash: str
    data: str = ""
    split: str = ""

    @property
    def n(self) -> int:
        return len(self.scores)

    def p_value(self, score: float, *, partial: bool = False) -> float:
        """In (0, 1]: the share of clean masks at least as strange, itself counted."""
        return conformal_p(self.visible_scores if partial else self.scores, score)

    def threshold(self, fpr: float) -> float | None:
        """The smallest score that is flagged: above every calibration score but floor(fpr (n + 1)) - 1; None if UNSURE.

        A score is flagged when it is greater than this.
        """
        return conformal_threshold(self.scores, fpr)

    def description(self, fpr: float = 0.05) -> str:
        """For the person at the terminal."""
        limit = self.threshold(fpr)
        says = f"too few to flag {fpr:g} of them, {self.missing(fpr)} more are needed"
        if limit is not None:
            says = f"flagged above {limit:.3f} at a rate of {fpr:g}"
        median = float(np.median(self.scores)) if self.n else float("nan")
        return f"{self.n} clean masks of {self.data} ({self.split}): median score {median:.3f}, {says}"

    def missing(self, fpr: float) -> int:
        """How many more clean masks are needed to judge at this rate."""
        return max(0, scores_needed(fpr) - self.n)


def save_calibration(run: RunDir, calibration: Calibration, fitted: Mapping[str, NDArray[Any]]) -> None:
    """Write both files of a run: numbers a person reads, and the arrays that the score is computed with."""
    # The arrays first: the text names their fingerprint, and a kill between the two is told by it.
    with replacing(run.judge_file) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **fitted)
    content = {
        "format": FORMAT,
        "n": calibration.n,
        "model_hash": calibration.model_hash,
        "data_hash": calibration.data_hash,
        "data": calibration.data,
        "split": calibration.split,
        "quantiles": {str(q): _quantile(calibration.scores, q) for q in QUANTILES},
        "scores": calibration.scores.tolist(),
        "visible_scores": calibration.visible_scores.tolist(),
        "judge": fingerprint(run.judge_file),
    }
    write_text(run.calibration_file, json.dumps(content, indent=1) + "\n")


def load_calibration(run: RunDir, *, model_hash: str) -> tuple[Calibration, dict[str, NDArray[Any]]]:
    """Both files of a run.

    FileNotFoundError when the run has no calibration; ValueError when it is damaged, or of another model than this.
    """
    make = next_command("evaluate", "--run", run.path, "--calibrate")
    again = f"make it again: {make}"
    if not run.calibration_file.is_file() or not run.judge_file.is_file():
        raise FileNotFoundError(f"{run.path} has no calibration; make it: {make}")
    # Both files may be a stranger's: bounded, and every way in which they can be wrong is one error.
    if max(file.stat().st_size for file in (run.calibration_file, run.judge_file)) > MAX_BYTES:
        raise ValueError(f"{run.calibration_file}: too large for a calibration; {again}")
    try:
        content = read_object(run.calibration_file, again=again)
        calibration = _calibration_of(content)
        image = run.judge_file.read_bytes()
        fitted = read_npz(run.judge_file, most=MAX_BYTES)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, OSError) as error:
        said = reason_of(error, otherwise=DAMAGED)
        raise ValueError(f"{run.calibration_file} or {run.judge_file.name} is damaged ({said}); {again}") from error
    # Scores of one model say nothing of another, and the two files belong together.
    if calibration.model_hash != model_hash:
        raise ValueError(
            f"{run.calibration_file} was made with another model (hash {calibration.model_hash}, the run's is now "
            f"{model_hash}): its scores say nothing of this one; {again}"
        )
    if fingerprint(image) != content.get("judge"):
        raise ValueError(f"{run.judge_file} and {run.calibration_file.name} do not belong together; {again}")
    return calibration, fitted


def hash_of_masks(names: Sequence[str], masks: Sequence[NDArray[np.bool_]]) -> str:
    """Of the names and voxels of the masks that a calibration rests on."""
    pairs = zip(names, masks, strict=True)
    return fingerprint((part for name, mask in pairs for part in (f"{name}\0", np.packbits(mask))), size=8)


def _quantile(scores: Array, share: float) -> float | None:
    """Without interpolation: scores may be infinite."""
    return float(np.quantile(scores, share, method="higher")) if len(scores) else None


def _calibration_of(content: Any) -> Calibration:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, expected {FORMAT}")
    scores, visible = (np.array(content[key], dtype=np.float64) for key in ("scores", "visible_scores"))
    if scores.ndim != 1 or scores.shape != visible.shape or len(scores) != content["n"] or np.isnan(scores).any():
        raise ValueError("its scores are no list of n numbers")
    texts = {key: str(content[key]) for key in ("model_hash", "data_hash", "data", "split")}
    return Calibration(np.sort(scores), np.sort(visible), **texts)
