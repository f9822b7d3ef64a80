"""Models by name, and runs loaded back."""

import dataclasses
from pathlib import Path

import pytest
import torch

from isofield import checkpoint
from isofield.config import OptimConfig, RunConfig
from isofield.contract import TrainsOnCodes
from isofield.registry import MODELS, build_model, load_run, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.state import State, initial_state, save
from tests.isofield.conftest import TINY_MODEL, tiny_config

BIAS = "decoder.layers.0.bias"
CPU = torch.device("cpu")


def saved(tmp_path: Path, **training: object) -> tuple[RunConfig, RunDir, State]:
    """A run with a fresh model as its last checkpoint; no data set needed."""
    config = resolve(tiny_config(Path("nowhere"), tmp_path, **training), where="test")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation={}, resume=False)
    state = initial_state(build_model(config.model, where="test"), config)
    state.step = 70
    save(state, config, run, which="last", group=Group(0, 1, CPU))
    return config, run, state


def test_every_model_keeps_the_contract():
    for name in MODELS:
        model = build_model({"type": name}, where="test")
        assert isinstance(model.iso_level, float)
        owned = [parameter for players in model.players().values() for parameter in players]
        frozen = model.autoencoder.parameters() if isinstance(model, TrainsOnCodes) else ()
        assert {id(p) for p in owned} == {id(p) for p in model.parameters()} - {id(p) for p in frozen}


def test_resolving_fills_in_every_default_and_is_stable():
    config = resolve(tiny_config(Path("x"), Path("runs")), where="test")
    defaults = {"output_clip": "leaky", "initialisation": "published", "shapes_per_chunk": 0}
    assert config.model == {**TINY_MODEL, **defaults}
    assert resolve(config, where="test") == config


def test_a_loaded_run_is_the_saved_one_in_evaluation_mode(tmp_path: Path):
    config, run, state = saved(tmp_path)
    loaded = load_run(run, which="last")
    assert loaded.config == config and loaded.step == 70
    assert not any(module.training for module in loaded.model.children())
    for name, value in state.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert loaded.model_hash == checkpoint.hash_of(state.model.state_dict())


def test_averaged_weights_are_the_ones_loaded(tmp_path: Path):
    _, run, state = saved(tmp_path, optim=OptimConfig(ema_decay=0.9))
    content = checkpoint.load(run.checkpoint_file("last"))
    content["average"]["weights"][BIAS] += 7
    checkpoint.save(run.checkpoint_file("last"), content)
    loaded = load_run(run, which="last")
    assert torch.equal(loaded.model.state_dict()[BIAS], state.model.state_dict()[BIAS] + 7)
    assert loaded.model_hash == checkpoint.hash_of(content["average"]["weights"])


def test_what_is_missing_is_named(tmp_path: Path):
    _, run, _ = saved(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'best'.*last"):
        load_run(run)
    with pytest.raises(FileNotFoundError, match=r"other .*config\.yaml.* tiny"):
        load_run(RunDir(tmp_path / "other"))


@pytest.mark.parametrize("change", [{"latent": 9}, {"decoder_widths": [16, 8]}])
def test_weights_of_another_model_are_refused(tmp_path: Path, change: dict):
    config, run, _ = saved(tmp_path)
    run.config_file.write_text(to_yaml(dataclasses.replace(config, model={**config.model, **change})))
    with pytest.raises(ValueError, match=r"last\.pt .*config\.yaml"):
        load_run(run, which="last")


@pytest.mark.parametrize("damage", [{"step": None}, {"model": 3}, {"model": {"a": "b"}}, {"average": 3}])
def test_a_checkpoint_without_its_parts_is_refused(tmp_path: Path, damage: dict):
    _, run, _ = saved(tmp_path)
    checkpoint.save(run.checkpoint_file("last"), {**checkpoint.load(run.checkpoint_file("last")), **damage})
    with pytest.raises(ValueError, match=r"last\.pt"):
        load_run(run, which="last")
