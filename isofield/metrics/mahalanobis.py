"""How far numbers lie from those of good examples: standardised, as a Mahalanobis distance, as a tail of their kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FOLDS = 6
LIMIT = 30.0  # standard deviations; what lies beyond is no stranger for it
SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Mean (D,), standard deviations (D,), and the inverse (D, D) of the shrunk correlations."""

    mean_D: Array
    spread_D: Array
    inverse_DD: Array

    def standardise(self, values_ND: Array) -> Array:
        """In standard deviations, within LIMIT."""
        return np.clip((values_ND - self.mean_D) / self.spread_D, -LIMIT, LIMIT)

    def distances(self, values_ND: Array) -> Array:
        """(N,): the root of the mean squared deviation along what clean masks vary in; 1 is typical of fitted data."""
        scaled = self.standardise(values_ND)
        squares = np.einsum("ni,ij,nj->n", scaled, self.inverse_DD, scaled)
        return np.sqrt(np.maximum(squares, 0) / values_ND.shape[1])


def fit_mahalanobis(
    values_ND: Array, *, shrinkage: float | None = None, nuisance_MD: Array | None = None
) -> Mahalanobis:
    """Correlations shrunk towards the identity; by how much Schaefer and Strimmer (2005) say where it is not given.

    `nuisance_MD`: changes of these numbers that mean nothing; deviations along them count the less, the larger the
    changes are. (Their second moments join the correlations: as if every example had been changed by one of them.)
    """
    mean_D, spread_D = values_ND.mean(axis=0), values_ND.std(axis=0, ddof=1)
    # A number that never varied in training would divide by 0; now any other value is at the limit of strangeness.
    spread_D = np.maximum(spread_D, SMALLEST)
    scaled = (values_ND - mean_D) / spread_D
    correlation = scaled.T @ scaled / (len(scaled) - 1)
    share = best_shrinkage(scaled) if shrinkage is None else shrinkage
    shrunk = (1 - share) * correlation + share * np.eye(len(correlation))
    if nuisance_MD is not None and len(nuisance_MD):
        changes = np.clip(nuisance_MD / spread_D, -LIMIT, LIMIT)
        shrunk = shrunk + changes.T @ changes / len(changes)
    return Mahalanobis(mean_D, spread_D, np.linalg.inv(shrunk))


def best_shrinkage(scaled_ND: Array) -> float:
    """The share of the identity with the least expected squared error of the correlations, in [0.01, 1].

    Schaefer and Strimmer 2005, section 2.3: the variance of the off-diagonal entries over their squares.
    """
    count = len(scaled_ND)
    correlation = scaled_ND.T @ scaled_ND / (count - 1)
    second = (scaled_ND**2).T @ (scaled_ND**2) / count - (scaled_ND.T @ scaled_ND / count) ** 2
    variance = second * count**2 / (count - 1) ** 3
    off = ~np.eye(len(correlation), dtype=bool)
    total = float((correlation[off] ** 2).sum())
    return float(np.clip(variance[off].sum() / total, 0.01, 1.0)) if total > 0 else 1.0


def held_out(
    values: NDArray[Any], fit_and_score: Callable[[NDArray[Any], NDArray[Any]], Array], *, folds: int = FOLDS
) -> Array:
    """Scores (N, ...) of rows by what was fitted on the other rows: `fit_and_score(others, rows)`."""
    # Interleaved, not drawn: the same folds in every start.
    number = np.arange(len(values)) % min(folds, len(values))
    parts = [(number == k, fit_and_score(values[number != k], values[number == k])) for k in range(number.max() + 1)]
    result = np.zeros((len(values), *parts[0][1].shape[1:]))
    for rows, scores in parts:
        result[rows] = scores
    return result


@dataclass(frozen=True, eq=False)
class Tail:
    """Turns scores of one kind into standard deviations of a clean mask's, so that kinds can be compared.

    By the logarithm of positive scores: ratios to what is usual have similar tails for scores of any unit.
    """

    middle: float
    spread: float

    def strangeness(self, scores_N: Array) -> Array:
        """(N,): 0 is the median of clean masks, 1 a deviation above it."""
        return (np.log(np.maximum(scores_N, SMALLEST)) - self.middle) / self.spread


def fit_tail(scores_N: Array) -> Tail:
    """Median, and the deviation of the upper half (which decides what a high score means) or of all if larger."""
    logs = np.log(np.maximum(scores_N, SMALLEST))
    middle = float(np.median(logs))
    upper = logs[logs >= middle] - middle
    spread = max(float(np.sqrt((upper**2).mean())), SMALLEST)
    return Tail(middle, spread)
