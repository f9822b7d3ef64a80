"""Training on the codes of a frozen autoencoder: two players in the one loop, codes kept and thrown away."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_processing.loading.batches import LoadingConfig
from data_processing.store.shape_set import open_shapes
from isofield import checkpoint
from isofield.config import RunConfig, TrainingStage, ValidationConfig
from isofield.registry import load_run, new_model, resolve
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from isofield.runtime.seeds import seed_of
from tests.isofield.conftest import tiny_config
from tests.isofield.ready_runs import make_run
from tests.isofield.training.in_process import run_training, whole_and_halves, with_training
from tests.torchrun import torchrun

FIRST = "generator.layers.0.weight"
SMALL = {"generator_widths": [16], "critic_widths": [16], "noise": 4}


@pytest.fixture
def autoencoder(boxes: Path, tmp_path: Path) -> RunDir:
    return make_run(boxes, tmp_path / "initial")


def gan_config(boxes: Path, runs: Path, autoencoder: RunDir, **training: object) -> RunConfig:
    """4 epochs over 5 codes in batches of 2: 12 steps of two players, the last batch of each epoch is one code."""
    settings: dict[str, object] = {"stages": (TrainingStage(level="codes", epochs=4),), **training}
    config = tiny_config(boxes, runs, **settings)
    model = {"type": "imnet_latent_gan", "init_from": str(autoencoder.path), **SMALL}
    return dataclasses.replace(config, name="gan", model=model)


def test_the_config_is_filled_in_from_the_autoencoders_run(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    initial, config = load_run(autoencoder), resolve(gan_config(boxes, tmp_path, autoencoder), where="test")
    assert config.model["autoencoder"]["decoder_widths"] == [16, 16, 8]
    assert config.model["init_hash"] == initial.model_hash
    assert config.data.target == initial.config.data.input
    weights = new_model(config.model, where="test").state_dict()
    for name, value in initial.model.state_dict().items():
        assert torch.equal(weights[f"autoencoder.{name}"], value)


def test_both_players_learn_and_the_autoencoder_does_not(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    config = resolve(gan_config(boxes, tmp_path, autoencoder), where="test")
    torch.manual_seed(seed_of(0, "weights"))
    before = {name: value.clone() for name, value in new_model(config.model, where="test").state_dict().items()}
    state = run_training(config)
    assert state.step == 12 and state.best is not None
    moved = {name for name, value in state.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"generator", "critic"}
    loaded = load_run(RunDir(config.run_path), which="last").model.state_dict()
    assert torch.equal(loaded[FIRST], state.model.state_dict()[FIRST])


def test_batches_are_the_codes_of_their_shapes(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    """The cached codes against the autoencoder asked shape by shape."""
    run_training(gan_config(boxes, tmp_path, autoencoder))
    shapes, model = open_shapes(boxes), load_run(autoencoder).model
    with np.load(tmp_path / "gan" / "codes.npz", allow_pickle=False) as kept:
        assert list(kept["names"]) == [shapes.names[i] for i in shapes.indices("train")]
        for name, code in zip(kept["names"], kept["codes"], strict=True):
            voxels = torch.from_numpy(shapes.voxels(shapes.names.index(name))).float()[None, None]
            torch.testing.assert_close(torch.from_numpy(code), model.encode(voxels)[0].detach())


@pytest.mark.parametrize("stop", [1, 5])
def test_two_players_resume_bitwise(boxes: Path, tmp_path: Path, autoencoder: RunDir, stop: int):
    whole, _ = whole_and_halves(gan_config(boxes, tmp_path / "whole", autoencoder), tmp_path, stop=stop)
    assert whole.step == 12 and len(whole.optimisers) == 2


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    """Noise belongs to shapes, not to ranks. The last batch of an epoch leaves the second rank without a code."""
    alone = run_training(gan_config(boxes, tmp_path / "one", autoencoder))
    config = gan_config(boxes, tmp_path / "two", autoencoder)
    file = tmp_path / "gan.yaml"
    file.write_text(to_yaml(config))
    torchrun("train.py", "--config", file)
    both = load_run(RunDir(config.run_path), which="last").model.state_dict()
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(both[name], value, rtol=1e-4, atol=1e-6)


def test_codes_are_kept_until_the_autoencoder_or_the_shapes_change(
    boxes: Path, tmp_path: Path, autoencoder: RunDir, capsys: pytest.CaptureFixture[str]
):
    config = gan_config(boxes, tmp_path, autoencoder)
    run, halted = RunDir(tmp_path / "gan"), with_training(config, max_steps=2)
    run_training(halted)
    kept = np.load(run.codes_file)["codes"] + 1  # told from codes that are made anew
    content = dict(np.load(run.codes_file))
    np.savez(run.codes_file, **{**content, "codes": kept})
    run_training(config, resume=True)
    assert np.array_equal(np.load(run.codes_file)["codes"], kept)
    run.codes_file.write_bytes(run.codes_file.read_bytes()[:200])
    run_training(config, resume=True)
    assert "made again" in capsys.readouterr().out
    assert np.array_equal(np.load(run.codes_file)["codes"], content["codes"])

    other = checkpoint.load(autoencoder.checkpoint_file("best"))
    (last,) = (name for name in other["model"] if name.startswith("encoder") and name.endswith("bias"))
    other["model"][last] += 0.5
    checkpoint.save(autoencoder.checkpoint_file("best"), other)
    with pytest.raises(ValueError, match=r"it changed\s+since"):
        run_training(config, resume=True)
    for file in run.checkpoints.glob("*"):
        file.unlink()
    run_training(halted)  # a fresh start in the folder of the old run
    assert "codes of another autoencoder or other shapes" in capsys.readouterr().out
    assert not np.array_equal(np.load(run.codes_file)["codes"], content["codes"])


def test_best_is_the_checkpoint_whose_codes_are_nearest_to_real_ones(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    validation = ValidationConfig(every=3, shapes=5, pictures=1, resolution=16)
    config = gan_config(boxes, tmp_path, autoencoder, validation=validation, keep_checkpoints=9, checkpoint_every=3)
    state, run = run_training(config), RunDir(tmp_path / "gan")
    events = EventAccumulator(str(run.logs)).Reload()
    distances = [event.value for event in events.Scalars("validation/distance")]
    assert len(distances) == 4 and state.best == pytest.approx(min(distances), rel=1e-6)
    tags = events.Tags()
    assert {"critic/loss", "critic/penalty", "generator/loss", "shapes_per_second"} <= set(tags["scalars"])
    assert "codes" in tags["images"] and {"codes/real", "codes/generated"} <= set(tags["histograms"])
    assert load_run(run).step == 3 * (1 + int(np.argmin(distances)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init_from": None}, "model.init_from: "),
        ({"init_from": "nowhere/x"}, "nowhere/x"),
    ],
)
def test_no_autoencoder(boxes: Path, tmp_path: Path, autoencoder: RunDir, change: dict, message: str):
    config = gan_config(boxes, tmp_path, autoencoder)
    config = dataclasses.replace(config, model={**config.model, **change})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_training(config)


def test_a_run_of_another_model_is_no_autoencoder(boxes: Path, tmp_path: Path, autoencoder: RunDir):
    config = gan_config(boxes, tmp_path, autoencoder)
    run_training(with_training(config, max_steps=1))
    other = dataclasses.replace(config, name="second", model={**config.model, "init_from": str(tmp_path / "gan")})
    with pytest.raises(ValueError, match=r"imnet_latent_gan.*imnet_autoencoder"):
        run_training(other)


def test_a_model_without_a_frozen_one_has_no_codes(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path, stages=(TrainingStage(level="codes", epochs=1),))
    with pytest.raises(ValueError, match=r"level: codes .*init_from"):
        run_training(config)
    assert LoadingConfig(boxes).target is None
