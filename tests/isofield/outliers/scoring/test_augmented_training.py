"""Training masks turned a little: still the same shape, the same each time, and only the prior's numbers are theirs."""

import numpy as np

from isofield.metrics.masks import dice
from isofield.outliers.scoring.augmented_training import OF_PRIOR, measured_as_unseen, turn_mask
from isofield.outliers.scoring.calibrate import sdf_grid_around
from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.registry import load_run
from isofield.run_dir import preparation_of
from tests.isofield.outliers.organs import brain_mask, ellipsoid


def test_a_mask_is_turned_and_scaled_a_little_about_its_centre():
    mask = CubeMask(ellipsoid((30, 14, 9), size=GRID), np.diag([GRID, GRID, GRID, 1.0]))
    volumes = []
    for number in range(6):
        after = turn_mask(mask, number)
        assert 0.6 < dice(after.occupancy_RRR, mask.occupancy_RRR) < 0.95
        np.testing.assert_array_equal(after.occupancy_RRR, turn_mask(mask, number).occupancy_RRR)
        before, now = (np.argwhere(one.occupancy_RRR).mean(axis=0) for one in (mask, after))
        np.testing.assert_allclose(now, before, atol=0.2)
        volumes.append(after.occupancy_RRR.sum() / mask.occupancy_RRR.sum())
    assert 0.85 < min(volumes) < 0.98 and 1.02 < max(volumes) < 1.18


def test_only_the_numbers_of_the_prior_are_those_of_turned_masks(brain_run):
    prior = MaskPrior(load_run(brain_run), preparation_of(brain_run))
    masks = [brain_mask(0), brain_mask(1)]
    frame = sdf_grid_around(masks)
    own = [one for one, _ in measured_masks(prior, masks, frame)]
    found = measured_as_unseen(prior, masks, frame)
    for one, other in zip(own, found, strict=True):
        assert list(one.numbers) == list(other.numbers)
        changed = {name for name, value in one.numbers.items() if value != other.numbers[name]}
        assert changed and all(name.startswith(OF_PRIOR) for name in changed)
        np.testing.assert_array_equal(one.distances_D, other.distances_D)
