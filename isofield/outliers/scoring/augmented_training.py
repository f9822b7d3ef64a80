"""Training masks measured so that a prior has not seen them: what it disagrees with is that of masks slightly turned.

A prior gives back the masks it was trained on better than others of their kind. A score fitted on that finds every
other clean mask strange in its prior's numbers. Turned by some degrees and scaled by some percent a mask is as good a
mask, and new to the prior; all other numbers are those of the mask itself, as turning resamples its surface.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.outliers.scoring.scores import Measured
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.runtime.progress import with_progress
from isofield.runtime.seeds import numpy_generator

DEGREES = (6.0, 15.0)
SCALE = (0.95, 1.05)
OF_PRIOR = "prior_"


def measured_as_unseen(prior: MaskPrior, masks: Sequence[CubeMask], sdf_grid: SdfGrid) -> list[Measured]:
    """Numbers of training masks to fit a score on; none may be empty."""
    turned_masks = [turn_mask(mask, number) for number, mask in enumerate(masks)]
    seen, unseen = measured_masks(prior, masks, sdf_grid), measured_masks(prior, turned_masks, sdf_grid)
    both = with_progress(zip(seen, unseen, strict=True), what="fit the score", unit="mask", total=len(masks))
    return [with_prior_of(own, other) for (own, _), (other, _) in both]


def with_prior_of(own: Measured, other: Measured) -> Measured:
    """The numbers of one mask, but for what its prior says of it."""
    of_prior = {name: value for name, value in other.numbers.items() if name.startswith(OF_PRIOR)}
    return Measured(own.numbers | of_prior, own.distances_D)


def turn_mask(mask: CubeMask, number: int) -> CubeMask:
    """The mask about its centre, always the same for a number; as it was where nothing would be left of it."""
    generator = numpy_generator(0, "turned", number)
    # Rodrigues' formula: a turn about any axis, all equally likely.
    axis = generator.standard_normal(3)
    cross = np.cross(np.eye(3), axis / np.linalg.norm(axis))
    angle = np.deg2rad(generator.uniform(*DEGREES))
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    occupancy = _resampled(mask.occupancy_RRR, rotation * generator.uniform(*SCALE))
    return CubeMask(occupancy if occupancy.any() else mask.occupancy_RRR, mask.to_world)


def _resampled(occupancy_RRR: NDArray[np.bool_], matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    # About its own centre of mass, so that it stays where it was.
    centre = np.array(scipy.ndimage.center_of_mass(occupancy_RRR))
    share = scipy.ndimage.affine_transform(occupancy_RRR.astype(np.float32), matrix, centre - matrix @ centre, order=1)
    return np.asarray(share > 0.5)
