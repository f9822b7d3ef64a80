"""Features of solids whose numbers are known, what they do not depend on, and what they must see."""

import numpy as np
import pytest

from isofield.outliers.benchmark.corruptions import corrupt
from isofield.outliers.scoring.features import (
    component_sizes,
    crop_mask,
    shape_features,
    slice_features,
    spread_directions,
    surface_features,
)
from isofield.outliers.scoring.shape_space import signed_distance
from tests.isofield.outliers.organs import brain_mask, ellipsoid


@pytest.fixture(scope="module")
def box():
    mask = np.zeros((60, 60, 60), bool)
    mask[10:50, 12:32, 20:30] = True  # 40 x 20 x 10
    return mask


def test_there_are_sixteen_of_the_whole_shape(box):
    assert len(shape_features(crop_mask(box), 1.0)) == 16


def test_a_box_has_the_numbers_of_a_box(box):
    found = shape_features(crop_mask(box), 0.5)
    assert np.exp(found["volume"]) == pytest.approx(40 * 20 * 10 / 8)
    assert np.exp(found["area"]) == pytest.approx(2 * (800 + 400 + 200) / 4, rel=0.05)  # edges are cut
    for number, side in enumerate((40, 20, 10)):
        assert np.exp(found[f"spread_{number}"]) == pytest.approx(side * 0.5 / 12**0.5, rel=0.01)
        assert found[f"skewness_{number}"] == pytest.approx(0, abs=1e-6) if number < 2 else True
    assert np.exp(found["thickness"]) == pytest.approx(5 * 0.5)
    assert found["box_fill"] == pytest.approx(0, abs=1e-6)
    assert found["kurtosis"] == pytest.approx(1.8, abs=0.01)


def test_a_ball_is_as_compact_as_can_be():
    ball, box_like = ellipsoid((16, 16, 16)), ellipsoid((16, 8, 8))
    compact = [shape_features(crop_mask(mask), 1.0)["compactness"] for mask in (ball, box_like)]
    assert -0.3 < compact[0] < 0.05  # the surface of cubes cut at their corners is larger than a ball's
    assert compact[1] < compact[0] - 0.1


def test_spacing_only_scales():
    mask = brain_mask(0).occupancy_RRR
    one, two = (shape_features(crop_mask(mask), spacing) for spacing in (1.0, 2.0))
    logs = {"volume": 3, "area": 2, "thickness": 1, "mean_depth": 1, "spread_0": 1, "spread_1": 1, "spread_2": 1}
    for name in one:
        assert two[name] - one[name] == pytest.approx(logs.get(name, 0) * np.log(2), abs=1e-6), name


def test_place_and_margins_do_not_matter():
    mask = brain_mask(0).occupancy_RRR
    moved = np.roll(mask, (4, -6, 8), axis=(0, 1, 2))
    for function in (lambda m: shape_features(crop_mask(m), 1.0), surface_features, slice_features):
        first, second = function(mask), function(moved)
        assert first.keys() == second.keys()
        np.testing.assert_allclose(list(first.values()), list(second.values()), atol=1e-5)


def test_fullness_is_half_on_a_plane_and_less_on_a_ball():
    slab = np.zeros((40, 40, 40), bool)
    slab[:, :, 10:30] = True
    assert surface_features(slab)["fullness_1_50"] == pytest.approx(0.5, abs=0.01)
    small, large = (surface_features(ellipsoid((r, r, r)))["fullness_4_50"] for r in (10.0, 18.0))
    assert small < large < 0.5


def test_growth_and_shrinkage_round_off_other_edges():
    """What a mask with edges of both kinds shows: grown, its convex ones are blunt; shrunk, its concave ones."""
    mask = np.zeros((64, 64, 64), bool)
    mask[16:48, 16:48, 16:48] = True
    mask[24:40, 24:40, 40:48] = False
    corrupted = {f: corrupt(mask, f, severity="moderate", seed=0, name="x").mask_RRR for f in ("dilation", "erosion")}
    plain, grown, shrunk = (surface_features(m) for m in (mask, corrupted["dilation"], corrupted["erosion"]))
    assert grown["fullness_2_1"] > plain["fullness_2_1"] + 0.02
    assert shrunk["fullness_2_99"] < plain["fullness_2_99"]


def test_slices_show_gaps_and_flat_ends():
    mask = brain_mask(0, name="putamen").occupancy_RRR
    plain = slice_features(mask)
    gaps = slice_features(corrupt(mask, "missing_slices", severity="mild", seed=0, name="x").mask_RRR)
    assert gaps["bend_z_max"] > plain["bend_z_max"] + 1
    ball = ellipsoid((18, 18, 18))
    cut = corrupt(ball, "cut_off", severity="moderate", seed=0, name="x").mask_RRR
    assert slice_features(cut)["flat_end"] > slice_features(ball)["flat_end"] + 0.5


def test_pieces_are_counted_by_size():
    mask = np.zeros((20, 20, 20), bool)
    mask[:3, :3, :3], mask[10, 10, 10:12] = True, True
    assert component_sizes(mask).tolist() == [27, 2]
    assert shape_features(mask, 1.0)["pieces"] == pytest.approx(np.log(2 / 29), abs=1e-3)


def test_distances_are_signed_and_halfway_at_the_surface():
    slab = np.zeros((10, 10, 10), bool)
    slab[:, :, 4:] = True
    np.testing.assert_allclose(signed_distance(slab)[0, 0], [3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5, -5.5])


def test_directions_are_spread():
    directions = spread_directions(64)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.abs(directions.mean(axis=0)).max() < 0.02


def test_an_empty_mask_has_none():
    with pytest.raises(ValueError, match="empty"):
        crop_mask(np.zeros((4, 4, 4), bool))
