"""Three-level sampling: the published counts and sets, uniform draws, and the same result everywhere; carving."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from data_processing.preparation.level_points import LEVELS, carve_from_top, max_pool, mixed_cells, sample_levels
from tests.golden import FOLDER


def unpack(packed: np.ndarray, side: int) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(packed).reshape(side, side, side))


def cell_of(points_P3: torch.Tensor, resolution: int) -> torch.Tensor:
    i, j, k = (points_P3.long() // (256 // resolution)).unbind(1)
    return (i * resolution + j) * resolution + k


def value_at(grid: torch.Tensor, points_P3: torch.Tensor) -> torch.Tensor:
    return grid[tuple(points_P3.long().unbind(1))]


@pytest.fixture(scope="module")
def ellipsoid() -> torch.Tensor:
    """An off-centre solid with three different axes, cut by the border of the grid."""
    i, j, k = torch.meshgrid(*[torch.arange(256.0)] * 3, indexing="ij")
    return (((i - 60) / 80) ** 2 + ((j - 120) / 50) ** 2 + ((k - 140) / 95) ** 2 < 1).to(torch.uint8)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "imnet_gather_chair2.npz"))


def test_carving_equals_the_published_one_bit_for_bit(golden):
    assert torch.equal(carve_from_top(unpack(golden["inp"], 256)), unpack(golden["carved"], 256))


def test_cells_and_near_surface_sets_equal_the_published_ones(golden):
    grid = unpack(golden["carved"], 256)
    levels = sample_levels(grid, seed=0, name="chair")
    np.testing.assert_array_equal(max_pool(grid, 64), golden["vox"][..., 0])
    for resolution, count in LEVELS.items():
        published = torch.from_numpy(golden[f"p{resolution}"])
        values = torch.from_numpy(golden[f"v{resolution}"][:, 0])
        cells = max_pool(grid, resolution).flatten()
        assert torch.equal(cells[cell_of(published, resolution)], values)
        ours = levels[resolution]
        assert len(ours.points_P3) == len(published) == count
        if resolution == 16:
            assert ours.values_P.sum() == values.sum() == 280
            continue
        near = unpack(golden[f"near_surface_{resolution}"], resolution).bool()
        assert torch.equal(mixed_cells(max_pool(grid, resolution)), near)
        assert ours.mixed_cells == near.sum() and ours.dropped_cells == 0
        assert near.flatten()[cell_of(ours.points_P3, resolution)].sum() == near.sum()


@pytest.mark.parametrize("shape", ["empty", "full", "ellipsoid"])
def test_every_point_lies_in_its_own_cell_and_has_its_value(shape, ellipsoid):
    grid = {"empty": torch.zeros_like(ellipsoid), "full": torch.ones_like(ellipsoid), "ellipsoid": ellipsoid}[shape]
    for resolution, level in sample_levels(grid, seed=3, name=shape).items():
        assert level.points_P3.shape == (LEVELS[resolution], 3) and level.values_P.shape == (LEVELS[resolution],)
        assert level.points_P3.dtype == level.values_P.dtype == torch.uint8
        cells = cell_of(level.points_P3, resolution)
        assert len(cells.unique()) == LEVELS[resolution]
        assert torch.equal(max_pool(grid, resolution).flatten()[cells], level.values_P)
        assert torch.equal(value_at(grid, level.points_P3), level.values_P)
        assert (level.mixed_cells > 0) == (shape == "ellipsoid") and level.dropped_cells == 0


def tile(block: torch.Tensor) -> torch.Tensor:
    return block.repeat(*[256 // len(block)] * 3)


def counts_within(points_P3: torch.Tensor, side: int) -> torch.Tensor:
    i, j, k = (points_P3.long() % side).unbind(1)
    return torch.bincount((i * side + j) * side + k, minlength=side**3)


@pytest.mark.parametrize(
    "name", ["m4_dense", "m4_one", "m8_two", "m16_three", "m16_line", "m16_empty", "m16_full_but_centre"]
)
def test_draws_are_uniform_over_the_set_that_the_published_code_draws_from(name):
    published = np.load(FOLDER / "sample_point_in_cube.npz")
    block, side = torch.from_numpy(published[f"block_{name}"]), len(published[f"block_{name}"])
    eligible = (block == int(published[f"target_{name}"])).flatten()
    assert not published[f"counts_{name}"].ravel()[~eligible.numpy()].any()
    # Every cell of the level holds the same block: thousands of draws at once.
    found = counts_within(sample_levels(tile(block), seed=0, name=name)[256 // side].points_P3, side)
    assert found[~eligible].sum() == 0
    assert eligible.sum() == 1 or chisquare(found[eligible]).pvalue > 1e-3


def test_the_published_draws_are_not_uniform():
    """So the test above can tell: the published code takes whichever matching voxel lies next."""
    published = np.load(FOLDER / "sample_point_in_cube.npz")
    counts = published["counts_m16_three"][published["block_m16_three"] == 1]
    assert chisquare(counts).pvalue < 1e-9


def test_each_voxel_of_uneven_cells_is_equally_likely():
    """Cells with 1 to 63 of 64 occupied voxels, rank drawn: the position among the matches is uniform too."""
    random = torch.Generator().manual_seed(5)
    grid = torch.rand(256, 256, 256, generator=random).lt(0.3).to(torch.uint8)
    points = sample_levels(grid, seed=0, name="noise")[64].points_P3
    cells = grid.view(64, 4, 64, 4, 64, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 64)[cell_of(points, 64)]
    i, j, k = (points.long() % 4).unbind(1)
    place = (i * 4 + j) * 4 + k
    rank = cells.cumsum(1)[torch.arange(len(cells)), place].float()  # 1..n
    share = (rank - 0.5) / cells.sum(1)  # uniform in (0, 1)
    assert chisquare(torch.histc(share, 4, 0, 1).numpy(), f_exp=_expected_histogram(cells.sum(1))).pvalue > 1e-3


def _expected_histogram(counts: torch.Tensor) -> np.ndarray:
    expected = np.zeros(4)
    for count in counts.tolist():
        share = (np.arange(1, count + 1) - 0.5) / count
        expected += np.histogram(share, 4, (0, 1))[0] / count
    return expected


def test_more_mixed_cells_than_points_give_a_uniform_subset_and_are_recorded():
    random = torch.Generator().manual_seed(1)
    cells = torch.rand(64, 64, 64, generator=random).lt(0.5).to(torch.uint8)
    grid = cells.repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    mixed = mixed_cells(cells).flatten()
    level = sample_levels(grid, seed=0, name="noise")[64]
    chosen = cell_of(level.points_P3, 64)
    assert level.mixed_cells == mixed.sum() and level.dropped_cells == mixed.sum() - 16384 > 0
    assert mixed[chosen].all() and len(chosen.unique()) == 16384
    order = mixed.nonzero()[:, 0]
    place = torch.searchsorted(order, chosen).float() / len(order)  # the published prefix would stay below 0.07
    assert chisquare(torch.histc(place, 10, 0, 1)).pvalue > 1e-3


def test_cells_at_the_border_are_never_mixed_but_drawn_with_the_rest(ellipsoid):
    border = torch.ones(64, 64, 64, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert ellipsoid[0].any(), "the shape is cut by the border"
    mixed = mixed_cells(max_pool(ellipsoid, 64))
    assert mixed.any() and not (mixed & border).any()
    level = sample_levels(ellipsoid, seed=0, name="cut")[64]
    drawn = border.flatten()[cell_of(level.points_P3, 64)].sum().item()
    rest = 16384 - level.mixed_cells
    share = border.sum().item() / (64**3 - level.mixed_cells)
    assert abs(drawn - rest * share) < 5 * np.sqrt(rest * share)


def test_points_come_in_random_order_so_any_block_is_a_fair_sample(ellipsoid):
    level = sample_levels(ellipsoid, seed=0, name="a")[64]
    near = mixed_cells(max_pool(ellipsoid, 64)).flatten()[cell_of(level.points_P3, 64)]
    assert chisquare(near.view(4, 4096).sum(1)).pvalue > 1e-3


def same(a, b) -> bool:
    return all(
        torch.equal(a[r].points_P3, b[r].points_P3) and torch.equal(a[r].values_P, b[r].values_P) for r in LEVELS
    )


def test_seed_and_name_alone_decide(ellipsoid):
    first = sample_levels(ellipsoid, seed=0, name="chair/a")
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        again = sample_levels(ellipsoid, seed=0, name="chair/a")
    finally:
        torch.set_num_threads(threads)
    assert same(first, again)
    for other in ({"seed": 1, "name": "chair/a"}, {"seed": 0, "name": "chair/b"}):
        assert not torch.equal(first[16].points_P3, sample_levels(ellipsoid, **other)[16].points_P3)


def test_views_into_other_memory_give_the_same_points(ellipsoid):
    expected = sample_levels(ellipsoid, seed=0, name="a")
    shifted = torch.zeros(256**3 + 3, dtype=torch.uint8)[3:].view(256, 256, 256)
    shifted.copy_(ellipsoid)
    transposed = ellipsoid.transpose(0, 2).contiguous().transpose(0, 2)
    assert not transposed.is_contiguous() and shifted.storage_offset() == 3
    for grid in (shifted, transposed, ellipsoid * 255):
        assert same(sample_levels(grid, seed=0, name="a"), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_points_come_from_a_gpu(ellipsoid):
    expected = sample_levels(ellipsoid, seed=0, name="a")
    for resolution, level in sample_levels(ellipsoid.cuda(), seed=0, name="a").items():
        assert torch.equal(level.points_P3.cpu(), expected[resolution].points_P3)
        assert torch.equal(level.values_P.cpu(), expected[resolution].values_P)
    assert torch.equal(carve_from_top(ellipsoid.cuda()).cpu(), carve_from_top(ellipsoid))


@pytest.mark.parametrize(("size", "resolution"), [(256, 64), (64, 16), (48, 12), (30, 10), (30, 5), (24, 24), (40, 1)])
def test_max_pool_is_the_maximum_of_each_cell(size, resolution):
    grid = torch.rand(size, size, size, generator=torch.Generator().manual_seed(0)).lt(0.01).to(torch.uint8)
    side = size // resolution
    expected = grid.view(resolution, side, resolution, side, resolution, side).amax((1, 3, 5))
    pooled = max_pool(grid, resolution)
    assert pooled.dtype == torch.uint8 and torch.equal(pooled, expected)


def test_max_pool_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match=r"256\^3 voxels.*60\^3"):
        max_pool(torch.zeros(256, 256, 256, dtype=torch.uint8), 60)


def test_mixed_cells_are_counted_by_hand_on_one_cell():
    cells = torch.zeros(8, 8, 8, dtype=torch.uint8)
    cells[1, 4, 6] = 1
    expected = torch.zeros(8, 8, 8, dtype=torch.bool)
    expected[1:3, 3:6, 5:7] = True  # its neighbours, without index 0 and 7
    assert torch.equal(mixed_cells(cells), expected)


def carve_plainly(grid: np.ndarray) -> np.ndarray:
    """The definition, voxel by voxel."""
    size, carved = len(grid), grid.copy()
    for i, k in np.ndindex(size, size):
        filling = False
        for j in reversed(range(size)):
            if grid[i, j, k]:
                filling = True
                continue
            along_i, along_k = np.flatnonzero(grid[:, j, k]), np.flatnonzero(grid[i, j, :])
            between = len(along_i) and along_i[0] < i < along_i[-1] and len(along_k) and along_k[0] < k < along_k[-1]
            filling = bool(filling and between)
            carved[i, j, k] = filling
    return carved


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.7])
def test_carving_equals_its_definition(density):
    grid = (np.random.default_rng(int(100 * density)).random((14, 14, 14)) < density).astype(np.uint8)
    expected = carve_plainly(grid)
    assert density == 0.02 or (expected != grid).any()
    np.testing.assert_array_equal(carve_from_top(torch.from_numpy(grid)), expected)
