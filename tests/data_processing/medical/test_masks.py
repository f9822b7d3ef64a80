"""One shape out of a labelled scan: the right one, in its place, whatever the axes of the file."""

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.medical.masks import mask_to_cube, read_structure
from data_processing.medical.structures import LabelConfig, StructureConfig
from tests.data_processing.scan_files import body, centred, save, turned

KIDNEYS = LabelConfig((StructureConfig("kidney", (2,), components=2, mirror="right"),))
BOTH = LabelConfig((StructureConfig("all", (2, 5)),))


def centroid(mask) -> np.ndarray:
    return nibabel.affines.apply_affine(mask.index_to_world, np.argwhere(mask.occupancy).mean(axis=0))


@pytest.mark.parametrize("axes", itertools.permutations(range(3)))
def test_left_is_left_and_axes_of_the_file_change_nothing(tmp_path, axes):
    """RAS: x grows towards the patient's right. Bitwise the same for all 48 ways to store the scan."""
    values, affine = body()
    plain = save(tmp_path / "plain.nii", values, affine)
    expected = {part: read_structure(plain, part, KIDNEYS) for part in ("kidney/left", "kidney/right")}
    assert centroid(expected["kidney/left"])[0] < -20 < 20 < centroid(expected["kidney/right"])[0]
    assert expected["kidney/right"].occupancy.sum() > expected["kidney/left"].occupancy.sum()
    cubes = {part: mask_to_cube(mask, 40, by="longest_edge", length=0.9) for part, mask in expected.items()}
    for flips in itertools.product((False, True), repeat=3):
        path = save(tmp_path / "turned.nii.gz", *turned(values, affine, axes, flips))
        for part, mask in expected.items():
            found = read_structure(path, part, KIDNEYS)
            np.testing.assert_array_equal(found.occupancy, mask.occupancy)
            np.testing.assert_allclose(found.index_to_world, mask.index_to_world, atol=1e-4)
            assert found.mirrored == (part == "kidney/right")
            grid_RRR, to_world = mask_to_cube(found, 40, by="longest_edge", length=0.9)
            assert grid_RRR.equal(cubes[part][0])
            np.testing.assert_allclose(to_world, cubes[part][1], atol=1e-4)
            image: Any = nibabel.load(path)
            assert (image.get_fdata()[found.on_scan() > 0] == 2).all()
            assert found.on_scan().sum() == mask.occupancy.sum()


def test_labels_are_merged(tmp_path):
    values, affine = body()
    mask = read_structure(save(tmp_path / "scan.nii.gz", values, affine), "", BOTH)
    np.testing.assert_array_equal(mask.on_scan() > 0, values > 0)
    assert mask.quality == "ok" and mask.left_out == 0


def test_small_pieces_are_no_parts_but_counted(tmp_path):
    values, affine = body()
    values[2:4, 2:4, 2:4] = 2
    mask = read_structure(save(tmp_path / "scan.nii.gz", values, affine), "kidney/left", KIDNEYS)
    assert centroid(mask)[0] == pytest.approx(-28, abs=1) and mask.left_out == 8
    all_pieces = LabelConfig(KIDNEYS.structures, smallest_component=0.001)
    third = LabelConfig((StructureConfig("kidney", (2,), components=3),), smallest_component=0.001)
    assert read_structure(tmp_path / "scan.nii.gz", "kidney/3", third).occupancy.sum() == 8
    assert read_structure(tmp_path / "scan.nii.gz", "kidney/left", all_pieces).left_out == 8
    alone = LabelConfig((StructureConfig("kidney", (2,), components=1),))
    assert centroid(read_structure(tmp_path / "scan.nii.gz", "", alone))[0] > 20


def test_pieces_that_share_but_an_edge_are_two(tmp_path):
    values = np.zeros((8, 8, 8), np.uint8)
    values[1:3, 1:3, 1:6] = values[3:6, 3:6, 1:6] = 1
    settings = LabelConfig((StructureConfig("x", (1,), components=2),))
    path = save(tmp_path / "scan.nii", values)
    assert [read_structure(path, f"x/{side}", settings).occupancy.sum() for side in ("left", "right")] == [20, 45]


def test_one_kidney_alone_fails_for_the_other_side_only(tmp_path):
    values, affine = body()
    values[:30][values[:30] == 2] = 0
    values[2:4, 2:4, 2:4] = 2  # a crumb is no kidney
    path = save(tmp_path / "scan.nii.gz", values, affine)
    assert centroid(read_structure(path, "kidney/right", KIDNEYS))[0] > 20
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: kidney"):
        read_structure(path, "kidney/left", KIDNEYS)
    three = LabelConfig((StructureConfig("kidney", (2,), components=3),))
    with pytest.raises(ValueError, match=r"kidney .*\b1 .*\b3: .*\b2\b"):
        read_structure(path, "kidney/2", three)


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 0, 0)), ((2, 0, 1), (1, 0, 1))])
def test_touching_the_border_names_the_faces(tmp_path, axes, flips):
    values, affine = body()
    cut = centred(affine, (30, 40, 18))
    path = save(tmp_path / "cut.nii.gz", *turned(values[:45, :, 12:], cut, axes, flips))
    settings = LabelConfig((StructureConfig("liver", (5,)), StructureConfig("kidney", (2,), components=2)))
    assert read_structure(path, "liver", settings).touched == ("right",)
    assert read_structure(path, "kidney/right", settings).quality == "partial: touches right, inferior"
    assert read_structure(path, "kidney/left", settings).quality == "partial: touches inferior"


def test_labels_that_are_not_there_name_those_that_are(tmp_path):
    values, affine = body()
    path = save(tmp_path / "scan.nii.gz", values, affine)
    with pytest.raises(ValueError, match=r"scan\.nii\.gz:.*9 \(lung\).*2, 5"):
        read_structure(path, "", LabelConfig((StructureConfig("lung", (9,)),)))
    named = LabelConfig((StructureConfig("lung", ("lung",)),))
    with pytest.raises(ValueError, match=r"'lung'.*2, 5"):
        read_structure(path, "", named)
    (tmp_path / "scan.tsv").write_text("index\tname\n2\tkidneys\n5\tliver\n9\tlung\n")
    with pytest.raises(ValueError, match=r"9 \(lung\).*2 kidneys, 5 liver"):
        read_structure(path, "", named)
    empty = save(tmp_path / "empty.nii.gz", values * 0, affine)
    with pytest.raises(ValueError, match=r"empty\.nii\.gz: .*\b2 or 5 \(all\)"):
        read_structure(empty, "", BOTH)


def test_a_label_that_some_scans_lack_is_no_error_beside_one_that_is_there(tmp_path):
    values, affine = body()
    path = save(tmp_path / "scan.nii.gz", values, affine)
    mask = read_structure(path, "", LabelConfig((StructureConfig("liver", (5, 6)),)))
    assert mask.occupancy.sum() == (values == 5).sum()


def test_a_table_that_contradicts_the_file_is_refused(tmp_path):
    values, affine = body()
    path = save(tmp_path / "scan.nii.gz", values, affine)
    (tmp_path / "scan.json").write_text('{"2": "kidney_left", "5": "liver"}')
    liver = LabelConfig((StructureConfig("liver", ("liver",)),), table="total")
    assert read_structure(path, "", liver).occupancy.sum() == (values == 5).sum()
    kidney = LabelConfig((StructureConfig("kidney", ("kidney_left",)),), table="total")
    with pytest.raises(ValueError, match=r"'kidney_left'.*\(3,\).*\(2,\).*scan\.json"):
        read_structure(path, "", kidney)


def test_one_file_per_organ(tmp_path):
    values, affine = body()
    save(tmp_path / "s" / "liver.nii.gz", (values == 5).astype(np.uint8), affine)
    save(tmp_path / "s" / "kidneys.nii", (values == 2).astype(np.float32), affine)
    both = LabelConfig((StructureConfig("all", ("liver", "kidneys")),), files="organ")
    found = read_structure(tmp_path / "s" / "liver.nii.gz", "", both)
    np.testing.assert_array_equal(found.on_scan() > 0, values > 0)
    lung = LabelConfig((StructureConfig("lung", ("lung",)),), files="organ")
    with pytest.raises(FileNotFoundError, match=r"lung\.nii\.gz.*kidneys\.nii, liver"):
        read_structure(tmp_path / "s" / "lung.nii.gz", "", lung)
    save(tmp_path / "s" / "lung.nii.gz", values, affine)
    with pytest.raises(ValueError, match="labels 2, 5"):
        read_structure(tmp_path / "s" / "lung.nii.gz", "", lung)
    save(tmp_path / "s" / "kidneys.nii", (values == 2).astype(np.uint8), centred(affine, (9, 9, 9)))
    with pytest.raises(ValueError, match=r"kidneys\.nii:.*liver\.nii\.gz"):
        read_structure(tmp_path / "s" / "liver.nii.gz", "", both)


def test_real_brains_left_and_right_by_name_and_by_place(examples):
    """Labels of both sides by their names in the atlas; the left one is at smaller x in every donor."""
    file = examples / "brain" / "donor_10021_dk.nii.gz"
    sides = [StructureConfig("putamen", (f"{side} putamen",), side=side) for side in ("left", "right")]
    settings = LabelConfig(tuple(sides), table="atlas-desikankilliany.csv")
    left, right = (read_structure(file, f"putamen/{side}", settings) for side in ("left", "right"))
    assert centroid(left)[0] < -15 < 15 < centroid(right)[0]
    as_pieces = LabelConfig((StructureConfig("putamen", (37, 78), components=2),))
    np.testing.assert_array_equal(read_structure(file, "putamen/left", as_pieces).occupancy.sum(), left.occupancy.sum())
    ambiguous = LabelConfig((StructureConfig("putamen", ("putamen",)),), table="atlas-desikankilliany.csv")
    with pytest.raises(ValueError, match=r"'left putamen' \(37\), 'right putamen' \(78\)"):
        read_structure(file, "", ambiguous)
