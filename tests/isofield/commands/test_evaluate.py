"""evaluate.py as a user calls it: files, exit statuses, messages."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.store.shape_set import open_shapes
from isofield.commands import evaluate as evaluate_command
from isofield.evaluation import ground_truth, rows
from isofield.evaluation.ground_truth import truth_of_shape
from isofield.reports import pairs
from isofield.run_dir import manifest_file
from tests.commands import call, status_of
from tests.conftest import ROOT
from tests.isofield.ready_runs import bare_run
from tests.small_sets import write_published

SCRIPT = ROOT / "evaluate.py"
FEW = ["--points", "2000", "--iou-points", "5000", "--pictures", "4"]


def evaluate(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=600)


@pytest.fixture
def folders(examples, tmp_path):
    """Three real meshes, two of them shaken a little, one lost."""
    generator = np.random.default_rng(0)
    for path in sorted(examples.glob("*/*.ply"))[::30][:3]:
        mesh = read_mesh(path)
        name = f"{path.parent.name}/{path.stem}"
        write_mesh(tmp_path / "gt" / f"{name}.ply", mesh)
        size = np.ptp(mesh.vertices, axis=0).max()
        shaken = mesh.vertices + generator.normal(size=mesh.vertices.shape) * size * 1e-3
        write_mesh(tmp_path / "pred" / f"{name}.obj", TriangleMesh(shaken, mesh.faces))
    return tmp_path


def test_two_folders(folders):
    result = evaluate("--pred", folders / "pred", "--gt", folders / "gt", "--protocol", "ifnet", "--workers", 2, *FEW)
    assert result.returncode == 0, result.stderr
    out = folders / "pred-evaluation"
    end = result.stdout.splitlines()[-1]
    assert end == f"done: ifnet 3 shapes, 0 failed; next: open the report: {out / 'report.html'}"
    assert not list(out.rglob(".*"))  # no lock, no journal
    evaluation = json.loads((out / "ifnet.json").read_text())
    assert evaluation["n"] == 3
    assert evaluation["failed"] == []
    assert 0 < evaluation["mean"]["chamfer"] < 1e-3
    assert evaluation["mean"]["iou"] > 0.8
    assert len(list(csv.DictReader((out / "ifnet.csv").open()))) == 3
    assert "data:image/png" in (out / "report.html").read_text()


def test_each_file_is_read_once_and_the_report_shows_the_same(folders, monkeypatch):
    """Few enough shapes for the report to show all: their pictures are drawn while the files are in memory."""
    files = []

    def counted(path):
        files.append(str(path))
        return read_mesh(path)

    for module in (rows, ground_truth, pairs):
        monkeypatch.setattr(module, "read_mesh", counted)
    words = ["--pred", folders / "pred", "--gt", folders / "gt", "--protocol", "ifnet", "onet", "--workers", 1, *FEW]
    assert call(evaluate_command.main, *words, "--out", folders / "once") == 0
    assert len(files) == 6 and len(set(files)) == 6
    assert call(evaluate_command.main, *words, "--out", folders / "few", "--pictures", 2) == 0
    assert len(files) == 6 + 6 + 4  # of more shapes than are shown, some are read again
    shown = re.findall(r"data:image/png;base64,[^\"]+", (folders / "once" / "report.html").read_text())
    chosen = re.findall(r"data:image/png;base64,[^\"]+", (folders / "few" / "report.html").read_text())
    assert len(shown) == 6 and len(chosen) == 4 and set(chosen) < set(shown)
    assert "pictures" not in json.loads((folders / "once" / "ifnet.json").read_text())["per_shape"][0]


def test_a_lost_shape_is_counted_and_the_exit_status_is_2(folders, capsys):
    lost = sorted((folders / "pred").glob("*/*.obj"))[0]
    lost.unlink()
    words = ["--pred", folders / "pred", "--gt", folders / "gt", "--out", folders / "out", *FEW]
    assert status_of(evaluate_command.main, *words) == 2
    for protocol in ("imnet", "onet"):  # both by default
        evaluation = json.loads((folders / "out" / f"{protocol}.json").read_text())
        assert evaluation["n"] == 2
        assert [failure["name"] for failure in evaluation["failed"]] == [f"{lost.parent.name}/{lost.stem}"]
    assert f"failed: {lost.parent.name}/{lost.stem}" in capsys.readouterr().out


def test_a_run_of_published_files(tmp_path):
    """The mesh of the stored voxels themselves is perfect; the other shapes have failed and were never made."""
    data = write_published(tmp_path, train=1, test=3)
    run = bare_run(data, tmp_path / "runs")
    shapes = open_shapes(data)
    write_mesh(run.meshes("test") / "boxes/test00.ply", truth_of_shape(shapes, 1).surface_to_show())
    rows = [
        {"name": "boxes/test00", "file": "boxes/test00.ply", "status": "done"},
        {"name": "boxes/test01", "status": "failed", "reason": "the field is empty"},
    ]
    manifest_file(run.meshes("test")).write_text(json.dumps({"model_hash": "abc", "shapes": rows}))
    assert status_of(evaluate_command.main, "--run", run.path, "--split", "test", "--protocol", "onet", *FEW) == 2
    evaluation = json.loads(run.evaluation_file("test", "onet", ".json").read_text())
    assert run.evaluation_file("test", "onet", ".csv").is_file()
    assert (run.evaluation / "report.html").is_file()
    assert (evaluation["protocol"], evaluation["split"], evaluation["n"]) == ("onet", "test", 1)
    assert [failure["name"] for failure in evaluation["failed"]] == ["boxes/test01", "boxes/test02"]
    assert evaluation["mean"]["iou"] > 0.97  # corners of voxels are cut off by marching cubes
    assert evaluation["mean"]["watertight"] == 1
    assert evaluation["settings"]["model_hash"] == "abc"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pred", "{0}/pred", "--gt", "{0}/gt", "--protocol", "ifnett"], "did you mean 'ifnet'"),
        (["--pred", "{0}/pred", "--gt", "{0}/nowhere"], "does not exist"),
        (["--run", "{0}/runs/none", "--split", "test"], "is not a run"),
        (["--run", "{0}/runs/none"], "--run needs --split"),
        (["--pred", "{0}/pred"], "--pred needs --gt"),
        ([], "give either --run"),
        (["--pred", "{0}/pred", "--gt", "{0}/gt", "--points", "0"], "at least 1, got 0"),
    ],
)
def test_wrong_use_is_one_line_and_exit_status_1(folders, capsys, arguments, message):
    assert status_of(evaluate_command.main, *(argument.format(folders) for argument in arguments)) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
    assert not (folders / "pred-evaluation").exists()


def test_an_evaluation_that_cannot_be_written_says_so(folders, capsys):
    shutil.rmtree(folders / "out", ignore_errors=True)
    (folders / "out").write_text("a file where the folder should be")
    words = ["--pred", folders / "pred", "--gt", folders / "gt", "--out", folders / "out", *FEW]
    assert status_of(evaluate_command.main, *words) == 1
    errors = capsys.readouterr().err
    assert "error: " in errors
    assert "Traceback" not in errors
