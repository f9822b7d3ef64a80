"""Which files of a folder are scans, and which are masks of one organ of a scan."""

from pathlib import Path

import pytest

from isofield.outliers.analysis.scans import Scan, find_scans
from tests.conftest import ROOT

KNOWN = ("liver", "kidney_left", "spleen")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def keys(scans: list[Scan]) -> list[str]:
    return [scan.key for scan in scans]


def test_flat_nested_and_organ_folders_stand_side_by_side(tmp_path: Path):
    touch(tmp_path, "b.nii.gz", "sub/x.nii", "s1/segmentations/liver.nii.gz", "s1/segmentations/Kidney Left.nii.gz")
    touch(tmp_path, "s1/segmentations/unheard_of.nii.gz", ".hidden.nii.gz", "._b.nii.gz", "notes.txt", ".git/y.nii")
    found = {scan.key: scan for scan in find_scans(tmp_path, KNOWN)}
    assert sorted(found) == ["b", "s1/segmentations", "sub/x"]
    assert found["b"].organs == () and found["b"].files == (tmp_path / "b.nii.gz",)
    stems = [stem for stem, _ in found["s1/segmentations"].organs]
    assert stems == ["Kidney Left", "liver", "unheard_of"] and found["s1/segmentations"].file.name == "segmentations"


def test_a_folder_called_like_a_scan_is_a_folder(tmp_path: Path):
    touch(tmp_path, "case.nii.gz/liver.nii.gz", "case.nii.gz/spleen.nii.gz", "other.nii.gz/seg.nii.gz", "other.nii")
    found = find_scans(tmp_path, KNOWN)
    assert keys(found) == ["case.nii.gz", "other", "other.nii.gz/seg"]
    assert [stem for stem, _ in found[0].organs] == ["liver", "spleen"]


def test_keys_are_unique_where_stems_are_not(tmp_path: Path):
    touch(tmp_path, "a.nii", "a.nii.gz", "B.NII.GZ", "liver/liver.nii.gz", "liver.nii")
    found = find_scans(tmp_path, (), layout="volumes")
    assert keys(found) == ["B", "a.nii", "a.nii.gz", "liver", "liver/liver"]
    touch(tmp_path, "x/liver.nii.gz", "x.nii")
    assert keys(find_scans(tmp_path, KNOWN, pattern="x*/*")) == ["x"]
    mixed = find_scans(tmp_path / "x", KNOWN)
    assert keys(mixed) == ["x"] and mixed[0].organs[0][0] == "liver"  # the folder itself is a subject
    both = find_scans(touch(tmp_path / "both", "x/liver.nii.gz", "x.nii"), KNOWN)
    assert keys(both) == ["x", "x_"] and not both[0].organs and both[1].organs


def test_a_pattern_chooses_and_layout_decides(tmp_path: Path):
    touch(tmp_path, "s1/ct.nii.gz", "s1/seg.nii.gz", "s2/ct.nii.gz", "s2/seg.nii.gz")
    assert keys(find_scans(tmp_path, KNOWN, pattern="seg.nii*")) == ["s1/seg", "s2/seg"]
    assert keys(find_scans(tmp_path, KNOWN, pattern="s2/*")) == ["s2/ct", "s2/seg"]
    assert [stem for stem, _ in find_scans(tmp_path, KNOWN, layout="organs")[0].organs] == ["ct", "seg"]


def test_nothing_to_look_at_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "absent")):
        find_scans(tmp_path / "absent", KNOWN)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path} .*\.nii\.gz"):
        find_scans(touch(tmp_path, "a.txt"), KNOWN)
    with pytest.raises(FileNotFoundError, match=r"\b1 .*\*seg\*: a\.nii"):
        find_scans(touch(tmp_path, "a.nii"), KNOWN, pattern="*seg*")


@pytest.mark.parametrize(("folder", "said"), [("dicom", "DICOM; convert it"), ("pair", "a NIfTI or Analyze pair")])
def test_other_formats_are_said_to_be_what_they_are(folder: str, said: str):
    strangers = ROOT / "tests" / "data" / "strangers" / "folders_of_other_formats"
    with pytest.raises(FileNotFoundError, match=rf"{folder} has no NIfTI files.*{said}"):
        find_scans(strangers / folder, KNOWN)
    with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
        find_scans(strangers / "gt" / "case_01.nii.gz", KNOWN)


def test_organs_by_entities_and_behind_subjects(tmp_path: Path):
    touch(tmp_path, "a/sub-1_label-liver_mask.nii.gz", "b/s1_liver.nii.gz", "b/s1_spleen.nii.gz")
    touch(tmp_path, "c/liver_001.nii.gz", "c/liver_002.nii.gz", "d/x_liver.nii.gz")
    found = {scan.key: [organ for organ, _ in scan.organs] for scan in find_scans(tmp_path, KNOWN)}
    assert found["a"] == ["liver"] and found["b"] == ["liver", "spleen"]
    assert found["c/liver_001"] == found["d/x_liver"] == []  # volumes of a data set of livers
