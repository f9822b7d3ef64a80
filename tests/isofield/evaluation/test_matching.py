"""Which name belongs to which: equal ones, folders of one object, and rules that a user gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isofield.evaluation.mask_pairs import folder_masks_to_compare
from isofield.evaluation.matching import EQUAL, Matching, match_names, matching_of, suggestion
from isofield.evaluation.pairs import pairs_of_folders
from tests.conftest import ROOT
from tests.isofield.evaluation.test_pairs import put

CASE = ROOT / "tests/data/strangers/onet_folders"


def matched(predictions: list[str], truths: list[str], *rules: str) -> dict[str, str]:
    ours, theirs = ({name.rpartition(".")[0]: Path(name) for name in side} for side in (predictions, truths))
    return match_names(ours, theirs, matching_of(rules)).truth_of


def test_the_truth_alone_in_a_folder_of_the_predictions_name_belongs_to_it():
    (pair,) = pairs_of_folders(CASE / "pred", CASE / "gt")
    assert (pair.name, pair.category, pair.reason) == ("03001627/1a04e3ea", "03001627", "")
    assert pair.truth.path == CASE / "gt/03001627/1a04e3ea/pointcloud.npz"


def test_the_files_of_one_object_of_onet_are_one_truth(tmp_path):
    pred, gt = tmp_path / "pred", tmp_path / "gt"
    put(pred / "s/a.off", pred / "s/b.off", pred / "s/only.off")
    put(
        *[
            gt / "s" / name / file
            for name in ("a", "b", "c")
            for file in ("pointcloud.npz", "points.npz", "model.binvox")
        ]
    )
    pairs = {pair.name: pair for pair in pairs_of_folders(pred, gt)}
    assert list(pairs) == ["s/a", "s/b", "s/c", "s/only"]
    assert pairs["s/a"].truth.path == gt / "s/a/pointcloud.npz" and pairs["s/a"].truth.samples == gt / "s/a/points.npz"
    assert pairs["s/a"].truth.files() == [gt / "s/a/pointcloud.npz", gt / "s/a/points.npz"]
    assert pairs["s/c"].reason.startswith("no prediction") and pairs["s/only"].reason.startswith("no ground truth")


def test_folders_stand_for_files_on_either_side():
    assert matched(["s/a.off"], ["s/a/model.obj", "s/b/model.obj"]) == {"s/a": "s/a/model"}
    v2 = [f"s/a/models/model_normalized.{suffix}" for suffix in ("obj", "solid.binvox", "surface.binvox")]
    assert matched(["s/a.off"], v2) == {"s/a": "s/a/models/model_normalized"}
    assert matched(["s/a/mesh.off", "s/b/mesh.off"], ["s/a.npz"]) == {"s/a/mesh": "s/a"}
    assert matched(["s/a/mesh.off"], ["s/a/pointcloud.npz"]) == {"s/a/mesh": "s/a/pointcloud"}
    assert matched(["s/a.off"], ["s/a/one.npz", "s/a/two.npz"]) == {}  # nobody can tell


def test_files_alone_in_folders_of_one_name_are_not_paired_when_they_have_names_of_their_own():
    assert matched(["chair/a.ply", "table/b.ply"], ["chair/a.ply", "table/c.ply"]) == {"chair/a": "chair/a"}
    assert matched(["s/t/x.off"], ["s/t/y.npz"]) == {}


def test_rules_pair_what_is_called_differently():
    assert matched(["chair/a_pred.ply"], ["chair/a.ply"], "*_pred=*") == {"chair/a_pred": "chair/a"}
    assert matched(["pred_a.ply", "x/pred_b.ply"], ["gt_a.ply", "x/gt_b.ply"], "pred_*=gt_*") == {
        "pred_a": "gt_a", "x/pred_b": "x/gt_b"
    }  # fmt: skip
    assert matched(["Chair_01.ply"], ["chair_01.ply"], "case") == {"Chair_01": "chair_01"}
    assert matched(["A_PRED.ply"], ["a.ply"], "case", "*_PRED=*") == {"A_PRED": "a"}
    assert matched(["s/a_out.off"], ["s/a/pointcloud.npz"], "*_out=*") == {"s/a_out": "s/a/pointcloud"}
    assert matched(["a_pred.ply", "b.ply"], ["a.ply", "b.ply"], "*_pred=*") == {"a_pred": "a", "b": "b"}


def test_rules_that_cannot_be_meant_are_refused():
    for rule in ("_pred", "*_pred", "a=b", "**=*"):
        with pytest.raises(ValueError, match=r"--match '.*expected case, or PREDICTION=TRUTH"):
            matching_of([rule])
    with pytest.raises(ValueError, match="a and a_pred would both belong to a: rename one"):
        matched(["a.ply", "a_pred.ply"], ["a.ply"], "*_pred=*")
    with pytest.raises(ValueError, match="A could belong to A and to a: rename one"):
        matched(["A.ply"], ["A.ply", "a.ply"], "case")


@pytest.mark.parametrize(("pairs_of", "suffix"), [(pairs_of_folders, ".ply"), (folder_masks_to_compare, ".nii.gz")])
def test_no_two_rows_have_one_name(tmp_path, pairs_of, suffix):
    """b_bc belongs to bc, and what is called bc to c, which is not there: none of both may go, or be taken for both."""
    put(*(tmp_path / f"{name}{suffix}" for name in ("pred/b_bc", "pred/bc", "gt/bc")))
    with pytest.raises(ValueError, match="bc is named like the ground truth that by --match belongs to b_bc"):
        pairs_of(tmp_path / "pred", tmp_path / "gt", matching=matching_of(["b_*=*", "b*=*"]))


@pytest.mark.parametrize(
    ("predictions", "truths", "said"),
    [
        (["a_pred", "b_pred"], ["a", "b"], r"--match '\*_pred=\*'"),
        (["a", "b"], ["a_gt", "b_gt"], r"--match '\*=\*_gt'"),
        (["pred_a", "pred_b"], ["gt_a", "gt_b"], r"--match 'pred\*=gt\*'"),
        (["Chair_01"], ["chair_01"], "--match case"),
    ],
)
def test_the_rule_that_would_help_is_named(tmp_path, predictions, truths, said):
    put(*[tmp_path / "pred" / f"{name}.ply" for name in predictions], *[tmp_path / "gt" / f"{n}.ply" for n in truths])
    with pytest.raises(ValueError, match=said):
        pairs_of_folders(tmp_path / "pred", tmp_path / "gt")


NAMES = st.sets(st.text("abcXY_1", min_size=1, max_size=6), min_size=1, max_size=8)


@given(names=NAMES, end=st.sampled_from(["_pred", "-out", ".recon"]), folder=st.sampled_from(["", "s/", "s/t/"]))
def test_any_names_are_paired_by_the_rule_that_made_them(names, end, folder):
    predictions = {f"{folder}{name}{end}": Path("x.off") for name in names}
    truths = {f"{folder}{name}": Path("x.off") for name in names}
    found = match_names(predictions, truths, matching_of([f"*{end}=*"]))
    assert found.truth_of == {f"{folder}{name}{end}": f"{folder}{name}" for name in names}
    if not predictions.keys() & truths.keys():
        rule = suggestion(predictions, truths).partition("'")[2].partition("'")[0]
        assert not rule or match_names(predictions, truths, matching_of([rule])).truth_of


def test_nothing_asked_for_is_nothing_changed():
    assert matching_of([]) == EQUAL == Matching()


def test_a_rule_is_suggested_where_the_folders_differ_too():
    assert suggestion(["kidney/one", "kidney/two"], ["one_true", "two_true"]) == "--match 'kidney/*=*_true' pairs 2"
    assert suggestion(["one", "two"], ["gt/one", "gt/two"]) == "--match '*=gt/*' pairs 2"


def test_names_that_look_alike_are_alike_and_copies_of_systems_are_none(tmp_path):
    one, two = "st\u00fchl", "stu\u0308hl"
    assert matched([f"{one}.ply"], [f"{two}.ply"]) == {one: two} and matched([f"{two}.ply"], [f"{one}.ply"]) == {
        two: one
    }
    put(tmp_path / "pred/a.ply", tmp_path / "pred/__MACOSX/a.ply", tmp_path / "pred/._a.ply", tmp_path / "gt/a.ply")
    assert [pair.name for pair in pairs_of_folders(tmp_path / "pred", tmp_path / "gt")] == ["a"]
