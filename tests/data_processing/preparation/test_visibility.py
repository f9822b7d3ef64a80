"""What a camera sees: exactly the faces of a box turned to it, nothing behind an occluder; on a real soup too."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.rendering import Camera, camera_positions, camera_ring, camera_sphere
from data_processing.geometry.triangle_mesh import sample_surface
from data_processing.preparation.surface_points import visible_from
from isofield.runtime.seeds import numpy_generator
from tests.data_processing.geometry.plain_rays import first_hits
from tests.data_processing.solids import ball, box, joined, quad, turned, turned_inside_out

CAMERAS = camera_positions(camera_sphere(16), distance=2.0)


def samples(mesh, count=20_000):
    return sample_surface(mesh, count, numpy_generator("test", "visibility"))


@pytest.mark.parametrize(
    "mesh",
    [
        box([-0.1, -0.35, 0.05], [0.3, 0.4, 0.2]),
        turned(box([-0.1, -0.35, 0.05], [0.3, 0.4, 0.2]), 3),
        turned_inside_out(box([-0.1, -0.35, 0.05], [0.3, 0.4, 0.2])),
    ],
)
def test_of_a_box_exactly_the_faces_turned_to_the_camera(mesh):
    points, normals = samples(mesh)
    middle = np.mean(mesh.bounds(), axis=0)
    outward = normals * np.sign(np.einsum("nc,nc->n", points - middle, normals))[:, None]  # convex: away from inside
    facing = np.einsum("nvc,nc->nv", CAMERAS[None] - points[:, None], outward) > 0
    np.testing.assert_array_equal(visible_from(mesh, points, normals, CAMERAS), facing)


def test_of_a_ball_the_cap_that_perspective_leaves():
    radius, distance = 0.3, 1.2
    mesh = ball(radius, subdivisions=6)
    points, normals = samples(mesh)
    camera = camera_positions([Camera(30.0, 40.0)], distance=distance)
    seen = visible_from(mesh, points, normals, camera)[:, 0]
    height = points @ (camera[0] / distance)
    assert seen[height > radius**2 / distance + 0.005].all() and not seen[height < radius**2 / distance - 0.005].any()
    assert abs(seen.mean() - (1 - radius / distance) / 2) < 0.01


def test_an_occluder_casts_its_shadow_in_perspective():
    wall = quad([-0.4, -0.4, 0.0], [0.4, -0.4, 0.0], [0.4, 0.4, 0.0], [-0.4, 0.4, 0.0])
    screen = quad([0.05, -0.1, 0.2], [0.2, -0.1, 0.2], [0.2, 0.15, 0.2], [0.05, 0.15, 0.2])
    mesh = joined(wall, screen)
    points, normals = samples(mesh)
    camera = camera_positions([Camera(0.0, 0.0)], distance=1.0)  # in front: +z
    seen = visible_from(mesh, points, normals, camera)[:, 0]
    shadow = points[:, :2] / (1 - points[:, 2:]) * 0.8  # where the way to the camera crosses the screen's plane
    hidden = (points[:, 2] < 0.1) & (shadow > [0.05, -0.1]).all(1) & (shadow < [0.2, 0.15]).all(1)
    to_border = np.abs(shadow[:, :, None] - np.array([[0.05, 0.2], [-0.1, 0.15]])).min(axis=(1, 2))
    far = to_border > 1e-4  # rays start a step off the surface
    np.testing.assert_array_equal(seen[far], ~hidden[far])
    assert far.mean() > 0.99 and 0.05 < hidden.mean() < 0.2


def test_a_sheet_has_two_sides_and_no_edge():
    sheet = quad([0.0, -0.3, -0.2], [0.0, 0.3, -0.2], [0.0, 0.3, 0.2], [0.0, -0.3, 0.2])
    points, normals = samples(sheet, 500)
    cameras = np.array([[2.0, 0.1, 0], [-2.0, 0, 0.3], [0.0, 2.0, 0.0]])
    np.testing.assert_array_equal(visible_from(sheet, points, normals, cameras).all(0), [True, True, False])
    assert not visible_from(sheet, points, normals, cameras)[:, 2].any()


def plain_distances(mesh, cameras, points):
    """How far from each camera its way to each point meets the mesh first (V, N), by every triangle."""
    ways = points - cameras[:, None]
    ways /= np.linalg.norm(ways, axis=2, keepdims=True)
    return [first_hits(mesh.triangles(), camera, way)[1] for camera, way in zip(cameras, ways, strict=True)]


def embree_distances(mesh, cameras, points):
    """The same by a second implementation, where it is installed."""
    scene_module = pytest.importorskip("embreex.rtcore_scene")
    from embreex.mesh_construction import TriangleMesh as EmbreeMesh

    scene = scene_module.EmbreeScene()
    EmbreeMesh(scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
    ways = points - cameras[:, None]
    ways /= np.linalg.norm(ways, axis=2, keepdims=True)
    origins = np.broadcast_to(cameras[:, None], ways.shape).astype(np.float32)
    return [scene.run(o, w, output=True)["tfar"] for o, w in zip(origins, ways.astype(np.float32), strict=True)]


@pytest.mark.parametrize(("distances", "count", "views"), [(plain_distances, 400, 4), (embree_distances, 20_000, 8)])
def test_on_a_real_soup_what_is_seen_is_what_the_ray_from_the_camera_meets_first(examples, distances, count, views):
    """The other direction: from the camera to the point, the first hit lies at the point's distance or before it."""
    mesh = in_cube(read_mesh(sorted((examples / "chair").glob("*.ply"))[0]))
    points, normals = samples(mesh, count)
    cameras = camera_positions(camera_ring(views, elevation=25.0), distance=2.0)
    seen = visible_from(mesh, points, normals, cameras)
    for view, first in enumerate(distances(mesh, cameras, points)):
        hidden = np.linalg.norm(points - cameras[view], axis=1) - first  # by how much
        clear = (hidden < 2e-6) | (hidden > 1e-3)  # this chair has layers a hundredth of a percent apart
        assert clear.mean() > 0.9 and 0.05 < seen[:, view].mean() < 0.9
        assert (seen[:, view] == (hidden < 2e-6))[clear].mean() > 0.999


def in_cube(mesh):
    lower, upper = mesh.bounds()
    return mesh.transform(np.linalg.inv(normalising_to_world(lower, upper, by="longest_edge", length=0.9)))
