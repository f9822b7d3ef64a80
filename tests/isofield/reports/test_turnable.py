"""Packed meshes: unpacked here by the letter of the format, they are the mesh; large ones become small, of any kind."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from data_processing.geometry.rendering import ViewBall, splats
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.reports.turnable import MOST_FACES, STEPS, Packed, pack_mesh
from tests.data_processing.solids import box


def unpacked(packed: Packed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, faces and values, by the docstring of the format."""
    data = zlib.decompress(base64.b64decode(packed["data"]))
    V, F = packed["vertices"], packed["faces"]
    count = 3 * V + 3 * F
    codes = [data[n] + 256 * data[count + n] for n in range(count)]
    numbers = np.array([-(code + 1) // 2 if code % 2 else code // 2 for code in codes])
    whole = np.cumsum(numbers[: 3 * V].reshape(3, V), axis=1).T
    first, second, third = numbers[3 * V :].reshape(3, F)
    first = np.cumsum(first)
    values = np.frombuffer(data[2 * count :], np.int8) / 127 * (packed["limit"] or 1)
    return (
        np.array(packed["origin"]) + packed["step"] * whole,
        np.stack([first, first + second, first + third], 1),
        values,
    )


def corners(points: np.ndarray, faces: np.ndarray) -> set[Any]:
    """Each face as its corners from the lowest on, rounded."""
    turned = []
    for face in np.round(points[faces], 2).tolist():
        lowest = face.index(min(face))
        turned.append(tuple(map(tuple, face[lowest:] + face[:lowest])))
    return set(turned)


def sphere(rings: int) -> TriangleMesh:
    """About 4 rings^2 faces, a radius of 100 around (50, 0, -20), open at the seam by equal but unmerged vertices."""
    u, v = np.meshgrid(
        np.linspace(0, 2 * np.pi, 2 * rings + 1), np.linspace(0.01, np.pi - 0.01, rings + 1), indexing="ij"
    )
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1).reshape(-1, 3)
    i, j = (index.ravel() for index in np.meshgrid(np.arange(2 * rings), np.arange(rings), indexing="ij"))
    a = i * (rings + 1) + j
    b = a + rings + 1
    faces = np.concatenate([np.stack([a, a + 1, b], 1), np.stack([b, a + 1, b + 1], 1)])
    return TriangleMesh(points * 100 + [50, 0, -20], faces)


def test_a_small_mesh_comes_back_as_it_was_with_its_values_and_its_ball():
    mesh = box((-3, 5, 100), (7, 6, 104))
    values = mesh.vertices[:, 0] / 10
    ball = ViewBall(np.array([1.0, 2, 3]), 44.0)
    packed = pack_mesh(mesh, view_ball=ball, up="z", look=(10.0, -5.0), values_V=values, limit=2.0)
    assert packed is not None and json.loads(json.dumps(packed)) == packed
    points, faces, found = unpacked(packed)
    assert corners(points, faces) == corners(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(found, points[:, 0] / 10, atol=0.02)
    assert packed["ball"] == [1, 2, 3, 44] and packed["up"] == "z" and packed["look"] == [10, -5]
    assert packed["of"] == packed["faces"] == 12 and packed["step"] == 10 / STEPS


@pytest.mark.parametrize("rings", [60, 300])
def test_a_large_mesh_becomes_small_and_stays_where_it_is(rings: int):
    mesh = sphere(rings)
    packed = pack_mesh(mesh, values_V=mesh.vertices[:, 2], limit=120.0)
    assert packed is not None and packed["of"] == len(mesh.faces) > MOST_FACES >= packed["faces"] > 4000
    points, faces, values = unpacked(packed)
    np.testing.assert_allclose(np.linalg.norm(points - [50, 0, -20], axis=1), 100, atol=2)
    np.testing.assert_allclose(values, points[:, 2], atol=6)
    a, b, c = points[faces].transpose(1, 0, 2)
    volume = np.einsum("fc,fc->f", a - [50, 0, -20], np.cross(b - a, c - a)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 1e6, rel=0.02)
    assert len(packed["data"]) < 40_000


def test_pieces_that_hang_together_with_nothing_are_fewer_but_everywhere():
    cloud = np.random.default_rng(0).random((20_000, 3))
    packed = pack_mesh(splats(cloud, None))
    assert packed is not None and packed["faces"] <= MOST_FACES and len(packed["data"]) < 80_000
    points, _, _ = unpacked(packed)
    octant = (points > 0.5) @ [1, 2, 4]
    assert np.bincount(octant, minlength=8).min() > 0.08 * len(points)


def test_what_cannot_be_shown_is_none_and_flat_or_tiny_meshes_are_shown():
    assert pack_mesh(TriangleMesh(np.zeros((3, 3)), np.zeros((0, 3), np.int64))) is None
    broken = box((0, 0, 0), (1, 1, 1))
    broken.vertices[2, 1] = np.nan
    assert pack_mesh(broken) is None
    flat = TriangleMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    for scale in (1e-9, 1.0, 1e9):
        packed = pack_mesh(TriangleMesh(flat.vertices * scale, flat.faces))
        assert packed is not None
        points, _, _ = unpacked(packed)
        np.testing.assert_allclose(np.sort(points, axis=0), np.sort(flat.vertices * scale, axis=0), atol=scale * 1e-3)
    point = TriangleMesh(np.ones((3, 3)), np.array([[0, 1, 2]]))
    packed = pack_mesh(point)
    assert packed is not None and packed["faces"] == 1
