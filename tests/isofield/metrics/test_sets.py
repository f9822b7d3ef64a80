"""Sets of clouds judged: settings beside the numbers, draws by name, normalisation, bad input."""

import dataclasses
import json

import numpy as np
import pytest

from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.ground_truth import CloudTruth, MeshTruth
from isofield.evaluation.set_rows import draw_cloud
from isofield.metrics.sets import NORMALISATIONS, GenerativeConfig, judge_sets, normalise
from isofield.runtime import seeds

SMALL = GenerativeConfig(points=64, distances=("chamfer", "emd"))
TETRAHEDRON = TriangleMesh(
    np.array([[1.0, 2, 3], [4, 2, 3], [1, 3, 3], [1, 2, 8]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
)


def boxes(count, name, *, sides=(0.5, 0.7, 0.9), points=64):
    """Clouds of random boxes, different from each other."""
    draw = seeds.numpy_generator(9, name)
    return list((draw.random((count, points, 3)) - 0.5) * sides * draw.uniform(0.4, 1, size=(count, 1, 3)))


def judged(samples, references, settings=SMALL, **options):
    return judge_sets(samples, references, settings, progress=False, **options)


def test_equal_sets():
    shapes = boxes(5, "a")
    result = judged(shapes, shapes)
    for kind in ("chamfer", "emd"):
        assert result["scores"][kind]["cov"] == 1
        assert result["scores"][kind]["1nna"] == 0
        assert result["scores"][kind]["mmd"] == pytest.approx(0, abs=2e-5)
        assert [name for name, _ in result["nearest_reference"][kind]] == [f"reference {i}" for i in range(5)]
    assert result["jsd"]["jsd"] == 0


def test_sets_of_one_kind_and_sets_of_two():
    same = judged(boxes(40, "a"), boxes(40, "b"))
    other = judged(boxes(40, "a"), boxes(40, "c", sides=(0.9, 0.2, 0.2)))
    for kind in ("chamfer", "emd"):
        assert 0.3 < same["scores"][kind]["1nna"] < 0.7
        assert other["scores"][kind]["1nna"] > 0.95
        assert other["scores"][kind]["mmd"] > 1.3 * same["scores"][kind]["mmd"]
        assert other["scores"][kind]["cov"] < same["scores"][kind]["cov"]
    assert other["jsd"]["jsd"] > 1.3 * same["jsd"]["jsd"]


def test_every_setting_ends_in_the_json_and_so_does_its_meaning():
    settings = GenerativeConfig(points=64, seed=3, distances=("emd",), emd_points=16, emd_tolerance=0.03)
    result = json.loads(json.dumps(judged(boxes(2, "a"), boxes(3, "b"), settings), allow_nan=False))
    named = result["settings"]
    assert {field.name for field in dataclasses.fields(settings)} <= named.keys()
    assert (named["points"], named["seed"], named["emd_points"], named["jsd_side"]) == (64, 3, 16, 1.0)
    assert "auction" in named["emd_solver"]
    assert "0.03" in named["emd_solver"]
    assert named["normalisation_means"] == NORMALISATIONS["as_is"]
    assert {"emd", "cov", "mmd", "1nna", "jsd"} <= named["means"].keys()
    assert (result["samples"], result["references"]) == (2, 3)
    assert result["scores"].keys() == {"emd"}
    assert 0 < result["scores"]["emd"]["largest_error"] <= 0.03


def test_the_exact_solver_is_used_when_it_is_named():
    samples, references = boxes(3, "a"), boxes(3, "b")
    exact = judged(samples, references, dataclasses.replace(SMALL, emd_solver="exact"))["scores"]["emd"]
    auction = judged(samples, references)["scores"]["emd"]
    assert exact["largest_error"] == exact["undecided"] == 0
    assert 0 < auction["largest_error"] <= 0.01
    assert exact["mmd"] <= auction["mmd"] * (1 + 1e-6) <= exact["mmd"] * 1.01


def test_only_the_first_points_are_transported():
    samples, references = boxes(2, "a"), boxes(2, "b")
    few = judged(samples, references, dataclasses.replace(SMALL, emd_points=20))["scores"]
    cut = [[cloud[:20] for cloud in clouds] for clouds in (samples, references)]
    alone = judged(cut[0], cut[1], dataclasses.replace(SMALL, points=20))["scores"]
    assert few["emd"] == alone["emd"]
    assert few["chamfer"] != alone["chamfer"]


def test_more_samples_than_references():
    result = judged(boxes(9, "a"), boxes(4, "b"))
    assert len(result["nearest_reference"]["chamfer"]) == 9
    assert result["scores"]["chamfer"]["1nna_size"] == result["scores"]["emd"]["1nna_size"] == 4


def test_names_are_those_of_the_nearest():
    names = {"sample_names": ["s/1", "s/2"], "reference_names": ["r/1", "r/2"]}
    result = judged(boxes(2, "a"), boxes(2, "b"), **names)
    assert {name for name, _ in result["nearest_reference"]["chamfer"]} <= {"r/1", "r/2"}
    assert {name for name, _ in result["nearest_sample"]["chamfer"]} <= {"s/1", "s/2"}


@pytest.mark.parametrize("how", NORMALISATIONS)
def test_normalisation(how):
    """An off-centre box of three different sides."""
    corners = np.array([[x, y, z] for x in (3.0, 5) for y in (1.0, 2) for z in (-7.0, -1)])
    moved = normalise(corners, how)
    size = moved.max(axis=0) - moved.min(axis=0)
    if how == "as_is":
        np.testing.assert_array_equal(moved, corners)
        return
    np.testing.assert_allclose(moved.max(axis=0) + moved.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(size / size[2], [2 / 6, 1 / 6, 1])
    lengths = {
        "box": size.max() / 2,
        "sphere": 2 * np.linalg.norm(moved, axis=1).max(),
        "diagonal": np.linalg.norm(size),
    }
    assert lengths[how] == pytest.approx(1)


def test_normalisation_is_of_each_shape_by_itself():
    shapes = boxes(4, "a")
    larger = [cloud * (2 + number) + number for number, cloud in enumerate(shapes)]
    for how in ("box", "sphere", "diagonal"):
        result = judged(shapes, larger, dataclasses.replace(SMALL, normalisation=how))
        assert result["scores"]["chamfer"]["mmd"] < 1e-12
        assert result["scores"]["emd"]["mmd"] < 5e-5
        assert result["settings"]["jsd_side"] == (2 if how == "box" else 1)
        assert result["settings"]["jsd_domain"] == ("cube" if how == "box" else "ball")
        assert result["jsd"]["nodes"] == (28**3 if how == "box" else 10_144)
        assert result["jsd"]["outside_of_samples"] == 0
    ball = judged(shapes, larger, dataclasses.replace(SMALL, normalisation="box", jsd_domain="ball"))["jsd"]
    assert ball["nodes"] == 10_144
    assert ball["outside_of_samples"] > 0
    assert judged(shapes, larger)["scores"]["chamfer"]["mmd"] > 0.1


def test_points_of_a_shape_are_drawn_by_seed_name_and_side():
    def draw(seed=0, name="a", side="samples"):
        settings = GenerativeConfig(points=50, seed=seed)
        return draw_cloud(MeshTruth(TETRAHEDRON), settings, name=name, side=side)

    points = draw()
    assert points.shape == (50, 3)
    assert ((points > np.array([1, 2, 3]) - 1e-9) & (points < np.array([4, 3, 8]) + 1e-9)).all()
    np.testing.assert_array_equal(points, draw())
    for other in (draw(seed=1), draw(name="b"), draw(side="references")):
        assert (other != points).any(axis=1).all()


def test_a_cloud_with_too_few_points_is_refused():
    cloud = CloudTruth(PointCloud(np.zeros((49, 3)), None))
    with pytest.raises(ValueError, match=r"chair:.*49.*50.*points"):
        draw_cloud(cloud, GenerativeConfig(points=50), name="chair", side="references")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples"),
        ([np.zeros((63, 3))], r"sample 0: .*64 .*\(63, 3\)"),
        ([np.zeros((64, 2))], "64 .*points"),
        ([np.ones((64, 3)), np.full((64, 3), np.nan)], "sample 1: .*64"),
    ],
)
def test_bad_sets(samples, message):
    with pytest.raises(ValueError, match=message):
        judged(samples, boxes(2, "b"))


def test_bad_names_and_shapes_without_size():
    with pytest.raises(ValueError, match=r"\b2 samples, .*\b1\b"):
        judged(boxes(2, "a"), boxes(2, "b"), sample_names=["x"])
    with pytest.raises(ValueError, match=r"reference 0:.*points"):
        judged(boxes(1, "a"), [np.ones((64, 3))], dataclasses.replace(SMALL, normalisation="sphere"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"points": 1}, "points"),
        ({"emd_points": 65}, "emd_points"),
        ({"emd_points": 1}, "emd_points"),
        ({"emd_tolerance": 0.0}, "emd_tolerance"),
        ({"jsd_resolution": 1}, "jsd"),
        ({"jsd_side": -1.0}, "jsd"),
        ({"normalisation": "cube"}, "normalisation: .*as_is"),
    ],
)
def test_bad_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **wrong)
