"""Maps on a scan's grid are written without being held: the same file as the plain way writes."""

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.medical.masks import read_crop, read_structure
from data_processing.medical.structures import LabelConfig, StructureConfig
from isofield.outliers.comparison.maps import box_of, write_map
from tests.data_processing.scan_files import body, save, turned

LIVER = LabelConfig((StructureConfig("liver", (5,)),))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 1), (0, 1, 0)])
def test_a_map_lies_where_the_scan_has_it(axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path):
    values, affine = body()
    stored, matrix = turned(values, affine, axes, flips)
    file = save(tmp_path / "a.nii.gz", stored, matrix)
    crop, mask = read_crop(file, "liver", LIVER), read_structure(file, "liver", LIVER)
    wider = box_of(crop, np.maximum(crop.lower - 3, 0), crop.lower + crop.occupancy.shape)
    write_map(tmp_path / "map.nii.gz", wider.occupancy, wider)
    made: Any = nibabel.load(tmp_path / "map.nii.gz")
    assert np.array_equal(np.asanyarray(made.dataobj), mask.on_scan()) and made.get_data_dtype() == np.uint8
    original: Any = nibabel.load(file)
    assert np.array_equal(made.affine, original.affine)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_header_is_copied_and_values_are_scaled(kind: Any, order: str, tmp_path: Path):
    values, affine = body()
    header = kind.header_class(endianness=order)
    image = kind(values.astype(f"{order}i2"), affine, header)
    image.header.set_sform(affine, code=4)
    image.header.set_qform(affine, code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, tmp_path / "a.nii")
    crop = read_crop(tmp_path / "a.nii", "liver", LIVER)
    signed = np.where(crop.occupancy, 70, -30).astype(np.int8)
    write_map(tmp_path / "map.nii.gz", signed, crop, slope=0.01)
    made: Any = nibabel.load(tmp_path / "map.nii.gz")
    assert type(made) is kind and made.header.endianness == order
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (4, 2)
    assert made.header.get_xyzt_units() == ("mm", "sec")
    found = made.get_fdata()
    assert np.allclose(np.unique(found), [-0.3, 0, 0.7]) and np.array_equal(found > 0.5, values == 5)


def test_a_box_that_does_not_fit_is_refused(tmp_path: Path):
    values, affine = body()
    crop = read_crop(save(tmp_path / "a.nii.gz", values, affine), "liver", LIVER)
    with pytest.raises(ValueError, match="is not in a box"):
        write_map(tmp_path / "x.nii.gz", crop.occupancy[1:], crop)
    with pytest.raises(ValueError, match="is not in a box"):
        write_map(tmp_path / "x.nii.gz", crop.occupancy.astype(np.float32), crop)
    assert not (tmp_path / "x.nii.gz").exists()
