"""Published IF-Net weights become a run that the commands accept; anything else is refused, and executes nothing."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_processing.formats.mesh_files import read_mesh
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.poses import PoseConfig
from data_processing.preparation.config import config_of
from ifnet import published
from ifnet.model import Config, IFNet
from ifnet.published_weights import INPUTS, SETUPS, convert, key_names
from isofield.commands import generate
from isofield.config import read_run_config
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.commands import call, status_of
from tests.golden import save_ifnet
from tests.ifnet.golden import FILES
from tests.small_sets import box_corners

Weights = dict[str, torch.Tensor]
KEYS = {  # of a published checkpoint
    "voxels_32": "conv_1 conv_1_1 conv_2 conv_2_1 conv_3 conv_3_1 conv1_1_bn conv2_1_bn conv3_1_bn",
    "voxels_128": "conv_in conv_0 conv_0_1 conv_1 conv_1_1 conv_2 conv_2_1 conv_3 conv_3_1 "
    "conv_in_bn conv0_1_bn conv1_1_bn conv2_1_bn conv3_1_bn",
}
KEYS["points_300"] = KEYS["points_3000"] = KEYS["organs"] = KEYS["voxels_128"]
KEYS["single_view"] = KEYS["voxels_128"] + " conv_4 conv_4_1 conv4_1_bn"


def narrow(setup: str) -> Config:
    """The set-up with a few channels, each stage and layer of another width."""
    config = SETUPS[setup]
    stages = tuple(tuple(2 + n + i for i in range(len(stage))) for n, stage in enumerate(config.stages))
    return dataclasses.replace(config, stages=stages, decoder_widths=(9, 8, 7))


def published_checkpoint(setup: str = "voxels_32", seed: int = 0) -> dict[str, Any]:
    """Random weights of the published layout, statistics that are not those of a fresh layer."""
    config = narrow(setup)
    generator = torch.Generator().manual_seed(seed)
    columns = 7 * sum(config.channels) + 3 * config.append_point
    first = {"conv_1.weight"} if setup == "voxels_32" else {"conv_in.weight"}
    state: Weights = {}
    shapes = {ours: value.shape for ours, value in IFNet(config).state_dict().items()}
    for theirs, ours in key_names(config).items():
        shape = shapes[ours]
        if theirs.startswith("fc") and theirs.endswith("weight"):
            shape = (*shape, 1)
        state[theirs] = torch.rand(shape, generator=generator) - (0.0 if "running_var" in theirs else 0.5)
        if theirs.endswith("num_batches_tracked"):
            state[theirs] = torch.tensor(7)
    assert state["fc_0.weight"].shape == (9, columns, 1) and all(state[name].shape[1] == 1 for name in first)
    return {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}


def import_weights(*arguments: object) -> int:
    """The exit status of `python -m ifnet.published ARGUMENTS`, in this process."""
    return status_of(published.main, *arguments)


def plain_published(state: Weights, config: Config, inputs: torch.Tensor, points_BN3: torch.Tensor) -> torch.Tensor:
    """The published network with its own keys: seven grid_samples, feature = channel * 7 + place."""
    leading = "conv_in.weight" in state
    numbers = [None, *range(len(config.stages) - 1)] if leading else list(range(1, 1 + len(config.stages)))
    mode = "constant" if config.convolution_padding == "zeros" else "replicate"
    x, features = inputs, [inputs]
    for stage, number in enumerate(numbers):
        x = F.max_pool3d(x, 2) if stage else x
        for name in ["conv_in"] if number is None else [f"conv_{number}", f"conv_{number}_1"]:
            x = F.relu(F.conv3d(F.pad(x, (1,) * 6, mode=mode), state[f"{name}.weight"], state[f"{name}.bias"]))
        bn = "conv_in_bn" if number is None else f"conv{number}_1_bn"
        x = F.batch_norm(x, *(state[f"{bn}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")))
        features.append(x)
    grid_BN3 = 2 * points_BN3.flip(-1)  # grid_sample takes the last array axis first
    steps = [[0.0, 0.0, 0.0]]
    for axis in range(3):
        for sign in (-1, 1):
            steps.append([sign * config.displacement if i == axis else 0.0 for i in range(3)])
    sampled = [
        torch.stack(
            [
                F.grid_sample(
                    volume,
                    (grid_BN3 + torch.tensor(step))[:, :, None, None],
                    padding_mode=config.sampling_padding,
                    align_corners=config.align_corners,
                )[..., 0, 0]
                for step in steps
            ],
            dim=2,
        )
        for volume in features
    ]  # (B, C, 7, N)
    h = torch.cat(sampled, 1).flatten(1, 2)
    if config.append_point:
        h = torch.cat([h, grid_BN3.transpose(1, 2)], 1)
    for layer in range(3):
        h = F.relu(F.conv1d(h, state[f"fc_{layer}.weight"], state[f"fc_{layer}.bias"]))
    return F.conv1d(h, state["fc_out.weight"], state["fc_out.bias"])[:, 0]


@pytest.mark.parametrize("setup", SETUPS)
def test_the_published_names_are_these(setup: str):
    names = key_names(SETUPS[setup])
    layers = {name.rpartition(".")[0] for name in names}
    assert layers == set(KEYS[setup].split()) | {"fc_0", "fc_1", "fc_2", "fc_out"}
    with torch.device("meta"):
        assert set(names.values()) == set(IFNet(SETUPS[setup]).state_dict()) and len(set(names.values())) == len(names)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize(("align_corners", "padding"), [("true", None), ("false", "replicate"), ("false", "zeros")])
def test_an_imported_run_computes_what_the_published_network_does(
    setup: str, align_corners: str, padding: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every set-up, at a smaller resolution (the weights do not depend on it); the choices are in the run's config."""
    small = dataclasses.replace(SETUPS[setup], resolution=64)
    monkeypatch.setitem(SETUPS, setup, small)
    content = published_checkpoint(setup)
    torch.save(content, tmp_path / "x.tar")
    arguments = ["--setup", setup, "--align-corners", align_corners, "--out", tmp_path / "runs" / "x"]
    arguments += ["--conv-padding", padding] if padding else []
    assert import_weights(tmp_path / "x.tar", *arguments) == 0
    run = RunDir(tmp_path / "runs" / "x")
    section = read_run_config(run.config_file).model
    assert section["align_corners"] is (align_corners == "true")
    assert section["convolution_padding"] == (padding or ("replicate" if setup == "organs" else "zeros"))
    generator = torch.Generator().manual_seed(3)
    inputs = (torch.rand(1, 1, 64, 64, 64, generator=generator) > 0.6).float()
    points = torch.rand(1, 60, 3, generator=generator) * 1.2 - 0.6
    for which in ("best", "last"):
        model = load_run(run, which=which).model
        assert isinstance(model, IFNet)
        with torch.no_grad():
            ours = model.decode(points, model.encode(inputs))
            theirs = plain_published(content["model_state_dict"], model.config, inputs, points)
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("setup", SETUPS)
def test_the_run_says_how_it_was_trained_and_how_a_file_has_to_lie(setup: str, tmp_path: Path):
    torch.save(published_checkpoint(setup), tmp_path / "x.tar")
    arguments = ["--setup", setup, "--align-corners", "true", "--out", tmp_path / "x", "--data", "datasets/mine"]
    assert import_weights(tmp_path / "x.tar", *arguments) == 0
    config = read_run_config(RunDir(tmp_path / "x").config_file)
    shipped = read_run_config(Path(published.__file__).parents[1] / "configs" / "ifnet" / f"{setup}.yaml")
    # Ours damages masks in more ways than the published one did, and poses them.
    as_published = dataclasses.replace(shipped.data.input, deform=DeformationConfig(), pose=PoseConfig())
    assert config.data.input == as_published and config.data.path == Path("datasets/mine")
    assert config.training.stages == shipped.training.stages and config.training.optim == shipped.training.optim
    assert config.data.input.resolution == config.model["resolution"] == INPUTS[setup]["resolution"]
    data = config_of(json.loads(RunDir(tmp_path / "x").preparation_file.read_text()))
    assert data.contents.boundary is not None and data.normalisation.length == (192 if setup == "organs" else 1)


@pytest.mark.parametrize("setup", FILES)
def test_golden_checkpoints_are_imported(setup: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = save_ifnet(FILES[setup], tmp_path)
    arguments = ["--setup", setup, "--align-corners", "true", "--out", tmp_path / "golden"]
    assert import_weights(file, *arguments) == 0
    said = capsys.readouterr().out
    assert ("2,954,049" if setup == "voxels_32" else "2,550,881") + " parameters" in said
    assert said.splitlines()[-1] == f"done; next: isofield generate --run {tmp_path / 'golden'} --input FILE"
    assert "trained for 3 epochs" in said and "align_corners True, convolution padding zeros" in said


def test_half_precision_is_read(tmp_path: Path):
    state = published_checkpoint()["model_state_dict"]
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    _, weights = convert(halved, SETUPS["voxels_32"], setup="voxels_32", where="test")
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights.values())


def edited(edit: Callable[[Weights], object]) -> Callable[[], object]:
    """A checkpoint after `edit` of its weights."""

    def make() -> object:
        content = published_checkpoint()
        return {**content, "model_state_dict": edit(content["model_state_dict"]) or content["model_state_dict"]}

    return make


def with_value(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[], object]:
    return edited(lambda weights: weights.update({name: change(weights[name])}))


def poisoned(value: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.arange(value.numel()).view(value.shape) == 3, torch.nan, value)


HUGE = 1 << 24
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a key missing": (edited(lambda w: [w.pop("conv_3.weight")][1:]), "missing conv_3.weight;"),
    "a key too many": (edited(lambda w: w.update({"conv_9.w": w["fc_0.bias"]})), "unknown conv_9.w"),
    "a long key": (edited(lambda w: w.update({"x" * 10**6: w["fc_0.bias"]})), "unknown xxx"),
    "keys of two kinds": (edited(lambda w: {**dict[Any, Any](w), 1: 2, "z": 3}), "unknown 1, z"),
    "another set-up": (lambda: published_checkpoint("single_view"), "these are the keys of --setup single_view"),
    "another network": (edited(lambda w: torch.nn.Linear(2, 2).state_dict()), "not a published IF-Net of the set-up"),
    "a bare state_dict": (lambda: published_checkpoint()["model_state_dict"], "with a model_state_dict; it has conv"),
    "an empty mapping": (dict, "with a model_state_dict; it has none"),
    "weights that are none": (lambda: {"model_state_dict": [1]}, "with a model_state_dict; it has model_state_dict"),
    "a list": (lambda: [torch.ones(1)], "expected a published checkpoint"),
    "a wrong shape": (
        with_value("fc_1.weight", lambda value: value[:, :-1]),
        "decoder.layers.1.weight is (8, 8), expected (8, 9)",
    ),
    "too few columns": (
        with_value("fc_0.weight", lambda value: value[:, :-3]),
        "decoder.layers.0.weight is (9, 88), expected (9, 91)",
    ),
    "wrong dimensions": (with_value("conv_2.weight", lambda v: v[0]), "expected 5 dimensions"),
    "a kernel of 2": (with_value("fc_1.weight", lambda v: v.expand(-1, -1, 2).clone()), "expected (out, in, 1)"),
    "a kernel of 1": (with_value("conv_2.weight", lambda v: v[..., :1]), "expected (3, 3, 3, 3, 3)"),
    "a bias of another length": (with_value("conv_1.bias", lambda v: v[:1]), "is (1,), expected (2,)"),
    "integers": (with_value("fc_out.bias", lambda v: v.int()), "expected a tensor of floats"),
    "a fractional count": (with_value("conv1_1_bn.num_batches_tracked", lambda v: v / 2), "of one integer"),
    "many counts": (with_value("conv1_1_bn.num_batches_tracked", lambda v: v.expand(3)), "num_batches_tracked"),
    "a negative variance": (with_value("conv2_1_bn.running_var", lambda v: -v), "a running variance is negative"),
    "no tensor": (with_value("fc_0.bias", lambda v: [1.0]), "fc_0.bias is list"),
    "NaN": (with_value("conv_2.weight", poisoned), "conv_2.weight holds NaN or infinite"),
    "infinity": (with_value("conv1_1_bn.weight", lambda v: v / 0), "conv1_1_bn.weight holds NaN or infinite"),
    "a declared size": (
        with_value("fc_0.weight", lambda v: torch.zeros(1).expand(HUGE, HUGE, 1)),
        "does not hold as many numbers",
    ),
    "a sparse tensor": (with_value("fc_1.bias", lambda v: v.to_sparse()), "fc_1.bias"),
    "no outputs": (with_value("fc_1.weight", lambda v: v[:0]), "must be at least 1"),
}


def refused(folder: Path) -> None:
    """The file x.tar is refused and leaves nothing behind."""
    arguments = ["--setup", "voxels_32", "--align-corners", "true", "--out", folder / "runs" / "x"]
    assert import_weights(folder / "x.tar", *arguments) == 1
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_published_checkpoint_is_refused_by_name(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    make, message = REFUSED[case]
    torch.save(make(), tmp_path / "x.tar")
    refused(tmp_path)
    errors = capsys.readouterr().err
    assert message in errors and "x.tar" in errors and len(errors) < 1000


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_refused(share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "x.tar"
    torch.save(published_checkpoint(), file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    refused(tmp_path)
    assert "x.tar: cannot be read as a torch checkpoint (cut short or corrupt;" in capsys.readouterr().err


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("place", ["epoch", "model_state_dict", "optimizer_state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_executed(zipped: bool, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = {**published_checkpoint(), place: Hostile(tmp_path / "executed")}
    torch.save(content, tmp_path / "x.tar", _use_new_zipfile_serialization=zipped)
    refused(tmp_path)
    assert "cannot be read as a torch checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_what_has_to_be_chosen_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(published_checkpoint(), tmp_path / "x.tar")
    for missing in ("--setup", "--align-corners", "--out"):
        arguments = {"--setup": "voxels_32", "--align-corners": "true", "--out": tmp_path / "x"}
        del arguments[missing]
        words = [word for pair in arguments.items() for word in pair]
        assert import_weights(tmp_path / "x.tar", *words) == 1
        assert missing in capsys.readouterr().err
    assert import_weights(tmp_path / "x.tar", "--setup", "voxels_31", "--align-corners", "true", "--out", "x") == 1
    assert "voxels_32" in capsys.readouterr().err


def test_an_existing_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hashes = []
    for seed, status in ((0, 0), (1, 1)):
        torch.save(published_checkpoint(seed=seed), tmp_path / "x.tar")
        arguments = ["--setup", "voxels_32", "--align-corners", "true", "--out", tmp_path / "runs" / "x"]
        assert import_weights(tmp_path / "x.tar", *arguments) == status
        hashes.append(load_run(RunDir(tmp_path / "runs" / "x")).model_hash)
    assert "holds checkpoints already" in capsys.readouterr().err and hashes[0] == hashes[1]


@pytest.mark.parametrize("setup", ["voxels_32", pytest.param("points_300", marks=pytest.mark.slow)])
def test_an_imported_run_reconstructs_a_users_mesh(setup: str, prepared: Path, tmp_path: Path):
    """Weights set by hand: the logit is what the input holds around a point. The mesh comes out in the file's frame."""
    content = published_checkpoint(setup)
    state = {
        name: value if "running_var" in name or "batches" in name else torch.zeros_like(value)
        for name, value in content["model_state_dict"].items()
    }
    state["fc_0.weight"][0, :7, 0] = 1  # the input at the point and around it: the first seven features
    state["fc_1.weight"][0, 0] = state["fc_2.weight"][0, 0] = state["fc_out.weight"][0, 0] = 1
    state["fc_out.bias"][0] = -0.5 if setup == "voxels_32" else -0.02
    torch.save({**content, "model_state_dict": state}, tmp_path / "x.tar")
    run, file = tmp_path / "runs" / "x", prepared.parent / "raw" / "boxes" / "box1.ply"
    arguments = ["--setup", setup, "--align-corners", "false", "--out", run]
    assert import_weights(tmp_path / "x.tar", *arguments) == 0
    options = ["--resolution", "64", "--device", "cpu", "--out", tmp_path / "meshes"]
    assert call(generate.main, "--run", run, "--input", file, *options) == 0
    mesh = read_mesh(tmp_path / "meshes" / "box1.ply")
    lower, upper = box_corners("box1")
    within = 0.12 * float((upper - lower).max())
    assert np.abs(mesh.bounds()[0] - lower).max() < within and np.abs(mesh.bounds()[1] - upper).max() < within
