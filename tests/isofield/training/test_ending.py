"""The last line of a training, the floor under its limit of time, and what a checkpoint says of the steps to come."""

import shlex
from pathlib import Path

import pytest

from isofield import checkpoint
from isofield.commands import train as command
from isofield.config import TrainingConfig, TrainingStage
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.isofield.conftest import tiny_config
from tests.isofield.training.test_loop import run_training, with_training


@pytest.fixture(autouse=True)
def called_as_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py"])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def typed(line: str) -> list[str]:
    """The arguments of train.py at the end of a line."""
    return shlex.split(line.partition(" train.py ")[2])


def test_a_limit_is_named_and_the_command_that_lifts_it_trains_to_the_end(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tiny_config(boxes, tmp_path / "runs of mine", max_steps=4)
    run_training(config)
    line = last_line(capsys)
    assert line.startswith(f"{config.run_path}: step 4 of 15, ") and "training.max_steps (4)" in line
    assert command.main(typed(line)) == 0
    line = last_line(capsys)
    assert "step 15 of 15" in line and f"generate.py --run '{config.run_path}' --split test" in line


def test_minutes_end_nothing_before_the_floor_of_steps(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tiny_config(boxes, tmp_path, max_minutes=1e-9, min_steps=7)
    assert run_training(config).step == 7
    line = last_line(capsys)
    assert "step 7 of 15" in line and "training.max_minutes (1e-09)" in line and "max_minutes=null" in line


def test_trained_beyond_the_plan_is_said(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tiny_config(boxes, tmp_path)
    run_training(config)
    shorter = with_training(config, stages=(TrainingStage(level=16, epochs=1, points=64),))
    assert run_training(shorter, resume=True).step == 15
    line = last_line(capsys)
    assert "step 15 of 3" in line and "beyond" in line and "--resume" in line


def test_a_checkpoint_knows_how_many_steps_were_planned(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path)
    run_training(with_training(config, max_steps=4))
    run = RunDir(config.run_path)
    unfinished = load_run(run, which="last").unfinished
    assert unfinished.startswith(f"{run.path} (last) was trained for 4 of 15 steps") and "max_steps=null" in unfinished
    run_training(config, resume=True)
    assert load_run(run, which="last").unfinished == ""


def test_of_an_early_best_checkpoint_both_are_told_until_the_training_ended(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path)
    run = RunDir(config.run_path)
    run_training(with_training(config, max_minutes=1e-9, min_steps=7))
    best = checkpoint.load(run.checkpoint_file("last"))
    checkpoint.save(run.checkpoint_file("best"), {**best, "step": 4})
    command = "(isofield train --config " + str(run.config_file) + " --resume --set training.max_minutes=null)"
    assert load_run(run).unfinished == (
        f"{run.path} (best) was trained for 4 of 15 steps, its training for 7, "
        f"stopped by training.max_minutes (1e-09): train longer {command}"
    )
    # A last checkpoint that cannot be read takes nothing from the best one.
    whole = run.checkpoint_file("last").read_bytes()
    run.checkpoint_file("last").write_bytes(whole[:-500])
    assert load_run(run).unfinished.startswith(f"{run.path} (best) was trained for 4 of 15 steps: train longer")
    run.checkpoint_file("last").write_bytes(whole)
    run_training(config, resume=True)
    checkpoint.save(run.checkpoint_file("best"), {**best, "step": 4})
    assert load_run(run).unfinished == ""


def test_a_killed_training_was_stopped_by_no_limit(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, max_minutes=1000.0, max_steps=14)
    run_training(with_training(config, max_steps=4))
    run = RunDir(config.run_path)
    content = checkpoint.load(run.checkpoint_file("last"))
    checkpoint.save(run.checkpoint_file("last"), {**content, "step": 3})
    assert load_run(run, which="last").unfinished.startswith(f"{run.path} (last) was trained for 3 of 15 steps: train")


@pytest.mark.parametrize("planned", [None, "many", [15]])
def test_a_checkpoint_that_does_not_say_is_read(boxes: Path, tmp_path: Path, planned: object):
    """Those of version 0.1, and those of strangers."""
    config = tiny_config(boxes, tmp_path)
    run_training(with_training(config, max_steps=4))
    run = RunDir(config.run_path)
    file = run.checkpoint_file("last")
    content = checkpoint.load(file)
    checkpoint.save(file, {**content, "planned": planned})
    if planned is None:
        del content["planned"]
        checkpoint.save(file, content)
    assert load_run(run, which="last").unfinished == ""
    assert run_training(config, resume=True).step == 15


def test_the_floor_is_a_number_of_steps():
    with pytest.raises(ValueError, match=r"min_steps.*-1"):
        TrainingConfig(stages=(TrainingStage(level=16, epochs=1),), min_steps=-1)
