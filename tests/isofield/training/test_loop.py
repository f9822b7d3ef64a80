"""The training loop: exact resume, partial batches, several processes, signals, non-finite losses, best and last."""

import contextlib
import dataclasses
import os
import pkgutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from data_processing.loading.batches import LoadingConfig
from data_processing.store.shape_set import open_shapes
from isofield import checkpoint
from isofield.config import OptimConfig, TrainingStage, ValidationConfig
from isofield.registry import build_model, load_run
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import WriteError
from isofield.runtime.commandline import Terminated
from isofield.runtime.config import to_yaml
from isofield.training import stopping
from isofield.training.loop import train
from isofield.training.schedule import plan
from isofield.training.state import State
from tests.isofield.conftest import tiny_config
from tests.isofield.training.in_process import ALONE, run_training, same, whole_and_halves, with_training
from tests.torchrun import torchrun


@pytest.mark.parametrize("stop", [2, 9, 12])  # within an epoch, at the border of stages, within the second stage
def test_n_steps_and_the_rest_equal_all_steps_bitwise(boxes: Path, tmp_path: Path, stop: int):
    optim = OptimConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=3, ema_decay=0.9, clip_norm=1.0)
    config = tiny_config(boxes, tmp_path / "whole", optim=optim)
    whole, _ = whole_and_halves(config, tmp_path, stop=stop)
    assert whole.average is not None


def test_streamed_equals_resident_bitwise(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tiny_config(boxes, tmp_path / "a")
    resident = run_training(config)
    assert "resident on cpu" in capsys.readouterr().out
    streamed = dataclasses.replace(config, runs=tmp_path / "b", data=LoadingConfig(path=boxes, resident="no"))
    assert same(resident, run_training(streamed))
    assert "streamed" in capsys.readouterr().out


def test_fewer_shapes_than_a_batch(boxes: Path, tmp_path: Path):
    state = run_training(tiny_config(boxes, tmp_path, batch_shapes=32))
    assert state.step == 5


def test_one_shape(tmp_path: Path):
    from tests.small_sets import write_published

    state = run_training(tiny_config(write_published(tmp_path, train=1, test=1), tmp_path / "runs", batch_shapes=4))
    assert state.step == 5


def test_training_lowers_the_loss(boxes: Path, tmp_path: Path):
    validation = ValidationConfig(every=40, split="train", shapes=5, pictures=0)
    optim = OptimConfig(learning_rate=5e-3)
    config = tiny_config(
        boxes,
        tmp_path,
        stages=(TrainingStage(level=64, epochs=40, points=512),),
        batch_shapes=5,
        validation=validation,
        optim=optim,
    )
    first = run_training(with_training(config, max_steps=1))
    second = run_training(config, resume=True)
    assert first.best is not None and second.best is not None and second.best < 0.7 * first.best


def test_best_only_improves_and_survives_a_restart(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, validation=ValidationConfig(every=5, shapes=3, pictures=0))
    first = run_training(with_training(config, max_steps=5))
    run = RunDir(config.run_path)
    before = run.checkpoint_file("best").read_bytes()
    ruined = with_training(config, optim=OptimConfig(learning_rate=10.0))
    second = run_training(ruined, resume=True)
    assert second.best == first.best
    assert run.checkpoint_file("best").read_bytes() == before
    assert load_run(run, which="last").step == 15 and load_run(run, which="best").step == 5


def test_a_non_finite_loss_names_step_and_shapes(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, checkpoint_every=1)
    run_training(with_training(config, max_steps=3))
    run = RunDir(config.run_path)
    content = checkpoint.load(run.checkpoint_file("last"))
    content["model"]["decoder.layers.0.weight"][0, 0] = float("nan")
    checkpoint.save(run.checkpoint_file("last"), content)
    with pytest.raises(ValueError, match=r"step 3: autoencoder/loss .*nan.*boxes/train0\d"):
        run_training(config, resume=True)
    assert checkpoint.load(run.checkpoint_file("last"))["step"] == 3  # the poisoned step was not saved


def test_sigterm_writes_a_checkpoint_and_resume_is_exact(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tiny_config(boxes, tmp_path / "whole", stages=(TrainingStage(level=16, epochs=10, points=64),))
    whole = run_training(config)
    halves = dataclasses.replace(config, runs=tmp_path / "halves")

    def report_and_signal(state: State, *arguments: object, **settings: object) -> None:
        if state.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("isofield.training.loop.report", report_and_signal)
        run_training(halves)
    assert checkpoint.load(RunDir(halves.run_path).checkpoint_file("last"))["step"] == 7
    assert same(whole, run_training(halves, resume=True))


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ("isofield.training.loop.open_source", 1),  # before the first step
        ("isofield.training.loop.Validator.judge", 5),
        ("isofield.training.state.checkpoint.save", 5),
        ("isofield.training.loop.finish", 15),  # after the last one: all is done
    ],
)
def test_sigterm_twice_at_any_moment_ends_the_run_after_the_step(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, step: int
):
    validation = ValidationConfig(every=5, shapes=3, pictures=0)
    config = tiny_config(boxes, tmp_path / "cut", validation=validation, checkpoint_every=5)
    real = pkgutil.resolve_name(where)

    def signalled(*arguments: Any, **settings: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **settings)

    with monkeypatch.context() as patch, contextlib.nullcontext() if step == 15 else pytest.raises(Terminated):
        patch.setattr(stopping, "REPEATED", 1e9)  # however slow this machine is
        patch.setattr(where, signalled)
        run_training(config)
    assert checkpoint.load(RunDir(config.run_path).checkpoint_file("last"))["step"] == step
    whole = run_training(dataclasses.replace(config, runs=tmp_path / "whole"))
    assert same(whole, run_training(config, resume=True))


@pytest.mark.parametrize(("left", "damage"), [("previous", "cut"), ("best", "gone"), ("9", "cut")])
def test_without_a_sound_last_checkpoint_it_goes_on_from_the_newest_sound_one(
    boxes: Path, tmp_path: Path, left: str, damage: str, capsys: pytest.CaptureFixture[str]
):
    """Whatever their times of change say: clocks jump."""
    validation = ValidationConfig(every=4, shapes=3, pictures=0)
    keep = 2 if left == "9" else 0
    config = tiny_config(boxes, tmp_path / "cut", checkpoint_every=3, keep_checkpoints=keep, validation=validation)
    whole = run_training(dataclasses.replace(config, runs=tmp_path / "whole"))
    run_training(with_training(config, max_steps=11))
    run = RunDir(config.run_path)
    last = run.checkpoint_file("last")
    for newer in {"previous": ["best"], "best": ["previous"], "9": ["previous", "best"]}[left]:
        run.checkpoint_file(newer).write_bytes(run.checkpoint_file(newer).read_bytes()[:2000])
    for age, file in enumerate(sorted(run.checkpoints.glob("*"))):
        os.utime(file, (10**9 - age, 10**9 - age))
    whole_file = last.read_bytes()
    last.unlink()
    if damage == "cut":
        last.write_bytes(whole_file[:1000])
    resumed = run_training(config, resume=True)
    said = capsys.readouterr().out
    assert ("cut short or corrupt" if damage == "cut" else "no checkpoint 'last'") in said
    assert f"going on from {run.checkpoint_file(left)}" in said
    assert same(whole, resumed)
    for file in run.checkpoints.glob("*.pt"):
        file.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"last\.pt: .*\bbest\b"):
        run_training(config, resume=True)


def test_a_run_whose_folder_vanishes_is_one_clear_error(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not written anew: what is at that place now may be another disk, and the checkpoints come back with the old."""
    config = tiny_config(boxes, tmp_path / "runs", checkpoint_every=5)
    run = RunDir(config.run_path)

    def report_and_move(state: State, *arguments: object, **settings: object) -> None:
        if state.step == 7:
            run.path.rename(tmp_path / "away")

    with (
        monkeypatch.context() as patch,
        pytest.raises(WriteError, match=r"'.*/tiny/config.y"),
    ):
        patch.setattr("isofield.training.loop.report", report_and_move)
        run_training(config)
    (tmp_path / "away").rename(run.path)
    whole = run_training(dataclasses.replace(config, runs=tmp_path / "whole"))
    assert same(run_training(config, resume=True), whole)


def test_two_trainings_of_one_run_at_once_are_refused(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path)
    with RunDir(config.run_path).lock(), pytest.raises(ValueError, match="training"):
        run_training(config)


def test_bfloat16_and_validation_pictures(boxes: Path, tmp_path: Path):
    validation = ValidationConfig(every=5, shapes=3, pictures=1, resolution=16)
    config = tiny_config(boxes, tmp_path, precision="bfloat16", validation=validation)
    state = run_training(config)
    assert all(parameter.dtype == torch.float32 for parameter in state.model.parameters())
    assert state.best is not None and any(RunDir(config.run_path).logs.iterdir())


def test_numbered_checkpoints_are_pruned(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, checkpoint_every=3, keep_checkpoints=3)
    run_training(config)
    assert RunDir(config.run_path).saved_steps() == [9, 12, 15]


def test_an_existing_run_is_not_overwritten(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path)
    run_training(with_training(config, max_steps=1))
    with pytest.raises(ValueError, match="--resume"):
        run_training(config)


def test_another_model_is_not_resumed(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path)
    run_training(with_training(config, max_steps=1))
    with pytest.raises(ValueError, match=r"last\.pt"):
        run_training(dataclasses.replace(config, model={**config.model, "latent": 9}), resume=True)
    assert load_run(RunDir(config.run_path), which="last").step == 1  # the run is as it was


def test_two_processes_give_the_losses_of_one(boxes: Path, tmp_path: Path):
    """A real torchrun over gloo. 5 shapes in batches of 4: the last batch of 1 leaves a rank without a shape."""
    config = tiny_config(boxes, tmp_path / "one", batch_shapes=4)
    one = run_training(config)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(dataclasses.replace(config, runs=tmp_path / "two")))
    torchrun("train.py", "--config", file)
    two = checkpoint.load(tmp_path / "two" / "tiny" / "checkpoints" / "last.pt")
    assert two["best"] == pytest.approx(one.best, rel=1e-4)
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, two["model"][name], atol=2e-4), name


@pytest.mark.slow
def test_compiled_training_gives_the_weights_of_eager_training(boxes: Path, tmp_path: Path):
    eager = run_training(tiny_config(boxes, tmp_path / "eager"))
    compiled = run_training(tiny_config(boxes, tmp_path / "compiled", compile=True))
    for name, value in eager.model.state_dict().items():
        assert torch.allclose(value, compiled.model.state_dict()[name], atol=1e-5), name


def test_suspect_shapes_are_left_out_of_training_and_named(boxes: Path, tmp_path: Path, capsys):
    shapes = open_shapes(boxes)
    doubtful, count = int(shapes.indices("train")[1]), len(shapes.indices("train"))
    shapes.qualities = ["suspect: thin" if index == doubtful else "ok" for index in range(len(shapes))]
    for choice, used in (("drop", count - 1), ("keep", count)):
        config = tiny_config(boxes, tmp_path / choice)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, suspect=choice))
        model = build_model(config.model, where="test")
        state = train(model, shapes, config, RunDir(config.run_path), ALONE, resume=False)
        assert state.step == plan(config.training, shapes=used)[-1].end
        out = "".join(capsys.readouterr())
        assert (f"(data.suspect=keep has them): {shapes.names[doubtful]}" in out) == (choice == "drop")
