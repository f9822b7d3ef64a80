"""Which file belongs to which: nothing is dropped, everything that is missing says so."""

import json

import numpy as np
import pytest

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.pairs import files_by_name, folders_to_compare, pairs_of_folders, pairs_of_run, run_to_compare
from isofield.run_dir import RunDir, manifest_file
from isofield.runtime.config import to_yaml
from tests.isofield.conftest import tiny_config

MESH = TriangleMesh(np.eye(3), np.array([[0, 1, 2]]))


def put(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_match_by_path_without_suffix(tmp_path):
    pred, gt = tmp_path / "pred", tmp_path / "gt"
    put(pred / "chair/a.obj", pred / "b.ply", pred / "only_here.stl", pred / "notes.txt", pred / ".partial-1-c.ply")
    put(gt / "chair/a.nii.gz", gt / "b.npz", gt / "chair/only_there.ply")
    pairs = {pair.name: pair for pair in pairs_of_folders(pred, gt)}
    assert list(pairs) == ["b", "chair/a", "chair/only_there", "only_here"]
    assert pairs["chair/a"].prediction == pred / "chair/a.obj"
    assert pairs["chair/a"].truth.path == gt / "chair/a.nii.gz"
    assert (pairs["chair/a"].category, pairs["b"].category) == ("chair", "all")
    assert pairs["chair/only_there"].reason.startswith("no prediction")
    assert pairs["only_here"].reason.startswith("no ground truth")
    assert pairs["b"].reason == ""


def test_inputs_written_beside_the_meshes_are_no_predictions(tmp_path):
    pred, gt = tmp_path / "pred", tmp_path / "gt"
    put(pred / "chair/a.ply", pred / "chair/a_input.ply", pred / "chair/my_input.ply", gt / "chair/a.ply")
    shapes = [{"name": "chair/a", "file": "chair/a.ply", "input_file": "chair/a_input.ply"}, {"name": "b"}]
    manifest_file(pred).write_text(json.dumps({"shapes": shapes}))
    assert sorted(pair.name for pair in pairs_of_folders(pred, gt)) == ["chair/a", "chair/my_input"]
    manifest_file(pred).write_text("{cut")
    assert len(pairs_of_folders(pred, gt)) == 3


def test_results_of_folders_go_beside_the_predictions(tmp_path):
    put(tmp_path / "pred/a.ply", tmp_path / "gt/a.ply")
    what = folders_to_compare(tmp_path / "pred", tmp_path / "gt")
    assert what.out == tmp_path.resolve() / "pred-evaluation"
    assert what.result_file(what.out, "onet", ".json").name == "onet.json"


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    put(tmp_path / "pred/a.ply", tmp_path / "gt/b.ply", tmp_path / "twice/a.ply", tmp_path / "twice/a.obj")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"pred .*gt: .* a and b"):
        pairs_of_folders(tmp_path / "pred", tmp_path / "gt")
    with pytest.raises(ValueError, match=r"a\.obj .*a\.ply .*twice"):
        files_by_name(tmp_path / "twice", {".ply", ".obj"})
    with pytest.raises(FileNotFoundError, match=r"empty .*\.glb"):
        pairs_of_folders(tmp_path / "empty", tmp_path / "gt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pairs_of_folders(tmp_path / "nowhere", tmp_path / "gt")


@pytest.fixture
def run(boxes, tmp_path) -> RunDir:
    """A run whose test split of three shapes has one mesh, one failure, and one that was never made."""
    config = tiny_config(boxes, tmp_path)
    run = RunDir(config.run_path)
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_yaml(config))
    write_mesh(run.meshes("test") / "boxes/test00.ply", MESH)
    shapes = [
        {"name": "boxes/test00", "file": "boxes/test00.ply", "status": "done", "reason": ""},
        {"name": "boxes/test01", "status": "failed", "reason": "the field is empty"},
    ]
    manifest_file(run.meshes("test")).write_text(json.dumps({"run": "tiny", "resolution": 64, "shapes": shapes}))
    return run


def test_every_shape_of_the_split_is_a_pair(run):
    made, failed, never = pairs_of_run(run, "test")
    assert (made.name, made.category, made.reason) == ("boxes/test00", "boxes", "")
    assert made.prediction == run.meshes("test") / "boxes/test00.ply"
    assert made.truth.load().kind == "voxels"
    assert failed.reason == "no prediction: the field is empty"
    assert "not in" in never.reason
    assert never.truth is not None  # for the report


def test_a_folder_of_ground_truth_overrides_that_of_the_data_set(run, tmp_path):
    put(tmp_path / "surfaces/test00.ply", tmp_path / "surfaces/boxes/test02.npz")
    pairs = pairs_of_run(run, "test", truth_folder=tmp_path / "surfaces")
    assert pairs[0].truth.path == tmp_path / "surfaces/test00.ply"
    assert pairs[1].reason.startswith("no ground truth")
    assert pairs[2].truth.path == tmp_path / "surfaces/boxes/test02.npz"


def test_results_of_a_run_are_named_by_run_dir(run):
    what = run_to_compare(run.path, "test")
    assert what.result_file(what.out, "onet", ".json") == run.evaluation_file("test", "onet", ".json")
    assert what.about["resolution"] == 64
    assert what.title == "tiny: test split"


def test_what_is_missing_is_named(run):
    with pytest.raises(FileNotFoundError, match=r"'train'.*isofield generate --run"):
        pairs_of_run(run, "train")
    with pytest.raises(FileNotFoundError, match=r"other .*config\.yaml.* tiny"):
        pairs_of_run(RunDir(run.path.parent / "other"), "test")
    manifest_file(run.meshes("test")).write_text('{"shapes": [{"nam')
    with pytest.raises(ValueError, match=r"manifest\.json: .*generate\.py"):
        pairs_of_run(run, "test")
