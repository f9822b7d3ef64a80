"""Edges paired by the compiled kernels, against the same by sorted arrays, and against counts known beforehand."""

import numpy as np
import pytest

from data_processing.geometry import triangle_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight
from data_processing.occupancy import face_orientation
from data_processing.occupancy.face_orientation import orient_faces
from tests.data_processing.solids import ball, box, joined, turned_inside_out

kernels = triangle_mesh.edge_kernels()
pytestmark = pytest.mark.skipif(kernels is None, reason="numba is not installed")
CUBE = box((0, 0, 0), (1, 1, 1))


def variant(number):
    """Some solids that touch, overlap or lie apart, in one of the forms in which files bring them."""
    rng = np.random.default_rng(number)
    parts = []
    for _ in range(rng.integers(1, 5)):
        low = rng.integers(0, 4, 3) / 4
        round_one = ball(0.3, subdivisions=int(rng.integers(0, 3)))
        solid = box(low, low + rng.integers(1, 3, 3) / 4) if rng.random() < 0.7 else round_one
        parts.append(turned_inside_out(solid) if rng.random() < 0.3 else solid)
    mesh = joined(*parts)
    vertices, faces = mesh.vertices, mesh.faces
    turned = rng.random(len(faces)) < rng.choice([0, 0, 0.1, 0.5])
    faces = np.where(turned[:, None], faces[:, ::-1], faces)
    form = rng.choice(["as it is", "exploded", "welded", "holes", "a face twice", "a sliver"])
    if form == "exploded":
        vertices, faces = vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3)
    elif form == "welded":
        vertices, which = np.unique(vertices, axis=0, return_inverse=True)
        faces = which.reshape(-1)[faces]
    elif form == "holes":
        faces = faces[rng.random(len(faces)) < 0.97]
    elif form == "a face twice":
        faces = np.concatenate([faces, faces[:1]])
    elif form == "a sliver":
        faces = np.concatenate([faces, [[0, 0, 1]]])
    return TriangleMesh(vertices, np.ascontiguousarray(faces))


def test_orientation_and_closedness_equal_those_of_the_sorted_arrays(monkeypatch):
    paired = 0
    for number in range(200):
        quick, plain = variant(number), variant(number)
        closed, oriented = is_watertight(quick), orient_faces(quick)
        paired += quick.edge_pairs is not None and quick.edge_pairs.manifold
        with monkeypatch.context() as patch:
            for module in (triangle_mesh, face_orientation):
                patch.setattr(module, "edge_kernels", lambda: None)
            assert closed == is_watertight(plain)
            for key, value in vars(orient_faces(plain)).items():
                np.testing.assert_array_equal(getattr(oriented, key), value, err_msg=f"{number}: {key}")
    assert 50 < paired < 190


def test_vertices_at_one_place_are_one_and_others_are_not():
    tiny = np.nextafter(0.1, 1)
    places = np.array([[0.1, 0, 0], [tiny, 0, 0], [0.1, -0.0, 0], [0, 0.1, 0], [0, 0, 0.1], [tiny, 0, 0]])
    assert kernels.merge_vertices(places).tolist() == [0, 1, 0, 3, 4, 1]
    line = np.zeros((50_000, 3))  # so many that entries of the table are shared
    line[:, 2] = np.arange(len(line))
    assert np.array_equal(kernels.merge_vertices(line), np.arange(len(line)))
    many = np.random.default_rng(0).integers(0, 9, (3000, 3)) / 8.0
    first = kernels.merge_vertices(many)
    assert np.array_equal(many[first], many) and len(np.unique(first)) == len(np.unique(many, axis=0))


def test_state_of_a_mesh():
    fan = np.array([[0, k, k + 1] for k in range(1, 2000)])  # one vertex with thousands of edges
    faces = {
        kernels.CLOSED: CUBE.faces,
        kernels.FLIPPED: np.concatenate([CUBE.faces[:-1], CUBE.faces[-1:, ::-1]]),
        kernels.OPEN: fan,
        kernels.SLIVERS: np.concatenate([CUBE.faces, [[0, 0, 1]]]),
    }
    for state, rows in faces.items():
        assert kernels.pair_edges(np.ascontiguousarray(rows), np.arange(2001))[1] == state
    half = kernels.pair_edges(CUBE.faces, np.arange(8))[0]
    assert np.array_equal(half[half], np.arange(36)) and (half // 3 != np.arange(36) // 3).all()


def test_one_side_only_is_said():
    """A Klein bottle out of a grid: two faces at every edge, and no way to turn them."""
    size = 6
    i, j = np.indices((size, size)).reshape(2, -1)

    def vertex(a, b):
        return (a % size) * size + np.where(a // size % 2 == 1, -b % size, b % size)

    corners = [vertex(i, j), vertex(i + 1, j), vertex(i + 1, j + 1), vertex(i, j + 1)]
    faces = np.concatenate([np.stack([corners[k] for k in rows], axis=1) for rows in ((0, 1, 2), (0, 2, 3))])
    half, state = kernels.pair_edges(np.ascontiguousarray(faces), np.arange(size**2))
    assert state == kernels.FLIPPED
    assert not kernels.flood_faces(np.ascontiguousarray(faces), np.arange(size**2), half, False)[2]


def test_pieces_that_touch_at_a_vertex_are_one():
    two = joined(CUBE, box((1, 1, 1), (2, 2, 2)))
    pairs = two.edge_pairs
    sheet, turned, _ = kernels.flood_faces(two.faces, pairs.first_V, pairs.partner_H, True)
    assert sheet.tolist() == [0] * 12 + [1] * 12 and not turned.any()
    assert kernels.count_pieces(two.faces, pairs.first_V, sheet) == 1
    apart = joined(CUBE, box((2, 1, 1), (3, 2, 2)))
    assert kernels.count_pieces(apart.faces, apart.edge_pairs.first_V, sheet) == 2
