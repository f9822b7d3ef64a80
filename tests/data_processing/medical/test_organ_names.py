"""Organs out of names of files."""

import unicodedata

import pytest

from data_processing.medical.crops import organ_file
from data_processing.medical.organ_names import entity_organ, organ_of_stem

KNOWN = ("kidney_left", "kidney_right", "liver", "left hippocampus")


@pytest.mark.parametrize(
    ("stem", "organ"),
    [
        ("kidney_left", "kidney_left"),
        ("left-kidney", "kidney_left"),
        ("Liver_mask", "liver"),
        ("sub-01_label-kidneyLeft_mask", "kidney_left"),
        ("sub-01_label-kidneyleft_dseg", "kidney_left"),
        ("sub-01_hemi-L_label-hippocampus_mask", "left hippocampus"),
        ("sub-01_label-L_desc-hippocampus_mask", "left hippocampus"),
        ("sub-01_desc-liver_mask", "liver"),
        ("s0001_liver", ""),
        ("case_01", ""),
    ],
)
def test_stems_and_entities(stem, organ):
    assert organ_of_stem(stem, KNOWN) == organ


def test_behind_a_subject_where_asked():
    assert organ_of_stem("s0001_kidney_right", KNOWN, anywhere=True) == "kidney_right"
    assert entity_organ("sub-1_label-spleen_mask") == "spleen" and entity_organ("sub-1_T1w") == ""


def test_the_file_of_an_organ_by_its_entities(tmp_path):
    (tmp_path / "sub-01_label-liver_mask.nii.gz").touch()
    assert organ_file(tmp_path, "liver").name == "sub-01_label-liver_mask.nii.gz"
    (tmp_path / "sub-02_label-liver_mask.nii.gz").touch()
    with pytest.raises(ValueError, match=r"sub-01_label-liver.*sub-02_label-liver.*could both be liver"):
        organ_file(tmp_path, "liver")
    (tmp_path / "liver.nii.gz").touch()
    assert organ_file(tmp_path, "liver").name == "liver.nii.gz"
    assert organ_file(tmp_path, "colon").name == "colon.nii.gz"  # that should be there


def test_marks_belong_to_their_letters():
    """An umlaut in one character or in two is one letter; the vowels of other scripts tell names apart."""
    known = (unicodedata.normalize("NFC", "Schilddrüse"), "की", "का")
    assert organ_of_stem(unicodedata.normalize("NFD", "Schilddrüse_mask"), known) == known[0]
    assert organ_of_stem("का", known) == "का" and organ_of_stem("की", known) == "की" and organ_of_stem("कु", known) == ""
