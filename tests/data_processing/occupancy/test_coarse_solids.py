"""Solid cells against analytic solids: volume, agreement with centre sampling, thin parts that stay, no dilation."""

import functools

import numpy as np
import pytest
import torch
from scipy import ndimage

from data_processing.occupancy.coarse_solids import solid_cells
from tests.plain_ways import grid_centres

VOXELS = 128  # half of what the preparation has, for speed
ANY_NEIGHBOUR = np.ones((3, 3, 3))


@functools.cache
def centres(resolution=VOXELS):
    return grid_centres(resolution).double()


def grid(inside, resolution=VOXELS):
    """0/1 voxels of an analytic solid."""
    return inside(centres(resolution)).view((resolution,) * 3).to(torch.uint8)


def unit(seed):
    return torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)).double(), dim=0)


def ball(radius, centre=(0.013, -0.007, 0.004)):
    return lambda points: ((points - torch.tensor(centre)) ** 2).sum(1) < radius**2


def box(lower, upper):
    return lambda points: ((points > torch.tensor(lower)) & (points < torch.tensor(upper))).all(1)


def slab(normal, thickness, offset=0.02, radius=0.4):
    return lambda points: ((points @ normal - offset).abs() < thickness / 2) & ((points**2).sum(1) < radius**2)


def rod(axis, width, length=0.8, centre=(0.03, 0.01, -0.02)):
    def inside(points):
        from_centre = points - torch.tensor(centre)
        along = from_centre @ axis
        return (along.abs() < length / 2) & ((from_centre - along[:, None] * axis).norm(dim=1) < width / 2)

    return inside


def pieces(cells):
    return ndimage.label(cells.numpy(), ANY_NEIGHBOUR)[1]


@pytest.mark.parametrize("resolution", [32, 48, 64])
@pytest.mark.parametrize("radius", [0.2, 0.44])
def test_a_ball_keeps_its_volume_and_agrees_with_centre_sampling(resolution, radius):
    cells = solid_cells(grid(ball(radius)), resolution, keep_thin=True).bool()
    exact = ball(radius)(centres(resolution)).view(cells.shape)
    assert abs(float(cells.double().mean()) / (4 / 3 * np.pi * radius**3) - 1) < 0.02 * 32 / resolution
    # A flip needs a cell cut nearly in half: most cells on the surface are not.
    assert int((cells & exact).sum()) / int((cells | exact).sum()) > 0.98


@pytest.mark.parametrize("resolution", [32, 48, 64])
@pytest.mark.parametrize("solid", [ball(0.1), ball(0.44), box([-0.29, -0.2, -0.1], [0.31, 0.21, 0.13])])
def test_solids_thicker_than_two_cells_get_nothing_added(solid, resolution):
    voxels = grid(solid)
    kept, plain = (solid_cells(voxels, resolution, keep_thin=keep) for keep in (True, False))
    assert torch.equal(kept, plain)


def test_whole_cells_are_counted_exactly():
    voxels = (torch.rand(64, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8)
    voxels[:32] |= (torch.rand(32, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.1).to(torch.uint8)
    count = voxels.view(16, 4, 16, 4, 16, 4).sum((1, 3, 5))
    cells = solid_cells(voxels, 16, keep_thin=False)
    assert torch.equal(cells[count > 32], torch.ones_like(cells[count > 32]))
    assert not cells[count < 32].any()
    half = count == 32
    assert half.sum() > 50 and torch.equal(cells[half], voxels[2::4, 2::4, 2::4][half])


def test_faces_in_the_middle_of_cells_grow_a_solid_on_one_side_only():
    voxels = torch.zeros(64, 64, 64, dtype=torch.uint8)
    for axis in range(3):
        voxels.zero_()[12:44, 16:48, 4:36] = 1  # 4 voxels a cell
        shifted = voxels.roll(2, axis)  # two faces cut cells in half
        cells = solid_cells(shifted, 16, keep_thin=True)
        assert int(cells.sum()) * 64 == int(voxels.sum())


def test_cells_that_do_not_divide_the_grid_share_voxels():
    voxels = torch.zeros(16, 16, 16, dtype=torch.uint8)
    voxels[:9] = 1  # 12 cells of 4/3 voxels: 6.75 cells are inside
    assert solid_cells(voxels, 12, keep_thin=False)[:, 0, 0].tolist() == [1] * 7 + [0] * 5


@pytest.mark.parametrize(("resolution", "thickness"), [(32, 0.3), (32, 0.8), (32, 1.3), (64, 0.6)])
@pytest.mark.parametrize("seed", [0, 4])
def test_a_sheet_stays_without_a_hole_and_one_cell_thick(resolution, thickness, seed):
    normal = unit(seed)
    voxels = grid(slab(normal, thickness / resolution))
    cells = solid_cells(voxels, resolution, keep_thin=True)
    axis = int(normal.abs().argmax())
    across = cells.sum(axis).double()
    # Lines along that axis, and where they meet the sheet's middle: well within its rim each has to find a cell.
    others = [a for a in range(3) if a != axis]
    flat = torch.cartesian_prod(*[(torch.arange(resolution) + 0.5) / resolution - 0.5] * 2).double()
    height = (0.02 - flat @ normal[others]) / normal[axis]
    within = ((flat**2).sum(1) + height**2 < (0.4 - 2.5 / resolution) ** 2).view(across.shape)
    assert within.sum() > 100 and across[within].min() >= 1
    expected = max(1.0, thickness / float(normal.abs().max()))
    assert float(across[within].mean()) < 1.15 * expected
    assert pieces(cells) == 1


@pytest.mark.parametrize(("resolution", "width"), [(32, 0.4), (32, 1.2), (64, 0.9), (64, 1.2)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_rod_stays_in_one_piece_and_one_cell_thick(resolution, width, seed):
    axis = unit(seed)
    cells = solid_cells(grid(rod(axis, width / resolution)), resolution, keep_thin=True)
    main = int(axis.abs().argmax())
    across = cells.sum([a for a in range(3) if a != main]).double()
    reached = across.nonzero()[:, 0]
    assert pieces(cells) == 1
    assert abs(len(reached) - 0.8 * resolution * float(axis.abs().max())) < 3.5
    assert float(across[reached].mean()) < 1.6


def test_a_rod_that_fills_some_cells_by_chance_has_no_gap_between_them():
    voxels = torch.zeros(64, 64, 64, dtype=torch.uint8)  # 2 voxels a cell
    for start, stop, shift in ((10, 26, 0), (26, 30, 1), (30, 46, 2)):
        voxels[20 + shift : 22 + shift, 20 + shift : 22 + shift, start:stop] = 1
    plain, kept = (solid_cells(voxels, 32, keep_thin=keep) for keep in (False, True))
    assert (pieces(plain), pieces(kept)) == (2, 1) and int((kept - plain).sum()) == 2


def test_thin_legs_stay_joined_to_a_thick_top():
    side = 1 / 16
    top = box([-0.35, 0.23, -0.3], [0.35, 0.42, 0.3])  # fills a third of its lowest cells
    legs = [box([x, -0.4, z], [x + 0.5 * side, 0.25, z + 0.5 * side]) for x in (-0.32, 0.3) for z in (-0.28, 0.26)]
    voxels = grid(lambda points: functools.reduce(torch.logical_or, [part(points) for part in (top, *legs)]))
    plain, kept = (solid_cells(voxels, 16, keep_thin=keep) for keep in (False, True))
    assert pieces(kept) == 1 and torch.equal(kept & plain, plain)
    added = (kept - plain).sum((0, 2))
    level_of = ((torch.tensor([-0.4, 0.23]) + 0.5) * 16).long()
    assert added[level_of[0] + 1 : level_of[1] - 1].tolist() == [4] * int(level_of[1] - level_of[0] - 2)
    assert int(added[level_of[1] + 1 :].sum()) == 0


def test_thin_parts_are_dropped_on_request():
    voxels = grid(slab(unit(0), 0.2 / 16))
    assert int(solid_cells(voxels, 16, keep_thin=False).sum()) == 0


def test_the_grid_itself():
    voxels = grid(ball(0.2), 64)
    assert torch.equal(solid_cells(voxels, 64, keep_thin=True), voxels)
