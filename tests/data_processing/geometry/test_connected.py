"""What hangs together, against scipy: its sparse graphs, its tree, its sweep over cells."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_processing.geometry.connected import close_pairs, connected_pieces, have_close, reached_from_corner
from data_processing.occupancy.flood_fill import reached_from_border
from isofield.runtime.compiled import sparing_kernels


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (4, 3), (1000, 300), (1000, 900), (5000, 20_000)])
def test_pieces_are_those_of_a_sparse_graph_and_numbered_alike(nodes: int, edges: int):
    first, second = np.random.default_rng(0).integers(0, nodes, (2, edges))
    graph = coo_array((np.ones(edges, dtype=np.int8), (first, second)), shape=(nodes, nodes))
    np.testing.assert_array_equal(
        connected_pieces(first, second, nodes), connected_components(graph, directed=False)[1]
    )


def test_a_path_in_any_order_is_one_piece():
    order = np.random.default_rng(1).permutation(3000)
    assert not connected_pieces(order[:-1], order[1:], 3000).any()
    assert connected_pieces(order[:0], order[:0], 0).shape == (0,)


@pytest.mark.parametrize("distance", [1e-5, 1e-2, 0.1, 3.0])
def test_close_pairs_are_those_of_a_tree(distance: float):
    random = np.random.default_rng(2)
    points = random.uniform(-3, 5, (300, 3))
    points = np.concatenate([points, points[:100] + random.normal(scale=distance / 2, size=(100, 3)), points[:5]])
    found = np.sort(np.stack(close_pairs(points, distance), 1), axis=1)
    expected = scipy.spatial.cKDTree(points).query_pairs(distance, output_type="ndarray")
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(np.sort(expected, axis=1), axis=0))


def test_of_no_points_none_are_close():
    for distance in (0.1, 0.0):
        assert [ends.shape for ends in close_pairs(np.empty((0, 3)), distance)] == [(0,), (0,)]


@pytest.mark.parametrize("distance", [1e-3, 0.05, 0.4])
def test_points_with_a_close_one_are_those_of_a_tree(distance: float):
    random = np.random.default_rng(5)
    points, others = random.normal(0, [0.3, 0.2, 0.02], (700, 3)), random.normal(0, [0.2, 0.3, 0.05], (900, 3))
    others = np.concatenate([others, points[:20] + distance * 0.99 / np.sqrt(3)])
    expected = scipy.spatial.cKDTree(others).query(points, distance_upper_bound=distance)[0] < np.inf
    found = have_close(points, others, distance)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < len(points)
    assert have_close(points[:0], others, distance).shape == (0,)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cells_reached_are_those_of_a_sweep(share: float):
    """A box with three different sides: swapped axes would show."""
    passable = np.random.default_rng(3).random((9, 14, 20)) < share
    passable[0, 0, 0] = True
    labels, _ = scipy.ndimage.label(passable)
    np.testing.assert_array_equal(reached_from_corner(passable), labels == labels[0, 0, 0])


def test_a_flood_goes_around_the_box_of_what_stops_it():
    """A shell with three different sides, off the middle, with a hole in one of two chambers; and nothing at all."""
    passable = torch.ones(12, 16, 20, dtype=torch.bool)
    passable[2:7, 5:15, 3:12] = False
    passable[3:6, 6:9, 4:11] = passable[3:6, 10:14, 4:11] = True
    passable[4, 11, 11] = False
    open_chamber = passable.clone()
    open_chamber[4, 12, 11:12] = True
    for case, cells in (passable, 0), (open_chamber, 3 * 4 * 7):
        padded = np.pad(case.numpy(), 1, constant_values=True)
        labels, _ = scipy.ndimage.label(padded)
        reached = reached_from_border(case)
        np.testing.assert_array_equal(reached.numpy(), (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1])
        assert reached[3:6, 10:14, 4:11].count_nonzero() == cells and not reached[3:6, 6:9, 4:11].any()
    assert reached_from_border(torch.ones(4, 5, 6, dtype=torch.bool)).all()


def test_a_flood_is_the_same_where_a_few_shapes_are_asked():
    passable = torch.from_numpy(np.random.default_rng(4).random((24, 24, 24)) < 0.5)
    many = reached_from_border(passable)
    with sparing_kernels():
        few = reached_from_border(passable)
    assert 0 < many.count_nonzero() < passable.count_nonzero() and torch.equal(few, many)
