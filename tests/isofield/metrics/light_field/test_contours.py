"""Contours: analytic walks, repair against a second implementation, the published program's contours."""

import itertools

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from isofield.metrics.light_field import contour_kernels as kernels
from isofield.metrics.light_field.silhouettes import silhouettes
from tests.data_processing.solids import ball, joined
from tests.isofield.metrics.light_field import plain as plain
from tests.isofield.metrics.light_field.golden import Golden

SIZE = 256


@pytest.fixture(scope="module")
def golden():
    return Golden()


def canvas(*parts):
    """A picture of rectangles (first row, rows, first column, columns)."""
    image = np.zeros((SIZE, SIZE), dtype=np.uint8)
    for row, rows, column, columns in parts:
        image[row : row + rows, column : column + columns] = 1
    return image


def disc(row, column, radius):
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).astype(np.uint8)


def assert_closed(contour):
    assert (contour[0] == contour[-1]).all()
    assert (np.abs(np.diff(contour, axis=0)).max(axis=1) == 1).all()


def test_contours_of_the_program(golden):
    for name in golden.names:
        contours = [kernels.outline(image) for image in golden.silhouettes(name)]
        assert [len(contour) for contour in contours] == golden.stages[f"{name}/contour_len"].ravel().tolist()
        if f"{name}/contour_xy_all_views" in golden.stages:
            points = np.concatenate(contours)[:, ::-1]
            np.testing.assert_array_equal(points, golden.stages[f"{name}/contour_xy_all_views"])


def test_the_walk_around_a_rectangle():
    contour = kernels.walk(canvas((30, 7, 50, 11)))
    assert_closed(contour)
    assert len(contour) == 2 * (7 + 11) - 4 + 1
    assert contour[:3].tolist() == [[30, 50], [31, 50], [32, 50]]  # down first
    assert len(np.unique(contour, axis=0)) == len(contour) - 1


def test_the_walk_along_a_line_goes_there_and_back():
    contour = kernels.walk(canvas((30, 1, 50, 20)))
    assert_closed(contour)
    assert len(contour) == 2 * 19 + 1


def test_holes_are_not_walked_around():
    ring = disc(100, 120, 40) - disc(100, 120, 20)
    np.testing.assert_array_equal(kernels.walk(ring), kernels.walk(disc(100, 120, 40)))


def test_a_walk_through_its_own_start_goes_on():
    """Two parts meet at the first pixel alone: the left one is met first, the right one must not be missed."""
    image = np.zeros((20, 20), dtype=np.uint8)
    image[5, 10] = 1
    for k in range(1, 5):
        image[5 + k, 10 - k] = image[5 + k, 10 + k] = 1
    contour = kernels.walk(image)
    assert_closed(contour)
    assert {*map(tuple, contour)} == {*map(tuple, np.argwhere(image))}


def test_a_lone_pixel_and_nothing():
    assert kernels.outline(canvas((30, 1, 50, 1))).tolist() == [[30, 50]]
    assert kernels.outline(canvas()).shape == (0, 2)


def test_every_neighbourhood_is_judged_as_defined():
    for bits in itertools.product([False, True], repeat=9):
        ring = np.array(bits).reshape(3, 3)
        assert kernels.spare(np.pad(ring, 1).astype(np.uint8), 2, 2) == plain.may_go(ring)


@pytest.mark.parametrize(("outside", "whole"), [(19, True), (20, False), (21, False)])
def test_enclosing_means_more_than_95_percent(outside, whole):
    part = canvas((50, 10, 50, 38))  # 380 pixels
    image = part | canvas((100, 1, 50, outside))
    assert kernels.encloses(image, kernels.walk(part)) == whole


CASES = {
    "two discs, 1 pixel apart": (disc(100, 60, 30) | disc(100, 122, 30), 1),
    "two discs, 5 pixels apart": (disc(100, 60, 30) | disc(100, 126, 30), 2),
    "two discs far apart": (disc(60, 60, 30) | disc(150, 180, 40), 3),
    "a disc and a large floater in a corner": (disc(150, 150, 40) | canvas((20, 12, 30, 40)), 3),
    "a speck before a disc": (disc(150, 150, 20) | canvas((20, 1, 30, 1)), 3),
    "a speck behind a disc": (disc(100, 150, 20) | canvas((200, 1, 30, 1)), 0),
    "debris": (sum(disc(r, c, 4) for r, c in ((20, 200), (60, 40), (90, 120), (190, 70), (220, 230))), 3),
    "plates side by side": (canvas((50, 100, 50, 1), (50, 100, 53, 1), (50, 100, 58, 1)), 2),
    "a plate in pieces": (canvas(*((50, 2, 30 + 5 * k, 3) for k in range(30))), 1),
    "a ring and a disc in it": (disc(120, 120, 60) - disc(120, 120, 50) | disc(120, 120, 20), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_are_joined_as_a_second_implementation_does(name):
    image, expected_steps = CASES[name]
    contour = kernels.outline(image)
    twin, steps = plain.outline(image)
    assert steps == expected_steps
    np.testing.assert_array_equal(contour, twin)
    assert_closed(contour)


@pytest.mark.parametrize("name", [name for name, (_, steps) in CASES.items() if steps])
def test_a_joined_contour_goes_around_all_parts(name):
    image = CASES[name][0]
    contour = kernels.outline(image)
    rows, columns = np.nonzero(image)
    assert contour.min(axis=0).tolist() == [rows.min(), columns.min()]
    assert contour.max(axis=0).tolist() == [rows.max(), columns.max()]
    around = plain.drawn(contour, image.shape)
    assert plain.encloses(image.astype(bool), contour)
    assert (around & image.astype(bool)).any()


def test_random_floaters_are_joined_as_a_second_implementation_does():
    generator, seen = np.random.default_rng(7), set()
    for _ in range(12):
        places = generator.integers([40, 40, 1], [216, 216, 12], (generator.integers(2, 6), 3))
        image = np.bitwise_or.reduce([disc(row, column, radius) for row, column, radius in places])
        contour, steps = plain.outline(image)
        np.testing.assert_array_equal(kernels.outline(image), contour)
        seen.add(steps)
    assert 3 in seen


def test_real_meshes_with_floaters_are_traced_as_a_second_implementation_does(examples):
    """A chair, a speck below it, where the walk begins, and a ball behind it; views of all ten sets."""
    chair = read_mesh(examples / "chair" / "Scopia_359_Children_chair.ply")
    lower, upper = chair.bounds()
    size = float((upper - lower).max())
    balls = [ball(size * 0.02, lower - size * 0.05, 2), ball(size * 0.1, upper + size * 0.15, 2)]
    images = silhouettes(joined(chair, *balls), device="cpu").numpy()[4::11]
    repaired = 0
    for image in images:
        contour, steps = plain.outline(image)
        np.testing.assert_array_equal(kernels.outline(image), contour)
        repaired += steps > 0
    assert repaired >= 5


def test_nothing_is_grown_into_the_border():
    image = canvas((3, 3, 100, 3), (8, 3, 100, 3), (200, 3, 251, 3))
    for reach in (1, 2):
        grown = kernels.dilate(image, reach)
        structure = plain.AROUND if reach == 1 else plain.FIVE
        np.testing.assert_array_equal(grown != 0, plain.grown(image != 0, structure))
        assert not grown[:2].any()
        assert not grown[:, -2:].any()
