"""Published single-view weights become a run that makes shapes of pictures; what is not like them is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import Picture, write_picture
from imnet import published
from imnet.published import convert_single_view, key_names, renamed_single_view
from imnet.single_view import Config, SingleView
from isofield.commands import generate
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.commands import call, status_of
from tests.imnet.test_published import SMALL
from tests.imnet.test_single_view import views

CONFIG = Config(autoencoder=SMALL, channels=(4, 6, 8, 10))
Weights = dict[str, torch.Tensor]


def published_weights(seed: int = 0) -> tuple[SingleView, Weights, Weights]:
    """A model of ours with random weights; its weights under the published names, and its autoencoder's."""
    torch.manual_seed(seed)
    model = SingleView(CONFIG).eval()
    ours = model.state_dict()
    own = {theirs: ours[name] for theirs, name in renamed_single_view().items()}
    return model, own, {theirs: ours[f"autoencoder.{name}"] for theirs, name in key_names().items()}


def import_weights(*arguments: object) -> int:
    """The exit status of `python -m imnet.published ARGUMENTS`, in this process."""
    return status_of(published.main, *arguments)


def test_the_published_names_are_these():
    names = renamed_single_view()
    blocks = 8 * 2 * 6 + 3 * 6  # two convolutions with normalisation each; three shortcuts
    assert len(names) == 6 + blocks + 6 + 2 + 14 and len(set(names.values())) == len(names)
    state = SingleView(Config(autoencoder=SMALL, channels=(4, 6, 8, 10), voxel_encoder=False)).state_dict()
    assert set(names.values()) == set(state)
    for key in ("conv_0.weight", "bn_0.running_var", "res_3.conv_s.weight", "res_8.bn_2.num_batches_tracked"):
        assert f"img_encoder.{key}" in names
    assert "img_encoder.res_2.conv_s.weight" not in names and "img_encoder.conv_10.bias" in names
    assert names["generator.linear_7.bias"] == "autoencoder.decoder.layers.6.bias"


def test_the_published_sizes_are_17_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.manual_seed(0)
    ours = SingleView(Config()).state_dict()
    torch.save({theirs: ours[name] for theirs, name in renamed_single_view().items()}, tmp_path / "IM_SVR.pth")
    assert import_weights(tmp_path / "IM_SVR.pth", "--out", tmp_path / "runs" / "svr") == 0
    assert f"{17_462_976 + 3_054_593:,} parameters" in capsys.readouterr().out
    assert load_run(RunDir(tmp_path / "runs" / "svr")).config.model["channels"] == [64, 128, 256, 512]


def test_imported_weights_compute_the_same(tmp_path: Path):
    model, own, _ = published_weights()
    torch.save(own, tmp_path / "x.pth")
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x", "--output-clip", "hard") == 0
    loaded = load_run(RunDir(tmp_path / "runs" / "x"))
    assert loaded.config.data.input.kind == "view" and loaded.config.data.input.view == 23
    assert loaded.config.model["autoencoder"]["output_clip"] == "hard"
    points = torch.rand(3, 80, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        code = loaded.model.encode(views())
        assert torch.equal(code, model.encode(views()))
        assert torch.equal(loaded.model.decode(points, code), model.decode(points, code).clamp(0, 1))
    assert isinstance(loaded.model, SingleView)
    with pytest.raises(ValueError, match="--autoencoder FILE"):
        loaded.model.frozen_code(torch.zeros(1, 1, 64, 64, 64))


def test_with_its_autoencoder_it_knows_codes_of_voxels(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, own, beside = published_weights()
    torch.save(own, tmp_path / "x.pth")
    torch.save(beside, tmp_path / "ae.pth")
    arguments = [tmp_path / "x.pth", "--autoencoder", tmp_path / "ae.pth", "--out"]
    assert import_weights(*arguments, tmp_path / "runs" / "x") == 0
    voxels = (torch.rand(2, 1, 64, 64, 64) > 0.6).float()
    loaded = load_run(RunDir(tmp_path / "runs" / "x"))
    assert isinstance(loaded.model, SingleView)
    with torch.no_grad():
        assert torch.equal(loaded.model.frozen_code(voxels), model.frozen_code(voxels))
    torch.save(published_weights(1)[2], tmp_path / "ae.pth")
    assert import_weights(*arguments, tmp_path / "runs" / "y") == 1
    assert "ae.pth is not the autoencoder of" in capsys.readouterr().err
    torch.save(own, tmp_path / "ae.pth")
    assert import_weights(*arguments, tmp_path / "runs" / "y") == 1
    assert "ae.pth: not a published IM-NET autoencoder" in capsys.readouterr().err
    torch.save(beside, tmp_path / "ae.pth")
    both = [tmp_path / "ae.pth", "--autoencoder", tmp_path / "ae.pth", "--out", tmp_path / "runs" / "y"]
    assert import_weights(*both) == 1
    assert "is an autoencoder itself" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "y").exists()


def changed(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Weights], object]:
    return lambda weights: weights.update({key: change(weights[key])})


REFUSED: dict[str, tuple[Callable[[Weights], object], str]] = {
    "no decoder": (
        lambda w: [w.pop(key) for key in list(w) if key.startswith("generator")][0:0],
        "missing generator.linear_1.bias",
    ),
    "a block missing": (lambda w: w.pop("img_encoder.res_5.conv_s.weight")[0:0], "missing img_encoder.res_5.conv_s"),
    "a key too many": (lambda w: w.update({"img_encoder.x": w["img_encoder.conv_10.bias"]}), "unknown img_encoder.x"),
    "a wrong shape": (changed("img_encoder.res_4.conv_2.weight", lambda v: v[:, :-1]), "is (6, 5, 3, 3), expected"),
    "wrong dimensions": (changed("img_encoder.conv_9.weight", lambda v: v[0]), "expected 4 dimensions"),
    "a wrong norm": (changed("img_encoder.bn_9.running_mean", lambda v: v[:-1]), "is (9,), expected (10,)"),
    "NaN": (changed("img_encoder.conv_0.weight", lambda v: v / 0), "holds NaN or infinite"),
    "negative variances": (changed("img_encoder.res_1.bn_1.running_var", lambda v: v - 5), "negative variances"),
    "another latent": (changed("img_encoder.conv_10.weight", lambda v: v[:5]), "expected"),
    "a count of floats": (changed("img_encoder.bn_0.num_batches_tracked", lambda v: v.float()), "one integer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_published_weights_is_refused_by_name(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    edit, message = REFUSED[case]
    _, weights, _ = published_weights()
    edit(weights)
    torch.save(weights, tmp_path / "x.pth")
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == 1
    errors = capsys.readouterr().err
    assert message in errors and "x.pth" in errors and len(errors) < 1000
    assert not (tmp_path / "runs").exists()


def test_a_file_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(published_weights()[1], tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:5000])
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == 1
    assert "x.pth: cannot be read as a torch checkpoint" in capsys.readouterr().err


def test_half_precision_is_widened():
    weights = {name: v.half() if v.is_floating_point() else v for name, v in published_weights()[1].items()}
    config, converted = convert_single_view(weights, where="test")
    assert not config.voxel_encoder and config.channels == (4, 6, 8, 10) and config.latent == 8
    assert all(v.dtype in (torch.float32, torch.int64) for v in converted.values())


def test_an_imported_run_makes_a_mesh_of_a_picture(tmp_path: Path):
    """A decoder set to half of the cube, tilted: the mesh, and beside it the picture that the network saw."""
    _, weights, _ = published_weights()
    weights = {name: torch.zeros_like(v) if "linear" in name else v for name, v in weights.items()}
    weights["generator.linear_1.weight"][0, :3] = torch.tensor([1.0, 0.4, 0.2])
    for layer in range(2, 8):
        weights[f"generator.linear_{layer}.weight"][0, 0] = 1.0
    weights["generator.linear_7.bias"][0] = 0.5
    torch.save(weights, tmp_path / "x.pth")
    assert import_weights(tmp_path / "x.pth", "--out", tmp_path / "runs" / "x") == 0
    grey = np.full((60, 60), 255, np.uint8)
    grey[10:50, 20:40] = 90
    write_picture(tmp_path / "photo.png", Picture(grey))
    words = ["--run", tmp_path / "runs" / "x", "--input", tmp_path / "photo.png", "--resolution", 32, "--device", "cpu"]
    assert call(generate.main, *words) == 0
    folder = tmp_path / "runs" / "x" / "meshes" / "input"
    assert len(read_mesh(folder / "photo.ply").faces) > 10 and (folder / "photo_input.png").is_file()
