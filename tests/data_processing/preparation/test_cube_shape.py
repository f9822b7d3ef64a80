"""Grids in the cube: their surface lies where the solid ends, and agrees with the test of what is inside."""

import numpy as np
import pytest
import torch

from data_processing.geometry.triangle_mesh import is_watertight
from data_processing.occupancy.inside_outside import inside_points
from data_processing.preparation.cube_shape import surface_of_grid, voxels_at
from tests.plain_ways import grid_centres


def box_grid():
    grid = torch.zeros(32, 32, 32, dtype=torch.uint8)
    grid[3:12, 20:32, 0:7] = 1  # touches two faces of the cube
    return grid


def test_the_surface_of_voxels_bounds_them():
    mesh = surface_of_grid(box_grid())
    lower, upper = mesh.bounds()
    np.testing.assert_allclose(lower, np.array([3, 20, 0]) / 32 - 0.5, atol=1e-9)
    np.testing.assert_allclose(upper, np.array([12, 32, 7]) / 32 - 0.5, atol=1e-9)
    assert is_watertight(mesh)
    centres = grid_centres(32).double().numpy()
    np.testing.assert_array_equal(inside_points(mesh, centres), voxels_at(box_grid(), centres))


def test_the_surface_of_a_field_is_interpolated():
    centre = torch.tensor([0.05, -0.1, 0.02])
    distance = (grid_centres(64) - centre).norm(dim=1).view(64, 64, 64)
    mesh = surface_of_grid((0.5 + 8 * (0.2 - distance)).clamp(0, 1))
    radius = np.linalg.norm(mesh.vertices - centre.numpy(), axis=1)
    assert np.abs(radius - 0.2).max() < 1e-3  # a fifteenth of a cell


def test_a_point_is_inside_when_its_voxel_is_and_never_beyond_the_cube():
    grid = torch.ones(4, 4, 4, dtype=torch.uint8)
    grid[1, 2, 3] = 0
    points = np.array([[-0.13, 0.2, 0.4], [0.01, 0.2, 0.4], [-0.5, -0.5, -0.5], [0.5, 0, 0], [-0.501, 0, 0], [0, 9, 0]])
    assert voxels_at(grid, points).tolist() == [False, True, True, False, False, False]


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="empty"):
        surface_of_grid(torch.zeros(4, 4, 4))
