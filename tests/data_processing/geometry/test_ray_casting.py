"""Rays from an eye meet first what plain arithmetic says, wherever triangles lie, and slip through nowhere."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.ray_casting import Eye, RayScene, eye_towards
from data_processing.geometry.rendering import camera_positions, camera_sphere
from tests.data_processing.geometry import plain_rays
from tests.data_processing.preparation.test_visibility import in_cube
from tests.data_processing.solids import ball, box, joined, quad, turned

FORWARD = Eye(np.zeros(3), np.array([1.0, 0, 0]), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]))  # along z


def assert_as_plain(vertices, faces, eye, places, *, sure=1e-9):
    """The same face and depth as by every triangle, but for rays that pass a side."""
    vertices = np.asarray(vertices, dtype=np.float32).astype(float)
    face, depth = RayScene(vertices, faces).view(eye).cast(places)
    directions = eye.forward_3 + places[:, :1] * eye.right_3 + places[:, 1:] * eye.up_3
    plain_face, plain_depth, margin = plain_rays.first_hits(vertices[faces], eye.position_3, directions)
    clear = margin > sure
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(face[clear] < 0, plain_face[clear] < 0)
    np.testing.assert_allclose(depth[clear], plain_depth[clear], rtol=1e-9)  # of two at one depth, either face
    return face


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_any_triangles_before_beside_and_behind_the_eye(spread):
    random = np.random.default_rng(7)
    corners = random.normal(scale=spread, size=(200, 3, 3)) + random.normal(scale=2, size=(200, 1, 3))
    places = random.normal(scale=1.5, size=(600, 2))
    face = assert_as_plain(corners.reshape(-1, 3), np.arange(600).reshape(-1, 3), FORWARD, places)
    assert (face >= 0).mean() > 0.2 and len(set(face)) > 5


@pytest.mark.parametrize("number", [0, 20, 60])
def test_a_real_soup_from_all_sides(examples, number):
    mesh = in_cube(read_mesh(sorted(examples.glob("*/*.ply"))[number]))
    places = np.random.default_rng(number).uniform(-0.3, 0.3, (150, 2))
    for position in camera_positions(camera_sphere(3), distance=1.6):
        face = assert_as_plain(mesh.vertices, mesh.faces, eye_towards(position, np.zeros(3)), places)
        assert (face >= 0).any()


def test_long_and_thin_triangles_and_one_over_the_whole_picture():
    random = np.random.default_rng(3)
    start, along = random.uniform(-1, 1, (60, 1, 3)) + np.array([0, 0, 3]), random.normal(size=(60, 1, 3))
    corners = np.concatenate(
        [start, start + 2 * along, start + along + random.normal(scale=0.02, size=(60, 1, 3))], axis=1
    )
    corners = np.concatenate([corners, [[[-90.0, -90, 9], [90, -90, 9], [0, 90, 9]]]])
    ticks = np.linspace(-0.5, 0.5, 40)
    places = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2) + random.uniform(0, 1e-3, (1600, 2))
    face = assert_as_plain(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), FORWARD, places)
    assert (face >= 0).all() and (face < 60).sum() > 20


def test_no_ray_slips_through_a_closed_surface_not_even_along_its_edges():
    """Rays exactly through corners and through the middles of edges, of a ball around the eye and before it."""
    for mesh in (ball(0.4, subdivisions=3), turned(box((-0.2, -0.3, -0.1), (0.3, 0.2, 0.4)), 1)):
        vertices = mesh.vertices.astype(np.float32).astype(float)
        edges = vertices[np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])].mean(axis=1)
        for position, targets in (
            (np.zeros(3), vertices),
            (np.zeros(3), edges),
            (np.array([0.1, 0.2, 2.0]), edges * 0.999),
        ):
            eye = eye_towards(position, position + np.array([0.3, 0.1, -1.0]))
            way = targets - position
            before = way @ eye.forward_3 > 0.05
            places = (way @ np.stack([eye.right_3, eye.up_3], axis=1) / (way @ eye.forward_3)[:, None])[before]
            assert (RayScene(vertices, mesh.faces).view(eye).cast(places).face_N >= 0).all()


def test_what_lies_beyond_a_limit_is_not_met():
    scene = RayScene(*(lambda mesh: (mesh.vertices, mesh.faces))(quad([-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2])))
    places = np.array([[0.1, 0.2], [0.2, 0.1], [0.9, 0.9]])
    face, depth = scene.view(FORWARD).cast(places, within_N=np.array([1.9, 2.1, 3.0]))
    np.testing.assert_array_equal(face >= 0, [False, True, False])
    np.testing.assert_array_equal(depth, [np.inf, 2.0, np.inf])


def test_no_rays_and_no_triangles():
    scene = RayScene(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert scene.view(FORWARD).cast(np.zeros((2, 2))).face_N.tolist() == [-1, -1]
    assert len(scene.view(FORWARD).cast(np.zeros((0, 2))).face_N) == 0
    assert RayScene(np.eye(3) + np.array([0, 0, 1]), np.array([[0, 1, 2]])).view(FORWARD).cast(
        np.zeros((1, 2))
    ).face_N.tolist() == [0]


def test_normals_are_twice_the_area_long():
    mesh = joined(box((0, 0, 0), (1, 2, 3)), ball(0.3))
    normals = RayScene(mesh.vertices, mesh.faces).normals(np.arange(len(mesh.faces)))
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    np.testing.assert_allclose(normals, np.cross(b - a, c - a), atol=1e-6)


def test_rays_meet_what_embree_meets_but_for_a_few(examples):
    """A second implementation, where it is installed: no visible difference on real meshes."""
    scene_module = pytest.importorskip("embreex.rtcore_scene")
    from embreex.mesh_construction import TriangleMesh as EmbreeMesh

    mesh = in_cube(read_mesh(sorted((examples / "chair").glob("*.ply"))[0]))
    vertices = mesh.vertices.astype(np.float32)
    scene = scene_module.EmbreeScene()
    EmbreeMesh(scene, vertices, mesh.faces.astype(np.int32))
    ticks = np.linspace(-0.35, 0.35, 200)
    places = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    for position in camera_positions(camera_sphere(4), distance=1.7):
        eye = eye_towards(position, np.zeros(3))
        directions = eye.forward_3 + places[:, :1] * eye.right_3 + places[:, 1:] * eye.up_3
        origins = np.broadcast_to(position, directions.shape).astype(np.float32)
        theirs = scene.run(origins, directions.astype(np.float32), output=True)
        ours = RayScene(vertices, mesh.faces).view(eye).cast(places)
        assert ((ours.face_N < 0) != (theirs["geomID"] < 0)).mean() < 1e-4
        both = (ours.face_N >= 0) & (theirs["geomID"] >= 0)
        assert both.mean() > 0.05 and (np.abs(ours.depth_N - theirs["tfar"])[both] > 1e-5).mean() < 1e-3
