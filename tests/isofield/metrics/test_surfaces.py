"""Every formula against a value known without the code: spheres, boxes, golden numbers."""

import numpy as np
import pytest

from isofield.metrics import surfaces
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime import seeds
from tests.golden import FOLDER


def sphere(radius: float, *, count: int = 40_000, name: str = "sphere", flipped: bool = False) -> SurfaceSamples:
    normals = seeds.numpy_generator(1, name).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return SurfaceSamples(radius * normals + [0.3, -0.1, 0.2], -normals if flipped else normals)


def test_concentric_spheres_have_the_chamfer_distance_of_their_radii():
    distances = surfaces.compare(sphere(0.5, name="a"), sphere(0.4, name="b"))
    # The nearest sample is never nearer than the radii, and little farther at 40,000 samples.
    assert surfaces.chamfer(distances, power=1, combine="half_sum") == pytest.approx(0.1, rel=2e-3)
    assert surfaces.chamfer(distances, power=1, combine="half_sum") > 0.1
    assert surfaces.chamfer(distances, power=1, combine="sum") == pytest.approx(0.2, rel=2e-3)
    assert surfaces.chamfer(distances, power=2, combine="sum") == pytest.approx(0.02, rel=4e-3)
    assert surfaces.f_score(distances, threshold=0.11) == 1
    assert surfaces.f_score(distances, threshold=0.09) == 0
    assert surfaces.normal_consistency(distances) == pytest.approx(1, abs=1e-3)


def test_directions_are_not_mixed_up():
    """A prediction that covers half of the truth: exact one way, far the other."""
    truth = SurfaceSamples(np.array([[0.0, 0, 0], [2, 0, 0]]))
    prediction = SurfaceSamples(np.array([[0.0, 0, 0]]))
    distances = surfaces.compare(prediction, truth)
    assert distances.accuracy_N.tolist() == [0]
    assert distances.completeness_M.tolist() == [0, 2]
    assert surfaces.chamfer(distances, power=2, combine="sum") == 2
    assert surfaces.chamfer(distances, power=2, combine="half_sum") == 1
    assert surfaces.f_score(distances, threshold=0.5) == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_f_score_uses_the_harmonic_mean():
    truth = SurfaceSamples(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]))
    prediction = SurfaceSamples(np.array([[0.0, 0, 0], [10, 0, 0]]))
    distances = surfaces.compare(prediction, truth)
    assert surfaces.f_score(distances, threshold=0.02) == pytest.approx(2 * 0.5 * 0.25 / 0.75)


def test_flipped_normals_show_in_the_signed_agreement_alone():
    distances = surfaces.compare(sphere(0.5), sphere(0.5, flipped=True))
    assert surfaces.normal_consistency(distances) == pytest.approx(1)
    assert surfaces.signed_normal_agreement(distances) == pytest.approx(-1)


def test_without_normals_the_agreement_is_nan_and_the_distances_stay():
    bare = SurfaceSamples(sphere(0.5).points_N3)
    distances = surfaces.compare(sphere(0.5), bare)
    assert np.isnan(surfaces.normal_consistency(distances))
    assert np.isnan(surfaces.signed_normal_agreement(distances))
    assert surfaces.chamfer(distances, power=1, combine="sum") == 0


def test_normals_of_any_length_count_by_direction():
    unit = sphere(0.5)
    assert unit.normals_N3 is not None
    long = SurfaceSamples(unit.points_N3, 7 * unit.normals_N3)
    assert surfaces.normal_consistency(surfaces.compare(unit, long)) == pytest.approx(1)


def test_nearest_neighbours_agree_with_all_pairs():
    generator = seeds.numpy_generator(3, "pairs")
    points, target = generator.normal(size=(200, 3)) + 100, generator.normal(size=(150, 3)) + 100
    distance, index = surfaces.Neighbours(points).nearest_in(surfaces.Neighbours(target))
    pairs = np.linalg.norm(points[:, None] - target[None], axis=2)
    np.testing.assert_allclose(distance, pairs.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(index, pairs.argmin(axis=1))


def test_nearest_refuses_an_empty_side():
    with pytest.raises(ValueError, match="points"):
        surfaces.compare(SurfaceSamples(np.zeros((0, 3))), SurfaceSamples(np.zeros((5, 3))))


def test_shifted_boxes_have_the_iou_of_their_volumes():
    """Box 0.2 x 0.3 x 0.5 shifted by a quarter of its third side: 3/4 shared, union 5/4."""
    axis = (np.arange(40) + 0.5) / 40
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    first = (x < 0.2) & (y < 0.3) & (z < 0.5)
    second = (x < 0.2) & (y < 0.3) & (z > 0.125) & (z < 0.625)
    assert surfaces.iou(first, second) == pytest.approx(0.75 / 1.25)
    assert surfaces.iou(first, first) == 1
    assert surfaces.iou(first, np.zeros_like(first)) == 0
    assert np.isnan(surfaces.iou(np.zeros(4, bool), np.zeros(4, bool)))


def test_iou_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(4,\) and \(5,\)"):
        surfaces.iou(np.zeros(4, bool), np.zeros(5, bool))


@pytest.mark.parametrize("case", ["with_normals", "without_normals"])
def test_agrees_with_the_published_numbers(case):
    golden = np.load(FOLDER / "eval_pointcloud.npz", allow_pickle=False)
    normals = case == "with_normals"
    prediction = SurfaceSamples(golden["pred"], golden["normals_pred"] if normals else None)
    truth = SurfaceSamples(golden["gt"], golden["normals_gt"] if normals else None)
    distances = surfaces.compare(prediction, truth)
    ours = {
        "accuracy": distances.accuracy_N.mean(),
        "completeness": distances.completeness_M.mean(),
        "accuracy2": (distances.accuracy_N**2).mean(),
        "completeness2": (distances.completeness_M**2).mean(),
        "chamfer_l2": surfaces.chamfer(distances, power=2, combine="half_sum"),
        "normals": surfaces.normal_consistency(distances),
    }
    for key, value in ours.items():
        np.testing.assert_allclose(value, golden[f"{case}__{key}"], rtol=1e-6, err_msg=key)
