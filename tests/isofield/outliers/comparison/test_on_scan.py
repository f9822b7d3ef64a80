"""A mask against a field that is known everywhere: exact at the scan's voxel centres, and the right place is found."""

import numpy as np
import pytest
import torch

from data_processing.formats.nifti import ScanGrid
from data_processing.geometry.coordinates import scaling_about, transform_points
from data_processing.medical.crops import Crop
from isofield.outliers.comparison.on_scan import compare_on_scan, largest_disagreement
from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.reconstruction import Reconstruction
from tests.data_processing.scan_files import centred, random_affine, world_of

MIDDLE = np.array([3.0, -2.0, 5.0])
RADII = np.array([22.0, 13.0, 17.0])
KNOB = np.array([14.0, 6.0, 12.0])  # where the mask has a ball too many


def level(points: np.ndarray) -> np.ndarray:
    """Positive in an ellipsoid; points in mm."""
    return 1 - (((points - MIDDLE) / RADII) ** 2).sum(axis=-1)


def knob(points: np.ndarray) -> np.ndarray:
    return ((points - KNOB) ** 2).sum(axis=-1) < 9**2


def rebuilt_by(to_world: np.ndarray, *, extra: bool = True) -> Reconstruction:
    """The ellipsoid, shown a mask that has a knob (or lacks it)."""

    def field(points_N3: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(20 * level(transform_points(points_N3.numpy(), to_world))).float()

    axis = (np.arange(GRID) + 0.5) / GRID - 0.5
    world = transform_points(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3), to_world)
    values = level(world).reshape((GRID,) * 3).astype(np.float32)
    ball = knob(world).reshape((GRID,) * 3)
    mask = (values > 0) | ball if extra else (values > 0) & ~ball
    return Reconstruction(values, 0.0, field, CubeMask(mask, to_world))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.0)])
def test_the_reconstruction_is_exact_at_the_voxel_centres(spacing: tuple[float, float, float], mirrored: bool):
    generator = np.random.default_rng(3)
    shape = (70, 55, 40)
    affine = centred(random_affine(generator, spacing, mirrored=mirrored), shape, MIDDLE)
    inside = level(world_of(affine, shape)) > 0
    places = np.argwhere(inside)
    lower, upper = places.min(0), places.max(0) + 1
    matrix = affine.copy()
    matrix[:3, 3] += matrix[:3, :3] @ lower
    occupancy = inside[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))].astype(np.uint8)
    crop = Crop(occupancy, matrix, lower, np.array(shape), ScanGrid(shape, affine))
    to_world = scaling_about(MIDDLE, 60.0) @ np.diag([-1.0 if mirrored else 1.0, 1, 1, 1])
    compared = compare_on_scan(crop, rebuilt_by(to_world), tolerance=1.0)
    assert np.array_equal(compared.rebuilt_XYZ, compared.mask.occupancy)
    assert compared.metrics["dice"] == 1 and compared.metrics["hd"] == 0
    assert np.abs(compared.disagreement_XYZ).max() <= 50  # never of the wrong opinion
    # What only one of them has is told by its sign.
    bare = Crop(occupancy * (knob(world_of(matrix, occupancy.shape)) == 0), matrix, lower, crop.shape, crop.scan)
    less = compare_on_scan(bare, rebuilt_by(to_world), tolerance=1.0)
    assert (less.disagreement_XYZ[(less.rebuilt_XYZ == 1) & (less.mask.occupancy == 0)] < -40).all()
    assert less.metrics["dice"] < 1 and less.metrics["predicted_volume"] > less.metrics["volume"]
    filled = less.repaired_XYZ.astype(bool)  # what the prior is sure of; where it is not, the mask
    assert np.array_equal(filled, (less.mask.occupancy == 1) | (less.disagreement_XYZ < -80))
    assert less.mask.occupancy.sum() < filled.sum() < less.rebuilt_XYZ.sum()


@pytest.mark.parametrize("extra", [True, False])
def test_the_largest_disagreement_lies_where_it_was_made(extra: bool):
    to_world = scaling_about(MIDDLE, 70.0)
    rebuilt = rebuilt_by(to_world, extra=extra)
    found = largest_disagreement(rebuilt.mask, rebuilt)
    differs = rebuilt.mask.occupancy_RRR ^ rebuilt.occupancy_RRR
    assert found is not None and found.sign == ("extra" if extra else "missing")
    assert found.volume == pytest.approx(differs.sum() * rebuilt.mask.spacing**3 / 1000, rel=0.05)
    world = transform_points((np.argwhere(differs) + 0.5) / GRID - 0.5, to_world)
    assert np.linalg.norm(np.array(found.world) - world.mean(axis=0)) < 4
    assert 3 < found.depth < 18


@pytest.mark.parametrize("extra", [True, False])
def test_a_mask_is_repaired_only_where_the_prior_is_sure(extra: bool):
    """A prior that is sure of the knob, and some cells too small and in doubt everywhere else."""
    rebuilt = rebuilt_by(scaling_about(MIDDLE, 70.0), extra=extra)
    mask, true = rebuilt.mask.occupancy_RRR, rebuilt.occupancy_RRR
    doubtful = Reconstruction(
        np.where(mask == true, -0.5 * (mask - 0.5), rebuilt.values_RRR * 1e6), 0, rebuilt.field, rebuilt.mask
    )
    assert (doubtful.occupancy_RRR != true).mean() > 0.5
    assert np.array_equal(doubtful.repaired_RRR, true)
    unseen = CubeMask(mask, rebuilt.mask.to_world, ("right",), mask == true)
    assert np.array_equal(Reconstruction(doubtful.values_RRR, 0, rebuilt.field, unseen).repaired_RRR, mask)


def test_a_shell_all_around_does_not_hide_a_piece():
    """Everything is some cells too large, and there is a knob: the knob is shown, not the middle of the shell."""
    to_world = scaling_about(MIDDLE, 70.0)
    rebuilt = rebuilt_by(to_world)
    axis = (np.arange(GRID) + 0.5) / GRID - 0.5
    world = transform_points(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3), to_world)
    larger = (level(world) > -0.16).reshape((GRID,) * 3)
    mask = CubeMask(rebuilt.mask.occupancy_RRR | larger, to_world)
    found = largest_disagreement(mask, Reconstruction(rebuilt.values_RRR, 0.0, rebuilt.field, mask))
    assert found is not None and np.linalg.norm(np.array(found.world) - KNOB) < 7


def test_equal_masks_disagree_nowhere_and_what_is_not_seen_does_not_count():
    rebuilt = rebuilt_by(scaling_about(MIDDLE, 70.0))
    same = CubeMask(rebuilt.occupancy_RRR, rebuilt.mask.to_world)
    assert largest_disagreement(same, rebuilt) is None
    unseen = CubeMask(rebuilt.mask.occupancy_RRR, rebuilt.mask.to_world, ("right",), rebuilt.occupancy_RRR)
    assert largest_disagreement(unseen, rebuilt) is None
