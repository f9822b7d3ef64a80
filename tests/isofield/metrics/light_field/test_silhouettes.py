"""Silhouettes: analytic areas, the tie rule, two implementations, the published program's pixels, bad meshes."""

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field import silhouette_kernels as kernels
from isofield.metrics.light_field.silhouettes import (
    PIXELS,
    STEPS,
    _filled,
    normalise_box,
    silhouettes,
    silhouettes_plain,
)
from isofield.metrics.light_field.tables import cameras, rotations, screen_axes
from tests.data_processing.solids import ball, box, joined, quad
from tests.isofield.metrics.light_field.golden import Golden


@pytest.fixture(scope="module")
def golden():
    return Golden()


def test_cameras_and_rotations_are_those_of_the_program(golden):
    np.testing.assert_array_equal(cameras(), golden.cameras[:, :10])
    assert {*map(tuple, rotations())} == {*map(tuple, golden.rotations)}


def test_cameras_are_half_a_dodecahedron_and_its_rotations_a_group():
    np.testing.assert_allclose(np.linalg.norm(cameras(), axis=-1), 1.0705, atol=1e-4)
    angles = np.abs(np.einsum("svc,swc->svw", cameras(), cameras())) / 1.0705**2
    expected = np.sort([1.0] + 3 * [np.sqrt(5) / 3] + 6 * [1 / 3])  # to itself, to neighbours, to all others
    np.testing.assert_allclose(np.sort(angles, axis=-1), np.broadcast_to(expected, angles.shape), atol=1e-4)
    group = {*map(tuple, rotations())}
    assert len(group) == 60
    assert {tuple(np.array(p)[list(q)]) for p in group for q in group} == group
    for rotation in rotations():
        np.testing.assert_allclose(angles[0][np.ix_(rotation, rotation)], angles[0], atol=1e-4)


def test_axes_are_right_handed_and_upright():
    right, up = screen_axes().transpose(1, 0, 2)
    towards = cameras().reshape(-1, 3) / np.linalg.norm(cameras().reshape(-1, 3), axis=1, keepdims=True)
    np.testing.assert_allclose(np.cross(right, up), towards, atol=1e-12)
    np.testing.assert_allclose(right[:, 1], 0, atol=1e-12)
    assert (up[:, 1] > 0).all()


def test_a_ball_is_a_disc_of_64_pixels_in_every_view():
    pixels = silhouettes(ball(3.0, centre=(5, 6, 7)), device="cpu").numpy()
    assert pixels.shape == (100, PIXELS, PIXELS)
    np.testing.assert_allclose(pixels.sum(axis=(1, 2)), np.pi * 64**2, rtol=2e-3)
    for axis in (1, 2):
        for filled in pixels.any(axis=axis):
            assert 64 <= np.flatnonzero(filled)[0] <= 65
            assert 190 <= np.flatnonzero(filled)[-1] <= 191


def test_row_0_is_the_lowest_and_column_0_the_left_one():
    wide_below = joined(box([-1, -1, -1], [1, -0.5, 1]), box([-0.1, -0.5, -0.1], [0.1, 1, 0.1]))
    pixels = silhouettes(wide_below, device="cpu").numpy()
    rows = pixels.sum(axis=2)
    assert (rows[:, :128].sum(axis=1) > rows[:, 128:].sum(axis=1)).all()
    post = joined(quad([0, 0, 0], [4, 0, 0], [4, 0.1, 0], [0, 0.1, 0]), box([3, 0, -0.1], [4, 2, 0.1]))
    front = cameras().reshape(-1, 3)[:, 2] > 0.3  # x runs to the right there
    columns = silhouettes(post, device="cpu").numpy()[front].sum(axis=1)
    assert (columns[:, 128:].sum(axis=1) > columns[:, :128].sum(axis=1)).all()


def test_a_plate_seen_edge_on_draws_nothing():
    pixels = silhouettes(quad([0, 0, 0], [3, 0, 0], [3, 0, 2], [0, 0, 2]), device="cpu").numpy()
    level = np.abs(cameras().reshape(-1, 3)[:, 1]) < 1e-9  # these look along the plate
    assert level.sum() == 2
    np.testing.assert_array_equal(pixels.any(axis=(1, 2)), ~level)


@pytest.mark.parametrize("grid", [STEPS, STEPS // 2, 37])
def test_triangles_of_a_square_share_its_pixels_out(grid):
    """Corners on pixel centres and between them: every pixel belongs to exactly one triangle of a closed fan."""
    generator = np.random.default_rng(grid)
    for _ in range(20):
        low, high = np.array([40, 50]) * 128, np.array([60, 90]) * 256 + 128
        middle = generator.integers(low // grid + 1, high // grid) * grid
        corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
        covered = np.zeros((PIXELS, PIXELS), dtype=int)
        for k in range(4):
            image = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
            kernels.fill(*corners[k], *middle, *corners[(k + 1) % 4], image)
            covered += image
        # Left and top sides own their pixels; y runs upwards, so the lowest row is left out.
        expected = np.zeros_like(covered)
        first, last = -(-(low - 128) // 256), (high - 128) // 256
        expected[first[1] + ((low[1] - 128) % 256 == 0) : last[1] + 1, first[0] : last[0]] = 1
        np.testing.assert_array_equal(covered, expected)


def test_compiled_and_plain_silhouettes_are_equal(examples):
    meshes = [read_mesh(examples / "chair" / "Scopia_359_Children_chair.ply"), ball(1.0, subdivisions=3)]
    for mesh in [*meshes, quad([0, 0, 0], [3, 0, 0], [3, 0, 2], [0, 0, 2])]:
        plain = silhouettes_plain(normalise_box(mesh), mesh.faces, screen_axes()[::7], device="cpu")
        assert torch.equal(silhouettes(mesh, device="cpu")[::7], plain)


def test_compiled_and_plain_filling_are_equal_where_corners_lie_on_pixel_centres():
    generator = np.random.default_rng(0)
    # Many ties, some without an area.
    corners = generator.integers(1, 2 * PIXELS, (1, 900, 2)) * 128
    corners[:, ::5] += generator.integers(-60, 60, (1, 180, 2))
    faces = np.arange(900).reshape(300, 3)
    for face in faces:
        image = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
        kernels.fill(*corners[0, face].ravel(), image)
        plain = _filled(torch.from_numpy(corners), torch.from_numpy(face[None]))
        np.testing.assert_array_equal(plain[0].numpy(), image)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_pixels(examples):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    mesh = read_mesh(examples / "chair" / "Scopia_30_Chair.ply")
    assert torch.equal(silhouettes(mesh, device="cuda").cpu(), silhouettes(mesh, device="cpu"))


def test_pixels_of_the_program(golden, tmp_path):
    different = []
    for name, file in golden.mesh_files(tmp_path).items():
        ours = silhouettes(read_mesh(file), device="cpu").numpy()
        different.append((ours != golden.silhouettes(name)).sum(axis=(1, 2)))
    assert np.max(different) <= 2
    assert np.count_nonzero(different) <= 10  # of 1,900: single precision there, double here


def test_place_and_size_do_not_matter():
    mesh = joined(box([0, 0, 0], [1, 2, 3]), ball(0.5, centre=(1, 1, 3), subdivisions=2))
    moved = TriangleMesh(mesh.vertices * 8 + [16, -32, 64], mesh.faces)  # without rounding
    assert torch.equal(silhouettes(mesh, device="cpu"), silhouettes(moved, device="cpu"))


def test_vertices_without_faces_do_not_matter():
    mesh = box([0, 0, 0], [1, 2, 3])
    strays = np.array([[1e9, 0, 0], [np.nan, 0, 0], [0, np.inf, 0]])
    more = TriangleMesh(np.concatenate([mesh.vertices, strays]), mesh.faces)
    assert torch.equal(silhouettes(mesh, device="cpu"), silhouettes(more, device="cpu"))


BOX = box([0, 0, 0], [1, 2, 3])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (BOX.vertices, np.zeros((0, 3), dtype=np.int64), "faces"),
        (np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), "faces"),
        (np.where(BOX.vertices == 3, np.nan, BOX.vertices), BOX.faces, "NaN or infinite"),
        (np.where(BOX.vertices == 3, np.inf, BOX.vertices), BOX.faces, "NaN or infinite"),
        (np.ones_like(BOX.vertices), BOX.faces, "edge .* 0"),
        (BOX.vertices[:5], BOX.faces, "0 to 7, .* 5"),
        (BOX.vertices, BOX.faces - 1, "-1 to 6"),
    ],
)
def test_bad_meshes_are_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=message):
        silhouettes(TriangleMesh(vertices, faces), device="cpu")
