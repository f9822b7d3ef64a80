"""train.py as it is called: what it prints, how it ends, and going on after Ctrl-C."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from isofield import checkpoint
from isofield.commands import train
from isofield.config import RunConfig, TrainingStage
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from tests.commands import call, status_of
from tests.conftest import ROOT
from tests.isofield.conftest import tiny_config
from tests.isofield.training.test_loop import run_training

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(config: RunConfig, folder: Path, *arguments: str) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(to_yaml(config))
    return [sys.executable, "train.py", "--config", str(file), *arguments]


def ended(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False)


def test_a_dry_run_prints_the_resolved_config_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shipped = "configs/imnet/autoencoder.yaml"
    overrides = ["training.optim.learning_rate=1e-3", f"runs={tmp_path}/runs"]
    done = ended([sys.executable, "train.py", "--config", shipped, "--set", *overrides, "--dry-run"])
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["training"]["optim"]["learning_rate"] == 1e-3 and printed["model"]["latent"] == 256
    assert printed["training"]["optim"]["ema_decay"] == 0.0  # defaults are filled in
    assert not (tmp_path / "runs").exists()
    again = tmp_path / "again.yaml"
    again.write_text(done.stdout)
    assert call(train.main, "--config", again, "--dry-run") == 0
    assert capsys.readouterr().out == done.stdout


def test_tf32_on_a_cpu_is_said_to_be_float32_and_is(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = []
    for precision in ("float32", "tf32"):
        config = tiny_config(boxes, tmp_path / precision, precision=precision, max_steps=3)
        file = tmp_path / f"{precision}.yaml"
        file.write_text(to_yaml(config))
        assert call(train.main, "--config", file) == 0
        assert ("no TF32 on cpu" in capsys.readouterr().out) == (precision == "tf32")
        weights.append(checkpoint.load(RunDir(config.run_path).checkpoint_file("last"))["model"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_resolved_config_goes_to_the_run_and_to_the_screen_when_asked(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tiny_config(boxes, tmp_path / "runs", max_steps=1)
    assert status_of(train.main, *command(config, tmp_path, "--set", "training.stages.0.points=32")[2:]) == 0
    said, kept = capsys.readouterr().out, RunDir(config.run_path).config_file
    assert f"resolved config: {kept}" in said and "learning_rate" not in said
    assert yaml.safe_load(kept.read_text())["training"]["stages"][0]["points"] == 32
    words = command(config, tmp_path, "--resume", "--show-config", "--set", "training.max_steps=2")[2:]
    assert status_of(train.main, *words) == 0
    said = capsys.readouterr().out
    assert kept.read_text() in said and "step 2 of" in said  # and it goes on
    assert not list(config.run_path.rglob(".*"))  # no lock stays


def test_a_misspelt_key_is_one_line_and_status_1(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = command(tiny_config(boxes, tmp_path / "runs"), tmp_path, "--set", "training.batch_shape=3")
    assert status_of(train.main, *words[2:]) == 1
    said = capsys.readouterr()
    expected = "unknown key 'training.batch_shape'; did you mean 'training.batch_shapes'?"
    assert said.out == "" and said.err == f"error: {tmp_path}/config.yaml: {expected}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "data.path=nowhere"], "error: nowhere is no data set: expected a folder with"),
        (["--set", "data.categories=[lamp]"], "no category lamp; it has: boxes"),
        (
            ["--set", "training.stages=[{level: 16, epochs: 1}, {level: 8, epochs: 1}]"],
            "no points of level 8; it has [16, 32, 64]",
        ),
        (["--set", "device=gpu"], "device 'gpu': expected auto, cpu, cuda or cuda:N"),
        (["--set"], "expected at least one argument"),
    ],
)
def test_errors_have_status_1_and_write_nothing(
    boxes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
):
    assert status_of(train.main, *command(tiny_config(boxes, tmp_path / "runs"), tmp_path, *arguments)[2:]) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_keeps_a_checkpoint_and_resume_ends_where_one_run_ends(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stages = (TrainingStage(level=16, epochs=4000, points=64),)
    config = tiny_config(boxes, tmp_path / "runs", stages=stages, batch_shapes=5, checkpoint_every=20)
    run = RunDir(config.run_path)
    words = command(config, tmp_path, "--resume")  # --resume on a run that is not there starts it
    done = ended([words[0], "-m", "tests.signalled", "SIGINT", "*/last.pt", "2", *words[1:]])
    assert done.returncode == 130, done.stderr
    assert "interrupted; run the same command again with --resume to continue" in done.stderr
    assert "Traceback" not in done.stderr
    step = checkpoint.load(run.checkpoint_file("last"))["step"]
    assert step == 40
    assert status_of(train.main, *command(config, tmp_path)[2:]) == 1
    assert "holds checkpoints already: add --resume" in capsys.readouterr().err

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the other process
    try:
        limit = ["--set", f"training.max_steps={step + 2}"]
        assert status_of(train.main, *command(config, tmp_path, "--resume", *limit)[2:]) == 0
        training = dataclasses.replace(config.training, max_steps=step + 2)
        whole = run_training(dataclasses.replace(config, runs=tmp_path / "whole", training=training))
    finally:
        torch.set_num_threads(threads)
    assert f"step {step + 2} of 4000" in capsys.readouterr().out
    resumed = checkpoint.load(run.checkpoint_file("last"))["model"]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.model.state_dict().items())
