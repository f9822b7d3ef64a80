"""How well scores put corrupted masks above clean ones, and a map's cells above others; intervals over patients."""

from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from isofield.runtime.seeds import numpy_generator

Array = NDArray[np.float64]
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number and the 95 % interval of its bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"


def _above(corrupted_N: Array, clean_M: Array) -> Array:
    above = corrupted_N[:, None] > clean_M
    return np.asarray(above + 0.5 * (corrupted_N[:, None] == clean_M), dtype=np.float64)


def mean_auroc(
    families: list[tuple[Array, NDArray[np.int64]]],
    clean: tuple[Array, NDArray[np.int64]],
    *,
    key: str,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean over families of their AUROC; each is scores and the patients (numbers from 0) that they are of.

    Patients are drawn with replacement, their clean and corrupted masks together; a draw that leaves a family or the
    clean masks without a patient is not counted.
    """
    # Whole patients are drawn: masks of one patient are not independent.
    count = 1 + max(int(patients.max(initial=0)) for _, patients in [*families, clean])
    generator = numpy_generator("bootstrap over patients", key)
    weights_SP = np.stack([np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(resamples)])
    scores_M, patients_M = clean
    value, draws = 0.0, np.zeros(resamples)
    clean_SM = weights_SP[:, patients_M].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        for corrupted_N, patients_N in families:
            # AUROC is the share of pairs in the right order; weighted by how often each patient was drawn.
            above_NM = _above(corrupted_N, scores_M)
            corrupted_SN = weights_SP[:, patients_N].astype(np.float64)
            hits_S = ((corrupted_SN @ above_NM) * clean_SM).sum(axis=1)
            draws += hits_S / (corrupted_SN.sum(axis=1) * clean_SM.sum(axis=1))
            value += float(above_NM.mean()) if above_NM.size else float("nan")
    draws = draws[np.isfinite(draws)] / len(families)
    low, high = np.percentile(draws, INTERVAL) if len(draws) else (float("nan"), float("nan"))
    return Estimate(value / len(families), float(low), float(high))


def mean_over_patients(values_N: Array, patients_N: NDArray[np.int64], *, key: str) -> Estimate:
    """The mean of numbers, with the interval of a bootstrap over the patients that they are of."""
    if not len(values_N):
        return Estimate(float("nan"), float("nan"), float("nan"))
    owners, place_N = np.unique(patients_N, return_inverse=True)
    sums, counts = np.bincount(place_N, weights=values_N), np.bincount(place_N)
    drawn = numpy_generator("bootstrap of a mean", key).integers(0, len(owners), (RESAMPLES, len(owners)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), INTERVAL)
    return Estimate(float(values_N.mean()), float(low), float(high))


def average_precision(strength_N: Array, wrong_N: NDArray[np.bool_]) -> float:
    """Of cells ranked by strength, the mean precision over the wrong ones; equal strengths count as one step.

    NaN when nothing is wrong.
    """
    total = int(wrong_N.sum())
    if not total:
        return float("nan")
    order = np.argsort(-strength_N, kind="stable")
    ranked, hits = strength_N[order], np.cumsum(wrong_N[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # ends of runs of equal strength
    precision, recall = hits[last] / (last + 1), hits[last] / total
    return float((precision * np.diff(recall, prepend=0)).sum())


def binomial_interval(count: int, rate: float, *, coverage: float = 0.95) -> tuple[int, int]:
    """Hits among `count` independent draws at `rate`, such that at most (1 - coverage) / 2 lies beyond each end."""
    low, high = scipy.stats.binom.interval(coverage, count, rate)
    return int(low), int(high)
