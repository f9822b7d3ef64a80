"""The convention of space: cell-centred, axes in order, `to_world` from cube to file."""

import numpy as np
import pytest
import torch

from data_processing.geometry.coordinates import (
    from_fixed,
    normalising_to_world,
    scaling_about,
    to_fixed,
    transform_points,
    voxel_centres,
    voxel_index,
)
from tests.plain_ways import grid_centres

LOWER, UPPER = np.array([10.0, -3.0, 100.0]), np.array([14.0, 9.0, 103.0])  # sides 4, 12, 3: diagonal 13


def test_voxels_are_cell_centred():
    assert voxel_centres(torch.arange(4), 4).tolist() == [-0.375, -0.125, 0.125, 0.375]
    assert voxel_centres(torch.tensor([0, 255], dtype=torch.uint8), 256).tolist() == [-0.498046875, 0.498046875]


def test_a_grid_runs_with_z_fastest():
    grid = grid_centres(3).view(3, 3, 3, 3)
    third = pytest.approx([-1 / 3, 0.0, 1 / 3])
    assert [float(grid[i, 0, 0, 0]) for i in range(3)] == third
    assert [float(grid[0, i, 0, 1]) for i in range(3)] == third
    assert [float(grid[0, 0, i, 2]) for i in range(3)] == third
    assert torch.unique(grid.view(-1, 3), dim=0).shape == (27, 3)


@pytest.mark.parametrize("resolution", [1, 3, 64, 256])
def test_the_voxel_of_a_centre_is_its_own(resolution: int):
    index = torch.arange(resolution)
    assert torch.equal(voxel_index(voxel_centres(index, resolution), resolution), index)


def test_points_on_and_beyond_the_border_have_the_nearest_voxel():
    points = torch.tensor([-0.5, 0.5, -7.0, 7.0, -0.5 + 1 / 64, -0.5 + 1 / 64 - 1e-6])
    assert voxel_index(points, 64).tolist() == [0, 63, 0, 63, 1, 0]


@pytest.mark.parametrize(("by", "length", "side"), [("longest_edge", 0.9, 12), ("diagonal", 1.0, 13)])
def test_normalising_puts_the_box_in_the_middle_at_its_length(by: str, length: float, side: float):
    matrix = normalising_to_world(LOWER, UPPER, by=by, length=length)
    corners = transform_points(np.stack([LOWER, UPPER]), np.linalg.inv(matrix))
    assert np.allclose(corners[0], -corners[1], atol=1e-12)
    assert np.allclose(corners[1] - corners[0], np.array([4, 12, 3]) / side * length)
    assert np.allclose(transform_points(np.zeros((1, 3)), matrix), [[12, 3, 101.5]])


def test_fixed_gives_all_shapes_one_scale():
    matrix = normalising_to_world(LOWER, UPPER, by="fixed", length=40.0)
    assert np.allclose(np.diag(matrix)[:3], 40.0)
    assert np.allclose(transform_points(np.zeros((1, 3)), matrix), [(LOWER + UPPER) / 2])
    assert np.allclose(normalising_to_world(LOWER, UPPER, by="fixed", length=12.0)[0, 0], 12.0)  # the box just fits
    with pytest.raises(ValueError, match=r"\b12, .*\b11\.9, .*normalisation\.length"):
        normalising_to_world(LOWER, UPPER, by="fixed", length=11.9)


def test_none_leaves_the_frame_alone():
    assert np.array_equal(normalising_to_world(LOWER, UPPER, by="none", length=0.9), np.eye(4))


@pytest.mark.parametrize("upper", [LOWER, np.array([np.nan, 0, 200]), np.array([np.inf, 0, 200])])
def test_a_box_without_size_is_refused(upper: np.ndarray):
    with pytest.raises(ValueError, match=r"\[10\.0, -3\.0, 100\.0\]"):
        normalising_to_world(LOWER, upper, by="longest_edge", length=0.9)


def test_a_length_that_leaves_the_cube_is_refused():
    with pytest.raises(ValueError, match=r"diagonal.* 1\.2 .* 1\.108 .*length"):
        normalising_to_world(LOWER, UPPER, by="diagonal", length=1.2)  # 12 / 13 * 1.2 > 1
    normalising_to_world(LOWER, UPPER, by="diagonal", length=13 / 12)
    flat = normalising_to_world(LOWER, UPPER * [1, 1, 0] + LOWER * [0, 0, 1], by="longest_edge", length=1.0)
    assert flat[0, 0] == 12


def test_an_affine_turns_scales_and_shifts_in_this_order():
    matrix = np.array([[0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]], dtype=float)
    assert np.array_equal(transform_points(np.array([[1, 0, 0], [0, 1, 3]]), matrix), [[5, 8, 7], [3, 6, 13]])
    assert transform_points(np.zeros((0, 3), np.float32), matrix).shape == (0, 3)
    assert np.array_equal(transform_points(np.ones((1, 3)) / 2, scaling_about(np.arange(3.0), 4)), [[2, 3, 4]])


def test_fixed_point_is_within_half_a_step_and_stays_fixed():
    points = np.random.default_rng(0).uniform(-1, 1, (10000, 3))
    fixed = to_fixed(points)
    back = from_fixed(torch.from_numpy(fixed))
    assert np.abs(back.numpy() - points).max() <= 1 / 65536
    assert np.array_equal(to_fixed(back.numpy()), fixed)
    assert to_fixed(np.array([-7.0, 7.0, 0.0])).tolist() == [-32768, 32767, 0]
