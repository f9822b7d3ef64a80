"""Winding numbers of open surfaces: from the boundary, and coarse to fine, against the full sum over faces."""

import os
import subprocess
import sys

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.occupancy import winding_number
from data_processing.occupancy.scan_conversion import UNKNOWN
from data_processing.occupancy.winding_number import (
    boundary_edges,
    cells_grid,
    cells_points,
    winding_grid,
    winding_numbers,
    winding_points,
    winding_values,
)
from tests.data_processing.solids import ball, box, centres, quad, turned, without_faces

SOUPS = [
    "chair/BlendSwap_CC_0_86_Armchair.ply",
    "chair/BlendSwap_CC_0_79_Chair.ply",
    "table/Scopia_39_Table.ply",
]
FEW_SOUPS = [SOUPS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SOUPS[1:])]
TREE_ERRS = 0.01  # at most, near the surface


def summed(corners, points):
    """Solid angles of all faces, one by one (van Oosterom and Strackee, 1983)."""
    number = np.empty(len(points))
    for n, point in enumerate(points):
        a, b, c = (corners - point).transpose(1, 0, 2)
        volume = np.einsum("fd,fd->f", a, np.cross(b, c))
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        ab, bc, ca = (np.einsum("fd,fd->f", *pair) for pair in ((a, b), (b, c), (c, a)))
        number[n] = np.arctan2(volume, la * lb * lc + ab * lc + bc * la + ca * lb).sum() / (2 * np.pi)
    return number


def random_soup(generator):
    """Two solids with holes and flipped faces, a sheet, and loose triangles."""
    corners = np.concatenate(
        [
            box((-0.31, -0.2, -0.12), (0.22, 0.17, 0.3)).triangles(),
            ball(0.21, (0.1, 0.05, -0.08), subdivisions=3).triangles(),
            generator.uniform(-0.45, 0.45, (3, 3, 3)),
        ]
    )
    corners = corners[generator.random(len(corners)) > 0.03]
    flipped = generator.random(len(corners)) < 0.02
    corners[flipped] = corners[flipped][:, ::-1]
    return corners


def corners_in_cube(mesh):
    lower, upper = mesh.bounds()
    return (mesh.triangles() - (lower + upper) / 2) / (upper - lower).max() * 0.9


@pytest.mark.parametrize("name", SOUPS)
def test_number_of_the_boundary_is_the_sum_over_faces_on_real_soups(examples, name):
    mesh, generator = read_mesh(examples / name), np.random.default_rng(SOUPS.index(name))
    corners, (lower, upper) = mesh.triangles(), mesh.bounds()
    on_surface = corners[generator.integers(0, len(corners), 200)].mean(axis=1)
    near = on_surface + generator.normal(0, 0.01, (200, 3)) * (upper - lower).max()
    points = np.concatenate([near, generator.uniform(lower - 0.1, upper + 0.1, (200, 3))])
    expected = summed(corners, points)
    np.testing.assert_allclose(winding_values(corners, points), expected, rtol=0, atol=1e-9)
    sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-6
    assert (winding_points(corners, points) == np.rint(expected))[sure].all() and sure.mean() > 0.95


def loose(generator):
    return generator.uniform(-0.45, 0.45, (40, 3, 3))


def over_few_vertices(generator):
    """Edges of many faces, faces that are there again, some the other way round."""
    return generator.uniform(-0.45, 0.45, (8, 3))[generator.integers(0, 8, (120, 3))]


def on_a_lattice(generator):
    """Coplanar and overlapping faces, faces without area, vertices on the edges of others."""
    return generator.integers(-3, 4, (30, 3))[generator.integers(0, 30, (80, 3))] / 7


def doubled(generator):
    corners = without_faces(ball(0.4, subdivisions=2), 40).triangles()
    again = corners[generator.integers(0, len(corners), 50)]
    return np.concatenate([corners, again, again[:, ::-1], again])


def slivers(generator):
    first, along = generator.uniform(-0.3, 0.3, (2, 40, 1, 3))
    return np.concatenate([first, first + along, first + generator.normal(0, 1e-9, (40, 1, 3))], axis=1)


@pytest.mark.parametrize("soup", [random_soup, loose, over_few_vertices, on_a_lattice, doubled, slivers])
def test_number_of_the_boundary_is_the_sum_over_faces_on_random_soups(soup):
    generator = np.random.default_rng(7)
    for _ in range(4):
        corners = soup(generator)
        next_to = corners.reshape(-1, 3)[:50] + generator.normal(0, 1e-3, (50, 3))
        points = np.concatenate([generator.uniform(-0.6, 0.6, (100, 3)), next_to])
        expected = summed(corners, points)
        np.testing.assert_allclose(winding_values(corners, points), expected, rtol=0, atol=1e-9)
        sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-6
        assert (winding_points(corners, points) == np.rint(expected))[sure].all()


def test_on_a_face_the_number_is_that_of_one_of_its_sides():
    corners = random_soup(np.random.default_rng(7))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    step = 1e-7 * normals / np.linalg.norm(normals, axis=1, keepdims=True)
    places = corners.mean(axis=1)
    found = winding_values(corners, places)
    apart = [np.abs(found - summed(corners, places + side)) for side in (step, -step)]
    assert np.minimum(*apart).max() < 1e-4 and np.maximum(*apart).min() > 0.9


def test_on_edges_and_vertices_the_number_is_finite():
    corners = on_a_lattice(np.random.default_rng(7))
    places = np.concatenate([corners[:, 0], corners[:, :2].mean(axis=1)])
    number = winding_values(corners, places)
    assert np.isfinite(number).all() and np.abs(number).max() <= len(corners)
    assert (np.abs(winding_points(corners, places)) <= len(corners)).all()


@pytest.mark.parametrize("aside", [0.0, 1e-16, 1e-13, 1e-9])
def test_straight_below_the_boundarys_corners_the_number_is_the_sum_over_faces(aside):
    corners = corners_in_cube(ball(0.4))
    corners = corners[corners.mean(axis=1)[:, 2] < 0.25]
    rim = boundary_edges(winding_number._mesh_of(corners))[:, 0]
    places = np.concatenate([np.column_stack([rim[:, :2] + aside, np.full(len(rim), z)]) for z in (-0.2, 0.0, 0.1)])
    np.testing.assert_allclose(winding_values(corners, places), summed(corners, places), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FEW_SOUPS)
def test_grid_and_points_differ_from_the_fast_winding_number_only_next_to_a_half(examples, name):
    corners = corners_in_cube(read_mesh(examples / name))
    full = winding_numbers(corners, centres(64))
    unsure = np.abs(full - np.floor(full) - 0.5) < TREE_ERRS
    for number in (winding_grid(corners, 64).reshape(-1), winding_points(corners, centres(64))):
        assert ((number == np.rint(full)) | unsure).all()
        assert (number != np.rint(full)).mean() < 0.002


@pytest.mark.parametrize("resolution", [61, 64, 70])
def test_grid_is_the_points_of_its_centres(resolution):
    corners = random_soup(np.random.default_rng(7))
    points = winding_points(corners, centres(resolution)).reshape((resolution,) * 3)
    assert (winding_grid(corners, resolution) != points).sum() <= 2  # rounding of what is exactly a half


def test_boundary_of_an_open_box_are_the_edges_of_its_hole():
    mesh = without_faces(box((-0.3, -0.2, -0.1), (0.2, 0.3, 0.4)), 2)
    ends = boundary_edges(mesh)
    assert ends.shape == (4, 2, 3)
    np.testing.assert_array_equal(np.sort(ends[:, 0], axis=0), np.sort(ends[:, 1], axis=0))  # a loop
    doubled = TriangleMesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces]))
    assert len(boundary_edges(doubled)) == 8
    assert len(boundary_edges(box((0, 0, 0), (1, 2, 3)))) == 0


def test_points_far_away_and_not_finite_are_outside():
    corners = without_faces(ball(0.4, subdivisions=3), 30).triangles()
    points = np.array([[1e9, 0, 0], [0, -1e300, 0], [np.nan, 0, 0], [0, np.inf, 0], [0, 0, 0], [3e5, 0, 0]])
    assert winding_points(corners, points).tolist() == [0, 0, 0, 0, 1, 0]
    assert winding_points(corners, points[:4]).tolist() == [0] * 4


def test_many_boundary_edges_and_no_kernels_take_the_tree_over_faces(monkeypatch):
    corners = without_faces(ball(0.4, subdivisions=3), 100).triangles()
    points = np.random.default_rng(7).uniform(-0.5, 0.5, (500, 3))
    number, grid = winding_numbers(corners, points), cells_grid(corners, 48)
    assert np.abs(winding_values(corners, points) - number).max() > 0  # exact otherwise
    for name, value in (("MANY_EDGES", 10), ("compiled_kernels", lambda: None)):
        with monkeypatch.context() as patch:
            patch.setattr(winding_number, name, value)
            np.testing.assert_array_equal(winding_values(corners, points), number)
            np.testing.assert_array_equal(winding_points(corners, points), np.rint(number))
            np.testing.assert_array_equal(winding_grid(corners, 48), grid)


@pytest.mark.parametrize("soup", [random_soup, loose, over_few_vertices, on_a_lattice, doubled, slivers])
def test_the_tree_over_faces_sums_their_solid_angles(soup):
    """Near the surface and far away, of one face and of many, also of faces without area."""
    generator = np.random.default_rng(5)
    corners = soup(generator)
    near = corners.reshape(-1, 3)[:100] + generator.normal(0, 1e-3, (100, 3))
    points = np.concatenate([generator.uniform(-0.6, 0.6, (300, 3)), near, generator.uniform(-9, 9, (50, 3))])
    scale = max(1.0, float(np.abs(summed(corners, points)).max()))
    np.testing.assert_allclose(winding_numbers(corners, points), summed(corners, points), rtol=0, atol=0.004 * scale)
    np.testing.assert_allclose(winding_numbers(corners[:1], points), summed(corners[:1], points), rtol=0, atol=0.004)


def test_the_tree_is_a_series_of_third_order():
    """Twice as far from a piece of a surface the error is a thirtieth: of the three terms none is wrong."""
    corners = without_faces(ball(0.4, subdivisions=3), 900).triangles()
    directions = np.random.default_rng(2).normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    errors = []
    for distance in (12.0, 24.0):  # only the root counts there, and the leading term of the error
        points = distance * directions
        errors.append(np.sqrt(np.square(winding_numbers(corners, points) - summed(corners, points)).mean()))
    assert errors[0] > 1e-10 and errors[0] / errors[1] > 24  # it falls with the square, its error with the fifth


@pytest.mark.parametrize("name", FEW_SOUPS)
def test_the_tree_agrees_with_a_second_implementation(examples, name):
    library = pytest.importorskip("point_cloud_utils")
    corners = corners_in_cube(read_mesh(examples / name))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, 3))
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    theirs = library.triangle_soup_fast_winding_number(corners.reshape(-1, 3), faces, points)
    ours = winding_numbers(corners, points)
    assert np.abs(ours - theirs).max() < TREE_ERRS and (np.rint(ours) != np.rint(theirs)).mean() < 5e-4


@pytest.mark.parametrize("name", FEW_SOUPS)
def test_coarse_to_fine_equals_full_evaluation_on_real_soups(examples, name):
    corners = corners_in_cube(read_mesh(examples / name))
    full = np.rint(winding_numbers(corners, centres(64))).reshape(64, 64, 64)
    assert (cells_grid(corners, 64) != full).sum() <= 3


@pytest.mark.parametrize(
    "mesh",
    [
        turned(without_faces(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)), 2)),
        without_faces(ball(0.4, subdivisions=3), 300),
        quad((-0.4, -0.3, 0.05), (0.4, -0.3, 0.05), (0.4, 0.3, 0.05), (-0.4, 0.3, 0.05)),
    ],
)
@pytest.mark.parametrize("resolution", [64, 70])
def test_coarse_to_fine_equals_full_evaluation_on_open_solids(mesh, resolution):
    corners = mesh.triangles()
    full = np.rint(winding_numbers(corners, centres(resolution))).reshape((resolution,) * 3)
    assert (cells_grid(corners, resolution) != full).sum() <= 3


def test_thin_part_between_coarse_centres_is_found():
    """A rod far thinner than the coarsest cells: found by the cells that it touches."""
    rod = without_faces(box((-0.4, 0.002, 0.002), (0.4, 0.0145, 0.0145)), 2)
    for number in (winding_grid(rod.triangles(), 128), cells_grid(rod.triangles(), 128)):
        assert (number != 0).sum() >= 0.7 * 0.8 * 128 * 4


def test_box_missing_a_face_keeps_its_inside():
    mesh = without_faces(box((-0.3, -0.2, -0.1), (0.2, 0.3, 0.3)), 2)
    number = winding_grid(mesh.triangles(), 32).reshape(-1)
    inside = ((centres(32) > [-0.15, -0.1, 0]) & (centres(32) < [0.1, 0.2, 0.2])).all(1)
    outside = ((centres(32) < [-0.4, -0.3, -0.2]) | (centres(32) > [0.3, 0.4, 0.4])).any(1)
    assert (number[inside] == 1).all() and (number[outside] == 0).all()


def test_many_points_equal_direct_evaluation():
    corners = without_faces(ball(3.0, (10, 0, 0), subdivisions=4), 400).triangles()
    points = np.random.default_rng(0).uniform((6, -4, -4), (14, 4, 4), (150_000, 3))
    direct = np.rint(winding_numbers(corners, points))
    assert (winding_points(corners, points) != direct).mean() < 1e-4  # the tree errs
    assert (cells_points(corners, points) != direct).mean() < 2e-5
    assert (direct != 0).sum() > 10_000


def test_unknown_cells_are_those_near_the_surface():
    corners = without_faces(ball(0.4, subdivisions=4), 20).triangles()
    number = cells_grid(corners, 64, keep_unknown=True).reshape(-1)
    distance = np.abs(np.linalg.norm(centres(64), axis=1) - 0.4)
    assert (number[distance < 0.003] == UNKNOWN).all()
    assert (number == UNKNOWN).mean() < 0.15


def test_nothing_open_is_nowhere_inside():
    nothing = np.zeros((0, 3, 3))
    assert winding_numbers(nothing, centres(4)).tolist() == [0] * 64
    assert winding_grid(nothing, 64).sum() == 0


def test_same_result_for_one_thread_and_two():
    code = (
        "import hashlib, torch\n"
        "import numpy as np\n"
        "from data_processing.occupancy.winding_number import cells_grid, winding_grid\n"
        "from tests.data_processing.solids import ball, without_faces\n"
        "corners = without_faces(ball(0.4, subdivisions=4), 300).triangles()\n"
        "grid = np.stack([winding_grid(corners, 64), cells_grid(corners, 64)])\n"
        "print(hashlib.sha256(grid.tobytes()).hexdigest())"
    )
    digests = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        digests.append(result.stdout)
    assert digests[0] == digests[1]


def test_the_boundarys_field_is_the_gradient_of_the_sum_over_faces_and_the_gradients_derivative():
    pytest.importorskip("numba")
    from data_processing.occupancy import solid_angles

    mesh = without_faces(ball(0.4, subdivisions=2), 7)
    corners, edges = mesh.triangles(), winding_number._edge_columns(boundary_edges(mesh))
    everything, step = edges.shape[1], 1e-6
    flat = np.ascontiguousarray(corners).reshape(-1, 9)

    def field(place, chosen=slice(None)):
        room, found = np.empty((19, everything)), np.zeros(12)
        room[9] = 2.0
        room[9, chosen] = 0.0
        solid_angles.see_edges(edges, place, room)
        solid_angles.add_field(room, everything, 1.0, found)
        return found

    for place in np.random.default_rng(3).uniform(-0.5, 0.5, (20, 3)):
        ahead, behind = (
            np.array([solid_angles.sum_over_faces(flat, *(place + sign * step * axis)) for axis in np.eye(3)])
            for sign in (1, -1)
        )
        difference = (ahead - behind + 0.5) % 1 - 0.5  # a face may lie between
        np.testing.assert_allclose(field(place)[:3], difference / (2 * step), atol=1e-5, rtol=1e-5)
        # Of some edges alone the derivative is not symmetric: its rows are told from its columns.
        for chosen in (slice(None), slice(3), slice(3, None)):
            along = [field(place + step * axis, chosen) - field(place - step * axis, chosen) for axis in np.eye(3)]
            expected = np.stack(along, axis=1)[:3] / (2 * step)
            np.testing.assert_allclose(field(place, chosen)[3:].reshape(3, 3), expected, atol=1e-4, rtol=1e-4)
        # Each edge is in the field or left out.
        parts = field(place, slice(3)) + field(place, slice(3, None))
        np.testing.assert_allclose(parts, field(place), rtol=1e-9, atol=1e-12)


def test_no_edge_changes_its_fields_derivative_faster_than_the_bound():
    """Biot and Savart: the bound by which edges count as far, against differences, for edges of every length."""
    pytest.importorskip("numba")
    from data_processing.occupancy import solid_angles
    from data_processing.occupancy.far_edges_kernels import ELEMENT, LINE

    generator, step, shares = np.random.default_rng(5), 1e-5, []

    def derivative(edge, place):
        room, found = np.empty((19, 1)), np.zeros(12)
        room[9] = 0.0
        solid_angles.see_edges(edge.reshape(6, 1), place, room)
        solid_angles.add_field(room, 1, 1.0, found)
        return found[3:].reshape(3, 3)

    for length in (0.01, 0.3, 1.0, 3.0, 100.0):
        bound = min(ELEMENT * length, LINE)  # at distance 1
        for _ in range(40):
            beyond = (
                generator.choice([0.5, 0.0]) * length
            )  # where along it the edge is nearest: in its middle, at its end
            edge = np.array([[1.0, 0, -length + beyond], [1.0, 0, beyond]])
            way = generator.normal(size=3) * (1, 0.3, 0.3)
            way *= step / np.linalg.norm(way)
            change = np.linalg.norm(derivative(edge, way) - derivative(edge, -way), ord=2) / (2 * step)
            shares.append(change / bound)
    assert max(shares) < 1 and max(shares[-40:]) > 0.7 and max(shares[:40]) > 0.9


def test_values_are_told_apart_at_odd_quarters():
    """Where it is asked how much is clear, most values are spared the sum over the boundary."""
    pytest.importorskip("numba")
    generator = np.random.default_rng(8)
    corners, points = loose(generator), generator.uniform(-0.5, 0.5, (20_000, 3))
    exact, told = winding_values(corners, points), winding_values(corners, points, quarters=True)
    assert (np.floor(2 * exact + 0.5) == np.floor(2 * told + 0.5)).all()  # no odd quarter lies between
    assert (exact != told).any()
