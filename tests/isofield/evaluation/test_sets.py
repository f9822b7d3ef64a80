"""Which shapes are judged against which: nothing is dropped, all lie in one frame."""

import json

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh, write_mesh
from isofield.evaluation.sets import folders_to_judge, run_to_judge
from isofield.run_dir import RunDir, manifest_file
from isofield.runtime.config import to_yaml
from tests.data_processing.solids import box
from tests.isofield.conftest import tiny_config

BOX = box([0, 0, 0], [1, 2, 3])


@pytest.fixture
def run(prepared, tmp_path) -> RunDir:
    """A run on five prepared boxes, with a sample, one that failed, and one whose file is gone."""
    config = tiny_config(prepared, tmp_path / "runs")
    run = RunDir(config.run_path)
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_yaml(config))
    write_mesh(run.meshes("samples") / "sample-0000.ply", BOX)
    rows = [
        {"name": "sample-0000", "file": "sample-0000.ply", "status": "done"},
        {"name": "sample-0001", "status": "failed", "reason": "no surface"},
        {"name": "sample-0002", "file": "sample-0002.ply", "status": "done"},
    ]
    manifest_file(run.meshes("samples")).write_text(json.dumps({"seed": 5, "model_hash": "abc", "shapes": rows}))
    return run


def test_samples_of_a_run_and_the_shapes_of_its_data_set(run):
    sets = run_to_judge(run.path, "test")
    assert [(member.name, member.reason) for member in sets.samples] == [
        ("sample-0000", ""),
        ("sample-0001", "no surface"),
        ("sample-0002", ""),
    ]
    assert len(sets.samples[0].load().solid().faces) == 12
    with pytest.raises(ValueError, match="no surface"):
        sets.samples[1].load()
    with pytest.raises(FileNotFoundError, match=r"sample-0002\.ply"):
        sets.samples[2].load()
    assert (len(sets.references), len(sets.training)) == (1, 4)
    assert {member.name for member in sets.references}.isdisjoint(member.name for member in sets.training)
    assert sets.about["model_hash"] == "abc"
    assert sets.about["training"] == "all 4 shapes"
    assert sets.out == run.evaluation
    assert sets.result_file(sets.out, "lfd", ".json").name == "samples-test-lfd.json"


@pytest.mark.parametrize("against", ["source", "voxels"])
def test_shapes_of_a_data_set_come_in_its_cube(run, prepared, against):
    """The boxes lie far from the origin, 2 to 4 long; in the cube the longest edge is at most 1."""
    for member in run_to_judge(run.path, "test", against=against).training:
        lower, upper = member.load().bounds()
        assert 0.8 < (upper - lower).max() <= 1.0
        np.testing.assert_allclose(lower + upper, 0, atol=0.05)
        raw = read_mesh(prepared.parent / "raw" / f"{member.name}.ply")
        edges = np.ptp(raw.vertices, axis=0)
        np.testing.assert_allclose(upper - lower, edges / edges.max() * (upper - lower).max(), atol=1 / 16)


def test_training_shapes_can_be_fewer_and_none(run):
    def names(**options):
        return [member.name for member in run_to_judge(run.path, "test", **options).training]

    assert len(names(training_shapes=2)) == 2
    assert names(training_shapes=2) == names(training_shapes=2)
    assert len({tuple(names(training_shapes=2, seed=seed)) for seed in range(8)}) > 1
    assert run_to_judge(run.path, "test", training_shapes=2).about["training"] == "2 of 4 shapes, drawn by the seed"
    assert names(training_shapes=0) == []
    against_train = run_to_judge(run.path, "train")
    assert against_train.training == []
    assert "references are the training shapes" in against_train.about["training"]


def test_a_run_without_samples_names_the_command(run):
    manifest_file(run.meshes("samples")).unlink()
    with pytest.raises(FileNotFoundError, match=rf"generate --run {run.path} --samples"):
        run_to_judge(run.path, "test")


def test_bad_runs_are_refused(run):
    with pytest.raises(ValueError, match="'tset'"):
        run_to_judge(run.path, "tset")
    manifest_file(run.meshes("samples")).write_text('{"shapes": []}')
    with pytest.raises(FileNotFoundError, match=r"manifest\.json .*generate --run RUN --samples"):
        run_to_judge(run.path, "test")
    manifest_file(run.meshes("samples")).write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json: .*generate"):
        run_to_judge(run.path, "test")


def test_folders_need_no_common_names(tmp_path):
    for name in ("mine/x.ply", "mine/deep/y.obj", "theirs/a.ply"):
        write_mesh(tmp_path / name, BOX)
    sets = folders_to_judge(tmp_path / "mine", tmp_path / "theirs")
    assert [member.name for member in sets.samples] == ["deep/y", "x"]
    assert [member.name for member in sets.references] == ["a"]
    assert sets.training == []
    assert "no folder" in sets.about["training"]
    assert sets.out == tmp_path.resolve() / "mine-evaluation"
    rows = [{"name": "x", "status": "done"}, {"name": "z", "status": "failed", "reason": "no surface"}]
    write_mesh(tmp_path / "mine/z.ply", BOX)  # of an earlier call
    manifest_file(tmp_path / "mine").write_text(json.dumps({"shapes": rows}))  # as generate.py writes it
    sets = folders_to_judge(tmp_path / "mine", tmp_path / "theirs")
    assert [(member.name, member.reason) for member in sets.samples] == [("deep/y", ""), ("x", ""), ("z", "no surface")]
    trained = folders_to_judge(tmp_path / "mine", tmp_path / "theirs", training=tmp_path / "mine", training_shapes=1)
    assert len(trained.training) == 1


def test_empty_and_missing_folders_are_refused(tmp_path):
    write_mesh(tmp_path / "mine/x.ply", BOX)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "empty")):
        folders_to_judge(tmp_path / "empty", tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "nowhere")):
        folders_to_judge(tmp_path / "mine", tmp_path / "nowhere")
