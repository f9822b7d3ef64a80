"""Descriptors: the published program's numbers, analytic shapes, a direct reading of the definition, invariance."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field import Descriptor, describe
from isofield.metrics.light_field.descriptors import EMPTY, describe_silhouettes, measure
from isofield.metrics.light_field.radial import ANGULAR, PI, RADIAL, _weights_compiled, radial_transform, weights_plain
from isofield.metrics.light_field.tables import cameras
from tests.data_processing.solids import ball, box, joined, quad
from tests.isofield.metrics.light_field.golden import Golden

SIZE = 256


@pytest.fixture(scope="module")
def golden():
    return Golden()


def rectangle(rows, columns, row=60, column=70):
    image = np.zeros((SIZE, SIZE), dtype=np.uint8)
    image[row : row + rows, column : column + columns] = 1
    return image


def disc(radius, row=128, column=128):
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).astype(np.uint8)


def test_numbers_of_the_program_from_its_silhouettes(golden):
    for name in golden.names:
        ours = describe_silhouettes(torch.from_numpy(golden.silhouettes(name)))
        np.testing.assert_array_equal(ours.values, golden.descriptor(name).values)


def test_numbers_of_the_program_before_they_are_cut_to_8_bits(golden):
    for name in golden.names[::6]:
        stage = {key: golden.stages[f"{name}/{key}"] for key in ("art_float", "fd_float", "cir_float", "ecc_float")}
        images = golden.silhouettes(name)
        views = [measure(image) for image in images]
        centres, areas = np.array([view.centre_2 for view in views]), np.array([view.area for view in views])
        radius = np.array([view.radius for view in views]).reshape(10, 10).max(axis=1)
        art = radial_transform(torch.from_numpy(images), centres, np.repeat(radius, 10)) / areas[:, None]
        np.testing.assert_array_equal(centres, golden.stages[f"{name}/centre_xy"].reshape(100, 2))
        np.testing.assert_array_equal(radius, golden.stages[f"{name}/radius_per_set"])
        np.testing.assert_allclose(art, stage["art_float"].reshape(100, 36)[:, 1:], atol=1e-13)
        np.testing.assert_allclose([v.fourier_10 for v in views], stage["fd_float"].reshape(100, 10), atol=1e-13)
        np.testing.assert_allclose([v.circularity for v in views], stage["cir_float"].ravel(), atol=1e-14)
        np.testing.assert_allclose([v.eccentricity for v in views], stage["ecc_float"].ravel(), atol=1e-14)


@pytest.mark.parametrize(("rows", "columns"), [(30, 70), (41, 20), (5, 5)])
def test_a_rectangle(rows, columns):
    view = measure(rectangle(rows, columns))
    assert view.area == rows * columns
    assert view.centre_2.tolist() == [70 + (columns - 1) / 2, 60 + (rows - 1) / 2]
    assert view.radius == pytest.approx(np.hypot(rows - 1, columns - 1) / 2)
    assert view.eccentricity == pytest.approx(((columns**2 - rows**2) / (columns**2 + rows**2 - 2)) ** 2)
    border = 2 * (rows + columns) - 4
    assert view.circularity == pytest.approx(min(1, 4 * np.pi * rows * columns / border**2), rel=1e-7)


def test_eccentricity_does_not_turn_with_the_shape():
    y, x = np.mgrid[:SIZE, :SIZE] - 128.0
    for degrees in (0, 30, 45, 100):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        ellipse = ((c * x + s * y) / 90) ** 2 + ((c * y - s * x) / 30) ** 2 <= 1
        assert measure(ellipse.astype(np.uint8)).eccentricity == pytest.approx(0.64, abs=5e-3)


def test_a_disc_is_the_same_all_around():
    view = measure(disc(80))
    assert view.eccentricity == pytest.approx(0, abs=1e-12)
    assert view.fourier_10.max() < 2e-3
    assert view.radius == 80
    art = radial_transform(torch.from_numpy(disc(80)[None]), view.centre_2[None], np.array([80.0]))[0] / view.area
    # Mean of cos(pi r rho) over the disc: 2 (cos(pi r) - 1) / (pi r)^2.
    np.testing.assert_allclose(art[:2], [4 / np.pi**2, 0], atol=0.02)
    quarter = [p for p in range(1, ANGULAR) if p % 4]  # a picture of squares is as symmetric as a square
    # All that is left is the middle entry, 1 in every table; 80 pixels share 50 entries: 1 + 2 (1 - 5/8) of a row's.
    np.testing.assert_allclose(np.r_[0, art].reshape(ANGULAR, RADIAL)[quarter], 1.75**2 / view.area, rtol=1e-9)


def test_a_contour_with_three_bumps_has_a_third_wave():
    y, x = np.mgrid[:SIZE, :SIZE] - 128.0
    bumpy = np.hypot(x, y) <= 70 + 14 * np.cos(3 * np.arctan2(y, x))
    fourier = measure(bumpy.astype(np.uint8)).fourier_10
    assert fourier.argmax() == 2
    assert 0.06 < fourier[2] < 0.14  # half of 14/70, less what corners of pixels and the speed along the contour change


def test_the_radial_transform_is_what_its_definition_says():
    """Basis functions read between entries at every pixel, by another library."""
    generator = np.random.default_rng(3)
    image = (generator.random((SIZE, SIZE)) < 0.3) & (disc(70, 120, 131) != 0)
    centre, radius = np.array([131.5, 119.0]), 72.0
    rows, columns = np.nonzero(image)
    places = np.stack([rows - centre[1], columns - centre[0]]) * 50 / radius + 50
    y, x = np.mgrid[-50:51, -50:51]
    rho, theta = np.hypot(x, y), np.arctan2(y, x)
    expected = []
    for p in range(ANGULAR):
        for r in range(RADIAL):
            wave = np.where(rho < 50, np.cos(PI * r * rho / 50) * np.exp(1j * p * theta), 0)
            real, imaginary = (map_coordinates(part, places, order=1).sum() for part in (wave.real, wave.imag))
            expected.append(np.hypot(real, imaginary))
    found = radial_transform(torch.from_numpy(image.astype(np.uint8)[None]), centre[None], np.array([radius]))[0]
    np.testing.assert_allclose(found, expected[1:], rtol=1e-10)


def test_compiled_and_plain_weights_are_equal():
    images = np.stack([disc(80), rectangle(30, 70), rectangle(1, 1), np.zeros_like(disc(1)), disc(30, 60, 200)])
    views = [measure(image) for image in images]
    centres, radius = np.array([view.centre_2 for view in views]), np.array([view.radius for view in views])
    plain = weights_plain(torch.from_numpy(images), centres, radius)
    compiled = _weights_compiled(images, centres, radius)
    torch.testing.assert_close(compiled, plain, atol=1e-10, rtol=0)
    np.testing.assert_allclose(plain.sum(dim=(1, 2)), [view.area for view in views])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_descriptor(examples):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    mesh = read_mesh(examples / "chair" / "Scopia_30_Chair.ply")
    np.testing.assert_array_equal(describe(mesh, device="cuda").values, describe(mesh, device="cpu").values)


def test_nothing_and_a_single_pixel():
    assert measure(np.zeros((SIZE, SIZE), dtype=np.uint8)) is EMPTY
    view = measure(rectangle(1, 1))
    assert (view.area, view.radius, view.eccentricity, view.fourier_10.max()) == (1, 0, 0, 0)
    empty = describe_silhouettes(torch.zeros(100, SIZE, SIZE, dtype=torch.uint8))
    assert not empty.values.any()


def test_a_thin_plate_is_zero_where_it_is_seen_edge_on():
    plate = describe(quad([0, 0, 0], [3, 0, 0], [3, 0, 2], [0, 0, 2]), device="cpu").values
    level = np.abs(cameras()[..., 1]) < 1e-9
    assert level.sum() == 2
    assert not plate[level].any()
    assert plate[~level][:, :45].any(axis=1).all()


def test_short_contours_have_no_waves():
    assert not measure(rectangle(1, 4)).fourier_10.any()  # 7 points
    assert measure(rectangle(1, 5)).fourier_10[:4].all()  # 9 points
    view = measure(rectangle(2, 5))  # 11 points, the start twice: waves 1 to 5
    assert view.fourier_10[:5].all()
    assert not view.fourier_10[5:].any()


BODY = box([0, 0, 0], [1, 2, 3])
FLOATERS = {
    "two balls apart": joined(ball(0.3, (0, 0, 0), 3), ball(0.2, (1, 0.4, 0.2), 3)),
    "a box and a speck": joined(BODY, ball(0.02, (2.5, 2.5, 0), 1)),
    "a box and debris": joined(BODY, *(ball(0.05, (2, k, -k), 1) for k in (-1, 0, 1))),
    "two plates": joined(
        quad([0, 0, 0], [3, 0, 0], [3, 2, 0], [0, 2, 0]), quad([0, 0, 2], [3, 0, 2], [3, 2, 2], [0, 2, 2])
    ),
}


@pytest.mark.parametrize("name", FLOATERS)
def test_shapes_of_several_parts_have_a_contour_in_every_view(name):
    values = describe(FLOATERS[name], device="cpu").values
    seen = values[..., :35].any(axis=2)
    assert seen.sum() >= 98
    assert values[..., 35:45][seen].any(axis=1).all()


def test_a_speck_moves_the_contour():
    with_speck, alone = describe(FLOATERS["a box and a speck"], device="cpu"), describe(BODY, device="cpu")
    assert with_speck.values[..., 35].mean() > alone.values[..., 35].mean() + 20  # it goes out to the speck


@pytest.mark.parametrize(("scale", "shift"), [(8.0, (16, -32, 64)), (1e-3, (0.1, 0, 0)), (1e6, (1e6, 1e6, -3e6))])
def test_place_and_size_do_not_matter(examples, scale, shift):
    mesh = read_mesh(examples / "chair" / "Scopia_359_Children_chair.ply")
    moved = TriangleMesh(mesh.vertices * scale + shift, mesh.faces)
    difference = describe(mesh, device="cpu").values.astype(int) - describe(moved, device="cpu").values
    assert np.abs(difference).max() <= 1  # a corner may be rounded to the next of 65,536 steps


def test_winding_and_order_of_faces_do_not_matter():
    mesh = joined(
        quad([0, 0, 0], [3, 0, 1], [3, 2, 0], [0, 2, 1]), ball(0.5, (1, 1, 3), 2)
    )  # open: seen from both sides
    turned = TriangleMesh(mesh.vertices, mesh.faces[::-1, ::-1])
    np.testing.assert_array_equal(describe(mesh, device="cpu").values, describe(turned, device="cpu").values)


@pytest.mark.parametrize("values", [np.zeros((10, 10, 45), dtype=np.uint8), np.zeros((10, 10, 47))])
def test_other_arrays_are_no_descriptor(values):
    with pytest.raises(ValueError, match=r"\(10, 10, 47\) uint8"):
        Descriptor(values)
