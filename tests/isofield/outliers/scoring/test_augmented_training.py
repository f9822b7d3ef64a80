"""Training masks turned and redrawn: still the same shape, the same each time, and which numbers are theirs."""

import numpy as np
import pytest

from isofield.metrics.masks import dice
from isofield.outliers.scoring.augmented_training import (
    OF_PRIOR,
    measured_as_unseen,
    redrawings,
    redrawn_masks,
    turn_mask,
)
from isofield.outliers.scoring.calibrate import sdf_grid_around
from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.outliers.scoring.fault_directions import KINDS, OFTEN
from isofield.outliers.scoring.redrawing import random_drawing
from isofield.registry import load_run
from isofield.run_dir import preparation_of
from tests.isofield.outliers.organs import brain_config, brain_mask, ellipsoid


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
    for one, other in zip(own, found.masks, strict=True):
        assert list(one.numbers) == list(other.numbers)
        changed = {name for name, value in one.numbers.items() if value != other.numbers[name]}
        assert changed and all(name.startswith(OF_PRIOR) for name in changed)
        np.testing.assert_array_equal(one.distances_D, other.distances_D)
    assert [tuple(one) for one in found.damaged] == [KINDS[:OFTEN], KINDS[OFTEN : 2 * OFTEN]]
    assert not any(name.startswith(OF_PRIOR) for one in found.damaged for each in one.values() for name in each.numbers)
    # Redrawn, a mask has numbers of its own, and what its prior says moves from where it stands of the turned one.
    assert [len(others) for others in found.redrawn] == [redrawings(2)] * 2
    shown = redrawn_masks(masks[1], prior.preparation, 1, times=2)
    for (expected, _), other in zip(measured_masks(prior, shown, frame), found.redrawn[1][:2], strict=True):
        np.testing.assert_array_equal(other.distances_D, expected.distances_D)
        for name, value in expected.numbers.items():
            offset = found.masks[1].numbers[name] - own[1].numbers[name] if name.startswith(OF_PRIOR) else 0.0
            assert other.numbers[name] == pytest.approx(value + offset, abs=1e-9)


def test_many_masks_are_redrawn_less_often():
    assert [redrawings(n) for n in (8, 100, 150, 299, 500)] == [3, 3, 2, 1, 1]


def test_redrawn_masks_are_the_same_each_time_and_of_several_kinds():
    mask = brain_mask(0)
    first, again = (redrawn_masks(mask, brain_config(), 3, times=3) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.occupancy_RRR, other.occupancy_RRR)
        assert 0.75 < dice(one.occupancy_RRR, mask.occupancy_RRR) < 1
    drawings = [random_drawing(np.random.default_rng(n), size_mm=90.0) for n in range(60)]
    kinds = {(d.grid > 0, d.slices > 0, d.smoothed > 0, d.enlarged > 1) for d in drawings}
    assert len(kinds) == 5
    # Enlarged voxels change most: three of seven are such, within three deviations of a binomial of 60.
    assert 14 <= sum(d.enlarged > 1 for d in drawings) <= 37
    small = [random_drawing(np.random.default_rng(n), size_mm=9.0) for n in range(60)]
    for large_one, small_one in zip(drawings, small, strict=True):
        assert small_one.grid == pytest.approx(large_one.grid / 5)
        assert small_one.smoothed == pytest.approx(large_one.smoothed / 5)
