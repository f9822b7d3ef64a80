"""Parts thinner than three voxels become three thick, and nothing else changes."""

import numpy as np
import pytest
import torch

from data_processing.occupancy.inside_outside import InsideConfig, occupancy_grid
from data_processing.occupancy.thickening import thickening
from tests.data_processing.solids import box

SIZE = 70  # no multiple of a word


def thickened(grid: np.ndarray) -> np.ndarray:
    more = thickening(torch.from_numpy(grid.astype(np.uint8))).numpy()
    assert not (more & grid).any()
    return grid | more


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("thick", "becomes"), [(1, 3), (2, 3), (3, 3), (4, 4), (9, 9)])
def test_a_plate(axis: int, thick: int, becomes: int):
    grid = np.zeros((SIZE,) * 3, dtype=bool)
    grid[10:60, 30 : 30 + thick, 10:60] = True
    grid = np.moveaxis(grid, 1, axis)
    lines = np.moveaxis(thickened(grid), axis, 1)
    assert (lines[20:50, :, 20:50].sum(axis=1) == becomes).all()
    if thick >= 3:
        np.testing.assert_array_equal(lines, np.moveaxis(grid, axis, 1))


@pytest.mark.parametrize("thick", [1, 2])
def test_a_rod_that_leaves_a_block(thick: int):
    grid = np.zeros((SIZE,) * 3, dtype=bool)
    grid[5:25, 20:40, 20:40] = True
    grid[25:60, 30 : 30 + thick, 30 : 30 + thick] = True
    thicker = thickened(grid)
    assert (thicker[30:58].sum(axis=(1, 2)) == 9).all()
    np.testing.assert_array_equal(thicker[:24], grid[:24])


def test_at_the_border_of_the_grid_and_of_nothing():
    grid = np.zeros((SIZE,) * 3, dtype=bool)
    assert not thickened(grid).any()
    grid[0, 10:60, 10:60] = True
    grid[-1, 10:60, 10:60] = True
    assert (thickened(grid)[:, 20:50, 20:50].sum(axis=0) == 4).all()


def test_of_a_mesh_the_voxels_that_were_added_are_told():
    """A plate of half a voxel: gone, one voxel thick, three thick; `thin_RRR` says so, for points to be told alike."""
    plate = box(np.array([-0.4, 0.001, -0.4]), np.array([0.4, 0.001 + 0.5 / 64, 0.4]))
    heights = {}
    for thin in ("drop", "keep", "thicken"):
        found = occupancy_grid(plate, 64, InsideConfig(thin=thin), device="cpu")
        solid = found.grid_RRR.numpy() != 0
        heights[thin] = int(solid[32, :, 32].sum())
        if thin == "thicken":
            assert found.thin_RRR is not None
            assert found.thin_RRR.numpy()[32, :, 32].sum() >= 2
            assert not (found.thin_RRR.numpy() & ~solid).any()
    assert heights == {"drop": heights["drop"], "keep": 1, "thicken": 3}
    assert heights["drop"] <= 1
