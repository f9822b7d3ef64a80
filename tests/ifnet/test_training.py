"""IF-Net through the engine: exact resume, several processes, one shape for two ranks, generation from a run."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from ifnet.model import Config
from isofield import checkpoint
from isofield.commands import generate
from isofield.config import OptimConfig, RunConfig, TrainingConfig, TrainingStage, ValidationConfig
from isofield.registry import load_run
from isofield.run_dir import RunDir
from isofield.runtime.config import to_plain, to_yaml
from tests.commands import call
from tests.isofield.training.in_process import run_training, whole_and_halves
from tests.torchrun import torchrun

TINY = Config(resolution=16, stages=((4,), (6, 8)), decoder_widths=(32, 16), displacement=0.1)


def tiny_run(data: Path, runs: Path, *, model: Config = TINY, kind: str = "solid", **training: object) -> RunConfig:
    """Four shapes in batches of three: every other step has one shape."""
    settings: dict[str, object] = {
        "stages": (TrainingStage(level="boundary", epochs=3, points=300),),
        "batch_shapes": 3,
        "log_every": 1,
        "optim": OptimConfig(learning_rate=1e-3, betas=(0.9, 0.999)),
        "validation": ValidationConfig(every=0, shapes=2, split="train", pictures=0),
    }
    return RunConfig(
        name="tiny",
        model={"type": "ifnet", **to_plain(model)},
        data=LoadingConfig(path=data, input=InputConfig(kind, 16, points=60)),
        training=TrainingConfig(**{**settings, **training}),
        runs=runs,
        device="cpu",
    )


@pytest.mark.parametrize("kind", ["solid", "points", "deformed"])
def test_n_steps_and_the_rest_equal_all_steps_bitwise(prepared: Path, tmp_path: Path, kind: str):
    """With dropout, running statistics and averaged weights, validation in between."""
    optim = OptimConfig(learning_rate=1e-3, schedule="cosine", ema_decay=0.9)
    model = dataclasses.replace(TINY, dropout=0.2)
    validation = ValidationConfig(every=2, shapes=2, pictures=0)
    config = tiny_run(prepared, tmp_path / "whole", model=model, kind=kind, optim=optim, validation=validation)
    whole, resumed = whole_and_halves(config, tmp_path, stop=3)
    assert whole.step == 6 and whole.best == resumed.best and whole.average is not None
    assert int(whole.model.state_dict()["encoder.stages.0.norm.num_batches_tracked"]) == 6


@pytest.mark.parametrize(("processes", "batch_shapes"), [(2, 3), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_several_processes_train_as_one(prepared: Path, tmp_path: Path, processes: int, batch_shapes: int):
    """A real torchrun over gloo. Four shapes, 3 and 1 for two ranks, or 2 for three: some rank is left without.

    Its placeholder, the first shape of the batch, counts nothing: beside another shape it would move the statistics.
    """
    config = tiny_run(prepared, tmp_path / "one", batch_shapes=batch_shapes)
    one = run_training(config)
    assert one.step == 6
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(dataclasses.replace(config, runs=tmp_path / "two")))
    torchrun("train.py", "--config", file, processes=processes)
    two = checkpoint.load(tmp_path / "two" / "tiny" / "checkpoints" / "last.pt")
    assert two["step"] == 6 and two["best"] == pytest.approx(one.best, rel=1e-5)
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value.double(), two["model"][name].double(), rtol=1e-4, atol=2e-5), name


def test_bfloat16_trains_and_validates(prepared: Path, tmp_path: Path):
    state = run_training(tiny_run(prepared, tmp_path, precision="bfloat16"))
    assert state.step == 6 and state.best is not None
    assert all(parameter.dtype == torch.float32 for parameter in state.model.parameters())


def test_training_lowers_the_loss_and_the_run_generates(prepared: Path, tmp_path: Path):
    """Boxes learnt well enough to be meshes: of the split, and of a user's own file in its own frame."""
    stages = (TrainingStage(level="boundary", epochs=60, points=1000),)
    optim = OptimConfig(learning_rate=5e-3, betas=(0.9, 0.99))
    validation = ValidationConfig(every=20, shapes=2, split="train", pictures=0)
    config = tiny_run(prepared, tmp_path, stages=stages, optim=optim, validation=validation, batch_shapes=4)
    first = run_training(dataclasses.replace(config, training=dataclasses.replace(config.training, max_steps=1)))
    last = run_training(config, resume=True)
    assert first.best is not None and last.best is not None and last.best < 0.5 * first.best
    run = RunDir(config.run_path)
    assert load_run(run).model.iso_level == 0.0
    assert call(generate.main, "--run", run.path, "--split", "test", "--resolution", 32, "--device", "cpu") == 0
    (row,) = json.loads((run.meshes("test") / "manifest.json").read_text())["shapes"]
    assert row["status"] == "done" and row["faces"] > 100
