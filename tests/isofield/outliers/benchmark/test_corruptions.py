"""Corruptions reach their Dice, do what their names say, and depend on their key alone."""

import numpy as np
import pytest
import scipy.ndimage

from isofield.metrics.masks import dice
from isofield.outliers.benchmark.corruptions import FAMILIES, FLIP, HALF, MATCHED, TARGETS, TOLERANCE, corrupt
from isofield.outliers.scoring.features import component_sizes, crop_mask
from tests.isofield.outliers.organs import brain_mask, ellipsoid

ADDING = {"blob_added", "merged_neighbour", "dilation", "island"}
REMOVING = {"blob_removed", "hole", "bite", "missing_slices", "cut_off", "erosion"}


@pytest.fixture(scope="module")
def organ():
    return crop_mask(brain_mask(0, name="putamen").occupancy_RRR, 16)


def corrupted(mask, family, severity="moderate", seed=0):
    return corrupt(mask, family, severity=severity, seed=seed, name="organ")


@pytest.mark.parametrize("severity", TARGETS)
@pytest.mark.parametrize("family", MATCHED)
def test_each_family_reaches_its_dice(organ, family, severity):
    made = corrupted(organ, family, severity)
    assert made.matched
    assert made.dice == pytest.approx(TARGETS[severity], abs=TOLERANCE)
    assert made.dice == dice(made.mask_RRR, organ)
    assert made.mask_RRR.shape == organ.shape


@pytest.mark.parametrize("family", sorted(ADDING | REMOVING))
def test_families_only_add_or_only_remove(organ, family):
    made = corrupted(organ, family).mask_RRR
    assert not (organ & ~made if family in ADDING else made & ~organ).any()


def test_twelve_families_are_matched_and_the_mirrored_one_says_it_is_not(organ):
    assert len(MATCHED) == 12
    made = corrupted(organ, FLIP)
    assert not made.matched
    np.testing.assert_array_equal(made.mask_RRR[::-1], organ)


def test_half_a_mask_is_half_of_it_beyond_a_plane(organ):
    made = corrupted(organ, HALF)
    assert not made.matched and not (made.mask_RRR & ~organ).any()
    assert made.mask_RRR.sum() == pytest.approx(organ.sum() / 2, rel=0.02)
    kept, lost = np.argwhere(made.mask_RRR), np.argwhere(organ & ~made.mask_RRR)
    way = kept.mean(axis=0) - lost.mean(axis=0)
    assert np.quantile(kept @ way, 0.2) > np.quantile(lost @ way, 0.8)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_key_decides(organ, family):
    first, again, other = corrupted(organ, family), corrupted(organ, family), corrupted(organ, family, seed=1)
    np.testing.assert_array_equal(first.mask_RRR, again.mask_RRR)
    if family not in (FLIP, "dilation", "erosion"):  # these draw nothing
        assert (first.mask_RRR != other.mask_RRR).any()


def test_a_hole_is_a_cavity_and_a_bite_is_none():
    ball = ellipsoid((18, 18, 18))
    assert (scipy.ndimage.binary_fill_holes(corrupted(ball, "hole").mask_RRR) == ball).all()
    bitten = corrupted(ball, "bite").mask_RRR
    assert (scipy.ndimage.binary_fill_holes(bitten) == bitten).all()


def test_an_island_lies_apart(organ):
    assert len(component_sizes(corrupted(organ, "island").mask_RRR)) > len(component_sizes(organ))


def test_missing_slices_are_inner_ones(organ):
    areas = corrupted(organ, "missing_slices", "mild").mask_RRR.sum(axis=(0, 1))
    there = np.flatnonzero(organ.any(axis=(0, 1)))
    inner = areas[there[0] : there[-1] + 1]
    assert (inner == 0).any()
    assert inner[0] > 0 and inner[-1] > 0


def test_a_cut_off_end_is_flat():
    ball = ellipsoid((14, 15, 20))
    areas = corrupted(ball, "cut_off").mask_RRR.sum(axis=(0, 1))
    extent = np.count_nonzero(areas)
    assert extent < np.count_nonzero(ball.any(axis=(0, 1)))


def test_dilation_is_even():
    """Added cells of a ball lie in one shell: no further out than two cells from each other."""
    ball = ellipsoid((15, 15, 15))
    added = corrupted(ball, "dilation", "mild").mask_RRR & ~ball
    radius = np.linalg.norm(np.argwhere(added) - 23.5, axis=1)
    assert np.ptp(radius) < 2


def test_what_cannot_be_spoilt_is_refused(organ):
    with pytest.raises(ValueError, match="blob_added"):
        corrupted(organ, "blobs")
    with pytest.raises(ValueError, match=r"moderate.*'severe'"):
        corrupted(organ, "bite", "severe")
    with pytest.raises(ValueError, match="empty"):
        corrupted(np.zeros((8, 8, 8), bool), "bite")
