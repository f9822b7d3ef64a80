"""Of two masks how alike, of one how far from its surface: in voxels, on one grid."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dice(one: Mask, other: Mask) -> float:
    """Twice the overlap over the sum of sizes; of two empty masks 1."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Voxels to the surface, negative inside; the surface lies half-way between voxel centres on its two sides."""
    outside = scipy.ndimage.distance_transform_edt(~mask)
    inside = scipy.ndimage.distance_transform_edt(mask)
    return np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
