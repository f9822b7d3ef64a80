"""Folders of label volumes judged label by label: which rows there are, and that their numbers are plain ones."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import scipy.ndimage

from data_processing.medical.label_names import Naming
from isofield.evaluation.mask_labels import category_of
from isofield.evaluation.mask_pairs import folder_masks_to_compare
from isofield.evaluation.matching import matching_of
from isofield.evaluation.options import read_options
from isofield.evaluation.protocols import MaskProtocol
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise, table
from tests.conftest import ROOT
from tests.data_processing.formats.test_images import nrrd
from tests.data_processing.scan_files import save
from tests.plain_ways import evaluate_pairs

STRANGERS = ROOT / "tests" / "data" / "strangers"
AFFINE = np.diag([-0.9, -0.9, 2.5, 1.0])


def rows_of(folder, *, naming=None, tolerance=1.0):
    pairs = folder_masks_to_compare(folder / "pred", folder / "gt", naming).pairs
    (rows,) = evaluate_pairs(pairs, [MaskProtocol(tolerance)], SampleCounts(), progress=False).values()
    return {row["name"]: row for row in rows}


def write(folder, side, values, *, name="case", labels=None, affine=AFFINE):
    save(folder / side / f"{name}.nii.gz", values, affine)
    if labels is not None:
        (folder / side / "dataset.json").write_text(json.dumps({"labels": labels}))


def volume(**boxes):
    """Labels l1, l2, ... in boxes along the first axis."""
    values = np.zeros((24, 12, 10), np.uint8)
    for label, (low, high) in boxes.items():
        values[low:high, 3:9, 2:8] = int(label[1:])
    return values


def plain_surface(mask):
    """Voxels of a mask with a face to the outside."""
    return mask & ~scipy.ndimage.binary_erosion(mask)


def test_two_folders_of_label_volumes():
    rows = rows_of(STRANGERS / "folders_of_label_volumes")
    assert {name: row["category"] for name, row in rows.items()} == {
        f"case_0{number}/{organ}": organ for number in (1, 2) for organ in ("kidney", "tumour")
    }
    for number in (1, 2):
        kidney, tumour = rows[f"case_0{number}/kidney"], rows[f"case_0{number}/tumour"]
        assert round(kidney["dice"], 4) == 0.9206 and round(tumour["dice"], 4) == 0.8477
        assert (round(kidney["volume"], 3), round(kidney["predicted_volume"], 3)) == (3.449, 3.845)
        assert (round(tumour["volume"], 3), round(tumour["predicted_volume"], 3)) == (3.860, 4.277)
        assert (kidney["label"], kidney["predicted_label"], kidney["note"]) == ("1", "1", "")


def test_values_are_those_of_numpy_and_scipy():
    folder = STRANGERS / "folders_of_label_volumes"
    true, predicted = (nibabel.Nifti1Image.from_filename(folder / side / "case_01.nii.gz") for side in ("gt", "pred"))
    spacing = np.array(true.header.get_zooms(), np.float64)
    arrays = [np.asanyarray(image.dataobj) for image in (true, predicted)]
    rows = rows_of(folder)
    for label, name in ((1, "kidney"), (2, "tumour")):
        one, other = (values == label for values in arrays)
        row = rows[f"case_01/{name}"]
        assert row["dice"] == 2 * (one & other).sum() / (one.sum() + other.sum())
        assert row["volume"] == pytest.approx(one.sum() * spacing.prod() / 1000, rel=1e-6)
        # The largest distance between surfaces by a distance transform: right within half a voxel's diagonal.
        to_one, to_other = (
            scipy.ndimage.distance_transform_edt(~plain_surface(mask), sampling=spacing) for mask in (one, other)
        )
        largest = max(to_one[plain_surface(other)].max(), to_other[plain_surface(one)].max())
        assert row["hd"] == pytest.approx(largest, abs=np.linalg.norm(spacing) / 2)


def test_the_prediction_says_another_label():
    rows = rows_of(STRANGERS / "other_label_number")
    assert rows["case_01/kidney_right"]["dice"] == rows["case_01/kidney_left"]["dice"] == 0
    assert "no label 2 (kidney_right), but label 3 (kidney_left)" in rows["case_01/kidney_right"]["note"]
    assert (rows["case_01/kidney_left"]["label"], rows["case_01/kidney_left"]["predicted_label"]) == ("", "3")
    assert rows["case_02/kidney_right"]["dice"] > 0.9


@pytest.mark.parametrize(("true", "predicted", "equal"), [(1, 255, True), (255, 1, True), (2, 3, False), (1, 2, False)])
def test_single_labels_of_other_numbers_are_never_called_equal(tmp_path, true, predicted, equal):
    mask = volume(l1=(2, 9))
    write(tmp_path, "gt", mask * np.uint8(true))
    write(tmp_path, "pred", mask * np.uint8(predicted))
    rows = rows_of(tmp_path)
    if equal:
        assert rows["case"]["dice"] == 1 and f"label {predicted} of the prediction was compared" in rows["case"]["note"]
    else:
        assert rows["case"]["dice"] == rows[f"case/label {predicted}"]["dice"] == 0 and len(rows) == 2


def test_names_count_more_than_numbers(tmp_path):
    write(tmp_path, "gt", volume(l1=(2, 9), l2=(12, 20)), labels={"background": 0, "liver": 1, "left kidney": 2})
    write(tmp_path, "pred", volume(l5=(2, 9), l1=(12, 20)), labels={"background": 0, "kidney_left": 1, "liver": 5})
    rows = rows_of(tmp_path)
    assert rows["case/liver"]["dice"] == rows["case/left kidney"]["dice"] == 1 and len(rows) == 2
    assert rows["case/liver"]["note"] == "label 5 of the prediction was compared with label 1 of the ground truth"


def test_missing_and_extra_labels_are_rows_and_absent_ones_are_none(tmp_path):
    names = {"0": "background", "1": "liver", "2": "spleen", "3": "colon", "4": "lung"}  # nnU-Net 1
    write(tmp_path, "gt", volume(l1=(1, 5), l2=(8, 12)), labels=names)
    write(tmp_path, "pred", volume(l1=(1, 5), l3=(15, 20)), labels=names)
    rows = rows_of(tmp_path)
    assert {name: row["dice"] for name, row in rows.items()} == {"case/liver": 1, "case/spleen": 0, "case/colon": 0}
    assert rows["case/spleen"]["hd95"] == rows["case/colon"]["hd95"] == np.inf
    assert "the prediction has no label 2 (spleen)" in rows["case/spleen"]["note"]
    assert rows["case/colon"]["note"] == "the ground truth has no label 3 (colon)"


def test_a_case_without_prediction_fails_for_each_of_its_labels(tmp_path):
    write(tmp_path, "gt", volume(l1=(1, 5), l2=(8, 12)), labels={"liver": 1, "spleen": 2})
    write(tmp_path, "gt", volume(l1=(1, 5)), name="other")
    write(tmp_path, "pred", volume(l1=(1, 5)), name="other")
    rows = rows_of(tmp_path)
    for organ in ("liver", "spleen"):
        assert rows[f"case/{organ}"]["status"] == "failed" and "pred has no case" in rows[f"case/{organ}"]["reason"]


def test_regions_of_several_labels_and_voxels_to_be_ignored(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    true, predicted = volume(l1=(2, 8), l2=(8, 12), l3=(14, 18)), volume(l2=(2, 8), l1=(8, 18))
    write(tmp_path, "gt", true, labels=labels)
    write(tmp_path, "pred", predicted)
    rows = rows_of(tmp_path)
    seen = true != 3
    for name, ids in (("whole", (1, 2)), ("core", (2,))):
        one, other = (np.isin(values, ids) & seen for values in (true, predicted))
        assert rows[f"case/{name}"]["dice"] == 2 * (one & other).sum() / (one.sum() + other.sum())
        assert rows[f"case/{name}"]["label"] == "+".join(map(str, ids))
    assert len(rows) == 2


def test_two_labels_of_one_name_stay_two(tmp_path):
    for side in ("gt", "pred"):
        write(tmp_path, side, volume(l3=(1, 5), l4=(8, 12)))
    (tmp_path / "names.csv").write_text("index,name\n3,rib\n4,rib\n")
    rows = rows_of(tmp_path, naming=Naming(str(tmp_path / "names.csv")))
    assert {name: row["label"] for name, row in rows.items()} == {"case/rib 3": "3", "case/rib 4": "4"}


def test_a_table_of_the_users_own_and_labels_without_one(tmp_path):
    both = volume(l1=(1, 5), l2=(8, 12))
    for side in ("gt", "pred"):
        write(tmp_path, side, both)
    assert set(rows_of(tmp_path)) == {"case/label 1", "case/label 2"}
    (tmp_path / "names.csv").write_text("1;liver\n2;spleen\n")
    naming = Naming(str(tmp_path / "names.csv"))
    assert {row["category"] for row in rows_of(tmp_path, naming=naming).values()} == {"liver", "spleen"}


def test_a_map_of_probabilities_needs_a_threshold_and_the_option_is_the_commands(tmp_path):
    folder = STRANGERS / "probability_map_evaluated"
    assert "got 0.5" in rows_of(folder)["case_01"]["reason"] and "--threshold" in rows_of(folder)["case_01"]["reason"]
    assert rows_of(folder, naming=Naming(threshold=0.5))["case_01"]["dice"] > 0.9
    with pytest.raises(SystemExit):
        read_options(["--pred", "a", "--gt", "b", "--threshold", "0.5"], None)  # meshes have none


def test_segments_of_slicer_against_a_volume_of_numbers(tmp_path):
    """Names in the header of one side, numbers and dataset.json on the other."""
    values = volume(l1=(1, 5), l2=(8, 12))
    affine = np.array([[-1.0, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]])
    write(
        tmp_path,
        "gt",
        np.where(values == 1, 7, values).astype(np.uint8),
        labels={"liver": 7, "spleen": 2},
        affine=affine,
    )
    more = "Segment0_ID:=a\nSegment0_Name:=Spleen\nSegment0_LabelValue:=2\nSegment0_Layer:=0\n"
    more += "Segment1_ID:=b\nSegment1_Name:=Liver\nSegment1_LabelValue:=1\nSegment1_Layer:=0\n"
    (tmp_path / "pred").mkdir()
    nrrd(tmp_path / "pred" / "case.seg.nrrd", values, more=more)
    rows = rows_of(tmp_path)
    assert {name: (row["dice"], row["label"], row["predicted_label"]) for name, row in rows.items()} == {
        "case/liver": (1, "7", "1"),
        "case/spleen": (1, "2", "2"),
    }


def test_the_same_voxels_in_another_order():
    row = rows_of(STRANGERS / "same_voxels_in_another_order")["case_01"]
    assert (round(row["dice"], 4), round(row["hd95"], 4)) == (0.9354, 1.2728)
    assert "another order" in row["note"]


def test_the_same_grid_with_a_rounded_header():
    row = rows_of(STRANGERS / "grid_of_a_rounded_header")["mr"]
    assert row["dice"] == row["nsd"] == 1 and "differ by up to 0.0027 voxels (0.0022 mm)" in row["note"]


def test_units_of_the_header():
    rows = list(rows_of(STRANGERS / "units_not_mm").values())
    assert len(rows) == 3
    for row in rows:
        assert round(row["volume"], 3) == 7.308 and round(row["hd95"], 3) == 1.273 and round(row["nsd"], 3) == 0.947


def test_sizes_without_a_unit_are_a_note(tmp_path):
    for side in ("gt", "pred"):
        save(tmp_path / side / "case.nii.gz", volume(l1=(2, 9)), AFFINE, unit="unknown")
    (row,) = rows_of(tmp_path).values()
    assert row["dice"] == 1 and row["status"] == "done" and not row["suspect"]
    assert row["note"].startswith("its header names no unit of length, mm are assumed: 25 mm long")
    save(tmp_path / "gt/case.nii.gz", volume(l1=(2, 9)), AFFINE)
    (row,) = rows_of(tmp_path).values()
    assert "mm are assumed" in row["note"]  # of the prediction


@pytest.mark.parametrize("spacing", [0.6, 0.8, 1.2])
def test_surfaces_as_far_apart_as_the_tolerance_are_within(spacing):
    row = rows_of(STRANGERS / "nsd_tolerance_equals_spacing" / f"spacing_{spacing}", tolerance=spacing)["a"]
    assert row["nsd"] == 1 and row["hd"] == pytest.approx(spacing)
    closer = rows_of(STRANGERS / "nsd_tolerance_equals_spacing" / f"spacing_{spacing}", tolerance=spacing * 0.9999)["a"]
    assert closer["nsd"] < 0.7


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("dicom", r"3 without suffix, 3 \.dcm: DICOM; convert it"),
        ("pair", r"1 \.hdr, 1 \.img: a NIfTI or Analyze pair"),
        ("gt/case_01.nii.gz", "is a file, expected a folder"),
        ("nothing", "does not exist"),
    ],
)
def test_folders_of_other_things(folder, said):
    place = STRANGERS / "folders_of_other_formats"
    with pytest.raises(OSError, match=said):
        folder_masks_to_compare(place / folder, place / "gt")


def test_images_beside_labels_are_left_out_with_a_line(tmp_path):
    raw = STRANGERS / "nnunet_images_read_as_labels" / "Dataset004_Hippo"
    for side in ("gt", "pred"):
        shutil.copytree(raw, tmp_path / side)
    comparison = folder_masks_to_compare(tmp_path / "pred", tmp_path / "gt")
    assert {pair.category for pair in comparison.pairs} == {"left hippocampus", "right hippocampus"}
    protocol = MaskProtocol()
    (rows,) = evaluate_pairs(comparison.pairs, [protocol], SampleCounts(), progress=False).values()
    shown = table(summarise(rows, protocol, SampleCounts(), split=None, about=comparison.about))
    assert "3 images beside labels left out (imagesTr/case_001_0000.nii.gz" in shown and "--pattern" in shown


def test_categories_of_plain_masks_come_from_names_of_files():
    assert category_of("s0001/segmentations/kidney_left") == "kidney_left"
    assert category_of("sub-01/sub-01_label-putamen_mask") == "putamen"
    assert category_of("kidney/case_01") == "kidney" and category_of("case_01") == "all"


def test_names_that_differ_by_a_rule(tmp_path):
    values = volume(l1=(4, 12))
    write(tmp_path, "gt", values, name="A/case_01")
    write(tmp_path, "gt", values, name="case_02")
    write(tmp_path, "pred", values, name="A/Case_01_pred")
    write(tmp_path, "pred", values, name="case_02_pred")
    write(tmp_path, "pred", values, name="other")
    folders = tmp_path / "pred", tmp_path / "gt"
    with pytest.raises(ValueError, match=r"names have to match\. --match .*'\*_pred=\*'"):
        folder_masks_to_compare(*folders)
    comparison = folder_masks_to_compare(*folders, matching=matching_of(["case", "*_pred=*"]))
    assert {pair.name: pair.reason[:13] for pair in comparison.pairs} == {
        "A/case_01": "", "case_02": "", "other": "no ground tru",
    }  # fmt: skip
    assert comparison.about["match"] == "case, *_pred=*" or "*_pred" in str(comparison.about["match"])
    write(tmp_path, "pred", values, name="case_02")
    with pytest.raises(ValueError, match="case_02 and case_02_pred would both belong to case_02"):
        folder_masks_to_compare(*folders, matching=matching_of(["*_pred=*"]))
