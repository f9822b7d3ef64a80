"""evaluate.py on files as strangers have them: paired, read right, or refused with the option that helps."""

import json
import shutil

import numpy as np
import pytest
import trimesh

from isofield.commands.evaluate import main
from tests.conftest import ROOT

CASES = ROOT / "tests/data/strangers"
FEW = ["--points", "20000", "--iou-points", "5000", "--pictures", "1", "--workers", "1"]


def evaluate(pred, gt, out, *options: str) -> tuple[int, dict]:
    status = main(["--pred", str(pred), "--gt", str(gt), "--out", str(out), "--protocol", "onet", *FEW, *options])
    return status, json.loads((out / "onet.json").read_text())


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """As the command has it."""


def test_predictions_and_truth_in_the_layout_of_onet(tmp_path):
    status, found = evaluate(CASES / "onet_folders/pred", CASES / "onet_folders/gt", tmp_path)
    (row,) = found["per_shape"]
    assert status == 0 and row["name"] == "03001627/1a04e3ea" and row["ground_truth"] == "points"
    assert row["chamfer"] < 0.2 and row["iou"] is None


def test_samples_beside_the_cloud_of_an_object_give_its_iou(tmp_path):
    case = CASES / "onet_points_as_truth"
    for kind, name in (("gt_cloud", "pointcloud"), ("gt_points", "points")):
        folder = tmp_path / "gt/03001627/1a04e3ea"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(case / kind / "03001627/1a04e3ea.npz", folder / f"{name}.npz")
    _, found = evaluate(case / "pred", tmp_path / "gt", tmp_path / "out")
    (row,) = found["per_shape"]
    assert row["chamfer"] < 0.2 and row["iou"] == pytest.approx(0.999, abs=2e-3)


def test_points_anywhere_give_iou_alone(tmp_path):
    case = CASES / "onet_points_as_truth"
    _, found = evaluate(case / "pred", case / "gt_points", tmp_path / "samples")
    (row,) = found["per_shape"]
    assert row["iou"] == pytest.approx(0.999, abs=2e-3) and row["ground_truth"] == "samples"
    assert all(row[key] is None for key in ("chamfer", "chamfer_l1", "chamfer_l2", "f_score", "normal_consistency"))
    _, found = evaluate(case / "pred", case / "gt_cloud", tmp_path / "cloud")
    assert found["per_shape"][0]["f_score"] > 0.75


def test_names_differ_and_the_truth_is_signed_distances(tmp_path, capsys):
    axis = (np.arange(32) + 0.5) / 32 - 0.5
    distance = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1), axis=-1) - 0.3
    (tmp_path / "pred").mkdir()
    (tmp_path / "gt").mkdir()
    trimesh.creation.icosphere(4, 0.3).export(tmp_path / "pred/Ball_pred.ply")
    np.save(tmp_path / "gt/ball.npy", distance)
    rules = ["--match", "case", "*_pred=*"]
    with pytest.raises(ValueError, match=r"Ball_pred and ball; .*--match"):
        evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "none")
    status, found = evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "a", *rules)
    assert status == 2 and "--set values=sdf" in found["per_shape"][0]["reason"]
    assert found["per_shape"][0]["name"] == "ball"  # as another candidate's row of the same shape
    assert "failed: ball: ground truth: " in capsys.readouterr().out
    status, found = evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "a", *rules, "--set", "values=sdf")
    (row,) = found["per_shape"]
    assert status == 0 and row["iou"] > 0.97 and row["chamfer"] < 0.2
    with pytest.raises(ValueError, match=r"--set: unknown key 'valeus'; did you mean 'values'"):
        evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "b", "--set", "valeus=sdf")


def test_what_was_left_out_of_a_truth_is_a_note_in_row_and_table(tmp_path, capsys):
    (tmp_path / "pred").mkdir()
    (tmp_path / "gt").mkdir()
    solid = trimesh.creation.icosphere(3, 1.0)
    solid.export(tmp_path / "pred/kinect.ply")
    shutil.copy(CASES / "organised_cloud_with_nan/kinect.pcd", tmp_path / "gt/kinect.pcd")
    _, found = evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "out")
    assert found["per_shape"][0]["note"] == "ground truth: 145 of 500 points without numbers left out"
    assert "note: kinect: ground truth: 145 of 500" in capsys.readouterr().out
    assert "145 of 500 points" in (tmp_path / "out/onet.csv").read_text()


def test_meshes_of_slicer_and_of_others_may_be_mirrored(tmp_path, capsys):
    """3D Slicer writes LPS and says so; where the other file says nothing, or RAS, somebody has to look."""
    solid = trimesh.creation.icosphere(2, 1.0)
    for name, own, other in (("a", "LPS", ""), ("b", "LPS", "LPS"), ("c", "", "RAS")):
        for side, space in (("pred", own), ("gt", other)):
            (tmp_path / side).mkdir(exist_ok=True)
            data = solid.export(file_type="ply")
            comment = f"ply\nformat binary_little_endian 1.0\ncomment SPACE={space}\n".encode()
            head = b"ply\nformat binary_little_endian 1.0\n"
            assert data.startswith(head)
            (tmp_path / side / f"{name}.ply").write_bytes(data.replace(head, comment, 1) if space else data)
    _, found = evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "out")
    told = {row["name"]: row["suspect"] for row in found["per_shape"]}
    assert "its file is in LPS, that of the ground truth in no space by name" in told["a"]
    assert told["b"] == "" and "its file is in no space by name, that of the ground truth in RAS" in told["c"]
    assert "suspect: a: prediction: its file is in LPS" in capsys.readouterr().out


def test_the_first_ten_that_failed_are_named(tmp_path, capsys):
    (tmp_path / "pred").mkdir()
    (tmp_path / "gt").mkdir()
    for number in range(12):
        (tmp_path / f"pred/{number:02}.ply").write_bytes(b"ply")
        trimesh.creation.icosphere(1, 1.0).export(tmp_path / f"gt/{number:02}.ply")
    status, found = evaluate(tmp_path / "pred", tmp_path / "gt", tmp_path / "out")
    told = capsys.readouterr().out
    assert status == 2 and found["failed_count"] == 12
    assert told.count("failed: ") == 10 and "... and 2 more" in told


def test_options_that_have_no_use_are_refused(tmp_path, capsys):
    for options in (["--match", "case"], ["--set", "values=sdf"]):
        with pytest.raises(SystemExit):
            main(["--run", str(tmp_path), "--split", "test", *options])
        assert f"error: {options[0]}: only for" in capsys.readouterr().err
