"""Label volumes as other people write them, out of public bug reports: each gives the right shapes, or says why not.

Inputs in tests/data/strangers. Right values come from how the files were made, and from other readers of the formats.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_processing.medical.label_volumes import label_volume
from data_processing.medical.masks import read_structure
from data_processing.preparation.config import DataConfig, config_of
from data_processing.preparation.shape import read_shape
from data_processing.preparation.sources import list_sources
from isofield.runtime.config import read_config, to_plain
from tests.conftest import ROOT
from tests.data_processing.scan_files import save

STRANGERS = ROOT / "tests" / "data" / "strangers"


def config_in(case: str, config: str, folder: str, **labels: object) -> DataConfig:
    settings = read_config(STRANGERS / case / config, DataConfig, overrides=[f"input={STRANGERS / case / folder}"])
    assert settings.labels is not None
    return replace(settings, labels=replace(settings.labels, **labels))


def masks_of(config: DataConfig):
    sources = list_sources(config.input, kind="labels", labels=config.labels).sources
    return {source.name: read_structure(config.input / source.file, source.part, config.labels) for source in sources}


@pytest.mark.parametrize(
    "table", ["itksnap.txt", "freesurfer_lut.txt", "slicer.ctbl", "semicolons.csv", "float_ids.csv"]
)
def test_label_tables_of_other_tools(table):
    case = "label_tables_of_other_tools"
    masks = masks_of(config_in(case, "hippocampus.yaml", "input", table=str(STRANGERS / case / table)))
    assert {name: int(mask.occupancy.sum()) for name, mask in masks.items()} == {
        "hippocampus/sub-01-left": 425,
        "hippocampus/sub-01-right": 425,
    }


def test_labels_stored_in_steps():
    case = "labels_stored_in_steps"
    file = next((STRANGERS / case / "input").iterdir())
    assert sorted(label_volume(file).boxes) == [1, 3, 12]
    masks = masks_of(config_in(case, "hippocampus.yaml", "input", table=str(STRANGERS / case / "names.csv")))
    assert [int(mask.occupancy.sum()) for mask in masks.values()] == [425, 425]


def test_images_beside_labels_are_left_out_by_name_and_refused_by_content():
    config = config_in("nnunet_images_read_as_labels", "hippocampus.yaml", "Dataset004_Hippo")
    listing = list_sources(config.input, kind="labels", labels=config.labels)
    assert len(listing.sources) == 6 and all(source.file.startswith("labelsTr/") for source in listing.sources)
    assert "; ".join(listing.notes).startswith("3 images beside labels left out (imagesTr/case_001_0000.nii.gz")
    assert "labels.pattern" in "; ".join(listing.notes)
    for image in (config.input / "imagesTr").iterdir():
        with pytest.raises(ValueError, match=rf"{image.name}: this looks like an image.*19 values.*labels\.pattern"):
            label_volume(image)
    asked_for = config_in("nnunet_images_read_as_labels", "hippocampus.yaml", "Dataset004_Hippo", pattern="images*/*")
    assert (
        len(list_sources(config.input, kind="labels", labels=asked_for.labels).sources) == 6
    )  # the user's word counts


def test_no_orientation_is_said_and_nothing_is_mirrored():
    sound = masks_of(config_in("no_orientation_codes", "kidneys.yaml", "with_codes"))
    assert {mask.quality for mask in sound.values()} == {"ok"} and len(sound) == 2
    config = config_in("no_orientation_codes", "kidneys.yaml", "without_codes")
    assert config.labels is not None
    for side in ("left", "right"):
        with pytest.raises(ValueError, match=r"sub-01\.nii\.gz.*sform_code and qform_code are 0.*mirror: never"):
            read_structure(config.input / "sub-01.nii.gz", f"kidney/{side}", config.labels)
    structure = replace(config.labels.structures[0], mirror="never")
    found = masks_of(replace(config, labels=replace(config.labels, structures=(structure,))))
    assert all(mask.quality.startswith("suspect: its header has no orientation") for mask in found.values())


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("dicom", r"3 without suffix, 3 \.dcm: DICOM; convert it, for example with dcm2niix"),
        ("pair", r"1 \.hdr, 1 \.img: a NIfTI or Analyze pair; write it as \.nii\.gz"),
    ],
)
def test_folders_of_other_formats(folder, said):
    config = config_in("no_orientation_codes", "kidneys.yaml", "with_codes")
    with pytest.raises(FileNotFoundError, match=said):
        list_sources(STRANGERS / "folders_of_other_formats" / folder, kind="labels", labels=config.labels)


def test_a_single_file_of_another_format():
    config = config_of(to_plain(config_in("no_orientation_codes", "kidneys.yaml", "with_codes")))
    folder = STRANGERS / "folders_of_other_formats"
    for file, said in (("dicom/IM0000.dcm", "dcm2niix"), ("dicom/I0000000", "dcm2niix"), ("pair/case_01.img", "pair")):
        with pytest.raises(ValueError, match=rf"{Path(file).name}.*it is .*{said}"):
            read_shape(folder / file, config)


def test_the_unit_of_the_header_counts(tmp_path):
    grids = [
        label_volume(STRANGERS / "units_not_mm" / "gt" / f"{unit}.nii.gz").grid for unit in ("mm", "micron", "metre")
    ]
    for grid in grids:
        np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), [0.9, 0.9, 2.5], rtol=1e-6)
        np.testing.assert_allclose(grid.affine, grids[0].affine, atol=1e-4)


@pytest.mark.parametrize(("spacing", "length"), [(1000.0, "4e"), (1e-4, "0.0004")])
def test_no_unit_is_taken_for_mm_only_where_that_can_be(tmp_path, spacing, length):
    path = save(
        tmp_path / "scan.nii.gz", np.ones((4, 4, 4), np.uint8), np.diag([spacing, spacing, spacing, 1]), unit="unknown"
    )
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: its header names no unit.*xyzt_units"):
        label_volume(path)


def test_no_unit_and_an_unusual_size_is_told(tmp_path):
    """A body in centimetres; nothing is changed, for a mouse in millimetres looks the same."""
    values = np.ones((40, 30, 20), np.uint8)
    for spacing, unit, told in (
        (0.8, "unknown", True),
        (0.8, "mm", False),
        (3.0, "unknown", False),
        (8, "unknown", True),
    ):
        path = save(tmp_path / "scan.nii.gz", values, np.diag([spacing, spacing, spacing, 1]), unit=unit)
        grid = label_volume(path).grid
        assert bool(grid.unit_note) == told and grid.doubts == ""
        assert np.linalg.norm(grid.affine[:3, 0]) == pytest.approx(spacing)
        size = f"{40 * spacing:.4g} mm long, voxels of {spacing:.3g} mm and more"
        assert grid.remarks == (f"its header names no unit of length, mm are assumed: {size}" if told else "")


def test_sform_against_qform(tmp_path):
    import nibabel

    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), None)
    image.header.set_sform(np.diag([1.0, 1, 1, 1]), code=2)
    image.header.set_qform(np.diag([-1.0, 1, 1, 1]), code=1)
    nibabel.save(image, tmp_path / "both.nii")
    assert "contradict" in label_volume(tmp_path / "both.nii").grid.doubt
    image.header.set_qform(np.diag([1.0, 1, 1, 1]), code=1)
    nibabel.save(image, tmp_path / "agree.nii")
    assert label_volume(tmp_path / "agree.nii").grid.doubt == ""


@pytest.mark.parametrize("labels", [(0, 1, 3, 12), (0, 1, 2, 3), (0, 5, 117)])
def test_labels_that_went_through_a_byte_and_back(tmp_path, labels):
    """Written as real numbers under an integer header, and again from what was read: a volume of 255ths."""
    import nibabel

    values = np.random.default_rng(0).choice(labels, (5, 6, 7)).astype(np.float64)
    values[0, 0, :2] = labels[0], labels[-1]
    image = nibabel.Nifti1Image(values, np.eye(4), nibabel.Nifti1Header())
    image.set_data_dtype(np.uint8)
    nibabel.save(image, tmp_path / "steps.nii.gz")
    assert {0, *label_volume(tmp_path / "steps.nii.gz").boxes} == set(labels)
    read = nibabel.Nifti1Image.from_filename(tmp_path / "steps.nii.gz").get_fdata()
    again = save(tmp_path / "again.nii.gz", read.astype(np.float32))
    assert {0, *label_volume(again).boxes} == set(labels)


def test_maps_of_probabilities_and_tiny_values_are_no_labels(tmp_path):
    import nibabel

    share = np.linspace(0, 1, 210).reshape(5, 6, 7)
    image = nibabel.Nifti1Image(share, np.eye(4), nibabel.Nifti1Header())
    image.set_data_dtype(np.uint8)
    nibabel.save(image, tmp_path / "share.nii.gz")
    with pytest.raises(ValueError, match=r"share.*stored in steps of 0\.0039.*labels\.threshold"):
        label_volume(tmp_path / "share.nii.gz")
    tiny = save(tmp_path / "tiny.nii.gz", (share > 0.5) * np.float32(5e-4))
    with pytest.raises(ValueError, match=r"tiny.*fractions up to 0\.0005"):
        label_volume(tiny)
