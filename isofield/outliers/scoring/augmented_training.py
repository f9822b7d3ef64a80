"""Training masks measured so that a prior has not seen them, and as other sources would draw them.

A prior gives back the masks it was trained on better than others of their kind. A score fitted on that finds every
other clean mask strange in its prior's numbers. Turned by some degrees and scaled by some percent a mask is as good a
mask, and new to the prior; all other numbers are those of the mask itself, as turning resamples its surface.

A score fitted on masks of one source finds every mask of another strange, however right it is. So each training mask is
redrawn, and the score is told what changes. And it is damaged, so that the score knows in which directions faults lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from data_processing.preparation.config import DataConfig
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.outliers.scoring.fault_directions import damaged_masks
from isofield.outliers.scoring.redrawing import random_drawing, redrawn_mask
from isofield.outliers.scoring.scores import Measured, measure
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.runtime.progress import with_progress
from isofield.runtime.seeds import numpy_generator

DEGREES = (6.0, 15.0)
SCALE = (0.95, 1.05)
OFTEN = 3  # times that a mask is redrawn, at most
REDRAWN = 300  # masks in all: each costs as much as a mask that is judged
OF_PRIOR = "prior_"


@dataclass(frozen=True, eq=False)
class MeasuredTraining:
    """What a score is fitted on: clean training masks, each of them redrawn, equally often, and damaged, by kind."""

    masks: list[Measured]
    redrawn: list[list[Measured]]
    damaged: list[dict[str, Measured]]

    def add(self, seen: Measured, unseen: Measured, redrawn: Sequence[Measured], damaged: dict[str, Measured]) -> None:
        """One mask: as it is, turned so that its prior has not seen it, redrawn, and damaged."""
        self.masks.append(with_prior_of(seen, unseen))
        self.redrawn.append([as_unseen(other, seen, unseen) for other in redrawn])
        self.damaged.append(damaged)


def measured_as_unseen(prior: MaskPrior, masks: Sequence[CubeMask], sdf_grid: SdfGrid) -> MeasuredTraining:
    """Numbers of training masks to fit a score on; none may be empty."""
    found = MeasuredTraining([], [], [])
    numbered = with_progress(list(enumerate(masks)), what="fit the score", unit="mask", total=len(masks))
    times = redrawings(len(masks))
    for number, mask in numbered:
        shown = [mask, turn_mask(mask, number), *redrawn_masks(mask, prior.preparation, number, times=times)]
        seen, unseen, *others = [one for one, _ in measured_masks(prior, shown, sdf_grid)]
        found.add(seen, unseen, others, measured_damage(mask, number, sdf_grid))
    return found


def measured_damage(mask: CubeMask, number: int, sdf_grid: SdfGrid) -> dict[str, Measured]:
    """A training mask damaged, in numbers by kind; its prior is not asked."""
    return {kind: measure(one, sdf_grid, None) for kind, one in damaged_masks(mask, number).items()}


def redrawings(masks: int) -> int:
    """How often each of so many training masks is redrawn."""
    return max(1, min(OFTEN, REDRAWN // max(masks, 1)))


def redrawn_masks(mask: CubeMask, config: DataConfig, number: int, *, times: int) -> list[CubeMask]:
    """A training mask as `times` sources draw it, always the same for a number."""
    size_mm = float(np.cbrt(mask.occupancy_RRR.sum())) * mask.spacing
    generators = [numpy_generator(0, "redrawn", number, time) for time in range(times)]
    return [redrawn_mask(mask, random_drawing(one, size_mm=size_mm), config, one) for one in generators]


def as_unseen(redrawn: Measured, seen: Measured, unseen: Measured) -> Measured:
    """A redrawn mask, the prior's numbers changed as the redrawing changes them, from those of the mask turned."""
    of_prior = {
        name: unseen.numbers[name] + value - seen.numbers[name]
        for name, value in redrawn.numbers.items()
        if name.startswith(OF_PRIOR)
    }
    return Measured(redrawn.numbers | of_prior, redrawn.distances_D)


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
