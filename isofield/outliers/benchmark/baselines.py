"""The simple detectors a prior has to beat, each fitted on clean training masks alone; larger is stranger.

Volume and compactness (two-sided), 1 - Dice to the mean and to the nearest training shape, Mahalanobis distance of
sixteen shape features, 1 - Dice to the projection on principal components of signed distances, and the sum of the last
two, each in deviations of training masks that were left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.mahalanobis import Mahalanobis, Tail, fit_mahalanobis, fit_tail, held_out
from isofield.outliers.scoring.scores import Measured
from isofield.outliers.scoring.shape_space import Components, fit_components, overlap

Array = NDArray[np.float64]
SHRINKAGE = 0.05
VOLUME, COMPACTNESS = 0, 2  # columns of shape_features


@dataclass(frozen=True, eq=False)
class Baselines:
    """What the detectors keep of the training masks."""

    mahalanobis: Mahalanobis
    components: Components
    training_ND: NDArray[np.float32]
    tails: tuple[Tail, Tail]

    def scores(self, measured: Sequence[Measured]) -> dict[str, Array]:
        """(N,) of each detector."""
        features_NF, distances_ND = _parts(measured)
        deviations = np.abs(self.mahalanobis.standardise(features_NF))
        mahalanobis = self.mahalanobis.distances(features_NF)
        pca = off_components(self.components, distances_ND)
        mean_D = self.components.mean_D
        return {
            "volume": deviations[:, VOLUME],
            "compactness": deviations[:, COMPACTNESS],
            "mean_shape": np.array([1 - overlap(row, mean_D) for row in distances_ND]),
            "nearest_shape": np.array(
                [min(1 - overlap(row, seen) for seen in self.training_ND) for row in distances_ND]
            ),
            "mahalanobis": mahalanobis,
            "pca": pca,
            "mahalanobis_pca": self.tails[0].strangeness(mahalanobis) + self.tails[1].strangeness(pca),
        }


def fit_baselines(measured: Sequence[Measured]) -> Baselines:
    """Of clean training masks."""
    features_NF, distances_ND = _parts(measured)
    # Distances of masks to a fit that knows them are too small: their spread is measured on masks that were left out.
    left_out = held_out(features_NF, lambda others, rows: _fitted(others).distances(rows))
    off = held_out(distances_ND, lambda others, rows: off_components(fit_components(others), rows))
    return Baselines(
        _fitted(features_NF), fit_components(distances_ND), distances_ND, (fit_tail(left_out), fit_tail(off))
    )


def off_components(components: Components, distances_ND: NDArray[np.floating]) -> Array:
    """1 - Dice of each shape (N, D) to its projection: (N,)."""
    return np.array([1 - overlap(row, components.project(row)) for row in distances_ND])


def _fitted(features_NF: Array) -> Mahalanobis:
    return fit_mahalanobis(features_NF, shrinkage=SHRINKAGE)


def _parts(measured: Sequence[Measured]) -> tuple[Array, NDArray[np.float32]]:
    """Shape features (N, 16) and signed distances (N, D)."""
    shape = [[value for name, value in one.numbers.items() if name.startswith("shape_")] for one in measured]
    return np.array(shape, dtype=np.float64), np.stack([one.distances_D for one in measured])
