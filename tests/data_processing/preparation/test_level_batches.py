"""Levels of many shapes at once: the points of each shape are those that it has alone, to the bit."""

import pytest
import torch

from data_processing.preparation import level_points
from data_processing.preparation.level_batches import ShapeGrid, sample_levels_of_all
from data_processing.preparation.level_points import LEVELS, max_pool, mixed_cells, sample_levels


def noise(seed: int, share: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(256, 256, 256, generator=random).lt(share).to(torch.uint8)


@pytest.fixture(scope="module")
def grids() -> dict[str, torch.Tensor]:
    """Few mixed cells, more than there are points, none; cells that the first draw misses; not 0 is 1."""
    box = torch.zeros(256, 256, 256, dtype=torch.uint8)
    box[40:200, 61:90, 100:231] = 1
    blocks = noise(1, 0.5)[::4, ::4, ::4].repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return {
        "box": box,
        "empty": torch.zeros_like(box),
        "blocks": blocks.contiguous(),
        "sparse": noise(2, 0.001),
        "full": torch.full_like(box, 255),
    }


def test_each_shape_has_the_points_that_it_has_alone(grids, monkeypatch):
    monkeypatch.setattr(level_points, "VOXELS_AT_ONCE", 1 << 22)  # missed draws in many parts
    together = sample_levels_of_all([ShapeGrid(grid, 3, name) for name, grid in grids.items()])
    mixed = {}
    for (name, grid), levels in zip(grids.items(), together, strict=True):
        alone = sample_levels(grid, seed=3, name=name)
        assert list(levels) == list(alone) == list(LEVELS)
        for resolution, level in alone.items():
            found = levels[resolution]
            assert found.points_P3.dtype == level.points_P3.dtype and torch.equal(found.points_P3, level.points_P3)
            assert found.values_P.dtype == level.values_P.dtype and torch.equal(found.values_P, level.values_P)
            assert (found.mixed_cells, found.dropped_cells) == (level.mixed_cells, level.dropped_cells)
        mixed[name] = alone[64].mixed_cells, alone[64].dropped_cells
    assert mixed["empty"] == mixed["full"] == (0, 0) and mixed["box"][1] == 0 < mixed["blocks"][1]


def test_grids_are_pooled_and_looked_at_side_by_side(grids):
    stacked = torch.stack([grids["box"], grids["sparse"]])
    for resolution in (64, 32):
        pooled = max_pool(stacked, resolution)
        for number, name in enumerate(("box", "sparse")):
            assert torch.equal(pooled[number], max_pool(grids[name], resolution))
            assert torch.equal(mixed_cells(pooled)[number], mixed_cells(pooled[number]))
