"""Pictures of a box whose sides are known, from cameras whose place is known."""

import numpy as np
import pytest
import trimesh

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import rendering
from data_processing.geometry.rendering import BACKGROUND, Camera, ViewBall
from data_processing.geometry.triangle_mesh import TriangleMesh


def box(lower, upper) -> TriangleMesh:
    solid = trimesh.creation.box(bounds=np.array([lower, upper], dtype=float))
    return TriangleMesh(np.asarray(solid.vertices), np.asarray(solid.faces))


BOX = box([5.0, 1.0, -2.0], [7.0, 2.0, 2.0])  # off centre, edges 2, 1, 4 along x, y, z


def extent(picture) -> tuple[int, int]:
    """Height and width in pixels of what is not background."""
    rows, columns = np.nonzero(picture < BACKGROUND)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("camera", "up", "ratio"),
    [
        (Camera(0, 0), "y", 1 / 2),  # from +z: y over x
        (Camera(90, 0), "y", 1 / 4),  # from +x: y over z
        (Camera(0, 90), "y", 4 / 2),  # from above: z over x
        (Camera(0, 0), "z", 4 / 2),  # from -y: z over x
        (Camera(90, 0), "z", 4 / 1),  # from +x: z over y
    ],
)
def test_each_camera_sees_the_sides_that_face_it(camera, up, ratio):
    narrow = Camera(camera.azimuth, camera.elevation, field_of_view=2.0)  # nearly parallel rays
    height, width = extent(rendering.render(BOX, [narrow], size=300, up=up)[0])
    assert height / width == pytest.approx(ratio, rel=0.05)


def test_front_right_and_up_are_not_mirrored():
    """A marker at +x is right, at +y is up, seen from +z; and from -y with z up, +z is up."""
    view_ball = ViewBall(np.zeros(3), 1.0)
    right = rendering.render(box([0.4, -0.1, -0.1], [0.6, 0.1, 0.1]), [Camera(0, 0)], size=100, view_ball=view_ball)[0]
    assert np.nonzero(right < BACKGROUND)[1].min() > 50
    above = rendering.render(box([-0.1, 0.4, -0.1], [0.1, 0.6, 0.1]), [Camera(0, 0)], size=100, view_ball=view_ball)[0]
    assert np.nonzero(above < BACKGROUND)[0].max() < 50
    raised = rendering.render(
        box([-0.1, -0.1, 0.4], [0.1, 0.1, 0.6]), [Camera(0, 0)], size=100, view_ball=view_ball, up="z"
    )[0]
    assert np.nonzero(raised < BACKGROUND)[0].max() < 50
    right = rendering.render(
        box([0.4, -0.1, -0.1], [0.6, 0.1, 0.1]), [Camera(0, 0)], size=100, view_ball=view_ball, up="z"
    )[0]
    assert np.nonzero(right < BACKGROUND)[1].min() > 50


def test_nearer_is_darker_in_a_depth_picture():
    view_ball = ViewBall(np.zeros(3), 1.0)
    near = rendering.render(
        box([-0.1, -0.1, 0.6], [0.1, 0.1, 0.7]), [Camera(0, 0)], size=51, view_ball=view_ball, shading="depth"
    )
    far = rendering.render(
        box([-0.1, -0.1, -0.7], [0.1, 0.1, -0.6]), [Camera(0, 0)], size=51, view_ball=view_ball, shading="depth"
    )
    assert int(near[0, 25, 25]) + 80 < int(far[0, 25, 25]) < BACKGROUND


def test_flipped_faces_look_the_same():
    flipped = TriangleMesh(BOX.vertices, BOX.faces[:, ::-1])
    pictures = [rendering.render(mesh, [rendering.THREE_QUARTER], size=64)[0] for mesh in (BOX, flipped)]
    np.testing.assert_array_equal(*pictures)


def test_a_ring_goes_all_around_and_stays_in_the_picture():
    cameras = rendering.camera_ring(8, elevation=30.0)
    pictures = rendering.render(BOX, cameras, size=64)
    assert pictures.shape == (8, 64, 64)
    assert pictures.dtype == np.uint8
    assert (pictures[:, [0, -1]] == BACKGROUND).all()
    assert (pictures[:, :, [0, -1]] == BACKGROUND).all()
    assert len({picture.tobytes() for picture in pictures[:4]}) == 4


def test_units_of_the_file_do_not_matter():
    huge = TriangleMesh(BOX.vertices * 1e6 + 1e7, BOX.faces)
    small, large = (rendering.render(mesh, [rendering.THREE_QUARTER], size=64)[0].astype(int) for mesh in (BOX, huge))
    assert (abs(small - large) > 2).mean() < 0.01


def test_a_real_soup_fills_a_good_part_of_its_picture(examples):
    mesh = read_mesh(sorted(examples.glob("chair/*.ply"))[0])
    picture = rendering.render(mesh, [rendering.THREE_QUARTER], size=96, supersampling=2)[0]
    assert 0.05 < (picture < BACKGROUND).mean() < 0.8


@pytest.mark.parametrize("with_normals", [True, False])
def test_a_cloud_is_shown_where_its_points_are(with_normals):
    normals = np.random.default_rng(0).normal(size=(3000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    mesh = rendering.splats(normals + 3, 2 * normals if with_normals else None)
    lower, upper = mesh.bounds()
    np.testing.assert_allclose([lower, upper], [[2] * 3, [4] * 3], atol=0.1)
    picture = rendering.render(mesh, [Camera(0, 0)], size=101)[0]
    assert picture[50, 50] < BACKGROUND


def test_a_large_cloud_is_thinned():
    assert len(rendering.splats(np.random.default_rng(0).random((1001, 3)), None, most=100).vertices) <= 100 * 12
