"""Flood fill and thin parts against analytic insides."""

import numpy as np
import pytest
import torch

from data_processing.occupancy import flood_fill
from data_processing.occupancy.flood_fill import dilate, enclosed_voxels, fill_voids, thin_parts
from data_processing.occupancy.packed_grids import dilate_bits, near_blocks, pack, step_bits, unpack
from data_processing.occupancy.scan_conversion import scan_grid
from data_processing.occupancy.surface_voxels import cells_by_tensors, touched_cells
from tests.data_processing.solids import ball, box, centres, joined, quad, turned, turned_inside_out, without_faces


def corners(mesh):
    return torch.from_numpy(mesh.triangles())


def scanned(mesh, resolution):
    return scan_grid(corners(mesh), resolution) != 0


SOLIDS = {
    "box": box((-0.31, -0.22, -0.13), (0.24, 0.15, 0.35)),
    "turned box": turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3))),
    "ball": ball(0.37, (0.02, -0.03, 0.05)),
}


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize(("resolution", "closing"), [(48, 48), (64, 32), (60, 32)])
def test_flood_of_a_closed_solid_is_the_solid(name, resolution, closing):
    """The walls are given back to the voxel: no dilation, whatever the orientation of the faces."""
    mesh = SOLIDS[name]
    mixed = mesh.faces.copy()
    mixed[::2] = mixed[::2, ::-1]
    shuffled = type(mesh)(mesh.vertices, mixed)
    assert torch.equal(enclosed_voxels(corners(shuffled), resolution, closing=closing), scanned(mesh, resolution))


def test_flood_fills_cavities():
    hollow = joined(ball(0.4), turned_inside_out(ball(0.2)))
    assert torch.equal(enclosed_voxels(corners(hollow), 48, closing=48), scanned(ball(0.4), 48))
    assert torch.equal(fill_voids(scanned(hollow, 48)), scanned(ball(0.4), 48))


def test_a_narrow_gap_does_not_leak_and_a_wide_one_does():
    def slit(width):
        top = [quad((-0.3, -0.3, 0.3), (0.3, -0.3, 0.3), (0.3, 0.0, 0.3), (-0.3, 0.0, 0.3))]
        top += [quad((-0.3, width, 0.3), (0.3, width, 0.3), (0.3, 0.3, 0.3), (-0.3, 0.3, 0.3))]
        whole = box((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3))
        lid = (whole.triangles()[:, :, 2] == 0.3).all(1)
        return joined(type(whole)(whole.vertices, whole.faces[~lid]), *top)

    volume = float(scanned(box((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3)), 64).sum())
    assert enclosed_voxels(corners(slit(0.005)), 64, closing=32).sum() > 0.97 * volume
    assert enclosed_voxels(corners(slit(0.2)), 64, closing=32).sum() < 0.1 * volume


def test_border_touching_solid():
    mesh = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.25))
    assert torch.equal(enclosed_voxels(corners(mesh), 32, closing=32), scanned(mesh, 32))


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("resolution", [32, 48, 64])
def test_ordinary_solids_are_never_dilated(name, resolution):
    added = thin_parts(scanned(SOLIDS[name], resolution), corners(SOLIDS[name]))
    assert added is None or not added.any()


@pytest.mark.parametrize("thickness", [1.0, 1.2, 1.7, 2.0])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5, 0.9])
def test_slabs_from_one_voxel_on_are_not_dilated(thickness, offset):
    low = (10 + offset) / 32 - 0.5
    mesh = box((-0.3, -0.35, low), (0.4, 0.3, low + thickness / 32))
    solid = scanned(mesh, 32)
    assert solid.any()
    added = thin_parts(solid, corners(mesh))
    assert added is None or not added.any()


@pytest.mark.parametrize("turn", [None, 0, 1, 2])
@pytest.mark.parametrize("shift", [0.0, 0.011, 0.02])
def test_closed_thin_sheet_stays_one_sheet(turn, shift):
    """Thinner than a voxel in any position: every point of it keeps a voxel within one, and it stays thin."""
    mesh = box((-0.3, -0.25, shift), (0.28, 0.3, shift + 0.2 / 32))
    mesh = mesh if turn is None else turned(mesh, seed=turn)
    solid = scanned(mesh, 32)
    added = thin_parts(solid, corners(mesh))
    solid = solid if added is None else solid | added
    index = np.floor((sample(mesh) + 0.5) * 32).astype(int)
    near = torch.nn.functional.max_pool3d(solid[None].float(), 3, 1, 1)[0].numpy() > 0
    assert near[tuple(index.T)].all()
    assert 0.5 * 0.58 * 0.55 * 32**2 < solid.sum() < 2.6 * 0.58 * 0.55 * 32**2


def sample(mesh):
    a, b, c = mesh.triangles()[:, None].transpose(2, 0, 1, 3)
    shares = np.random.default_rng(0).dirichlet((1, 1, 1), 2000)
    return (a * shares[:, :1] + b * shares[:, 1:2] + c * shares[:, 2:]).reshape(-1, 3)


def test_single_quad_becomes_one_layer():
    sheet = quad((-0.4, -0.3, 0.05), (0.4, -0.3, 0.05), (0.4, 0.3, 0.05), (-0.4, 0.3, 0.05))
    added = thin_parts(torch.zeros((32,) * 3, dtype=torch.bool), corners(sheet))
    assert added.any(0).any(0).sum() == 1
    assert added.sum() == pytest.approx(0.8 * 0.6 * 32**2, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_rod_thinner_than_a_voxel_keeps_voxels_all_along(seed):
    rod = turned(box((-0.4, 0.004, 0.004), (0.4, 0.010, 0.010)), seed=seed)
    solid = scanned(rod, 32)
    solid |= thin_parts(solid, corners(rod))
    index = np.floor((sample(rod) + 0.5) * 32).astype(int)
    near = torch.nn.functional.max_pool3d(solid[None].float(), 3, 1, 1)[0].numpy() > 0
    assert near[tuple(index.T)].all()


def test_sheet_beside_a_block_is_kept_and_the_block_is_not_grown():
    block = box((-0.4, -0.3, -0.4), (0.4, 0.3, -0.1))
    fin = quad((-0.3, 0.01, -0.1), (0.3, 0.01, -0.1), (0.3, 0.01, 0.4), (-0.3, 0.01, 0.4))
    solid = scanned(block, 32)
    added = thin_parts(solid, corners(joined(block, fin)))
    assert added is not None and added.sum() == pytest.approx(0.6 * 0.5 * 32**2, rel=0.15)
    assert not (added & touched_cells(corners(block), 32)).any()


def test_open_bottom_leaks_by_flood():
    cup = without_faces(box((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3)), 2)
    assert enclosed_voxels(corners(cup), 32, closing=32).sum() < 0.1 * len(centres(32)) * 0.6**3


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_bits_have_the_neighbourhoods_of_tensors(share):
    """Random voxels, also at the borders of the grid and of words."""
    grid = torch.rand((128, 128, 128), generator=torch.Generator().manual_seed(1)) < share
    grid[:32, :, 60:68], grid[62:66] = True, False
    bits = pack(grid.numpy())
    assert np.array_equal(unpack(bits), grid.numpy())
    assert np.array_equal(unpack(near_blocks(bits)), flood_fill.near_core_of(grid).numpy())
    assert np.array_equal(unpack(dilate_bits(bits)), dilate(grid).numpy())


def test_steps_of_bits_are_those_of_tensors():
    random = np.random.default_rng(6)
    reached, *free = (torch.from_numpy(random.random((64, 64, 64)) < share) for share in (0.1, 0.5, 0.4, 0.6))
    step = unpack(step_bits(pack(reached.numpy()), [pack(way.numpy()) for way in free]))
    np.testing.assert_array_equal(step, flood_fill._step_once(reached, free).numpy())


@pytest.mark.parametrize("resolution", [33, 64])
def test_compiled_cells_are_those_of_tensors(resolution):
    """Large and small triangles, on planes of the grid, without area, and beyond the cube."""
    random = np.random.default_rng(0)
    sizes = random.choice([0.001, 0.02, 0.3, 1.0], (2000, 1, 1))
    triangles = (random.random((2000, 1, 3)) - 0.5) * 1.1 + (random.random((2000, 3, 3)) - 0.5) * sizes
    triangles[:300] = np.round(triangles[:300] * 32) / 32
    triangles[300:400, 2] = triangles[300:400, 1]
    triangles[400:450, :, 0] = 0.25
    faces = torch.from_numpy(triangles)
    expected = cells_by_tensors(faces, resolution)
    assert torch.equal(touched_cells(faces, resolution), expected) and 0.05 < expected.float().mean() < 0.95
    skipped = torch.zeros_like(expected)
    skipped[: resolution // 2] = True
    assert torch.equal(touched_cells(faces, resolution, skipped_RRR=skipped) | skipped, expected | skipped)
    assert touched_cells(faces, resolution, skipped_RRR=skipped)[skipped].sum() < expected[skipped].sum()
