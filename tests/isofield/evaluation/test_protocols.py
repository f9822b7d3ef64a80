"""The named protocols: units, factors and scales as the papers state them."""

import numpy as np
import pytest

from data_processing.geometry.coordinates import transform_points
from isofield.evaluation import protocols
from isofield.evaluation.protocols import METRICS, PROTOCOLS, find_protocol, find_protocols

LOWER, UPPER = np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 9.0])  # edges 2, 3, 6: diagonal 7


@pytest.mark.parametrize(
    ("name", "factor"), [("imnet", 1 / 7), ("onet", 1 / 6), ("ifnet", 1 / 6), ("3dshape2vecset", 2 / 6)]
)
def test_scale_comes_from_the_box_of_the_ground_truth(name, factor):
    matrix = find_protocol(name).normalising(LOWER, UPPER)
    corners = transform_points(np.stack([LOWER, UPPER]), matrix)
    np.testing.assert_allclose(corners[1] - corners[0], (UPPER - LOWER) * factor)
    np.testing.assert_allclose(corners.sum(axis=0), 0, atol=1e-12)


def test_deepsdf_keeps_the_unit_of_the_files():
    np.testing.assert_array_equal(find_protocol("deepsdf").normalising(LOWER, UPPER), np.eye(4))


def test_the_table_of_the_literature():
    table = {p.name: (p.points, p.power, p.combine, p.factor) for p in PROTOCOLS.values()}
    assert table == {
        "imnet": (4096, 2, "sum", 1000),
        "onet": (100_000, 1, "half_sum", 10),
        "ifnet": (100_000, 2, "half_sum", 1),
        "deepsdf": (30_000, 2, "sum", 1),
        "3dshape2vecset": (50_000, 1, "sum", 1),
    }
    assert find_protocol("3dshape2vecset").f_threshold == 0.02


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_metric_has_a_unit_in_words(name):
    protocol = find_protocol(name)
    assert set(protocol.units()) == set(METRICS)
    assert set(protocol.published) <= set(METRICS)
    assert protocol.iou_domain == "boxes" or protocol.iou_side > 0


def test_units_say_squared_and_factor():
    assert "squared" in find_protocol("imnet").units()["chamfer"]
    assert "0.001 (ground truth's bounding-box diagonal)^2" in find_protocol("imnet").units()["chamfer"]
    assert "in 0.1 ground truth's longest edge" in find_protocol("onet").units()["chamfer"]
    assert "longest edge / 2" in find_protocol("3dshape2vecset").units()["chamfer"]


def test_unknown_protocol_names_the_nearest_and_the_known():
    with pytest.raises(ValueError, match=r"'imnt'.*'imnet'\?.*imnet, onet"):
        find_protocol("imnt")
    with pytest.raises(ValueError, match=r"'zzz'.*imnet"):
        find_protocol("zzz")


def test_protocols_are_taken_once_and_in_order():
    assert [p.name for p in find_protocols(["onet", "imnet", "onet"])] == ["onet", "imnet"]


def test_a_box_without_size_has_no_unit():
    with pytest.raises(ValueError, match=r"\[1\. 2\. 3\.\] .*onet"):
        protocols.find_protocol("onet").normalising(LOWER, LOWER)
