"""What was measured otherwise never stands in one table: refused by name, or shown apart."""

from pathlib import Path

import pytest

from isofield.evaluation.comparability import group_candidates
from isofield.evaluation.results import read_candidates
from tests.isofield.evaluation.written_results import CHAMFER, written_result


def groups_of(folder: Path, first: dict, second: dict, *, allow: bool = False):
    files = [
        written_result(folder / f"{name}.json", **({"chamfer": CHAMFER} | how))
        for name, how in (("one", first), ("two", second))
    ]
    return group_candidates(read_candidates(files)[0], allow=allow)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "imnet"}, "no protocol and split is common to all: one has onet, split test; two has imnet"),
        ({"split": "val"}, "no protocol and split is common to all: one has onet, split test; two has onet, split val"),
        ({"seed": 1}, r"protocol onet, split test: seed differ \(one 0, two 1\)"),
        ({"points": 60}, r"points differ \(one 50, two 60\); iou points differ"),
        ({"about": {"data_hash": "other"}}, r"data hash differ \(one same, two other\)"),
        ({"about": {"match": "*_a=*"}}, r"match differ \(one none, two \*_a=\*\)"),
        ({"chamfer": {"sofa/y": 1.0}}, r"shapes differ \(one 4 .*\); they have no shape in common, only one: chair/a"),
        ({"chamfer": {**CHAMFER, "chair/z": 1.0}}, r"shapes differ \(one 4 .*two 5 .*only two: chair/z"),
    ],
)
def test_what_differs_is_refused_by_name_or_shown_apart(tmp_path: Path, change: dict, words: str):
    with pytest.raises(ValueError, match=words) as refused:
        groups_of(tmp_path, {}, change)
    assert "--allow" in str(refused.value)
    groups = groups_of(tmp_path, {}, change, allow=True)
    assert [[each.name for each in group.candidates] for group in groups] == [["one"], ["two"]]


def test_equal_ones_stand_together_and_failed_shapes_are_noted(tmp_path: Path):
    (group,) = groups_of(tmp_path, {}, {"chamfer": {**CHAMFER, "chair/a": None}})
    assert [each.name for each in group.candidates] == ["one", "two"]
    assert group.notes == ["two: 1 of 4 shapes failed"]


def test_an_unknown_hash_is_told_and_contradicts_nothing(tmp_path: Path):
    (group,) = groups_of(tmp_path, {"about": {"data_hash": None}}, {"chamfer": {**CHAMFER, "chair/a": 9.0}})
    assert len(group.notes) == 1 and group.notes[0].startswith("one: no data hash was recorded")


def test_what_only_some_have_is_left_out_by_name_or_shown_apart(tmp_path: Path):
    folder = tmp_path / "both"
    for protocol in ("onet", "imnet"):
        written_result(folder / f"{protocol}.json", CHAMFER, protocol=protocol)
    of_paths, _ = read_candidates([folder, written_result(tmp_path / "one.json", CHAMFER)])
    (group,) = group_candidates(of_paths, allow=False)
    assert group.protocol == "onet" and "imnet, split test: only both" in group.notes[-1]
    apart = group_candidates(of_paths, allow=True)
    assert [(each.protocol, len(each.candidates)) for each in apart] == [("imnet", 1), ("onet", 2)]


def test_one_evaluation_twice_is_told(tmp_path: Path):
    file = written_result(tmp_path / "one.json", CHAMFER)
    again = tmp_path / "again.json"
    again.symlink_to(file)
    (group,) = group_candidates(read_candidates([file, again])[0], allow=False)
    assert group.notes == [f"{file} and {again} are one evaluation ({file}): they cannot differ"]


def test_a_copy_is_told_and_one_other_number_is_none(tmp_path: Path):
    (group,) = groups_of(tmp_path, {}, {})
    assert group.notes == ["one and two have equal numbers for every shape: one may be a copy"]
    (group,) = groups_of(tmp_path, {}, {"chamfer": {**CHAMFER, "chair/a": 9.0}})
    assert group.notes == []
