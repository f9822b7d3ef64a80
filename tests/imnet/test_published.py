"""Published IM-NET weights become a run that the commands accept; anything else is refused, and executes nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imnet import published
from imnet.autoencoder import Autoencoder, Config
from imnet.published_weights import convert, key_names
from isofield.checkpoint import hash_of
from isofield.commands import evaluate, generate, train
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.commands import call, status_of
from tests.golden import FOLDER, save_imnet
from tests.small_sets import write_published

SMALL = Config(latent=8, encoder_channels=(2, 3, 4, 5), decoder_widths=(16, 14, 12, 10, 8, 6))
Weights = dict[str, torch.Tensor]


def published_weights(seed: int = 0) -> tuple[Autoencoder, Weights]:
    """A model of ours with random weights, and its weights under the published names."""
    torch.manual_seed(seed)
    model = Autoencoder(SMALL)
    ours = model.state_dict()
    return model, {theirs: ours[name] for theirs, name in key_names().items()}


def import_weights(*arguments: object) -> int:
    """The exit status of `python -m imnet.published ARGUMENTS`, in this process."""
    return status_of(published.main, *arguments)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    voxels = (torch.rand(2, 1, 64, 64, 64, generator=generator) > 0.6).float()
    return voxels, torch.rand(2, 100, 3, generator=generator) - 0.5


def test_the_published_names_are_these():
    names = key_names()
    assert len(names) == 4 + 2 + 14 and len(set(names.values())) == len(names)
    assert set(names.values()) == set(Autoencoder(SMALL).state_dict())
    assert names["encoder.conv_1.weight"] == "encoder.convolutions.0.weight"
    assert names["encoder.conv_5.bias"] == "encoder.last.bias"
    assert names["generator.linear_7.weight"] == "decoder.layers.6.weight"


def test_imported_weights_compute_the_same(tmp_path: Path):
    model, weights = published_weights()
    torch.save(weights, tmp_path / "IM_AE.pth")
    assert import_weights(tmp_path / "IM_AE.pth", "--out", tmp_path / "runs" / "ae") == 0
    for which in ("best", "last"):
        loaded = load_run(RunDir(tmp_path / "runs" / "ae"), which=which)
        voxels, points = inputs()
        with torch.no_grad():
            assert torch.equal(loaded.model.encode(voxels), model.encode(voxels))
            assert torch.equal(
                loaded.model.decode(points, loaded.model.encode(voxels)), model.decode(points, model.encode(voxels))
            )
    assert loaded.config.name == "ae" and loaded.config.model["latent"] == 8


def test_half_precision_and_the_hard_clip_of_tensorflow(tmp_path: Path):
    _, weights = published_weights()
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "x.pth")
    arguments = [tmp_path / "x.pth", "--out", tmp_path / "runs" / "hard", "--output-clip", "hard"]
    assert import_weights(*arguments) == 0
    loaded = load_run(RunDir(tmp_path / "runs" / "hard"))
    assert loaded.config.model["output_clip"] == "hard"
    assert all(parameter.dtype == torch.float32 for parameter in loaded.model.parameters())
    config, converted = convert({name: value.half() for name, value in weights.items()}, where="test")
    assert config == SMALL and all(value.dtype == torch.float32 for value in converted.values())
    assert torch.equal(converted["decoder.layers.6.weight"], weights["generator.linear_7.weight"].half().float())


def test_an_existing_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for seed, status in ((0, 0), (1, 1)):
        torch.save(published_weights(seed)[1], tmp_path / "x.pth")
        assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == status
    assert "holds checkpoints already" in capsys.readouterr().err
    assert load_run(RunDir(tmp_path / "runs" / "x")).model_hash == hash_of(published_weights(0)[0].state_dict())


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def edited(edit: Callable[[Weights], object]) -> Callable[[Path], object]:
    """A file of published weights after `edit`."""

    def make(folder: Path) -> object:
        weights = dict(published_weights()[1])
        return edit(weights) or weights

    return make


def with_value(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[Path], object]:
    return edited(lambda weights: weights.update({name: change(weights[name])}))


def poisoned(value: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.arange(value.numel()).view(value.shape) == 3, torch.nan, value)


HUGE = 1 << 24
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a key missing": (edited(lambda w: [w.pop("encoder.conv_3.weight")][1:]), "missing encoder.conv_3.weight;"),
    "a key too many": (
        edited(lambda w: w.update({"discriminator.w": w["encoder.conv_5.bias"]})),
        "unknown discriminator.w",
    ),
    "keys of two kinds": (edited(lambda w: {**dict[Any, Any](w), 1: 2, "z": 3}), "unknown 1, z"),
    "another network": (lambda folder: torch.nn.Linear(2, 2).state_dict(), "not a published IM-NET autoencoder"),
    "wrapped": (lambda folder: {"model_state_dict": published_weights()[1]}, "unknown model_state_dict"),
    "a list": (lambda folder: [torch.ones(1)], "expected a state_dict, got list"),
    "a wrong shape": (
        with_value("generator.linear_3.weight", lambda value: value[:, :-1]),
        "decoder.layers.2.weight is (12, 13), expected (12, 14)",
    ),
    "wrong dimensions": (with_value("encoder.conv_2.weight", lambda v: v[0]), "expected 5 dimensions"),
    "a bias of another length": (with_value("encoder.conv_5.bias", lambda v: v[:3]), "is (3,), expected (8,)"),
    "integers": (with_value("encoder.conv_5.bias", lambda v: v.int()), "expected a tensor of floats"),
    "no tensor": (with_value("encoder.conv_5.bias", lambda v: [1.0]), "encoder.conv_5.bias is list"),
    "NaN": (with_value("generator.linear_4.weight", poisoned), "generator.linear_4.weight holds NaN or infinite"),
    "infinity": (with_value("encoder.conv_1.weight", lambda v: v / 0), "encoder.conv_1.weight holds NaN or infinite"),
    "a declared size": (
        with_value("generator.linear_1.weight", lambda v: torch.zeros(1).expand(HUGE, HUGE)),
        "does not hold as many numbers",
    ),
    "a sparse tensor": (with_value("generator.linear_1.weight", lambda v: v.to_sparse()), "generator.linear_1.weight"),
    "no outputs": (with_value("generator.linear_2.weight", lambda v: v[:0]), "x.pth"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_published_weights_is_refused_by_name(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    make, message = REFUSED[case]
    torch.save(make(tmp_path), tmp_path / "x.pth")
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == 1
    errors = capsys.readouterr().err
    assert message in errors and "x.pth" in errors and len(errors) < 1000
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_refused(share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "x.pth"
    torch.save(published_weights()[1], file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert import_weights(file, "--out", tmp_path / "runs" / "x") == 1
    assert "x.pth: cannot be read as a torch checkpoint (cut short or corrupt;" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_executed(zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = {**published_weights()[1], "encoder.conv_5.bias": Hostile(tmp_path / "executed")}
    torch.save(weights, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == 1
    assert "cannot be read as a torch checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists() and not (tmp_path / "runs").exists()


def test_a_missing_file_and_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert import_weights(tmp_path / "no.pth", "--out", tmp_path / "runs" / "x") == 1
    assert "no.pth does not exist" in capsys.readouterr().err
    assert import_weights(tmp_path / "no.pth") == 1
    assert "--out" in capsys.readouterr().err


def test_golden_weights_become_a_run_with_the_golden_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = save_imnet(tmp_path)
    assert import_weights(file, "--out", tmp_path / "golden") == 0
    said = capsys.readouterr().out
    assert "10,003,713 parameters" in said
    assert said.splitlines()[-1] == f"done; next: isofield generate --run {tmp_path / 'golden'} --input FILE"
    assert not list((tmp_path / "golden").rglob(".*"))
    numbers = np.load(FOLDER / "imnet_ae_io.npz")
    model = load_run(RunDir(tmp_path / "golden")).model
    voxels = np.unpackbits(numbers["voxels_packed"]).reshape(2, 1, 64, 64, 64)
    with torch.no_grad():
        field = model.decode(torch.from_numpy(numbers["points"]), model.encode(torch.from_numpy(voxels).float()))
    error = np.abs(field.numpy() - numbers["out"][..., 0])
    # As in test_autoencoder.py: the largest error depends on the processor.
    assert error.mean() < 5e-6 and error.max() < 5e-5


def test_an_imported_run_generates_evaluates_and_goes_on_training(tmp_path: Path):
    """The real commands on published data files: nothing of ours has prepared them."""
    _, weights = published_weights()
    weights = {name: torch.zeros_like(v) if "linear" in name else v for name, v in weights.items()}
    weights["generator.linear_1.weight"][0, :3] = torch.tensor([1.0, 0.4, 0.2])  # inside: a tilted half of the cube
    for layer in range(2, 8):
        weights[f"generator.linear_{layer}.weight"][0, 0] = 1.0
    weights["generator.linear_7.bias"][0] = 0.5
    torch.save(weights, tmp_path / "IM_AE.pth")
    data, run = write_published(tmp_path, train=2, test=1), tmp_path / "runs" / "ae"
    assert call(published.main, tmp_path / "IM_AE.pth", "--out", run, "--data", data) == 0
    assert call(generate.main, "--run", run, "--split", "test", "--resolution", 32, "--device", "cpu") == 0
    (row,) = json.loads((run / "meshes/test/manifest.json").read_text())["shapes"]
    assert (row["name"], row["status"]) == ("boxes/test00", "done")
    options = ["--protocol", "onet", "--points", "1000", "--iou-points", "1000", "--pictures", "0"]
    assert call(evaluate.main, "--run", run, "--split", "test", "--against", "voxels", *options) == 0
    result = json.loads((run / "evaluation/test-onet.json").read_text())
    assert result["n"] == 1 and result["failed"] == [] and result["mean"]["chamfer_l1"] > 0
    settings = ["training.stages=[{level: 16, epochs: 1, points: 64}]", "device=cpu", "training.validation.pictures=0"]
    assert call(train.main, "--config", run / "config.yaml", "--resume", "--set", *settings) == 0
    assert load_run(RunDir(run), which="last").step == 1
