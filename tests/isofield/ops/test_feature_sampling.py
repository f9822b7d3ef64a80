"""Features at seven places against one-point truths, the published layout and the published axes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from isofield.ops.feature_sampling import (
    Sampling,
    places,
    published_columns,
    sample_features_plain,
    sampled_linear_plain,
)
from tests.golden import FOLDER

SAMPLING = Sampling(0.0722, "zeros", align_corners=True)


def volumes(*shapes: tuple[int, int], batch: int = 2, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(batch, c, r, r, r, generator=generator, dtype=dtype) for c, r in shapes]


def points(count: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Cube points, a part of them outside."""
    return torch.rand(batch, count, 3, generator=torch.Generator().manual_seed(4), dtype=dtype) * 1.3 - 0.65


def test_a_ramp_along_each_array_axis_is_read_at_the_displaced_places():
    """Trilinear sampling of a linear function is that function: axes, order of places and units in one predicate."""
    axis = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)  # corner-aligned: cube coordinates of the samples
    ramps = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))[None]
    point = torch.tensor([[[0.11, -0.23, 0.31]]], dtype=torch.float64)
    sampled = sample_features_plain([ramps], point, Sampling(0.1, "zeros", align_corners=True))
    expected = point.repeat(1, 7, 1)
    for place, (array_axis, step) in enumerate([(2, -1), (2, 1), (1, -1), (1, 1), (0, -1), (0, 1)], start=1):
        expected[0, place, array_axis] += step * 0.05
    assert torch.allclose(sampled.view(1, 7, 3), expected, rtol=0, atol=1e-14)


def test_cell_centres_return_the_cell_without_corner_alignment():
    (volume,) = volumes((3, 4), batch=1)
    i, j, k = 1, 3, 2
    point = (torch.tensor([[[i, j, k]]], dtype=torch.float64) + 0.5) / 4 - 0.5
    sampled = sample_features_plain([volume], point, Sampling(0.5, "border", align_corners=False))
    cells = [(i, j, k), (i, j, k - 1), (i, j, k + 1), (i, j - 1, k), (i, j, k), (i - 1, j, k), (i + 1, j, k)]
    for place, cell in enumerate(cells):  # 0.5 is one cell of four; j + 1 lies outside: the border holds
        assert torch.allclose(sampled[0, 0].view(7, 3)[place], volume[0, :, *cell], atol=1e-14)


def test_published_columns_turn_the_published_layout_into_ours():
    channels = [1, 4, 3]
    grids = volumes((1, 6), (4, 5), (3, 2))
    columns = published_columns(channels)
    assert sorted(columns.tolist()) == list(range(7 * sum(channels)))
    grid = places(points(9), 0.0722)[:, :, None]  # (B, 7, 1, N, 3)
    concatenated = [F.grid_sample(volume, grid, align_corners=True) for volume in grids]
    published = torch.cat(concatenated, dim=1)[:, :, :, 0].flatten(1, 2)  # (B, channel * 7 + place, N)
    assert torch.equal(published.transpose(1, 2)[..., columns], sample_features_plain(grids, points(9), SAMPLING))


def test_points_are_swapped_as_the_published_data_is():
    golden = np.load(FOLDER / "ifnet_places.npz", allow_pickle=False)
    cube = torch.from_numpy(golden["points"])[None]
    assert np.array_equal(places(cube, 0.1)[0, 0].numpy(), golden["grid_coords"])


def test_the_layer_behind_is_a_linear_layer():
    grids, weight, bias = volumes((2, 3), (1, 4)), torch.randn(5, 21).double(), torch.randn(5).double()
    expected = sample_features_plain(grids, points(7), SAMPLING) @ weight.T + bias
    assert torch.allclose(sampled_linear_plain(grids, points(7), weight, bias, SAMPLING), expected, atol=1e-13)


@pytest.mark.parametrize("count", [0, 1])
def test_no_point_and_one_point(count: int):
    assert sample_features_plain(volumes((2, 3)), points(count), SAMPLING).shape == (2, count, 14)
