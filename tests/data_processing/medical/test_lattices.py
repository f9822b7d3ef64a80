"""Two grids of one scan: compared in voxels, placed in each other exactly, or refused with the distance."""

import numpy as np
import pytest

from data_processing.medical.crops import Crop, mask_crop, place_on
from data_processing.medical.lattices import placement
from tests.data_processing.scan_files import body, random_affine, save, turned


def kidney():
    values, affine = body()
    return (values == 2).astype(np.uint8), affine


def crops(tmp_path, moved, affine):
    values, original = kidney()
    true = mask_crop(save(tmp_path / "true.nii.gz", values, original))
    return mask_crop(save(tmp_path / "moved.nii.gz", moved, affine)), true


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 1), (1, 1, 1)])
def test_another_order_of_storage_is_the_same_mask(tmp_path, axes, flips):
    values, affine = kidney()
    moved, true = crops(tmp_path, *turned(values, affine, axes, flips))
    placed, notes = place_on(moved, true)
    np.testing.assert_array_equal(placed.occupancy, true.occupancy)
    np.testing.assert_array_equal(placed.lower, true.lower)
    assert bool(notes) == ((axes, flips) != ((0, 1, 2), (0, 0, 0)))


def test_a_part_of_the_scan_is_placed_where_it_was_cut(tmp_path):
    values, affine = kidney()
    places = np.argwhere(values)
    low, high = places.min(0) - [1, 2, 0], places.max(0) + np.array([3, 1, 2])
    part = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ low
    moved, true = crops(tmp_path, *turned(part, shifted, (1, 2, 0), (0, 1, 0)))
    placed, notes = place_on(moved, true)
    np.testing.assert_array_equal(placed.occupancy, true.occupancy)
    np.testing.assert_array_equal(placed.lower, true.lower)
    assert "different parts of one scan" in "; ".join(notes)


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (lambda m: m.__setitem__((0, 3), m[0, 3] + 1.0), r"1 mm \(0\.5 voxels\) beside each other"),
        (lambda m: m.__setitem__((0, 3), m[0, 3] + 1e4), "no voxel in common"),
        (lambda m: m.__setitem__((slice(3), 2), m[:3, 2] * 1.5), "voxels of 2 x 2 x 3 mm and of 2 x 2 x 2 mm"),
    ],
)
def test_other_grids_are_refused_with_the_distance(tmp_path, move, said):
    values, affine = kidney()
    other = affine.copy()
    move(other)
    with pytest.raises(ValueError, match=rf"true\.nii\.gz.*moved\.nii\.gz.*{said}"):
        place_on(*crops(tmp_path, values, other))


def test_what_counts_is_the_part_of_a_voxel():
    """Of the same 0.02 mm, in voxels of 2 mm and of 0.1 mm."""
    from data_processing.formats.nifti import ScanGrid

    for edge, found in ((2.0, True), (0.1, False)):
        affine = random_affine(np.random.default_rng(1), (edge,) * 3, mirrored=True)
        other = affine.copy()
        other[:3, 3] += 0.02 * affine[:3, 0] / edge
        assert (placement(ScanGrid((9, 9, 9), affine), ScanGrid((9, 9, 9), other)) is not None) == found


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 0, 0), (0, 1, 1)])
def test_crops_whose_axes_were_named_otherwise_are_turned(tmp_path, axes, flips):
    """Of a scan tilted by 45 degrees each file may have its axes called after another direction of the world."""
    values, affine = kidney()
    true = mask_crop(save(tmp_path / "true.nii.gz", values, affine))
    occupancy, matrix = turned(true.occupancy, true.index_to_world, axes, flips)
    other = Crop(np.ascontiguousarray(occupancy), matrix, np.zeros(3, np.int64), true.shape, true.scan)
    placed, _ = place_on(other, true)
    np.testing.assert_array_equal(placed.occupancy, true.occupancy)
    np.testing.assert_array_equal(placed.lower, true.lower)
    np.testing.assert_allclose(placed.index_to_world, true.index_to_world)
