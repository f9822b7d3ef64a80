"""Compiled samples of a surface against those by arrays: the same draws, every bit of every point equal."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import triangle_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from tests.data_processing.solids import ball, box, joined

pytestmark = pytest.mark.skipif(triangle_mesh.compiled_kernels() is None, reason="numba is not installed")


def both(mesh, count):
    compiled = sample_surface(mesh, count, np.random.default_rng(3))
    plain = triangle_mesh._sample_by_arrays(mesh, count, np.random.default_rng(3))
    assert all(np.array_equal(first, second) for first, second in zip(compiled, plain, strict=True))
    return compiled


@pytest.mark.parametrize(
    "name", ["chair/BlendSwap_CC_0_86_Armchair.ply", "chair/Scopia_6_Chair.ply", "table/Scopia_386_Rattan_table.ply"]
)
@pytest.mark.parametrize("scale", [1, 1e-120, 1e120])
def test_equal_on_real_meshes(examples, name, scale):
    mesh = read_mesh(examples / name)
    _, normals = both(TriangleMesh(mesh.vertices * scale, mesh.faces), 20_000)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_equal_with_faces_of_all_sizes_and_of_none():
    """A few large faces after many tiny ones, and faces without area first, last and between."""
    mesh = joined(box((0, 0, 0), (1, 2, 3)), ball(1e-6, subdivisions=4), box((5, 5, 5), (6, 6, 6)), ball(1e-3))
    flat = np.repeat(mesh.faces[::9, :1], 3, axis=1)
    faces = np.concatenate([flat, mesh.faces[:9], flat, mesh.faces[9:], flat])
    points, _ = both(TriangleMesh(mesh.vertices, faces), 50_000)
    assert 0.2 < (points > 4.9).all(1).mean() < 0.3  # 6 of 22 + 6


@pytest.mark.parametrize("count", [0, 1, 7])
def test_few_points_of_one_face(count):
    mesh = TriangleMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]), np.array([[0, 1, 2]]))
    points, normals = both(mesh, count)
    assert points.shape == normals.shape == (count, 3)
    assert (normals == [0, 0, 1]).all()


@pytest.mark.parametrize("faces", [np.zeros((0, 3), np.int64), np.zeros((4, 3), np.int64)])
def test_a_surface_without_area_is_refused(faces):
    with pytest.raises(ValueError, match="area"):
        sample_surface(TriangleMesh(np.ones((2, 3)), faces), 5, np.random.default_rng(0))


def test_a_face_without_area_has_no_normal():
    flat = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 2]])
    area, normals = triangle_mesh.compiled_kernels().cumulative_area(
        np.array([[0.0, 0, 0], [1, 0, 0], [0, 3, 0]]), flat
    )
    assert area.tolist() == [0, 0, area[2]] and area[2] > 0
    assert normals.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
