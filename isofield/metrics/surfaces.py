"""The one owner of every formula that compares a reconstruction with its ground truth.

Distances come in, numbers go out: no files, no scales, no draws (protocols.py and evaluation/rows.py have those).
"accuracy" is the direction from the prediction to the ground truth, "completeness" the one from the ground truth to
the prediction. Nearest neighbours are exact (neighbours.py, in float64): a distance matrix by matrix products errs by
1.8e-4, the size of a good Chamfer distance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.neighbours import Neighbours

Combine = Literal["sum", "half_sum"]


@dataclass(frozen=True)
class SurfaceSamples:
    """Points of a surface and the unit normals there, or None where nobody knows the normals."""

    points_N3: NDArray[np.float64]
    normals_N3: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Distances:
    """What two sets of surface samples say about each other; cosines are of the normals at nearest neighbours."""

    accuracy_N: NDArray[np.float64]
    completeness_M: NDArray[np.float64]
    accuracy_cosine_N: NDArray[np.float64] | None
    completeness_cosine_M: NDArray[np.float64] | None


def compare(prediction: SurfaceSamples, truth: SurfaceSamples) -> Distances:
    """Nearest neighbours both ways; cosines only where both sides have normals."""
    # Each tree is built once and asked from both sides.
    predicted, true = Neighbours(prediction.points_N3), Neighbours(truth.points_N3)
    accuracy_N, to_truth_N = predicted.nearest_in(true)
    completeness_M, to_prediction_M = true.nearest_in(predicted)
    if prediction.normals_N3 is None or truth.normals_N3 is None:
        return Distances(accuracy_N, completeness_M, None, None)
    ours, theirs = _WithLengths(prediction.normals_N3), _WithLengths(truth.normals_N3)
    return Distances(
        accuracy_N, completeness_M, ours.cosines(theirs, to_truth_N), theirs.cosines(ours, to_prediction_M)
    )


def chamfer(distances: Distances, *, power: Literal[1, 2], combine: Combine) -> float:
    """Mean distance (power 1) or mean squared distance (power 2) of the two directions, summed or averaged."""
    total = float((distances.accuracy_N**power).mean() + (distances.completeness_M**power).mean())
    return total if combine == "sum" else total / 2


def normal_consistency(distances: Distances) -> float:
    """Mean |n.n'| over nearest neighbours, both directions, halved: 1 is best; blind to flipped normals."""
    return _halved(distances, np.abs)


def signed_normal_agreement(distances: Distances) -> float:
    """Mean n.n' over nearest neighbours, both directions, halved: -1 where every triangle is inside out."""
    return _halved(distances, np.asarray)


def f_score(distances: Distances, *, threshold: float) -> float:
    """Harmonic mean of the shares of points within `threshold` of the other side (Tatarchenko et al., CVPR 2019)."""
    precision = float((distances.accuracy_N <= threshold).mean())
    recall = float((distances.completeness_M <= threshold).mean())
    # Nothing within the threshold from either side: 0, the limit, instead of 0 / 0.
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def iou(prediction_N: NDArray[np.bool_], truth_N: NDArray[np.bool_]) -> float:
    """Intersection over union of two sets of inside flags; NaN where neither has anything inside."""
    if prediction_N.shape != truth_N.shape:
        raise ValueError(f"IoU compares equal shapes, got {prediction_N.shape} and {truth_N.shape}")
    union = np.count_nonzero(prediction_N | truth_N)
    return np.count_nonzero(prediction_N & truth_N) / union if union else float("nan")


class _WithLengths:
    """Normals (N, 3) and their lengths (N,): products of both are quicker than normals made unit, one by one."""

    def __init__(self, normals_N3: NDArray[np.floating]) -> None:
        self.normals_N3: NDArray[np.float64] = np.asarray(normals_N3, dtype=np.float64)
        # A zero vector keeps the product zero and so agrees with nothing.
        self.length_N = np.maximum(np.sqrt(np.einsum("nc,nc->n", self.normals_N3, self.normals_N3)), 1e-12)

    def cosines(self, others: "_WithLengths", index_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the angle between each normal and that of the others with the index (N,)."""
        product_N = np.einsum("nc,nc->n", self.normals_N3, others.normals_N3.take(index_N, axis=0))
        return product_N / (self.length_N * others.length_N.take(index_N))


def _halved(distances: Distances, sign: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """Mean of sign(cosine) over both directions, halved; NaN where a side has no normals."""
    if distances.accuracy_cosine_N is None or distances.completeness_cosine_M is None:
        return float("nan")
    return float(sign(distances.accuracy_cosine_N).mean() + sign(distances.completeness_cosine_M).mean()) / 2
