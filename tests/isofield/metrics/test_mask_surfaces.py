"""Surface distances of masks: the published numbers, analytic boxes, and any affine."""

import numpy as np
import pytest
import scipy.ndimage

from isofield.metrics.mask_surfaces import distances_between, element_areas, surface_elements
from isofield.metrics.masks import compare_masks
from tests.data_processing.scan_files import random_affine
from tests.data_processing.voxel_files import box
from tests.golden import FOLDER

SHAPE = (20, 24, 18)


def golden():
    data = np.load(FOLDER / "surface_distance.npz", allow_pickle=False)
    for number, case in enumerate(data["cases"]):
        true, predicted = (
            np.unpackbits(data[f"{side}_{case}"]).reshape(tuple(data["shape"])) for side in ("gt", "pred")
        )
        for spacing, values in zip(data["spacings"], data["values"][number], strict=True):
            yield str(case), true, predicted, spacing, dict(zip(data["columns"].tolist(), values, strict=True))


def test_equal_to_the_published_tool():
    """8 pairs x 2 spacings: HD95, maximum, averages, areas and counts to 1e-9, not only to 1e-6."""
    seen = 0
    for case, true, predicted, spacing, expected in golden():
        surfaces = [surface_elements(mask, np.diag(spacing)) for mask in (true, predicted)]
        assert [len(s.areas_N) for s in surfaces] == [expected["n_gt"], expected["n_pred"]]
        areas = [s.areas_N.sum() for s in surfaces]
        np.testing.assert_allclose(areas, [expected["area_gt"], expected["area_pred"]], rtol=1e-12)
        if case in ("empty_pred", "empty_both"):
            continue
        there, back = distances_between(*surfaces)
        found = compare_masks(predicted, true, np.diag(spacing), tolerance=1.0)
        assert there.mean() == pytest.approx(expected["avg_gt_to_pred"], rel=1e-12, abs=1e-12)
        assert back.mean() == pytest.approx(expected["avg_pred_to_gt"], rel=1e-12, abs=1e-12)
        for ours, theirs in (("dice", "dice"), ("asd", "asd"), ("hd95", "hd95"), ("hd", "hd100_max")):
            assert found[ours] == pytest.approx(expected[theirs], rel=1e-9, abs=1e-12), (case, ours)
        seen += 1
    assert seen == 12


def test_empty_masks_are_told_apart_and_never_nan():
    some, none = box(SHAPE, (3, 4, 5), (9, 9, 9)), np.zeros(SHAPE, np.uint8)
    for predicted, true in ((some, none), (none, some)):
        found = compare_masks(predicted, true, np.eye(3), tolerance=1.0)
        assert found["dice"] == found["nsd"] == 0
        assert all(found[key] == np.inf for key in ("asd", "assd", "hd95", "hd"))
    both = compare_masks(none, none, np.eye(3), tolerance=1.0)
    assert both["dice"] == both["nsd"] == 1 and both["asd"] == both["assd"] == both["hd95"] == both["hd"] == 0
    volume = compare_masks(some, none, np.eye(3) * 10, tolerance=1.0)["predicted_volume"]
    assert volume == pytest.approx(some.sum())  # ml


def test_shifted_boxes_by_hand():
    """A box moved by two voxels of 1.5 mm along y: faces across y are 3 mm away, others nowhere or partly."""
    spacing = np.diag([1.0, 1.5, 2.0])
    one, other = box(SHAPE, (5, 4, 4), (15, 12, 12)), box(SHAPE, (5, 6, 4), (15, 14, 12))
    found = compare_masks(one, other, spacing, tolerance=2.9)
    assert found["hd"] == pytest.approx(3.0) and found["hd95"] == pytest.approx(3.0)
    assert found["dice"] == pytest.approx(6 / 8)
    assert found["volume"] == pytest.approx(10 * 8 * 8 * 3 / 1000)
    assert 0 < found["asd"] < 3 and found["nsd"] < 1
    assert compare_masks(one, other, spacing, tolerance=3.1)["nsd"] == 1


def test_directions_are_weighted_each_or_pooled():
    """A far island on one side only: asd is the mean of the directions, assd weights them with their areas."""
    true = box((40, 20, 20), (4, 4, 4), (14, 14, 14))
    predicted = true + box((40, 20, 20), (34, 4, 4), (37, 7, 7))
    there, back = distances_between(*(surface_elements(mask, np.eye(3)) for mask in (predicted, true)))
    found = compare_masks(predicted, true, np.eye(3), tolerance=1.0)
    assert back.mean() == 0 and found["asd"] == pytest.approx(there.mean() / 2)
    pooled = (there.distances_N * there.areas_N).sum() / (there.areas_N.sum() + back.areas_N.sum())
    assert found["assd"] == pytest.approx(pooled) and found["assd"] > found["asd"]


@pytest.mark.parametrize("sheared", [False, True])
def test_any_affine_measures_in_the_world(sheared):
    """Distances are those of a brute-force search; turning the scan changes nothing, shearing does."""
    generator = np.random.default_rng(4)
    masks = [scipy.ndimage.gaussian_filter(generator.random((9, 10, 8)), 1) > 0.5 for _ in range(2)]
    spacing = (0.7, 1.3, 2.5)
    axes = random_affine(generator, spacing, mirrored=True, sheared=sheared)[:3, :3]
    surfaces = [surface_elements(mask, axes) for mask in masks]
    there, _ = distances_between(*surfaces)
    brute = np.linalg.norm(surfaces[0].places_N3[:, None] - surfaces[1].places_N3[None], axis=-1).min(axis=1)
    np.testing.assert_allclose(there.distances_N, np.sort(brute), atol=1e-9)
    found = compare_masks(masks[0], masks[1], axes, tolerance=1.0)
    straight = compare_masks(masks[0], masks[1], np.diag(spacing), tolerance=1.0)
    assert (abs(found["asd"] - straight["asd"]) < 1e-9) != sheared


def test_areas_are_those_of_planes():
    """A half space cut along each axis, and a corner cut off, in a sheared grid: the areas of the plane figures."""
    axes = np.array([[1.0, 0.3, 0.0], [0.0, 1.2, 0.4], [0.1, 0.0, 2.0]])
    areas = element_areas(axes)
    corners = np.indices((2, 2, 2)).reshape(3, 8)
    for axis in range(3):
        code = sum(1 << bit for bit in range(8) if corners[axis, bit])
        across = np.cross(*np.delete(axes, axis, axis=1).T)
        assert areas[code] == areas[255 - code] == pytest.approx(np.linalg.norm(across))
    middles = np.eye(3) / 2  # of the three edges at a corner: the triangle that cuts it off
    for bit in range(8):
        ends = middles * (1 - 2 * corners[:, bit]) @ axes.T
        triangle = np.linalg.norm(np.cross(ends[1] - ends[0], ends[2] - ends[0])) / 2
        assert areas[1 << bit] == pytest.approx(triangle)
    assert areas[0] == areas[255] == 0 and (areas[1:255] > 0).all()


def test_a_mask_at_the_border_of_the_array_has_a_surface_there():
    full = np.ones((3, 4, 5), np.uint8)
    inner = np.pad(full, 2)
    assert surface_elements(full, np.eye(3)).areas_N.sum() == surface_elements(inner, np.eye(3)).areas_N.sum()
