"""Topology by construction, analytic truth, and agreement with PyMCubes."""

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from data_processing.geometry import marching_cubes
from data_processing.geometry.triangle_mesh import is_watertight
from tests.benchmarks import fields
from tests.plain_ways import mesh_of_grid


def grid(field, shape):
    """Values at the index positions 0..n-1 mapped to the cube: (X, Y, Z)."""
    axes = [(torch.arange(n) + 0.5) / max(shape) - n / max(shape) / 2 for n in shape]
    return field(torch.cartesian_prod(*axes)).view(shape)


def random_grid(seed, shape=(17, 12, 9)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def edges_meet_twice(faces):
    """Every directed edge once, and its reverse once: closed, manifold along edges, consistently oriented."""
    directed = {(int(a), int(b)) for f in faces for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))}
    return len(directed) == 3 * len(faces) and all((b, a) in directed for a, b in directed)


def euler_characteristic(mesh):
    return len(mesh.vertices) - len(mesh.faces) * 3 // 2 + len(mesh.faces)


def volume(mesh):
    a, b, c = mesh.triangles().transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def test_all_loops_close_and_no_diagonal_lies_in_a_face():
    for case in range(256):
        crossed = {
            number for number, (axis, low) in enumerate(marching_cubes.EDGES)
            if (case >> low ^ case >> (low | marching_cubes.AXIS_BIT[axis])) & 1
        }  # fmt: skip
        loops = marching_cubes._loops(case)
        assert sorted(edge for loop in loops for edge in loop) == sorted(crossed)
        for loop in loops:
            sides = {frozenset((loop[k - 1], loop[k])) for k in range(len(loop))}
            cuts = marching_cubes._triangulate(loop)
            diagonals = {frozenset((t[k - 1], t[k])) for t in cuts for k in range(3)} - sides
            assert len(cuts) == len(loop) - 2
            assert not any(marching_cubes._in_one_face(*pair) for pair in diagonals)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("iso_level", [-0.8, 0.1])
def test_random_fields_give_closed_oriented_manifolds(seed, iso_level):
    mesh = mesh_of_grid(random_grid(seed), iso_level=iso_level)
    assert len(mesh.faces) > 1000
    assert edges_meet_twice(mesh.faces)
    assert is_watertight(mesh)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)


def test_samples_exactly_on_the_level_leave_the_surface_closed():
    values = torch.randint(-1, 2, (12, 12, 12), generator=torch.Generator().manual_seed(0)).float()
    mesh = mesh_of_grid(values, iso_level=0.0)
    assert is_watertight(mesh)  # merges equal vertices: none may be equal
    float32 = type(mesh)(mesh.vertices.astype(np.float32).astype(np.float64), mesh.faces)
    assert is_watertight(float32)  # as a PLY file stores it


@pytest.mark.parametrize(
    ("field", "characteristic"),
    [
        (fields.sphere((0.05, -0.1, 0.02), 0.3), 2),
        (fields.torus((0.03, -0.02, 0.05), 0.3, 0.1), 0),
        (fields.boxes([((0.1, -0.05, 0.12), (0.3, 0.2, 0.1))]), 2),
    ],
)
def test_euler_characteristic(field, characteristic):
    assert euler_characteristic(mesh_of_grid(grid(field, (40, 40, 40)), iso_level=0.5)) == characteristic


def test_enclosed_volume_is_positive_and_analytic():
    field = fields.sphere((0.05, -0.1, 0.02), 0.3, slope=1.0, clamped=False)
    assert volume(mesh_of_grid(grid(field, (64, 64, 64)), iso_level=0.5)) == pytest.approx(
        4 / 3 * np.pi * 0.027, rel=2e-3
    )


def test_off_centre_box_of_three_sides_lies_where_it_should_on_a_non_cubic_grid():
    centre, half = (0.05, -0.1, 0.08), (0.3, 0.2, 0.1)
    field = fields.boxes([(centre, half)], slope=1.0, clamped=False)
    lower, upper = mesh_of_grid(grid(field, (80, 60, 48)), iso_level=0.5).bounds()
    np.testing.assert_allclose(lower, np.subtract(centre, half), atol=1e-6)
    np.testing.assert_allclose(upper, np.add(centre, half), atol=1e-6)


def test_a_full_grid_is_closed_flat_on_the_faces_of_the_cube():
    mesh = mesh_of_grid(torch.full((6, 8, 4), 3.0), iso_level=0.5)
    half = np.array([6, 8, 4]) / 16
    assert is_watertight(mesh)
    assert ((np.abs(mesh.vertices) == half).sum(axis=1) == 1).all()  # each vertex on one face of the volume
    assert volume(mesh) == pytest.approx(6 * 8 * 4 / 8**3, rel=0.1)  # edges of the box are bevelled by half a voxel


def test_the_sparse_call_gives_the_mesh_of_the_dense_one():
    padded = marching_cubes.pad_outside(random_grid(5))
    cells = marching_cubes.crossing_cells(padded, iso_level=0.2)
    only_those = torch.full_like(padded, torch.nan).view(-1)
    for offset in marching_cubes.corner_offsets(tuple(padded.shape)):
        only_those[cells + offset] = padded.view(-1)[cells + offset]
    dense = marching_cubes.marching_cubes(padded, iso_level=0.2)
    sparse = marching_cubes.marching_cubes(only_those.view(padded.shape), iso_level=0.2, cells=cells)
    assert all(torch.equal(a, b) for a, b in zip(dense, sparse, strict=True))


def test_an_open_border_is_refused():
    with pytest.raises(ValueError, match="pad_outside"):
        marching_cubes.marching_cubes(random_grid(3), iso_level=0.0)


def test_nothing_crosses():
    mesh = mesh_of_grid(torch.zeros(5, 5, 5), iso_level=0.5)
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)


def test_values_that_overflow_in_a_difference_are_interpolated():
    values = torch.where(random_grid(1) > 0, 3e38, -3e38)
    vertices, _ = marching_cubes.marching_cubes(marching_cubes.pad_outside(values), iso_level=0.0)
    assert torch.isin(vertices.frac(), torch.tensor([0.0, 0.5])).all()  # half-way between equal and opposite values


def test_non_finite_values_are_refused_and_counted():
    values = random_grid(2)
    values[3, 4, 5], values[6, 7, 8] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=r"2.*1836"):
        mesh_of_grid(values, iso_level=0.0)
    with pytest.raises(ValueError, match=r"\b16 .*NaN"):
        marching_cubes.marching_cubes(marching_cubes.pad_outside(values), iso_level=0.0)


@pytest.mark.parametrize("shape", [(17, 12, 9), (30, 31, 29)])
def test_vertices_and_counts_equal_pymcubes(shape):
    """Also where faces are ambiguous: PyMCubes joins inside corners too; only the diagonals differ."""
    mcubes = pytest.importorskip("mcubes", reason="PyMCubes is not installed (no wheel for this Python)")
    values = marching_cubes.pad_outside(random_grid(7, shape)).clamp_min(-9.0)
    theirs, their_faces = mcubes.marching_cubes(values.numpy(), 0.1)
    ours, faces = marching_cubes.marching_cubes(values, iso_level=0.1)
    assert len(faces) == len(their_faces)
    assert len(ours) == len(theirs)
    far, _ = KDTree(theirs).query(ours.numpy())
    assert far.max() < 2 * marching_cubes.NEAREST  # samples on the level are kept apart by that much
