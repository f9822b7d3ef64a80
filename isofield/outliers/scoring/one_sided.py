"""Numbers of which less is never strange: what shapes of the training lack of a mask, and where its prior disagrees.

Of a training mask itself the components of its training lack nothing, and a prior that knows it by heart gives it back:
some fifteen deviations less than of any other clean mask, which a distance takes for as strange as fifteen more.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.mahalanobis import Mahalanobis

Array = NDArray[np.float64]
LEAST = 1.5  # deviations below the mean of clean masks; less than that counts as that
ONE_SIDED = {f"space_{name}" for name in ("unlike", "rms", "extra", "missing")} | {
    f"prior_{name}"
    for name in (
        "unlike", "extra", "missing", "sure", "extra_piece", "missing_piece", "extra_depth", "missing_depth", "doubt",
    )
}  # fmt: skip


def at_least(values_ND: Array, names: Sequence[str], usual: Mahalanobis) -> Array:
    """Values (N, D) of these D names, those of ONE_SIDED not far below what is usual."""
    floor_D = np.where([name in ONE_SIDED for name in names], usual.mean_D - LEAST * usual.spread_D, -np.inf)
    return np.asarray(np.maximum(values_ND, floor_D))
