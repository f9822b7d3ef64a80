"""Compiled nearest neighbours against scipy's: every distance equal to the last bit, whatever the cloud."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import sample_surface
from isofield.metrics import neighbours
from isofield.metrics.neighbours import CompiledTree, Neighbours, ScipyTree

kernels = neighbours.compiled_kernels()
pytestmark = pytest.mark.skipif(kernels is None, reason="numba is not installed")
RNG = np.random.default_rng(0)


def clouds():
    """Pairs that make a k-d tree degenerate, or distances tie."""
    uniform = RNG.random((3000, 3))
    yield "uniform", uniform, RNG.random((2500, 3))
    yield "one point each", uniform[:1], uniform[1:2]
    yield "one target", uniform, uniform[:1]
    yield "itself", uniform, uniform
    yield "all equal", np.ones((500, 3)), np.ones((700, 3))
    yield "equal, seen from afar", uniform, np.full((700, 3), 7.0)
    yield "many doubled", uniform, np.repeat(RNG.random((40, 3)), 50, axis=0)
    yield (
        "lattice, all tied",
        np.indices((12, 12, 12)).reshape(3, -1).T + 0.5,
        np.indices((12, 12, 12)).reshape(3, -1).T,
    )
    yield "line", uniform, np.linspace(0, 1, 2000)[:, None] * [1, 0, 0]
    yield "diagonal line", uniform, np.linspace(0, 1, 2000)[:, None] * [1, 1, 1]
    yield "plane", uniform, uniform * [1, 0, 1]
    yield "tight cluster and one far point", uniform, np.concatenate([uniform * 1e-9, [[1e9, 0, 0]]])
    yield "clusters of all sizes", uniform, RNG.normal(size=(3000, 3)) * 10.0 ** RNG.uniform(-12, 3, (3000, 1))
    sphere = RNG.normal(size=(2000, 3))
    yield "centre of a sphere", np.zeros((50, 3)), sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    yield "far apart", uniform, uniform + np.array([1e6, 0, 0])
    yield "tiny", uniform * 1e-150, uniform[::-1] * 1e-150 + 1e-151
    yield "huge", uniform * 1e150, uniform[::-1] * 1e150
    yield "sorted", np.sort(uniform, axis=0), np.sort(uniform, axis=0)[::-1]


@pytest.mark.parametrize("points, target", [pytest.param(a, b, id=name) for name, a, b in clouds()])
def test_distances_equal_scipys_to_the_last_bit(points, target):
    expected, _ = ScipyTree(np.ascontiguousarray(target)).nearest(points)
    distance, index = CompiledTree(kernels, np.ascontiguousarray(target)).nearest(np.ascontiguousarray(points))
    assert np.array_equal(distance, expected)
    offset = target[index] - points
    assert np.array_equal(np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2), distance)


def test_both_ways_on_samples_of_real_meshes(examples):
    first, second = (
        sample_surface(read_mesh(examples / "chair" / name), 20_000, RNG)[0]
        for name in ("Scopia_6_Chair.ply", "BlendSwap_CC_0_86_Armchair.ply")
    )
    for points, target in ((first, second), (second, first)):
        distance, index = Neighbours(points).nearest_in(Neighbours(target))
        expected, number = ScipyTree(target).nearest(points)
        assert np.array_equal(distance, expected)
        assert np.array_equal(index, number)  # no two samples tie


def test_the_tree_holds_every_point_once_and_boxes_hold_their_points():
    points = RNG.normal(size=(1000, 3))
    order, sorted_N3, boxes = kernels.build(points)
    assert np.array_equal(np.sort(order), np.arange(1000)) and np.array_equal(points[order], sorted_N3)
    assert np.array_equal(boxes[0], np.concatenate([points.min(0), points.max(0)]))
    for node in range(1, len(boxes)):
        parent = boxes[(node - 1) // 2]
        assert (boxes[node, :3] >= parent[:3]).all() and (boxes[node, 3:] <= parent[3:]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coordinates_that_are_no_place_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        Neighbours(np.array([[0, 0, 0], [0, bad, 0]]))


def test_every_layout_and_precision():
    points = RNG.random((400, 3)).astype(np.float32)
    expected, _ = Neighbours(points.astype(np.float64)).nearest_in(Neighbours(np.eye(3)))
    for cloud in (points, np.asfortranarray(points), points.tolist()):
        assert np.array_equal(Neighbours(cloud).nearest_in(Neighbours(np.eye(3)))[0], expected)
