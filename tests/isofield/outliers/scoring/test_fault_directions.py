"""Directions of faults against what linear algebra says of them; damage that is as strong as it was asked to be."""

import numpy as np
import pytest

from isofield.metrics.mahalanobis import Mahalanobis
from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.fault_directions import (
    ALIKE,
    KINDS,
    OFTEN,
    damaged_masks,
    damaged_to,
    directions,
    fit_levels,
)
from tests.isofield.outliers.organs import ellipsoid

COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
SPREAD = np.array([2.0, 1.0, 0.5])
USUAL = Mahalanobis(np.array([5.0, 0.0, -1.0]), SPREAD, np.linalg.inv(COVARIANCE))


def test_no_direction_tells_the_fault_better():
    """Of two numbers that go together a fault moves one: it is told best where one is compared with the other."""
    changes = np.array([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
    weights = directions(USUAL, changes, ["grow", "grow", "cut"])
    grow, cut = weights[KINDS.index("grow")], weights[KINDS.index("cut")]
    np.testing.assert_allclose(cut, [0, 0, 1], atol=1e-12)
    assert grow[0] > 0 > grow[1]
    moved = np.array([1.0, 0.0, 0.0])  # the mean change, in deviations

    def told(weight):
        return weight @ moved / np.sqrt(weight @ COVARIANCE @ weight)

    assert told(grow) == pytest.approx(np.sqrt(moved @ USUAL.inverse_DD @ moved))
    assert all(told(other) <= told(grow) + 1e-9 for other in np.random.default_rng(0).standard_normal((200, 3)))
    # Clean masks vary by 1 along it; of kinds that nobody showed nothing is known.
    assert grow @ COVARIANCE @ grow == pytest.approx(1.0)
    assert not weights[[KINDS.index(kind) for kind in KINDS if kind not in ("grow", "cut")]].any()


def test_levels_are_those_of_clean_masks_whatever_the_direction():
    clean = np.random.default_rng(0).normal(3.0, [0.5] * len(KINDS), size=(2000, 2, len(KINDS)))
    faults = fit_levels(np.eye(len(KINDS)), clean)
    np.testing.assert_allclose(faults.middle_K, 3.0, atol=0.1)
    np.testing.assert_allclose(faults.spread_K, 0.5, atol=0.05)
    strange = faults.strangeness(clean.reshape(-1, len(KINDS)))
    assert np.median(strange) == pytest.approx(0, abs=1e-9) and 0.01 < (strange > 2).mean() < 0.12
    odd = np.full((1, len(KINDS)), 3.0)
    odd[0, 4] += 4.0
    assert faults.strangeness(odd)[0] > 4


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_as_strong_as_it_was_asked_to_be(kind: str):
    body = ellipsoid((16, 11, 8))
    spoilt, again = (damaged_to(body, kind, 0.92, 7) for _ in range(2))
    np.testing.assert_array_equal(spoilt, again)
    # Planes are lost in whole runs, each a twentieth of this body and more; pieces move by whole cells.
    assert abs(dice(spoilt, body) - 0.92) < {"slices": 0.06, "slip": 0.03}.get(kind, 0.02)


def test_neighbours_are_damaged_by_other_kinds_and_always_alike():
    mask = CubeMask(ellipsoid((16, 11, 8), size=GRID), np.diag([128.0, 128.0, 128.0, 1.0]))
    first, again, next_one = damaged_masks(mask, 0), damaged_masks(mask, 0), damaged_masks(mask, 1)
    assert (tuple(first), tuple(next_one)) == (KINDS[:OFTEN], KINDS[OFTEN : 2 * OFTEN])
    for kind, one in first.items():
        np.testing.assert_array_equal(one.occupancy_RRR, again[kind].occupancy_RRR)
        assert ALIKE[0] - 0.02 < dice(one.occupancy_RRR, mask.occupancy_RRR) < ALIKE[1] + 0.02
