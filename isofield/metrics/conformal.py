"""Split-conformal p-values: how strange a score is among scores of held-out examples that are as they should be.

p = (1 + #{calibration scores >= s}) / (n + 1) (Vovk, Gammerman and Shafer 2005): of further ones exchangeable with
those of the calibration a share of at most `fpr` has p <= fpr. Fewer than 1 / fpr - 1 of them cannot say so.
"""

import math

import numpy as np
from numpy.typing import NDArray

SLACK = 1e-9  # rounding of a rate such as 0.05


def conformal_p(scores: NDArray[np.float64], score: float) -> float:
    """The p-value of a score among calibration scores; an infinite score has the smallest there is."""
    return (1 + int(np.count_nonzero(scores >= score))) / (len(scores) + 1)


def is_flagged(p: float, fpr: float) -> bool:
    """p <= fpr, up to rounding of fractions."""
    return p <= fpr + SLACK


def conformal_threshold(scores: NDArray[np.float64], fpr: float) -> float | None:
    """The largest score that is not flagged, of ascending calibration scores; None where they are too few to flag."""
    # p = (1 + k) / (n + 1) <= fpr for k scores at least as high: so many of the highest ones may be above the limit.
    rank = math.floor(fpr * (len(scores) + 1) + SLACK)
    return float(scores[len(scores) - rank]) if rank >= 1 else None


def scores_needed(fpr: float) -> int:
    """Calibration scores without which no p-value can be as small as `fpr`. ValueError for a rate outside (0, 1)."""
    if not 0 < fpr < 1:
        raise ValueError(f"expected a rate of false positives between 0 and 1, got {fpr}")
    return math.ceil(1 / fpr - 1 - SLACK)
