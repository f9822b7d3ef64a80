"""The sections of a training config, and the configs that are shipped."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from isofield.config import RunConfig, read_run_config
from isofield.registry import build_model, resolve
from isofield.runtime.config import to_yaml
from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "configs").glob("**/*.yaml"))
TRAINING = [path for path in SHIPPED if path.parent.name != "data"]
MINIMAL = "{name: a, model: {type: imnet_autoencoder}, data: {path: x}, training: {stages: [{level: 16, epochs: 1}]}}"


def read(tmp_path: Path, *overrides: str) -> RunConfig:
    file = tmp_path / "c.yaml"
    file.write_text(MINIMAL)
    return resolve(read_run_config(file, overrides=overrides), where=str(file))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TRAINING, ids=relative)
def test_shipped_training_configs_are_whole_and_round_trip(path: Path, tmp_path: Path):
    names_a_run = "init_from" in yaml.safe_load(path.read_text())["model"]  # of an autoencoder to be trained before
    overrides = ["model.init_from=null"] if names_a_run else []
    config = resolve(read_run_config(path, overrides=overrides), where=str(path))
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config))
    assert resolve(read_run_config(again), where="again") == config
    assert to_yaml(read_run_config(again)) == to_yaml(config)


def test_there_is_a_published_config_and_its_model_has_the_published_size():
    path = ROOT / "configs" / "imnet" / "autoencoder.yaml"
    assert path in TRAINING
    config = resolve(read_run_config(path), where=str(path))
    assert sum(p.numel() for p in build_model(config.model, where="test").parameters()) == 10_003_713
    assert [(s.level, s.epochs, s.points) for s in config.training.stages] == [
        (16, 100, 4096),
        (32, 100, 4096),
        (64, 200, 4096),
    ]
    optim, training = config.training.optim, config.training
    assert (training.batch_shapes, optim.learning_rate, optim.betas) == (32, 5e-5, (0.5, 0.999))
    # Everything the published code does not do is off.
    assert (training.precision, training.compile, optim.clip_norm, optim.ema_decay, optim.weight_decay) == (
        "float32",
        False,
        None,
        0.0,
        0.0,
    )
    assert (optim.schedule, optim.warmup_steps, optim.restart_at_stage) == ("constant", 0, True)


def test_a_minimal_config_is_the_published_model(tmp_path: Path):
    config = read(tmp_path)
    published = resolve(read_run_config(ROOT / "configs" / "imnet" / "autoencoder.yaml"), where="published")
    assert config.model == published.model and config.training.optim == published.training.optim
    assert config.run_path == Path("runs/a") and config.device == "auto"


def test_a_config_is_frozen(tmp_path: Path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(tmp_path).training.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.optim.lerning_rate=1", "did you mean 'training.optim.learning_rate'?"),
        ("training.stages=[{level: 16, epoch: 1}]", "did you mean 'training.stages.epochs'?"),
        ("training.stages=[]", "training: training.stages: expected at least one stage"),
        ("training.stages=[{level: 16, epochs: 0}]", "training.stages.0: level, epochs and points"),
        ("training.batch_shapes=0", "training: batch_shapes"),
        ("training.max_steps=0", "training: max_steps must be at least 1"),
        ("training.max_minutes=-1", "training: max_steps must be at least 1 and max_minutes positive"),
        ("training.precision=float16", "training.precision: expected 'float32', 'tf32' or 'bfloat16'"),
        ("training.optim.clip_norm=0", "training.optim: clip_norm must be positive"),
        ("training.validation.resolution=1", "training.validation: validation: every and pictures"),
        ("data.memory_gb=0", "data: data.memory_gb must be positive"),
        ("data.pth=x", "did you mean 'data.path'?"),
        ("training.stages=[{level: boundry, epochs: 1}]", "training.stages.0.level"),
        ("training.stages=[{level: 0, epochs: 1}]", "training.stages.0: level, epochs and points"),
        ("training.stages=[{level: boundary, epochs: 1, points: 0}]", "training.stages.0: level, epochs and points"),
        ("data.input.kid=points", "did you mean 'data.input.kind'?"),
        ("data.input.kind=cloud", "expected 'voxels', 'solid', 'points', 'scan', 'deformed' or 'view'"),
        ("data.input.resolution=33", "data.input: expected an even resolution"),
        ("data.input.crop=[0.5, 0.1]", "data.input: crop must be a range"),
        ("data.input.deform.hill=2", "did you mean 'data.input.deform.hills'?"),
        ("data.input.deform={threshold: [0.5, 2]}", "deform: threshold must be a range within [0, 1]"),
        ("data.shares=[-1, 1]", "data.shares must be numbers"),
        ("name=a/b", "expected a plain folder name, got 'a/b'"),
        ("name=..", "expected a plain folder name, got '..'"),
        ("name=", "name: "),
        ("model.latnet=3", "c.yaml: model: unknown key 'latnet'; did you mean 'latent'?"),
        ("model.latent=many", "c.yaml: model: latent: expected a whole number, got 'many'"),
        ("training.batch_shapes=1.5", "training.batch_shapes: expected a whole number, got 1.5"),
        ("training.optim.clip_norm=[1]", "training.optim.clip_norm: expected a number, got [1]"),
        ("training.validation=null", "training.validation: expected a section of keys, got null"),
        ("training.stages=3", "training.stages: expected a list, got 3"),
        ("data.shares=[{a: 1}]", "data.shares.0: expected a number, got a section of keys"),
        ("model.latent=0", "latent, encoder_channels and decoder_widths must be at least 1"),
        ("model.encoder_channels=[1, 2]", "encoder_channels: expected 4 widths"),
        ("model.encoder_channels=[]", "expected 4 widths"),
        ("model.output_clip=soft", "model: output_clip: expected 'leaky' or 'hard'"),
        ("model.type=imnet_autoencodr", "did you mean 'imnet_autoencoder'? known: imnet_autoencoder"),
        ("model.type=[1]", "unknown model [1]"),
        ("model.type={a: 1}", "unknown model"),
        ("model={}", "unknown model None"),
        ("model=3", "model: "),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, override: str, expected: str):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, override)
    assert expected in str(caught.value) and "c.yaml" in str(caught.value)


def test_published_hard_clip_is_one_override(tmp_path: Path):
    assert read(tmp_path, "model.output_clip=hard").model["output_clip"] == "hard"


def test_shipped_configs_have_no_key_of_ours_hidden_in_comments():
    """A commented-out setting is configuration by editing: overrides exist for that."""
    for path in TRAINING:
        commented = [line for line in path.read_text().splitlines() if line.strip().startswith("# ") and ": " in line]
        assert not [line for line in commented if _is_setting(line)], path


def _is_setting(line: str) -> bool:
    try:
        data = yaml.safe_load(line.strip().removeprefix("# "))
    except yaml.YAMLError:
        return False
    return isinstance(data, dict) and all(isinstance(key, str) and " " not in key for key in data)
