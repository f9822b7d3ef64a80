"""Two masks on the grid of one scan: overlap, surface distances in mm, volumes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.mask_surfaces import PERCENT, distances_between, surface_elements

Mask = NDArray[np.uint8]


def dice(one: NDArray, other: NDArray) -> float:
    """Twice the overlap over the sum of sizes; 1 where both are empty.

    Masks (bool, or 0/1 as integers), or shares in [0, 1] of each voxel that are inside.
    """
    size: Callable[[NDArray], Any] = np.sum if one.dtype.kind == "f" else np.count_nonzero
    total = float(size(one) + size(other))
    return float(2 * size(np.minimum(one, other)) / total) if total else 1.0


def compare_masks(predicted: Mask, true: Mask, axes_33: NDArray[np.floating], *, tolerance: float) -> dict[str, float]:
    """Metrics of two masks (X, Y, Z) 0/1 whose axes take the steps `axes_33` (columns, mm).

    Of two empty masks all agree: Dice and nsd 1, distances 0. If one is empty: Dice and nsd 0, distances infinite.
    """
    volume = abs(float(np.linalg.det(axes_33))) / 1000
    counts = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    volumes = {"volume": counts[1] * volume, "predicted_volume": counts[0] * volume}
    overlap = dice(predicted, true)
    # Distances to nothing are infinite, not missing: a mean then shows that something failed.
    if not all(counts):
        distances = dict.fromkeys(("asd", "assd", "hd95", "hd"), 0.0 if overlap else float("inf"))
        return {"dice": overlap, "nsd": overlap, **distances, **volumes}
    # Every element counts by its area: voxel surfaces are sampled unevenly otherwise.
    there, back = distances_between(surface_elements(predicted, axes_33), surface_elements(true, axes_33))
    areas = there.areas_N.sum() + back.areas_N.sum()
    return {
        "dice": overlap,
        "nsd": (there.area_within(tolerance) + back.area_within(tolerance)) / areas,
        "asd": (there.mean() + back.mean()) / 2,
        "assd": (there.mean() * there.areas_N.sum() + back.mean() * back.areas_N.sum()) / areas,
        "hd95": max(there.percentile(PERCENT), back.percentile(PERCENT)),
        "hd": float(max(there.distances_N[-1], back.distances_N[-1])),
        **volumes,
    }
