"""Thinning against independent truth: Euler numbers and pieces stay, and what is left is thin."""

import numpy as np
import torch
from scipy import ndimage

from data_processing.occupancy.thinning import _Neighbourhood, thin_cells, thin_cells_of_all


def euler_number(cells):
    """Vertices - edges + faces - cells of the union of closed unit cubes: 26-connected topology."""
    padded = np.pad(cells.astype(bool), 1)
    total = 0
    for open_axes in np.ndindex(2, 2, 2):  # 1: the element spans the axis, 0: it lies on a grid plane of it
        there = padded
        for axis, spans in enumerate(open_axes):
            if not spans:
                low = np.take(there, range(there.shape[axis] - 1), axis)
                there = low | np.take(there, range(1, there.shape[axis]), axis)
        total += (-1) ** sum(open_axes) * int(there.sum())
    return total


def topology(cells):
    return euler_number(cells), ndimage.label(cells, np.ones((3, 3, 3)))[1], ndimage.label(~np.pad(cells, 1))[1]


def blob(seed, size=20):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size,) * 3), 1.5)
    return smooth > np.quantile(smooth, 0.8), smooth


def test_topology_stays_on_random_solids():
    taken = 0
    for seed in range(4):
        cells, weight = blob(seed)
        fixed = np.zeros_like(cells)
        fixed[8:12, 8:12, 8:12] = cells[8:12, 8:12, 8:12]
        kept = thin_cells(
            torch.from_numpy(cells & ~fixed),
            fixed_CCC=torch.from_numpy(fixed),
            weight_CCC=torch.from_numpy(weight).float(),
        ).numpy()
        assert not (kept & fixed).any() and not (kept & ~cells).any()
        assert topology(cells) == topology(kept | fixed)
        assert topology(cells)[0] != 1  # holes and pieces: there is something to lose
        # Every cell that was there has one that stayed within a step.
        assert not (cells & ~ndimage.binary_dilation(kept | fixed, np.ones((3, 3, 3)))).any()
        taken += int((cells & ~kept & ~fixed).sum())
    assert taken > 200


def test_simple_points_are_those_whose_removal_keeps_the_topology():
    around = _Neighbourhood(7, torch.device("cpu"))
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        cells = np.zeros((7, 7, 7), bool)
        cells[2:5, 2:5, 2:5] = generator.random((3, 3, 3)) < generator.choice([0.2, 0.4, 0.7])
        cells[3, 3, 3] = True
        without = cells.copy()
        without[3, 3, 3] = False
        simple = bool(around.is_simple(torch.tensor([3 * 49 + 3 * 7 + 3]), torch.from_numpy(cells).view(-1))[0])
        same = topology(cells) == topology(without)
        assert simple <= same
        # The other way round numbers can agree by chance (one hole opened, one closed), rarely.
        found.append((simple, same))
    assert sum(simple for simple, _ in found) > 30 and sum(s != t for s, t in found) < 10


def test_the_heavier_of_two_layers_stays():
    cells = torch.zeros(12, 12, 12, dtype=torch.bool)
    cells[5:7, 2:10, 2:10] = True
    weight = torch.zeros(12, 12, 12)
    weight[5, 2:10, 2:10], weight[6, 2:10, 2:10] = 0.2, 0.3
    kept = thin_cells(cells, fixed_CCC=torch.zeros_like(cells), weight_CCC=weight)
    assert torch.equal(kept.nonzero()[:, 0].unique(), torch.tensor([6])) and int(kept.sum()) == 64


def test_of_equal_cells_one_stays():
    cells = torch.zeros(16, 16, 16, dtype=torch.bool)
    cells[5:7, 8:10, 3:13] = True  # a rod between two cells both ways
    kept = thin_cells(cells, fixed_CCC=torch.zeros_like(cells), weight_CCC=cells.float() / 4)
    assert kept.sum((0, 1)).tolist() == [0] * 3 + [1] * 10 + [0] * 3


def test_nothing_to_thin():
    none = torch.zeros(4, 4, 4, dtype=torch.bool)
    assert not thin_cells(none, fixed_CCC=none, weight_CCC=none.float()).any()


def test_of_many_solids_each_is_thinned_as_it_is_alone():
    """Different numbers of cells and levels, one without any."""
    rods = np.zeros((20,) * 3, bool)
    rods[4:6, 9:11, 2:17] = True
    solids = [blob(0), blob(1), (np.zeros((20,) * 3, bool), np.zeros((20,) * 3)), (rods, rods * 0.25)]
    cells, weight = (torch.from_numpy(np.stack([solid[n] for solid in solids])) for n in (0, 1))
    fixed = torch.zeros_like(cells)
    fixed[:, 8:12, 8:12, 8:12] = cells[:, 8:12, 8:12, 8:12]
    candidates, weight = cells & ~fixed, weight.float()
    together = thin_cells_of_all(candidates, fixed_BCCC=fixed, weight_BCCC=weight)
    for number, kept in enumerate(together):
        alone = thin_cells(candidates[number], fixed_CCC=fixed[number], weight_CCC=weight[number])
        assert torch.equal(kept, alone)
    assert not together[2].any() and 0 < together[3].sum() < candidates[3].sum()
