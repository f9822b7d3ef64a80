"""Trackers: the real packages where they are installed, one clear error where not, and weights that are the same."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from isofield.commands import train
from isofield.config import RunConfig, ValidationConfig
from isofield.reports.event_files import read_events
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from isofield.training.trackers import opening
from isofield.training.trackers.protocol import Trackers
from tests.commands import status_of
from tests.conftest import ROOT
from tests.isofield.conftest import tiny_config
from tests.isofield.training.test_loop import run_training, same, with_training

GREY = np.full((8, 8), 128, np.uint8)
VALIDATION = ValidationConfig(every=5, shapes=3, pictures=2, resolution=16)


def needs(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'isofield[{name}]'")


def tracked(boxes: Path, folder: Path, name: str) -> RunConfig:
    return with_training(tiny_config(boxes, folder, validation=VALIDATION), tracker=name)


def tracked_in_two_starts(boxes: Path, folder: Path, name: str) -> RunConfig:
    """A training that was resumed after seven steps; its weights are those of one that nobody tracked."""
    config = tracked(boxes, folder / "tracked", name)
    weights = run_training(tracked(boxes, folder / "plain", "none"))
    run_training(with_training(config, max_steps=7))
    assert same(run_training(config, resume=True), weights)
    return config


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(key)


def test_tensorboard_has_the_scores_of_the_fixed_shapes(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, validation=VALIDATION)
    run_training(config)
    events = EventAccumulator(str(RunDir(config.run_path).logs))
    events.Reload()
    scalars = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert [step for step, _ in scalars["validation/iou"]] == [5, 10, 15]
    assert all(0 <= value <= 1 for _, value in scalars["validation/iou"])
    assert {"validation/loss", "validation/without_surface", "autoencoder/loss", "learning_rate"} <= scalars.keys()
    text = RunDir(config.run_path).curves_file.read_text().splitlines()
    assert [line.split(",")[0] for line in text] == ["step", "5", "10", "15"]
    assert {"autoencoder/loss", "validation/loss", "validation/iou"} <= set(text[0].split(","))


def test_scores_and_pictures_move_no_weight(boxes: Path, tmp_path: Path):
    """And the lines of a resumed training are those of one that was never stopped."""
    plain = tiny_config(boxes, tmp_path / "plain", validation=dataclasses.replace(VALIDATION, pictures=0))
    shown = tiny_config(boxes, tmp_path / "shown", validation=VALIDATION)
    whole = run_training(shown)
    assert same(run_training(plain), whole)
    halves = dataclasses.replace(shown, runs=tmp_path / "halves")
    run_training(with_training(halves, max_steps=7))
    assert same(run_training(halves, resume=True), whole)
    one, two = (RunDir(config.run_path).curves_file.read_text().splitlines() for config in (shown, halves))
    assert [line for line in two if not line.startswith("7,")] == one  # ended there, it was judged there too
    noted = read_events(RunDir(halves.run_path).logs).scalars["validation/iou"]
    assert sorted(noted) == [5, 7, 10, 15]  # what was noted at the step of the checkpoint stays


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_there_is_one_error_before_anything_is_written(
    boxes: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(opening.PACKAGES, name, f"no_{name}_here")
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(tracked(boxes, tmp_path / "runs", name)))
    assert status_of(train.main, "--config", file) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: training\.tracker: {name}: .* pip install 'isofield\[{name}\]'.*none\n", error)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_tracker_names_those_there_are(tmp_path: Path, boxes: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(tiny_config(boxes, tmp_path / "runs")))
    assert status_of(train.main, "--config", file, "--set", "training.tracker=wandbb") == 1
    error = capsys.readouterr().err
    assert "training.tracker" in error and all(name in error for name in ("none", "wandb", "mlflow"))


def test_wandb_offline_has_numbers_and_pictures_and_the_weights_are_the_same(boxes: Path, tmp_path: Path):
    needs("wandb")
    config = tracked_in_two_starts(boxes, tmp_path, "wandb")
    logs = RunDir(config.run_path).logs
    known = json.loads((logs / "wandb.json").read_text())["id"]
    files = sorted(logs.rglob(f"run-{known}.wandb"))
    assert len(files) == 2  # both starts, of one run
    content = b"".join(file.read_bytes() for file in files)
    for name in (b"validation/iou", b"autoencoder/loss", b"learning_rate"):
        assert name in content
    from isofield.training.trackers.wandb_runs import wandb_run

    with wandb_run(config, RunDir(config.run_path)) as tracker:
        tracker.picture("reconstruction/a/b", GREY, 20)
        tracker.histogram("codes", torch.ones(3, 2, dtype=torch.bfloat16), 20)
    assert list(logs.rglob("media/images/**/*.png"))


def test_mlflow_in_files_has_numbers_pictures_and_the_config(boxes: Path, tmp_path: Path):
    needs("mlflow")
    config = tracked_in_two_starts(boxes, tmp_path, "mlflow")
    from isofield.training.trackers.mlflow_store import EXPERIMENT, MlflowClient

    logs = RunDir(config.run_path).logs
    client = MlflowClient(tracking_uri=(logs / "mlflow").absolute().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.info.run_id == json.loads((logs / "mlflow.json").read_text())["id"] and run.info.status == "FINISHED"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation/iou")]
    assert steps == [5, 7, 10, 15]
    assert run.data.params["training.stages.0.level"] == "16" and "autoencoder/loss" in run.data.metrics
    from isofield.training.trackers.mlflow_store import mlflow_run

    with mlflow_run(config, RunDir(config.run_path)) as tracker:
        tracker.picture("reconstruction/a/b", GREY, 20)
    (picture,) = client.list_artifacts(run.info.run_id, "reconstruction/a/b")
    assert picture.path == "reconstruction/a/b/00000020.png"


@pytest.mark.parametrize(("name", "variable"), [("wandb", "WANDB_MODE"), ("mlflow", "MLFLOW_TRACKING_URI")])
def test_what_cannot_be_started_is_one_error(
    boxes: Path, tmp_path: Path, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
):
    needs(name)
    monkeypatch.setenv(variable, "nonsense://x")
    with pytest.raises(ValueError, match=rf"training\.tracker: {name} cannot start .*none") as told:
        run_training(tracked(boxes, tmp_path, name))
    assert "nonsense" not in str(told.value) and "ISOFIELD_TRACEBACK" in str(told.value)


class Failing:
    """A tracker whose disk is full from the second number on."""

    errors = (OSError,)

    def __init__(self) -> None:
        self.asked = 0

    def scalars(self, values: dict[str, float], step: int) -> None:
        self.asked += 1
        if self.asked > 1:
            raise OSError("disk full")


class Counting:
    errors = ()

    def __init__(self) -> None:
        self.steps: list[int] = []

    def scalars(self, values: dict[str, float], step: int) -> None:
        self.steps.append(step)


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(capsys: pytest.CaptureFixture[str]):
    failing, counting = Failing(), Counting()
    trackers = Trackers([failing, counting])  # type: ignore[list-item]
    for step in range(4):
        trackers.scalars({"loss": 1.0}, step)
    assert counting.steps == [0, 1, 2, 3] and failing.asked == 2
    assert capsys.readouterr().out == "Failing: disk full; training goes on without it\n"
    with pytest.raises(AttributeError):  # an error of ours is no failure of a tracker
        trackers.picture("a", np.zeros((2, 2), np.uint8), 0)


def test_the_loop_imports_no_tracker():
    """Nor do their packages have to be there: both are forbidden in a process that trains."""
    code = (
        "import sys\nsys.modules['wandb'] = sys.modules['mlflow'] = None\n"
        "from isofield.training import loop\nfrom isofield.training.trackers import opening\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
    assert not re.search("wandb|mlflow", (ROOT / "isofield/training/loop.py").read_text())


def test_wandb_finds_its_reports_of_errors_off_when_it_is_imported(tmp_path: Path):
    """Releases look at the variable then; a package that stands for theirs notes what it says."""
    (tmp_path / "wandb.py").write_text(
        "import os\nFOUND = os.environ.get('WANDB_ERROR_REPORTING')\nclass Error(Exception): ...\n"
    )
    code = "from isofield.training.trackers import wandb_runs\nprint(wandb_runs.wandb.FOUND)\n"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "false\n"
