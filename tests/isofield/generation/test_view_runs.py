"""Single-view reconstruction through the engine: training on codes, resuming, ranks, meshes of pictures."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import read_picture
from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.store.shape_set import open_shapes
from isofield.commands import generate
from isofield.config import RunConfig, TrainingStage, ValidationConfig
from isofield.registry import load_run
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from isofield.training.state import State
from tests.commands import status_of
from tests.isofield.conftest import tiny_config
from tests.isofield.ready_runs import make_run
from tests.isofield.training.test_frozen_codes import run_training, with_training
from tests.small_sets import write_viewed
from tests.torchrun import torchrun

CHANNELS = [2, 3, 4, 5]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five boxes, four to train on, with three views of 130 pixels each."""
    return write_viewed(tmp_path_factory.mktemp("seen"), shapes=5, views=3, size=130)


@pytest.fixture
def autoencoder(seen: Path, tmp_path: Path) -> RunDir:
    """Its codes decode to octahedra."""
    return make_run(seen, tmp_path / "initial")


def view_config(seen: Path, runs: Path, autoencoder: RunDir, **training: object) -> RunConfig:
    """4 epochs over 4 shapes in batches of 3: 8 steps, the last batch of each epoch is one shape."""
    settings: dict[str, object] = {"stages": (TrainingStage(level="codes", epochs=4),), "batch_shapes": 3, **training}
    model = {"type": "imnet_single_view", "init_from": str(autoencoder.path), "channels": CHANNELS}
    data = LoadingConfig(seen, input=InputConfig("view"))
    return dataclasses.replace(tiny_config(seen, runs, **settings), name="view", model=model, data=data)


@pytest.fixture
def trained(seen: Path, tmp_path: Path, autoencoder: RunDir) -> tuple[RunConfig, State]:
    config = view_config(seen, tmp_path, autoencoder)
    return config, run_training(config)


def test_the_image_encoder_learns_and_its_statistics_move(trained: tuple[RunConfig, State], autoencoder: RunDir):
    config, state = trained
    assert state.step == 8 and state.best is not None
    ours, frozen = state.model.state_dict(), load_run(autoencoder, which="last").model.state_dict()
    assert all(torch.equal(ours[f"autoencoder.{name}"], value) for name, value in frozen.items())
    assert int(ours["encoder.first_norm.num_batches_tracked"]) == 8  # validation counts as no step
    assert float(ours["encoder.first_norm.running_mean"].abs().sum()) > 0
    loaded = load_run(RunDir(config.run_path))
    assert not any(module.training for module in loaded.model.children())


def test_resuming_is_bitwise_the_same(
    seen: Path, tmp_path: Path, autoencoder: RunDir, trained: tuple[RunConfig, State]
):
    """Statistics of the normalisation among it, also when a validation came between."""
    validation = ValidationConfig(every=1, shapes=2, pictures=0)
    halves = view_config(seen, tmp_path / "halves", autoencoder, validation=validation)
    assert run_training(with_training(halves, max_steps=3)).step == 3
    resumed = run_training(halves, resume=True).model.state_dict()
    for name, value in trained[1].model.state_dict().items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(
    seen: Path, tmp_path: Path, autoencoder: RunDir, trained: tuple[RunConfig, State]
):
    """Statistics run over all ranks; the last batch of an epoch leaves the second rank without a shape."""
    config = view_config(seen, tmp_path / "two", autoencoder)
    file = tmp_path / "view.yaml"
    file.write_text(to_yaml(config))
    torchrun("train.py", "--config", file)
    both = load_run(RunDir(config.run_path), which="last").model.state_dict()
    for name, value in trained[1].model.state_dict().items():
        torch.testing.assert_close(both[name], value, rtol=1e-3, atol=1e-5)


def test_a_data_set_without_views_is_refused_before_any_work(boxes: Path, tmp_path: Path):
    config = view_config(boxes, tmp_path, make_run(boxes, tmp_path / "initial"))
    with pytest.raises(ValueError, match=r"\(pixels\).*prepare --config"):
        run_training(config)
    assert not (tmp_path / "view").exists()


@pytest.fixture
def generated(trained: tuple[RunConfig, State]):
    words = ["--run", trained[0].run_path, "--device", "cpu", "--resolution", 32]
    return functools.partial(status_of, generate.main, *words)


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((folder / "manifest.json").read_text())["shapes"]}


def photo(path: Path, shade: int = 60) -> Path:
    image = Image.new("RGB", (200, 150), (255, 255, 255))
    image.paste((shade, shade, shade), (60, 30, 120, 110))
    image.save(path)
    return path


def test_a_users_picture_becomes_a_mesh_with_what_was_seen_beside_it(tmp_path: Path, generated):
    folder = tmp_path / "out"
    assert generated("--input", photo(tmp_path / "photo.png"), "--out", folder) == 0
    row = rows(folder)["photo"]
    assert (row["status"], row["file"], row["input_file"]) == ("done", "photo.ply", "photo_input.png")
    lower, upper = read_mesh(folder / "photo.ply").bounds()
    assert -0.5 <= lower.min() < upper.max() <= 0.5
    seen = read_picture(folder / "photo_input.png")
    assert seen.shape == (128, 128, 4) and seen[64, 64, 0] == 60 and seen[0, 0, 0] == 255


def test_other_pictures_and_masks_under_the_same_name_are_made_again(tmp_path: Path, generated):
    folder, file = tmp_path / "out", photo(tmp_path / "photo.png")
    mask = Image.new("L", (200, 150), 0)
    mask.paste(255, (60, 30, 90, 60))
    changes = lambda: None, lambda: None, lambda: photo(file, 90), lambda: mask.save(tmp_path / "photo.mask.png")
    times = []
    for change in changes:
        change()
        assert generated("--input", file, "--out", folder) == 0
        times.append((folder / "photo.ply").stat().st_mtime_ns)
    assert times[0] == times[1] and len(set(times)) == 3
    assert generated("--input", file, "--out", folder, "--set", "photo.fill=0.9") == 0
    assert (folder / "photo.ply").stat().st_mtime_ns not in times


def test_bad_pictures_are_rows_that_say_why(tmp_path: Path, generated):
    files = [photo(tmp_path / "good.png"), tmp_path / "cut.jpg", tmp_path / "white.png", tmp_path / "note.txt"]
    files += [photo(tmp_path / f"{name}.png") for name in ("all", "nothing")]
    Image.new("RGB", (99, 99), "white").save(files[2])
    for name, shade in (("all", 255), ("nothing", 0)):
        Image.new("L", (200, 150), shade).save(tmp_path / f"{name}.mask.png")
    files[3].write_text("no picture")
    photo(tmp_path / "x.jpg")
    files[1].write_bytes((tmp_path / "x.jpg").read_bytes()[:700])
    folder = tmp_path / "out"
    assert generated("--input", *files, tmp_path / "none.png", "--out", folder) == 2
    found = rows(folder)
    assert {name: row["status"] for name, row in found.items() if row["status"] == "done"} == {"good": "done"}
    for name, reason in (
        ("cut", "damaged"),
        ("white", "nothing stands out"),
        ("all", "every pixel is the object"),
        ("nothing", "no pixel is the object"),
        ("note", "note.txt: expected lines of at least three numbers"),
    ):
        assert reason in found[name]["reason"]
    assert "does not exist" in found["none"]["reason"]


def test_a_users_mesh_is_rendered_and_comes_back_in_its_frame(seen: Path, tmp_path: Path, generated):
    source = open_shapes(seen).source(0)
    assert source is not None and generated("--input", source, "--out", tmp_path / "out") == 0
    row = rows(tmp_path / "out")[source.stem]
    assert row["input_file"] == f"{source.stem}_input.png" and not np.allclose(row["to_world"], np.eye(4))
    lower, upper = read_mesh(tmp_path / "out" / row["file"]).bounds()
    expected = read_mesh(source).bounds()
    assert np.abs((lower + upper) / 2 - (expected[0] + expected[1]) / 2).max() < np.ptp(expected, axis=0).max()


def test_a_split_is_made_of_its_fixed_views(seen: Path, tmp_path: Path, generated, trained: tuple[RunConfig, State]):
    assert generated("--split", "test", "--with-input") == 0
    folder = RunDir(trained[0].run_path).meshes("test")
    shapes = open_shapes(seen)
    (index,) = shapes.indices("test").tolist()
    row = rows(folder)[shapes.names[index]]
    picture = read_picture(folder / row["input_file"])[..., 0]
    assert np.array_equal(picture, shapes.packed_row(index)["pixels"][2, 1:129, 1:129])


def test_fitting_is_refused_and_a_picture_for_another_run(tmp_path: Path, generated, autoencoder: RunDir, capsys):
    assert generated("--input", photo(tmp_path / "x.png"), "--out", tmp_path / "out", "--fit-steps", 3) == 1
    assert "cannot be fitted" in capsys.readouterr().err
    assert generated("--run", autoencoder.path, "--input", tmp_path / "x.png", "--out", tmp_path / "out") == 2
    assert "x.png is a picture; this run is shown solids" in rows(tmp_path / "out")["x"]["reason"]
