"""What follows a training that did not come to its end says so: generate, evaluate, and the files they write."""

import json
from pathlib import Path

import pytest

from isofield import checkpoint
from isofield.commands import evaluate, generate
from isofield.run_dir import RunDir
from tests.commands import call
from tests.isofield.ready_runs import make_run

STATE = "was trained for 12 of 300 steps"


@pytest.fixture
def run(boxes: Path, tmp_path: Path) -> RunDir:
    return make_run(boxes, tmp_path / "runs")


def set_steps(run: RunDir, *, step: int, planned: int) -> None:
    for which in ("best", "last"):
        file = run.checkpoint_file(which)
        checkpoint.save(file, {**checkpoint.load(file), "step": step, "planned": planned})


def made(run: RunDir, *words: object) -> None:
    words = ("--device", "cpu", "--resolution", "16", *(words or ("--split", "test")))
    assert call(generate.main, "--run", run.path, *words) == 0


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_generate_and_evaluate_say_how_far_and_how_to_go_on(run: RunDir, capsys: pytest.CaptureFixture[str]):
    set_steps(run, step=12, planned=300)
    made(run)
    *_, note, done = lines(capsys)
    assert note.startswith(f"note: {run.path} (best) {STATE}: train longer (") and "--resume" in note
    assert "3 meshes, 0 failed" in done
    assert STATE in json.loads((run.meshes("test") / "manifest.json").read_text())["unfinished"]
    judged = ("--run", run.path, "--split", "test", "--protocol", "onet", "--points", 200, "--iou-points", 200)
    assert call(evaluate.main, *judged, "--pictures", 0, "--workers", 1) == 0
    *_, note, done = lines(capsys)
    assert note.startswith(f"note: these numbers are of a model in the making: {run.path} (best) {STATE}: train longer")
    assert done.startswith("done: onet 3 shapes")
    assert STATE in json.loads((run.evaluation / "test-onet.json").read_text())["settings"]["unfinished"]


def test_nothing_is_said_of_one_that_ended(run: RunDir, capsys: pytest.CaptureFixture[str]):
    set_steps(run, step=300, planned=300)
    made(run)
    assert "note" not in capsys.readouterr().out
    assert "unfinished" not in json.loads((run.meshes("test") / "manifest.json").read_text())
