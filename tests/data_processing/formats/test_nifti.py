"""NIfTI masks: canonical axes without moving the shape, and headers and files that cannot be meant."""

import gzip
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.formats.nifti import open_scan, read_mask
from tests.data_processing.voxel_files import box, corners, occupied_corners

SHAPE, LOWER, UPPER = (20, 31, 12), (3, 12, 2), (9, 29, 6)


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def affine_of(axes: np.ndarray, spacing=(0.7, 0.9, 3.0), origin=(-40.0, 55.0, 12.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = origin
    return matrix


AFFINES = {
    "identity": np.eye(4),
    "spacing": affine_of(np.eye(3)),
    "flipped": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "one flip": affine_of(np.diag([1.0, 1.0, -1.0])),
    "axes swapped": affine_of(np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])),
    "oblique": affine_of(_rotation(0.3) @ np.diag([-1.0, 1.0, 1.0])),
}


def save(path, values, affine=None, slope=None):
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", AFFINES)
def test_axes_become_right_anterior_superior_and_nothing_moves(tmp_path, name):
    path = save(tmp_path / "mask.nii.gz", box(SHAPE, LOWER, UPPER), AFFINES[name])
    grid = read_mask(path)
    assert nibabel.aff2axcodes(grid.index_to_world) == ("R", "A", "S")
    assert grid.occupancy.flags.c_contiguous and grid.occupancy.dtype == np.uint8
    expected = corners(np.array(LOWER) - 0.5, np.array(UPPER) - 0.5) @ AFFINES[name][:3, :3].T + AFFINES[name][:3, 3]
    found = occupied_corners(grid.occupancy) @ grid.index_to_world[:3, :3].T + grid.index_to_world[:3, 3]
    np.testing.assert_allclose(_sorted(found), _sorted(expected), atol=1e-4)


def _sorted(points: np.ndarray) -> np.ndarray:
    return np.array(sorted(np.round(points, 3).tolist()))


def test_every_voxel_of_an_odd_shape_keeps_its_place(tmp_path):
    values = (np.random.default_rng(1).random((5, 7, 4)) < 0.3).astype(np.uint8)
    grid = read_mask(save(tmp_path / "mask.nii", values, AFFINES["axes swapped"]))
    expected = nibabel.affines.apply_affine(AFFINES["axes swapped"], np.argwhere(values))
    found = nibabel.affines.apply_affine(grid.index_to_world, np.argwhere(grid.occupancy))
    np.testing.assert_allclose(_sorted(found), _sorted(expected), atol=1e-4)


@pytest.mark.parametrize("values", [1, 0.9999, 2.0, 1000])
def test_labels_and_rounded_floats_count_as_occupied(tmp_path, values):
    mask = box(SHAPE, LOWER, UPPER) * np.float32(values)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.nii", mask)).occupancy, box(SHAPE, LOWER, UPPER))


def test_the_scaling_of_the_header_is_applied_before_the_threshold(tmp_path):
    path = save(tmp_path / "mask.nii", box(SHAPE, LOWER, UPPER).astype(np.int16) * 100 + 20, slope=1 / 120)
    np.testing.assert_array_equal(read_mask(path).occupancy, box(SHAPE, LOWER, UPPER))


def test_trailing_axes_of_1_are_taken_away(tmp_path):
    path = save(tmp_path / "mask.nii.gz", box(SHAPE, LOWER, UPPER)[..., None, None])
    np.testing.assert_array_equal(read_mask(path).occupancy, box(SHAPE, LOWER, UPPER))


def _with_nan():
    values = np.ones(SHAPE, dtype=np.float32)
    values[3, 4, 5] = np.nan
    return values


FLAT = np.diag([1.0, 1.0, 0.0, 1.0])
PARALLEL = np.eye(4) + np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("values", "affine", "message"),
    [
        (np.zeros(SHAPE, dtype=np.uint8), None, "no voxel is above the threshold"),
        (_with_nan(), None, "1 NaN"),
        (np.ones((*SHAPE, 2), dtype=np.uint8), None, r"3D .*\(20, 31, 12, 2\)"),
        (np.ones(SHAPE[:2], dtype=np.uint8), None, "3D"),
        (np.ones(SHAPE, dtype=np.complex64), None, "complex64"),
        (np.ones(SHAPE, dtype=np.uint8), FLAT, "not invertible"),
        (np.ones(SHAPE, dtype=np.uint8), PARALLEL, "not invertible"),
        (np.ones(SHAPE, dtype=np.uint8), np.diag([np.nan, 1, 1, 1]), "not finite"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused_by_name(tmp_path, values, affine, message):
    image = nibabel.Nifti1Image(values, None)
    image.header.set_sform(np.eye(4) if affine is None else affine, code=1)
    nibabel.save(image, tmp_path / "bad.nii.gz")
    with pytest.raises(ValueError, match="bad.nii.gz.*" + message):
        read_mask(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9])
def test_cut_off_files_are_refused_by_name(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 2, SHAPE, dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=f"cut{suffix}"):
        read_mask(path)


def test_a_header_that_declares_too_much_is_refused_before_reading(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((20000, 20000, 20000))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), code=1)
    with gzip.open(tmp_path / "huge.nii.gz", "wb") as handle:
        handle.write(header.binaryblock + bytes(4))
    with pytest.raises(ValueError, match=r"huge\.nii\.gz"):
        read_mask(tmp_path / "huge.nii.gz")


def test_a_real_segmentation_keeps_volume_and_centre(examples):
    path = examples / "brain" / "donor_10021_dk.nii.gz"
    image: Any = nibabel.load(path)
    labels = np.asanyarray(image.dataobj) > 0
    grid = read_mask(path)
    assert grid.occupancy.sum() == labels.sum()
    expected = nibabel.affines.apply_affine(image.affine, np.argwhere(labels).mean(axis=0))
    found = nibabel.affines.apply_affine(grid.index_to_world, np.argwhere(grid.occupancy).mean(axis=0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("low", "said"), [(0.0, "mostly fractions up to 1"), (-1.0, "values from -1 to 1")])
def test_probabilities_and_distances_are_no_mask_unless_a_threshold_says_so(tmp_path, low, said):
    values = np.linspace(low, 1, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    path = tmp_path / "map.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(ValueError, match=rf"map\.nii\.gz: expected a mask, got {said}"):
        read_mask(path)
    assert read_mask(path, threshold=0.8).occupancy.sum() == (values > 0.8).sum()


def test_voxels_cannot_begin_within_the_header(tmp_path):
    """Some programs leave 0 there: the bytes of the header would be read as voxels."""
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "a.nii")
    image = bytearray((tmp_path / "a.nii").read_bytes())
    for offset in (0.0, 347.0, -1.0):
        image[108:112] = np.float32(offset).tobytes()
        (tmp_path / "a.nii").write_bytes(image)
        with pytest.raises(ValueError, match=r"a\.nii: its header puts the voxels at byte .*set vox_offset"):
            open_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("qform_code", [0, 1])
def test_a_header_that_contradicts_itself_about_sizes_is_doubted(tmp_path, qform_code):
    """Other programs go by pixdim: of such a file they find another volume."""
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), AFFINES["oblique"])
    image.set_qform(AFFINES["oblique"], code=qform_code)
    nibabel.save(image, tmp_path / "sound.nii")
    assert open_scan(tmp_path / "sound.nii").grid.doubts == ""
    image.header["pixdim"][1:4] = 1, 1, 1
    nibabel.save(image, tmp_path / "other.nii")
    grid = open_scan(tmp_path / "other.nii").grid
    assert "voxels of 0.7 x 0.9 x 3 by its sform, which is taken, of 1 x 1 x 1 by its pixdim" in grid.doubts
    assert grid.doubt == ""  # left and right are told
