"""Scan conversion against analytic insides, and the point test against the winding number."""

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.occupancy import scan_conversion
from data_processing.occupancy.scan_conversion import blocked_edges, grid_crossings, scan_box, scan_grid, scan_points
from data_processing.occupancy.surface_voxels import touched_cells
from data_processing.occupancy.winding_number import winding_numbers
from tests.data_processing.solids import ball, box, centres, joined, turned, turned_inside_out


def scanned(mesh, resolution):
    return scan_grid(torch.from_numpy(mesh.triangles()), resolution).numpy()


@pytest.mark.parametrize("resolution", [16, 24, 33])
def test_box_with_faces_on_voxel_centres_is_half_open(resolution):
    """A centre exactly on a lower face is inside, one on an upper face is not, along every axis."""
    low, high = np.array([2, 5, 7]), np.array([9, 8, 13])
    mesh = box((low + 0.5) / resolution - 0.5, (high + 0.5) / resolution - 0.5)
    expected = np.zeros((resolution,) * 3, dtype=np.int16)
    expected[2:9, 5:8, 7:13] = 1
    assert np.array_equal(scanned(mesh, resolution), expected)


def test_box_with_faces_on_voxel_boundaries():
    mesh = box(np.array([2, 5, 7]) / 16 - 0.5, np.array([9, 8, 13]) / 16 - 0.5)
    expected = np.zeros((16, 16, 16), dtype=np.int16)
    expected[2:9, 5:8, 7:13] = 1
    assert np.array_equal(scanned(mesh, 16), expected)


def test_turned_box_by_its_planes():
    mesh = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)))
    back = np.linalg.lstsq(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)).vertices, mesh.vertices, rcond=None)[0]
    local = centres(40) @ np.linalg.inv(back)
    expected = ((local > [-0.3, -0.2, -0.1]) & (local < [0.25, 0.15, 0.3])).all(1)
    assert np.array_equal(scanned(mesh, 40).reshape(-1), expected)


def test_ball_volume():
    assert (scanned(ball(0.4, (0.03, -0.05, 0.01)), 128) != 0).mean() == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=2e-3)


def test_winding_numbers_of_overlap_cavity_and_flip():
    first, second = box((-0.4, -0.3, -0.2), (0.1, 0.2, 0.3)), box((-0.1, -0.1, -0.4), (0.3, 0.4, 0.1))
    both = scanned(first, 32) + scanned(second, 32)
    assert both.max() == 2
    assert np.array_equal(scanned(joined(first, second), 32), both)
    assert np.array_equal(scanned(turned_inside_out(first), 32), -scanned(first, 32))
    hollow = scanned(joined(ball(0.4), turned_inside_out(ball(0.2))), 32)
    assert np.array_equal(hollow, scanned(ball(0.4), 32) - scanned(ball(0.2), 32))


def test_mesh_beyond_the_grid_is_cut_off():
    assert (scanned(box((-3, -2, -5), (4, 3, 0)), 8) != 0).reshape(64, 8).tolist() == [[True] * 4 + [False] * 4] * 64


def test_every_axis_sees_the_same_surface():
    """A step between two centres is blocked exactly where an odd number of faces is between them."""
    mesh = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)))
    inside = scanned(mesh, 40) != 0
    for axis in range(3):
        blocked = blocked_edges(torch.from_numpy(mesh.triangles()), 40, axis=axis).numpy()
        change = np.diff(inside, axis=axis)
        assert not (change & ~np.delete(blocked, -1, axis=axis)).any()
        assert change.sum() >= 0.95 * blocked.sum()  # the rest cut an edge of the box twice


def test_points_agree_with_the_plain_winding_number():
    mesh = joined(turned(ball(0.3, (0.1, 0, 0))), turned(box((-0.4, -0.3, -0.2), (0.1, 0.2, 0.3)), seed=1))
    mesh = mesh.transform(np.diag([30.0, 30, 30, 1]) + np.array([[0, 0, 0, 100.0]] * 3 + [[0, 0, 0, 0]]))
    rng = np.random.default_rng(0)
    corners = mesh.triangles()
    near = corners.mean(1)[rng.integers(0, len(corners), 5000)] + rng.normal(size=(5000, 3)) * 0.05
    points = np.concatenate([rng.uniform(80, 120, (5000, 3)), near, [[1e6, 0, 0], [100, 100, 1e9]]])
    expected = winding_numbers(corners, points)
    clear = np.abs(expected - np.rint(expected)) < 0.1
    assert clear.mean() > 0.99
    assert np.array_equal(scan_points(corners, points, device="cpu")[clear], np.rint(expected[clear]))


def test_real_watertight_mesh_agrees_with_the_winding_number(examples):
    mesh = read_mesh(examples / "chair" / "BlendSwap_CC_0_114_Chair.ply")
    lower, upper = mesh.bounds()
    corners = (mesh.triangles() - (lower + upper) / 2) / (upper - lower).max() * 0.9
    grid = scan_grid(torch.from_numpy(corners), 64).numpy().reshape(-1)
    expected = winding_numbers(corners, centres(64))
    assert np.array_equal(grid != 0, np.abs(expected) > 0.5)
    assert np.array_equal(scan_points(corners, centres(64), device="cpu") != 0, grid != 0)


def test_touched_cells_are_exactly_those_that_meet_the_triangle():
    """Against brute force: the distance between a cell and a triangle, by dense samples of random triangles."""
    rng = np.random.default_rng(3)
    shares = np.stack(np.meshgrid(*[np.linspace(0, 1, 600)] * 2), -1).reshape(-1, 2)
    shares = shares[shares.sum(1) <= 1]
    for _ in range(20):
        a, b, c = rng.uniform(-0.6, 0.6, (3, 3))
        cells = touched_cells(torch.from_numpy(np.array([[a, b, c]])), 12).numpy()
        points = a + shares[:, :1] * (b - a) + shares[:, 1:] * (c - a)
        index = np.floor((points + 0.5) * 12).astype(int)
        index = index[((index >= 0) & (index < 12)).all(1)]
        hit = np.zeros_like(cells)
        hit[tuple(index.T)] = True
        assert not (hit & ~cells).any()
        assert (cells & ~hit).sum() <= 0.03 * cells.sum() + 2  # slivers that the samples miss


def test_flat_triangle_on_a_cell_boundary_touches_both_sides():
    cells = touched_cells(torch.tensor([[[-0.4, -0.4, 0.0], [0.4, -0.4, 0.0], [0.0, 0.4, 0.0]]]), 4)
    assert cells.any(0).any(0).tolist() == [False, True, True, False]


@pytest.mark.parametrize("low, high", [((-0.21, 0.1, -0.4), (0.3, 0.17, 0.05)), ((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))])
def test_the_box_of_a_part_holds_all_its_numbers(low, high):
    corners = torch.from_numpy(joined(box(low, high), turned(ball(0.03, subdivisions=2))).triangles())
    where, numbers = scan_box(corners, 64)
    grid = torch.zeros((64, 64, 64), dtype=torch.int16)
    grid[where] = numbers
    assert grid.any() and torch.equal(grid, scan_grid(corners, 64))
    assert high[0] == 0.5 or numbers.numel() < 64**3 / 4


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("chunk", [1 << 20, 1000])
def test_compiled_crossings_are_those_of_tensors(monkeypatch, axis, chunk):
    """Same bits in the same order: large and small faces, corners on lines and planes, no area, beyond the cube."""
    random = np.random.default_rng(0)
    sizes = random.choice([0.001, 0.02, 0.3, 1.0], (1500, 1, 1))
    triangles = (random.random((1500, 1, 3)) - 0.5) * 1.1 + (random.random((1500, 3, 3)) - 0.5) * sizes
    triangles[:300] = (np.round(triangles[:300] * 32) + 0.5) / 32  # centres of voxels
    triangles[300:400, 2] = triangles[300:400, 1]
    triangles[400:450, :, 0] = 0.25
    faces = torch.from_numpy(triangles)
    monkeypatch.setattr(scan_conversion, "CHUNK", chunk)
    compiled = list(grid_crossings(faces, 32, axis=axis))
    monkeypatch.setattr(scan_conversion, "crossing_kernels", lambda: None)
    expected = list(grid_crossings(faces, 32, axis=axis))
    assert sum(len(one.face_H) for one in expected) > 10_000 and (len(compiled) > 1) == (chunk == 1000)
    for name in ("line_H2", "height_H", "sign_H", "face_H"):
        ours, theirs = (torch.cat([getattr(one, name) for one in all_]) for all_ in (compiled, expected))
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), name
