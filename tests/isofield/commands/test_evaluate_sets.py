"""evaluate.py on sets of shapes as a user calls it: files, exit statuses, messages."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from data_processing.formats.mesh_files import write_mesh
from data_processing.store.shape_set import open_shapes
from isofield.evaluation.ground_truth import truth_of_shape
from isofield.run_dir import manifest_file
from tests.isofield.commands.test_evaluate import SCRIPT, evaluate
from tests.isofield.ready_runs import bare_run
from tests.small_sets import write_published

FEW = ["--points", "256", "--emd-points", "64", "--pictures", "3"]


@pytest.fixture
def folders(examples, tmp_path):
    """Three chairs against four tables, two of the chairs among the training shapes."""
    chairs, tables = (
        sorted((examples / name).glob("*.ply"), key=lambda path: path.stat().st_size) for name in ("chair", "table")
    )
    for name, paths in (("pred", chairs[2:5]), ("gt", tables[2:6]), ("trained", chairs[3:5])):
        (tmp_path / name).mkdir()
        for path in paths:
            shutil.copy(path, tmp_path / name)
    return tmp_path


def test_two_folders_as_sets(folders):
    result = evaluate(
        *("--pred", folders / "pred", "--gt", folders / "gt", "--training", folders / "trained"),
        *("--protocol", "generative", "lfd", *FEW),
    )
    assert result.returncode == 0, result.stderr
    out = folders / "pred-evaluation"
    for protocol, kinds in (("generative", ("chamfer", "emd")), ("lfd", ("lfd",))):
        evaluation = json.loads((out / f"samples-{protocol}.json").read_text())
        assert (evaluation["protocol"], evaluation["n"], evaluation["failed"]) == (protocol, 3, [])
        assert list(evaluation["scores"]) == list(kinds)
        assert len(list(csv.DictReader((out / f"samples-{protocol}.csv").open()))) == 3 + 4
        assert f"{protocol}, sets: " in result.stdout
    assert "data:image/png" in (out / "report-samples.html").read_text()
    assert str(out / "report-samples.html") in result.stdout
    assert len(list((out / "light-fields").iterdir())) == 3 + 4  # training shapes are the same meshes
    assert sorted(path.suffix for path in (folders / "pred").iterdir()) == [".ply"] * 3  # nothing of ours in there


@pytest.mark.slow
def test_lfd_of_pairs_and_of_sets(folders):
    for path in (folders / "trained").iterdir():
        shutil.copy(path, folders / "gt")
    pairs = evaluate("--pred", folders / "trained", "--gt", folders / "gt", "--protocol", "lfd", "--out", folders / "o")
    assert pairs.returncode == 2, pairs.stderr  # the tables have no prediction
    evaluation = json.loads((folders / "o/lfd.json").read_text())
    assert (evaluation["n"], evaluation["failed_count"], evaluation["mean"]["lfd"]) == (2, 4, 0)
    sets = evaluate(
        *("--pred", folders / "trained", "--gt", folders / "gt", "--samples", "--protocol", "lfd"),
        *("--out", folders / "o", "--device", "cpu"),
    )
    assert sets.returncode == 0, sets.stderr
    assert json.loads((folders / "o/samples-lfd.json").read_text())["mean"]["cov_lfd"] == 2 / 6


def test_samples_of_a_run(tmp_path):
    """Samples that are the training shapes themselves are found to be just that; one sample failed."""
    data = write_published(tmp_path, train=2, test=2)
    run = bare_run(data, tmp_path / "runs")
    missing = evaluate("--run", run.path, "--samples")
    assert missing.returncode == 1
    assert "generate.py" in missing.stderr and f" --run {run.path} --samples" in missing.stderr
    shapes = open_shapes(data)
    rows = [{"name": "sample-0002", "status": "failed", "reason": "no surface"}]
    for number, index in enumerate(shapes.indices("train")):
        write_mesh(
            run.meshes("samples") / f"sample-{number:04d}.ply", truth_of_shape(shapes, int(index)).surface_to_show()
        )
        rows.append({"name": f"sample-{number:04d}", "file": f"sample-{number:04d}.ply", "status": "done"})
    manifest_file(run.meshes("samples")).write_text(json.dumps({"model_hash": "abc", "seed": 3, "shapes": rows}))
    result = evaluate("--run", run.path, "--samples", *FEW)
    assert result.returncode == 2, result.stderr
    evaluation = json.loads((run.evaluation / "samples-test-generative.json").read_text())
    assert evaluation["failed"] == [{"set": "samples", "name": "sample-0002", "reason": "no surface"}]
    assert (evaluation["split"], evaluation["n"], evaluation["settings"]["model_hash"]) == ("test", 2, "abc")
    assert (evaluation["settings"]["seed"], evaluation["settings"]["samples_seed"]) == (0, 3)
    near = [row.get("training_chamfer") for row in evaluation["per_shape"] if row["set"] == "samples"]
    assert near == [None, "boxes/train00", "boxes/train01"]
    assert evaluation["nearness_to_training"]["chamfer"]["nearer"] == 1
    assert (run.evaluation / "report-samples.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pred", "{0}/pred", "--gt", "{0}/gt", "--protocol", "generative", "imnet"], "imnet compares shapes with"),
        (["--pred", "{0}/pred", "--gt", "{0}/gt", "--protocol", "lfd"], "--protocol generative lfd"),
        (["--pred", "{0}/pred", "--gt", "{0}/empty", "--samples"], "holds no file to evaluate"),
    ],
)
def test_wrong_use_is_one_line_and_exit_status_1(folders, arguments, message):
    (folders / "empty").mkdir()
    result = evaluate(*(argument.format(folders) for argument in arguments))
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folders / "pred-evaluation").exists()


def test_an_interrupt_ends_all_processes(folders):
    command = [sys.executable, str(SCRIPT), "--pred", str(folders / "pred"), "--gt", str(folders / "gt"), "--samples"]
    command += ["--protocol", "lfd", "--workers", "2"]
    kept = folders / "pred-evaluation/light-fields"
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    ) as process:
        while process.poll() is None and not (kept.is_dir() and any(kept.glob("[!.]*.npz"))):
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):  # it was faster than we were
            os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=600)
        assert process.returncode in (130, 0)
    assert b"Traceback" not in told
    with pytest.raises(ProcessLookupError):
        for _ in range(600):
            os.killpg(process.pid, 0)  # nobody of its group is left
            time.sleep(0.1)
