"""Numbers of the disagreement with a prior that is known everywhere: an ellipsoid, and a mask with a ball too many."""

import numpy as np
import pytest

from data_processing.geometry.coordinates import scaling_about
from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.disagreement import FEW, box_around, disagreement_features
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.outliers.scoring.shape_space import signed_distance
from tests.isofield.outliers.comparison.test_on_scan import MIDDLE, rebuilt_by

SURE_BY = 40.0  # times the values of the field: the prior is sure of all but cells at the surface


def features_of(rebuilt: Reconstruction) -> dict[str, float]:
    box = box_around(rebuilt.mask, rebuilt)
    return disagreement_features(rebuilt, box, signed_distance(rebuilt.mask.occupancy_RRR[box]))


def sharp(*, extra: bool, by: float = SURE_BY, visible: np.ndarray | None = None) -> Reconstruction:
    one = rebuilt_by(scaling_about(MIDDLE, 70.0), extra=extra)
    touched = () if visible is None else ("right",)
    mask = CubeMask(one.mask.occupancy_RRR, one.mask.to_world, touched, visible)
    return Reconstruction(one.values_RRR * by, 0.0, one.field, mask)


@pytest.mark.parametrize("extra", [True, False])
def test_what_is_extra_and_what_is_missing_is_told_apart(extra: bool):
    rebuilt = sharp(extra=extra)
    found, mask = features_of(rebuilt), rebuilt.mask.occupancy_RRR
    share = (mask ^ rebuilt.occupancy_RRR).sum() / mask.sum()
    here, there = ("extra", "missing") if extra else ("missing", "extra")
    assert found["prior_unlike"] == pytest.approx(np.log(1 - dice(mask, rebuilt.occupancy_RRR) + FEW))
    assert found[f"prior_{here}"] == found[f"prior_{here}_piece"] == pytest.approx(np.log(share + FEW))
    assert found[f"prior_{there}"] == pytest.approx(np.log(FEW)) and found[f"prior_{there}_depth"] == 0
    assert np.expm1(found[f"prior_{here}_depth"]) > 5
    assert (found["prior_growth"] < 0) == extra


def test_what_the_prior_is_sure_of_counts_apart():
    sure, unsure = features_of(sharp(extra=True)), features_of(sharp(extra=True, by=0.1))
    assert sure["prior_unlike"] == unsure["prior_unlike"]
    assert sure["prior_extra"] - 0.3 < sure["prior_sure"] < sure["prior_extra"]
    assert unsure["prior_sure"] == pytest.approx(np.log(FEW))


def test_beyond_the_field_of_view_nothing_counts():
    rebuilt = sharp(extra=True)
    seen = ~(rebuilt.mask.occupancy_RRR & ~rebuilt.occupancy_RRR)
    found = features_of(sharp(extra=True, visible=seen))
    for name in ("unlike", "extra", "missing", "sure"):
        assert found[f"prior_{name}"] == pytest.approx(np.log(FEW))
