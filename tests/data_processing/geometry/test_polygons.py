"""Polygons cover what they enclose and nothing else, strips and fans turn the right way round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.geometry.polygons import MAX_CUT_CORNERS, fan_triangles, strip_triangles, triangulated
from data_processing.geometry.triangle_mesh import TriangleMesh, unbalanced_edges
from tests.data_processing.solids import area

U_SHAPE = [(0, 0), (6, 0), (6, 4), (5, 4), (5, 1), (1, 1), (1, 4), (0, 4)]
ARROW = [(0, 0), (2, 1), (0, 2), (1, 1)]  # a concave quad
EDGE_CORNERS = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)]  # no fan without a flat triangle
HOLE = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # by a bridge there and back
REPEATED = [(0, 0), (0, 0), (4, 0), (4, 4), (2, 1), (2, 1), (0, 4)]
STAR = [(np.cos(a) * r, np.sin(a) * r) for a, r in zip(np.arange(10) * np.pi / 5, [1, 0.3] * 5, strict=True)]
AREAS = {"u": (U_SHAPE, 12), "arrow": (ARROW, 1), "edges": (EDGE_CORNERS, 4), "hole": (HOLE, 12)}
AREAS |= {"repeated": (REPEATED, 10), "star": (STAR, 5 * 0.3 * np.sin(np.pi / 5))}


def polygon(corners, *, tilt=0.0, offset=(0, 0, 0)):
    flat = np.c_[np.array(corners, float), np.zeros(len(corners))]
    c, s = np.cos(tilt), np.sin(tilt)
    return (
        flat @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + offset
    )


def faces_of(vertices, *sizes):
    return triangulated(vertices, np.arange(len(vertices)), np.array(sizes or [len(vertices)]))


def enclosed(corners):
    x, y = np.array(corners, float).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize("tilt", [0.0, 0.4, 2.0])
@pytest.mark.parametrize("offset", [(0, 0, 0), (431234.5, 5512345.25, 287.75)])
def test_polygons_cover_their_area(name, tilt, offset):
    corners, expected = AREAS[name]
    for turn in range(len(corners)):
        turned = [*corners[turn:], *corners[:turn]]
        vertices = polygon(turned, tilt=tilt, offset=offset)
        faces = faces_of(vertices)
        mesh = TriangleMesh(vertices, faces)
        assert area(mesh) == pytest.approx(expected, rel=1e-6) and len(faces) == len(corners) - 2
        normal = polygon([(0, 0), (1, 0), (0, 1)], tilt=tilt)
        up = np.cross(normal[1] - normal[0], normal[2] - normal[0])
        a, b, c = mesh.triangles().transpose(1, 0, 2)
        assert ((np.cross(b - a, c - a) @ up) > -1e-6).all()


@pytest.mark.parametrize("name", ["u", "arrow", "edges", "star"])
def test_each_edge_of_a_polygon_is_one_of_its_triangles(name):
    """The face on the other side of an edge has the corners on it too: left out, they would be holes."""
    corners, _ = AREAS[name]
    around = unbalanced_edges(faces_of(polygon(corners)))
    count = len(corners)
    assert sorted(map(tuple, around.tolist())) == sorted((n, (n + 1) % count) for n in range(count))


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_random_polygons(data):
    """Around a point, with corners on the edges; any plane, any place."""
    count = data.draw(st.integers(3, 24))
    steps = data.draw(st.lists(st.floats(0.2, 1), min_size=count, max_size=count))
    radii = data.draw(st.lists(st.floats(0.1, 1), min_size=count, max_size=count))
    angles = np.cumsum(steps) / np.sum(steps) * 2 * np.pi
    corners = [(r * np.cos(a), r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
    for place in data.draw(st.lists(st.integers(0, count - 1), max_size=4)):
        corners.insert(place + 1, tuple(np.mean([corners[place], corners[(place + 1) % len(corners)]], axis=0)))
    vertices = polygon(corners, tilt=data.draw(st.floats(0, 6)), offset=data.draw(st.floats(-1e3, 1e3)))
    faces = faces_of(vertices)
    if max(np.diff(np.append(angles, angles[0] + 2 * np.pi))) < np.pi:
        assert area(TriangleMesh(vertices, faces)) == pytest.approx(enclosed(corners), rel=1e-6)
        assert len(unbalanced_edges(faces)) == len(corners) and len(faces) == len(corners) - 2


def test_polygons_of_all_sizes_keep_their_order():
    """One and two corners make no face, triangles stay, quads are cut from their first corner to the third."""
    square = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
    vertices = np.array([(9, 9, 9), *square, (8, 8, 8), (7, 7, 7), *square[:3], *square], float)
    faces = faces_of(vertices, 1, 4, 2, 3, 4)
    assert faces.tolist() == [[1, 2, 3], [1, 3, 4], [7, 8, 9], [10, 11, 12], [10, 12, 13]]


def test_a_polygon_that_is_not_planar_is_cut_as_seen_from_its_front():
    vertices = polygon(U_SHAPE)
    vertices[:, 2] = [0, 0.1, 0, 0.1, 0, 0.1, 0, 0.1]
    mesh = TriangleMesh(vertices, faces_of(vertices))
    a, b, c = mesh.triangles().transpose(1, 0, 2)
    seen = np.cross(b - a, c - a)[:, 2] / 2
    assert (seen > 0).all() and seen.sum() == pytest.approx(12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_numbers_that_are_none_end_in_faces_all_the_same(bad):
    """The mesh is refused for them later, with a better reason."""
    vertices = polygon(U_SHAPE)
    vertices[3, 1] = bad
    assert len(faces_of(vertices)) == 6


def test_polygons_without_area_end_in_faces_all_the_same():
    assert faces_of(np.zeros((5, 3))).shape == (3, 3)
    assert faces_of(np.outer(np.arange(5.0), [1, 2, 3])).shape == (3, 3)


def test_what_would_take_minutes_is_refused():
    generator = np.random.default_rng(0)
    vertices = np.c_[generator.random((MAX_CUT_CORNERS + 1, 2)), np.zeros(MAX_CUT_CORNERS + 1)]
    with pytest.raises(ValueError, match=f"{MAX_CUT_CORNERS + 1:,} corners"):
        faces_of(vertices)


def test_strips_and_fans():
    """Every other triangle of a strip is turned round, and the count begins anew with each strip."""
    assert strip_triangles(np.array([0, 1, 2, 3, 4])).tolist() == [[0, 1, 2], [2, 1, 3], [2, 3, 4]]
    assert strip_triangles(np.array([-1, 7, 8, -1, 0, 1, 2, 3, -1, 4, 5, 6, -1, -1])).tolist() == [
        [0, 1, 2],
        [2, 1, 3],
        [4, 5, 6],
    ]
    assert strip_triangles(np.array([], dtype=np.int64)).shape == (0, 3)
    assert fan_triangles(np.array([5, 1, 2, 3])).tolist() == [[5, 1, 2], [5, 2, 3]]
    assert fan_triangles(np.array([5, 1])).shape == fan_triangles(np.array([], dtype=np.int64)).shape == (0, 3)
