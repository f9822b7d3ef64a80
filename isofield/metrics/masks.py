"""Two masks on the grid of one scan: overlap, surface distances in mm, volumes."""

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.mask_surfaces import PERCENT, distances_between, surface_elements

Mask = NDArray[np.uint8]


def compare_masks(predicted: Mask, true: Mask, axes_33: NDArray[np.floating], *, tolerance: float) -> dict[str, float]:
    """Metrics of two masks (X, Y, Z) 0/1 whose axes take the steps `axes_33` (columns, mm).

    Of two empty masks all agree: Dice and nsd 1, distances 0. If one is empty: Dice and nsd 0, distances infinite.
    """
    volume = abs(float(np.linalg.det(axes_33))) / 1000
    counts = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    volumes = {"volume": counts[1] * volume, "predicted_volume": counts[0] * volume}
    # Distances to nothing are infinite, not missing: a mean then shows that something failed.
    if not all(counts):
        alike = float(not any(counts))
        return {
            "dice": alike,
            "nsd": alike,
            **dict.fromkeys(("asd", "assd", "hd95", "hd"), 0.0 if alike else float("inf")),
            **volumes,
        }
    # Every element counts by its area: voxel surfaces are sampled unevenly otherwise.
    there, back = distances_between(surface_elements(predicted, axes_33), surface_elements(true, axes_33))
    areas = there.areas_N.sum() + back.areas_N.sum()
    return {
        "dice": 2 * int(np.count_nonzero(predicted & true)) / sum(counts),
        "nsd": (there.area_within(tolerance) + back.area_within(tolerance)) / areas,
        "asd": (there.mean() + back.mean()) / 2,
        "assd": (there.mean() * there.areas_N.sum() + back.mean() * back.areas_N.sum()) / areas,
        "hd95": max(there.percentile(PERCENT), back.percentile(PERCENT)),
        "hd": float(max(there.distances_N[-1], back.distances_N[-1])),
        **volumes,
    }
