"""Fields at the voxel centres of a scan, and masks in files like the scan's own."""

from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from data_processing.formats.nifti import ScanGrid, open_scan
from data_processing.medical import scan_grid
from data_processing.medical.crops import same_grid
from data_processing.medical.masks import inside_mask, mask_on_scan, mask_to_cube, read_structure, write_scan_mask
from data_processing.medical.structures import LabelConfig, StructureConfig
from tests.data_processing.medical.test_resampling import dice
from tests.data_processing.scan_files import bump, centred, pair_in_thick_slices, random_affine, save, world_of

ORGAN = LabelConfig((StructureConfig("organ", (1,), mirror="always"),))


def perfect(mask, to_world):
    return lambda points: torch.from_numpy(inside_mask(mask, to_world, points.numpy())).float()


@pytest.mark.parametrize("seed", range(4))
def test_a_perfect_field_gives_the_mask_back(seed, monkeypatch):
    """Analytic solid on oblique, anisotropic, mirrored, sheared grids; the scan sees more than the cube or less."""
    generator = np.random.default_rng(seed)
    spacing = (0.7, 1.1, 2.9)
    shape = (70, 50, 20) if seed % 2 else (40, 35, 12)
    affine = random_affine(generator, spacing, mirrored=seed > 1, sheared=seed == 3)
    scan = ScanGrid(shape, centred(affine, shape, at=(3.0, 0.0, 4.0)))
    truth = bump(world_of(scan.affine, shape))
    to_world = np.diag([-60.0, 60.0, 60.0, 1.0])
    asked = []
    monkeypatch.setattr(scan_grid, "SLAB", 2500)  # a few slices at once

    def field(points_N3: torch.Tensor) -> torch.Tensor:
        assert points_N3.dtype == torch.float32
        asked.append(len(points_N3))
        return torch.from_numpy(bump(points_N3.numpy().astype(np.float64) * [-60, 60, 60])).float() * 2 - 1

    found = mask_on_scan(field, iso_level=0.0, to_world=to_world, scan=scan, device="cpu")
    assert found.dtype == np.uint8 and found.shape == shape
    assert dice(found, truth) > 0.999
    assert len(asked) > 5 and sum(asked) < 60**3 / np.prod(spacing) * 1.2


def test_only_what_lies_in_the_cube_or_the_box_is_asked():
    scan = ScanGrid((40, 40, 40), centred(np.eye(4), (40, 40, 40)))
    everywhere = {"iso_level": 0.5, "to_world": np.diag([20.0, 20, 20, 1]), "scan": scan, "device": "cpu"}
    inside = mask_on_scan(lambda points: torch.ones(len(points)), **everywhere)
    expected = (np.abs(world_of(scan.affine, scan.shape)) <= 10).all(axis=-1)
    np.testing.assert_array_equal(inside > 0, expected)
    box = (np.array([-0.5, -0.25, -2.0]), np.array([0.5, 0.25, 0.0]))
    inside = mask_on_scan(lambda points: torch.ones(len(points)), box=box, **everywhere)
    places = world_of(scan.affine, scan.shape) / 20
    np.testing.assert_array_equal(inside > 0, expected & (np.abs(places[..., 1]) <= 0.25) & (places[..., 2] <= 0))
    far = everywhere | {"to_world": np.diag([20.0, 20, 20, 1]) + np.eye(4)[:, [3, 0, 1, 2]] * 0}
    far["to_world"][0, 3] = 500
    assert mask_on_scan(lambda points: torch.ones(len(points)), **far).sum() == 0


@pytest.mark.parametrize("structure", ["left hippocampus", "right caudate"])
def test_a_real_structure_comes_back_from_its_own_interpolation(examples, structure):
    path = examples / "brain" / "donor_9861_dk.nii.gz"
    settings = LabelConfig((StructureConfig("it", (structure,), mirror="always"),), table="atlas-desikankilliany.csv")
    mask = read_structure(path, "", settings)
    _, to_world = mask_to_cube(mask, 32, by="longest_edge", length=0.9)
    back = mask_on_scan(perfect(mask, to_world), iso_level=0.5, to_world=to_world, scan=mask.scan, device="cpu")
    assert dice(back, mask.on_scan()) > 0.999


def test_a_real_pair_of_one_label_comes_back_from_thick_slices(examples, tmp_path):
    path = pair_in_thick_slices(tmp_path / "scan.nii.gz", examples / "brain" / "donor_9861_dk.nii.gz", step=3)
    settings = LabelConfig((StructureConfig("putamen", (1,), components=2, mirror="right"),))
    for part in ("putamen/left", "putamen/right"):
        mask = read_structure(path, part, settings)
        _, to_world = mask_to_cube(mask, 64, by="longest_edge", length=0.9)
        back = mask_on_scan(
            perfect(mask, to_world),
            iso_level=0.5,
            to_world=to_world,
            scan=mask.scan,
            device="cpu",
        )
        assert dice(back, mask.on_scan()) > 0.999


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (1, 4), (0, 0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_written_masks_have_the_grid_and_the_form_codes_of_the_scan(tmp_path, kind, qform, sform, suffix):
    affine = random_affine(np.random.default_rng(1), (0.7, 0.9, 3.0), mirrored=True)
    values = np.zeros((8, 9, 10), np.int16)
    values[2:5, 3:4, 5:9] = 300
    image = kind(values, None)
    image.header.set_qform(affine, code=qform)
    image.header.set_sform(affine if sform else None, code=sform)
    image.header.set_slope_inter(2, 1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"made by hand"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, b"<Label table of the scan/>"))
    path = tmp_path / f"scan{suffix}"
    nibabel.save(image, path)
    scan = open_scan(path).grid
    write_scan_mask(tmp_path / "out" / "mask.nii.gz", (values > 0).astype(np.uint8), scan)
    found: Any = nibabel.load(tmp_path / "out" / "mask.nii.gz")
    like: Any = nibabel.load(path)
    assert type(found) is kind and found.get_data_dtype() == np.uint8 and found.shape == values.shape
    np.testing.assert_array_equal(found.affine, like.affine)
    for key in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "pixdim", "xyzt_units"):
        np.testing.assert_array_equal(found.header[key], like.header[key])
    np.testing.assert_array_equal(np.asanyarray(found.dataobj), values > 0)
    assert not found.header.extensions  # the names of the scan's labels are not the mask's
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]


def test_a_grid_without_a_file_and_masks_that_do_not_fit(tmp_path):
    scan = ScanGrid((4, 5, 6), centred(np.diag([1.0, 2, 3, 1]), (4, 5, 6)))
    write_scan_mask(tmp_path / "mask.nii", np.ones(scan.shape, np.uint8), scan)
    np.testing.assert_allclose(open_scan(tmp_path / "mask.nii").grid.affine, scan.affine)
    with pytest.raises(ValueError, match=r"\(4, 5\) .*\(4, 5, 6\)"):
        write_scan_mask(tmp_path / "mask.nii", np.ones((4, 5)), scan)
    with pytest.raises(ValueError, match=r"\.nii"):
        write_scan_mask(tmp_path / "mask.ply", np.ones(scan.shape), scan)


def test_grids_are_the_same_if_shape_and_place_are():
    grid = ScanGrid((4, 5, 6), np.diag([1.0, 2, 3, 1]))
    moved = grid.affine.copy()
    moved[0, 3] = 0.01
    assert same_grid(grid, ScanGrid((4, 5, 6), grid.affine + 1e-6))
    assert not same_grid(grid, ScanGrid((4, 5, 7), grid.affine)) and not same_grid(grid, ScanGrid((4, 5, 6), moved))


def test_a_written_mask_reads_as_what_it_is(tmp_path):
    path = save(tmp_path / "scan.nii.gz", np.ones((6, 7, 8), np.float32) * 0.25, np.diag([1.0, 2, 3, 1]))
    values = np.zeros((6, 7, 8), np.uint8)
    values[1:3, 2:4, 3:5] = 1
    write_scan_mask(tmp_path / "mask.nii.gz", values, open_scan(path).grid)
    mask = read_structure(tmp_path / "mask.nii.gz", "", ORGAN)
    np.testing.assert_array_equal(mask.on_scan(), values)
