"""Which parts a config asks of each scan, what they are called, and which files hold them."""

import pytest

from data_processing.medical.structures import LabelConfig, StructureConfig, find_part, part_keys, part_of_name
from data_processing.preparation.sources import list_sources
from isofield.runtime.config import build
from tests.data_processing.preparation.test_sources import touch

KIDNEYS = StructureConfig("kidney", (1, 2), components=2, mirror="right")
PAIR = (
    StructureConfig("thalamus", ("left thalamus",), side="left"),
    StructureConfig("thalamus", ("right thalamus",), side="right", mirror="right"),
)
LIVER = StructureConfig("liver", ("liver",))
SETTINGS = LabelConfig((KIDNEYS, *PAIR, LIVER, StructureConfig("rib", (7,), components=3)))


def test_parts_and_their_mirrors():
    keys = ("kidney/left", "kidney/right", "thalamus/left", "thalamus/right", "liver", "rib/1", "rib/2", "rib/3")
    assert part_keys(SETTINGS) == keys
    assert [key for key in keys if find_part(key, SETTINGS).mirrored] == ["kidney/right", "thalamus/right"]
    assert find_part("", LabelConfig((LIVER,))).key == "liver"
    with pytest.raises(ValueError, match=r"kidney/left, .*''"):
        find_part("", SETTINGS)


def test_names_lead_back_to_parts(tmp_path):
    touch(tmp_path, "sub-1/dseg.nii.gz", "x.nii", "notes.txt", "skipped/y.nii")
    found = list_sources(tmp_path, kind="labels", labels=SETTINGS, exclude=["skipped/*"])
    assert len(found.sources) == 2 * 8 and found.ignored == {".txt": 1, "excluded": 1}
    by_name = {source.name: source for source in found.sources}
    assert by_name["kidney/sub-1/dseg-right"].part == "kidney/right"
    assert by_name["kidney/sub-1/dseg-right"].file == "sub-1/dseg.nii.gz"
    assert by_name["liver/x"].category == "liver" and by_name["liver/x"].kind == "labels"
    for source in found.sources:
        assert part_of_name(source.name, SETTINGS).key == source.part


def test_categories_and_pattern_choose(tmp_path):
    touch(tmp_path, "a/ct.nii.gz", "a/seg.nii.gz", "b/seg.nii.gz")
    settings = LabelConfig((KIDNEYS, LIVER), pattern="seg.nii.gz")
    found = list_sources(tmp_path, kind="labels", labels=settings, categories=["liver"])
    assert [source.name for source in found.sources] == ["liver/a/seg", "liver/b/seg"]
    with pytest.raises(
        FileNotFoundError, match=r"labels\.pattern.*3 \.nii\.gz.*'\*_dseg\.nii\.gz'.*--set \"labels\.pattern='\*'\""
    ):
        list_sources(tmp_path, kind="labels", labels=LabelConfig((LIVER,), pattern="*_dseg.nii.gz"))
    with pytest.raises(ValueError, match=r"kind: labels .*labels:"):
        list_sources(tmp_path, kind="labels")


def test_a_folder_of_one_file_per_organ_has_a_row_for_each_organ_there_or_not(tmp_path):
    touch(tmp_path, "s1/liver.nii.gz", "s1/lung_left.nii", "s2/segmentations/lung_left.nii.gz")
    lung = StructureConfig("lung", ("lung_left", "lung_right"))
    found = list_sources(tmp_path, kind="labels", labels=LabelConfig((LIVER, lung), files="organ"))
    assert {source.name: source.file for source in found.sources} == {
        "liver/s1": "s1/liver.nii.gz",
        "lung/s1": "s1/lung_left.nii",
        "liver/s2/segmentations": "s2/segmentations/liver.nii.gz",  # is not there: reading it says so
        "lung/s2/segmentations": "s2/segmentations/lung_left.nii.gz",
    }


def test_two_files_of_one_scan_name_are_refused(tmp_path):
    touch(tmp_path, "a.nii", "a.nii.gz")
    with pytest.raises(ValueError, match=r"a\.nii .*a\.nii\.gz .*'a'"):
        list_sources(tmp_path, kind="labels", labels=LabelConfig((LIVER,)))


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ([{"name": "a", "labels": []}], "a .*labels"),
        ([{"name": "a/b", "labels": [1]}], "a/b"),
        ([{"name": "a", "labels": [1], "components": 0}], "a: .*1 to 99 components"),
        ([{"name": "a", "labels": [1], "components": 2, "side": "left"}], "a: two components .*side"),
        ([{"name": "a", "labels": [1], "mirror": "right"}], "components: 2.*side"),
        ([{"name": "a", "labels": [1]}, {"name": "a", "labels": [2]}], r"called a\b"),
        ([{"name": "a", "labels": [1]}, {"name": "a", "labels": [2], "side": "left"}], r"called a\b"),
        ([], "labels.structures"),
        ([{"name": "a", "labels": [1], "mirror": True}], "'never', 'always' or 'right'"),
    ],
)
def test_settings_that_make_no_sense(structures, message):
    with pytest.raises(ValueError, match=message):
        build(LabelConfig, {"structures": structures}, where="config")


def test_ids_and_names_keep_their_type_in_a_config():
    settings = build(LabelConfig, {"structures": [{"name": "a", "labels": [1, "2 a"]}]}, where="config")
    assert settings.structures[0].labels == (1, "2 a")
