"""How far each voxel of a mask's grid is from its surface, in voxels."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Voxels to the surface, negative inside; the surface lies half-way between voxel centres on its two sides."""
    outside = scipy.ndimage.distance_transform_edt(~mask)
    inside = scipy.ndimage.distance_transform_edt(mask)
    return np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
