"""Fewer faces of closed meshes: what collapsing pinches is opened, and nothing else is touched."""

import numpy as np
import pytest
import torch

from data_processing.geometry.marching_cubes import marching_cubes
from data_processing.geometry.simplification import GAP, collapse_edges, number_of_parts, open_pinches, signed_volume
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, unbalanced_edges
from tests.data_processing.solids import ball, box, joined, turned, turned_inside_out, volume, without_faces


def bars(seed: int = 0, size: int = 32) -> TriangleMesh:
    """The surface of thin bars that cross each other, in a box about 1 long: what collapsing pinches."""
    generator = np.random.default_rng(seed)
    values = np.zeros((size,) * 3, dtype=np.float32)
    for _ in range(40):
        axis, (a, b) = int(generator.integers(3)), generator.integers(3, size - 4, 2)
        bar = np.moveaxis(values, axis, 0)
        bar[3:-3, a, b] = 1
    vertices, faces = marching_cubes(torch.from_numpy(values), iso_level=0.5)
    return TriangleMesh(vertices.numpy().astype(np.float64) / size, faces.numpy().astype(np.int64))


def touching_boxes() -> TriangleMesh:
    """Two boxes that share one edge: four faces at it."""
    return joined(box((0, 0, 0), (1, 2, 3)), box((1, 2, 0), (3, 3, 3)))


@pytest.mark.parametrize("most", [400, 1000, 3000])
@pytest.mark.parametrize("seed", range(3))
def test_bars_stay_watertight(most: int, seed: int):
    mesh = bars(seed)
    points, faces = collapse_edges(mesh.vertices, mesh.faces, most=most)
    simple = TriangleMesh(np.asarray(points, np.float64), np.asarray(faces, np.int64))
    opened = open_pinches(simple)
    assert is_watertight(mesh) and is_watertight(opened) and len(mesh.faces) > 4000
    assert len(opened.faces) <= len(simple.faces) * 1.1
    assert signed_volume(opened) == pytest.approx(signed_volume(simple), rel=0.01)
    written = TriangleMesh(opened.vertices.astype(np.float32).astype(np.float64), opened.faces)
    assert is_watertight(written)  # as files of single precision hold it


def test_collapsing_alone_pinches_them():
    """What the test above is worth."""
    for seed in range(3):
        mesh = bars(seed)
        points, faces = collapse_edges(mesh.vertices, mesh.faces, most=1000)
        simple = TriangleMesh(np.asarray(points, np.float64), np.asarray(faces, np.int64))
        assert not is_watertight(simple)
        assert len(unbalanced_edges(simple.merged_faces)) == 0  # it is closed all the same


def test_two_boxes_at_one_edge_become_two_boxes():
    mesh = turned(touching_boxes())
    opened = open_pinches(mesh)
    assert not is_watertight(mesh) and is_watertight(opened)
    assert len(opened.faces) == len(mesh.faces) + 4
    size = float(np.ptp(mesh.vertices, axis=0).max())
    assert volume(opened) == pytest.approx(volume(mesh), abs=4 * GAP * size**3)
    # The middles lie each in its own box: GAP to 1.5 GAP from the middle of the edge, one a side of it.
    middles = opened.vertices[-2:] - _edge_middle(mesh)
    lengths = np.linalg.norm(middles, axis=1)
    assert (lengths >= 0.99 * GAP * size).all() and (lengths <= 1.51 * GAP * size).all() and middles[0] @ middles[1] < 0


def _edge_middle(mesh: TriangleMesh) -> np.ndarray:
    """Of the edge that both boxes have: two places at which both have a vertex."""
    places, count = np.unique(np.round(mesh.vertices, 9), axis=0, return_counts=True)
    return places[count > 1].mean(axis=0)


def test_faces_back_to_back_are_taken_out():
    solid = box((0, 0, 0), (1, 2, 3))
    fin = np.array([[0, 1, 8], [1, 0, 8]])
    mesh = TriangleMesh(np.concatenate([solid.vertices, [[2.0, 2, 2]]]), np.concatenate([solid.faces, fin]))
    opened = open_pinches(mesh)
    assert not is_watertight(mesh) and is_watertight(opened) and len(opened.faces) == 12
    assert volume(opened) == pytest.approx(6)


@pytest.mark.parametrize("mesh", [box((0, 0, 0), (1, 2, 3)), without_faces(ball(1.0, subdivisions=2), 3)])
def test_watertight_and_open_meshes_come_back(mesh: TriangleMesh):
    assert open_pinches(mesh) is mesh


def test_a_piece_without_volume_is_taken_out():
    solid, flat = box((0, 0, 0), (1, 2, 3)), TriangleMesh(np.eye(3) + 5, np.array([[0, 1, 2], [1, 0, 2]]))
    both = joined(solid, flat)
    assert is_watertight(both) and number_of_parts(both) == 2  # by its edges alone
    opened = open_pinches(both)
    assert len(opened.faces) == 12 and is_watertight(opened) and number_of_parts(opened) == 1


def test_nothing_is_left_of_pieces_without_volume():
    flat = TriangleMesh(np.eye(3), np.array([[0, 1, 2], [1, 0, 2]]))
    assert len(open_pinches(flat).faces) == 0


def test_parts_are_counted_by_place():
    far = box((5, 5, 5), (6, 6, 6))
    assert number_of_parts(joined(touching_boxes(), far)) == 2
    apart = TriangleMesh(far.triangles().reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert number_of_parts(apart) == 1


def test_the_volume_of_a_box_and_of_one_inside_out():
    solid = turned(box((100, 100, 100), (101, 102, 103)))
    assert signed_volume(solid) == pytest.approx(6)
    assert signed_volume(turned_inside_out(solid)) == pytest.approx(-6)
