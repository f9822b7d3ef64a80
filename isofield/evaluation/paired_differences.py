"""How two candidates differ over the same shapes: mean difference, a bootstrap interval, and who wins how many.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile interval over resampled shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.json_files import Row
from isofield.runtime.seeds import numpy_generator

RESAMPLES, LEVEL, BLOCK = 10_000, 0.95, 1 << 21  # BLOCK: numbers of a piece of work


@dataclass(frozen=True)
class PairedDifference:
    """Of two candidates under one metric: `mean` is first minus second over `n` shapes with finite numbers of both.

    `interval`: of the mean difference; None for fewer than two shapes. `wins`, `losses`, `ties`: shapes in which the
    first is better, worse, equal, infinite distances among them. `left_out`: shapes that one of both has no number of.
    """

    metric: str
    n: int
    mean: float | None
    interval: tuple[float, float] | None
    wins: int
    losses: int
    ties: int
    left_out: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def paired_differences(
    first: Mapping[str, Row], second: Mapping[str, Row], metrics: Sequence[str], *, lower: frozenset[str], seed: int
) -> list[PairedDifference]:
    """One for each metric.

    `first`, `second`: rows by the name of the shape. `lower`: metrics of which less is better; of others, more is.
    """
    # The same shapes on both sides: the spread between shapes, which is large, then cancels.
    names = sorted(first.keys() & second.keys())
    everyone = len(first.keys() | second.keys())
    differences = []
    for metric in metrics:
        both = [(first[name][metric], second[name][metric]) for name in names]
        values_S2 = np.array([pair for pair in both if None not in pair], dtype=np.float64).reshape(-1, 2)
        sign = -1 if metric in lower else 1
        better_S = sign * np.sign(_comparable(values_S2))
        finite_S = np.isfinite(values_S2).all(axis=1)
        difference_S = values_S2[finite_S, 0] - values_S2[finite_S, 1]
        differences.append(
            PairedDifference(
                metric,
                n=len(difference_S),
                mean=float(difference_S.mean()) if len(difference_S) else None,
                interval=bootstrap_interval(difference_S, seed=seed),
                wins=int((better_S > 0).sum()),
                losses=int((better_S < 0).sum()),
                ties=int((better_S == 0).sum()),
                left_out=everyone - len(difference_S),
            )
        )
    return differences


def bootstrap_interval(values_S: NDArray[np.float64], *, seed: int) -> tuple[float, float] | None:
    """The percentile interval of the mean, of LEVEL, out of RESAMPLES; None for fewer than two values.

    The draws depend on the seed and the number of values alone: the same call gives the same interval.
    """
    count = len(values_S)
    if count < 2:
        return None
    generator = numpy_generator(seed, "bootstrap", count)
    means = np.empty(RESAMPLES)
    # In pieces: ten thousand resamples of ten thousand shapes at once would take a gigabyte.
    each = max(1, BLOCK // count)
    for begin in range(0, RESAMPLES, each):
        piece = means[begin : begin + each]
        piece[:] = values_S[generator.integers(count, size=(len(piece), count))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _comparable(values_S2: NDArray[np.float64]) -> NDArray[np.float64]:
    """First minus second; two infinite ones are equal."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values_S2[:, 0] - values_S2[:, 1], nan=0.0)
