"""Scans into the cube and back: positions exact for any affine, nothing lost but what is smaller than a voxel."""

import numpy as np
import pytest
import torch

from data_processing.formats.nifti import ScanGrid
from data_processing.geometry.coordinates import transform_points
from data_processing.medical.masks import inside_mask, mask_on_scan, mask_to_cube, read_structure
from data_processing.medical.scan_mask import ScanMask
from data_processing.medical.structures import LabelConfig, StructureConfig
from tests.data_processing.scan_files import bump, centred, random_affine, save, world_of
from tests.plain_ways import grid_centres

ORGAN = LabelConfig((StructureConfig("organ", (1,)),))
MIRRORED = LabelConfig((StructureConfig("organ", (1,), mirror="always"),))


def dice(one, other) -> float:
    return 2 * np.count_nonzero((one > 0) & (other > 0)) / (np.count_nonzero(one) + np.count_nonzero(other))


def scan_of_bump(tmp_path, affine, spacing):
    shape = tuple(int(80 / step) for step in spacing)
    affine = centred(affine, shape, at=(1.0, -2.0, 3.0))
    values = bump(world_of(affine, shape)).astype(np.uint8)
    return save(tmp_path / "scan.nii.gz", values, affine), values


def cube_field(grid_RRR: torch.Tensor):
    """Linear interpolation between the voxel centres of the cube: what a network of that resolution could know."""

    def field(points_N3: torch.Tensor) -> torch.Tensor:
        places = points_N3.flip(1)[None, None, None] * 2
        return torch.nn.functional.grid_sample(grid_RRR[None, None], places, align_corners=False)[0, 0, 0, 0]

    return field


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stored", ["shares", "bits"])
def test_round_trip_over_random_affines(tmp_path, seed, stored):
    """Issue: Dice above 0.99 at matching resolution, centroid within half a voxel."""
    generator = np.random.default_rng(seed)
    spacing = tuple(generator.uniform(0.6, 2.0, 3))
    affine = random_affine(generator, spacing, mirrored=bool(seed % 2), sheared=seed % 3 == 2)
    path, values = scan_of_bump(tmp_path, affine, spacing)
    mask = read_structure(path, "", MIRRORED if seed % 4 > 1 else ORGAN)
    resolution = int(np.ptp(np.array(mask.world_box()), axis=0).max() / 0.9 / min(spacing)) + 1
    grid_RRR, to_world = mask_to_cube(mask, resolution, by="longest_edge", length=0.9)
    grid_RRR = grid_RRR if stored == "shares" else (grid_RRR > 0.5).float()
    back = mask_on_scan(cube_field(grid_RRR), iso_level=0.5, to_world=to_world, scan=mask.scan, device="cpu")
    assert back.shape == values.shape and dice(back, values) > 0.99
    shift = np.argwhere(back).mean(axis=0) - np.argwhere(values).mean(axis=0)
    assert np.abs(shift).max() < 0.5


@pytest.mark.parametrize("sheared", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_cube_shows_the_world(tmp_path, sheared, mirror):
    """Analytic truth: the voxels of the cube are those whose world place is in the solid, but for the border."""
    affine = random_affine(np.random.default_rng(5), (0.5, 0.7, 0.6), mirrored=True, sheared=sheared)
    path, _ = scan_of_bump(tmp_path, affine, (0.5, 0.7, 0.6))
    mask = read_structure(path, "", MIRRORED if mirror else ORGAN)
    grid_RRR, to_world = mask_to_cube(mask, 48, by="longest_edge", length=0.9)
    scale = to_world[1, 1]
    np.testing.assert_allclose(to_world[:3, :3], np.diag([-scale if mirror else scale, scale, scale]), atol=1e-12)
    truth = bump(transform_points(grid_centres(48).numpy(), to_world)).reshape(48, 48, 48)
    assert dice(grid_RRR.numpy() > 0.5, truth) > 0.985
    assert (grid_RRR.numpy() > 0.5).sum() == pytest.approx(truth.sum(), rel=0.01)


@pytest.mark.parametrize("resolution", [24, 96])
@pytest.mark.parametrize("oblique", [False, True])
def test_points_agree_with_the_grid(tmp_path, oblique, resolution):
    """Shrunk and enlarged: at the voxel centres the inside test is that of the grid."""
    generator = np.random.default_rng(2)
    spacing = (1.0, 1.4, 0.8)
    affine = random_affine(generator, spacing, mirrored=False) if oblique else np.diag([*spacing, 1.0])
    path, _ = scan_of_bump(tmp_path, affine, spacing)
    mask = read_structure(path, "", ORGAN)
    grid_RRR, to_world = mask_to_cube(mask, resolution, by="longest_edge", length=0.9)
    inside = inside_mask(mask, to_world, grid_centres(resolution).numpy(), resolution=resolution)
    differ = inside.reshape(grid_RRR.shape) != (grid_RRR.numpy() > 0.5)
    assert differ.sum() <= 2 and np.abs(grid_RRR.numpy()[differ] - 0.5).max(initial=0) < 1e-5


def test_both_ways_to_resample_are_one(tmp_path):
    """Axes that stray from the world's by a hair take the general way; the result is the same to rounding."""
    path, _ = scan_of_bump(tmp_path, np.diag([1.0, 1.4, 0.8, 1.0]), (1.0, 1.4, 0.8))
    mask = read_structure(path, "", ORGAN)
    hair = mask.index_to_world.copy()
    hair[0, 1] += 1e-5
    stray = ScanMask(mask.occupancy, hair, False, (), mask.scan)
    for resolution in (24, 80):
        one, other = (mask_to_cube(m, resolution, by="longest_edge", length=0.9)[0] for m in (mask, stray))
        assert (one - other).abs().max() < 2e-3
    tilted = hair.copy()
    tilted[0, 1] += 0.02
    both = [ScanMask(mask.occupancy, m, False, (), mask.scan) for m in (mask.index_to_world, tilted)]
    one, other = (mask_to_cube(m, 80, by="longest_edge", length=0.9)[0] for m in both)
    assert (one - other).abs().max() > 0.1  # the test above could see a difference


def test_shrinking_is_anti_aliased():
    """A checked solid at a fifth of its resolution: half everywhere inside, not the value of a voxel here and there."""
    values = np.indices((60, 60, 60)).sum(axis=0) % 2
    scan = ScanGrid((60, 60, 60), np.eye(4))
    mask = ScanMask(values.astype(np.uint8), np.eye(4), False, (), scan)
    for matrix in (np.eye(4), random_affine(np.random.default_rng(0), (1, 1, 1), mirrored=False)):
        grid_RRR, _ = mask_to_cube(ScanMask(mask.occupancy, matrix, False, (), scan), 12, by="longest_edge", length=1.0)
        middle = grid_RRR[5:7, 5:7, 5:7]
        assert (middle - 0.5).abs().max() < 0.05
    full = ScanMask(np.ones((60, 60, 60), np.uint8), np.eye(4), False, (), scan)
    share = mask_to_cube(full, 12, by="longest_edge", length=1.0)[0]
    assert share[1:-1, 1:-1, 1:-1].min() > 0.999 and 0.5 < share[0, 6, 6] < 1


def test_volume_is_kept_when_shrinking(tmp_path):
    path, values = scan_of_bump(tmp_path, np.diag([0.5, 0.5, 0.5, 1.0]), (0.5, 0.5, 0.5))
    grid_RRR, to_world = mask_to_cube(read_structure(path, "", ORGAN), 32, by="longest_edge", length=0.9)
    volume = float((grid_RRR > 0.5).sum()) * (to_world[0, 0] / 32) ** 3
    assert volume == pytest.approx(values.sum() * 0.5**3, rel=0.01)


def test_the_box_of_an_oblique_mask_is_exact():
    generator = np.random.default_rng(3)
    occupancy = (generator.random((7, 9, 5)) < 0.2).astype(np.uint8)
    matrix = random_affine(generator, (0.7, 1.1, 2.0), mirrored=True, sheared=True)
    lower, upper = ScanMask(occupancy, matrix, False, (), ScanGrid((7, 9, 5), matrix)).world_box()
    index = np.argwhere(occupancy)
    corners = (index[:, None] + np.array(list(np.ndindex(2, 2, 2))) - 0.5).reshape(-1, 3)
    places = corners @ matrix[:3, :3].T
    np.testing.assert_allclose([lower, upper], [places.min(axis=0), places.max(axis=0)], atol=1e-9)


def test_a_fixed_cube_keeps_sizes_and_refuses_what_does_not_fit(tmp_path):
    path, values = scan_of_bump(tmp_path, np.diag([1.0, 1.0, 1.0, 1.0]), (1.0, 1.0, 1.0))
    mask = read_structure(path, "", ORGAN)
    grid_RRR, to_world = mask_to_cube(mask, 64, by="fixed", length=64.0)
    assert to_world[0, 0] == pytest.approx(64) and int((grid_RRR > 0.5).sum()) == pytest.approx(values.sum(), rel=0.02)
    with pytest.raises(ValueError, match=r"\[-20\.0, -15\.0, -14\.0\].* 42, .* 30, .*normalisation\.length"):
        mask_to_cube(mask, 64, by="fixed", length=30.0)
    with pytest.raises(ValueError, match=r"normalisation: none .*longest_edge, diagonal or fixed"):
        mask_to_cube(mask, 64, by="none", length=1.0)
