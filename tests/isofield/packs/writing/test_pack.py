"""What a pack holds and says: checksums, card, precision; and what is not packed."""

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from data_processing.preparation.config import DataConfig
from isofield import checkpoint
from isofield.commands import evaluate, generate, pack
from isofield.config import read_run_config
from isofield.outliers.scoring.calibrate import calibrate_run
from isofield.outliers.scoring.detector import load_detector
from isofield.packs.find_run import find_run
from isofield.packs.weights import weights_of
from isofield.registry import load_run
from isofield.run_dir import RunDir, preparation_of
from isofield.runtime.config import read_config
from tests.commands import call, status_of
from tests.isofield.outliers.analysed import brain_values, make_prior, rows_in, run_analysis, write_scan
from tests.isofield.outliers.conftest import brain_set, echo, write_run  # noqa: F401 (fixtures)
from tests.isofield.packs.conftest import autoencoder, cache, images  # noqa: F401 (fixtures)
from tests.isofield.packs.tiny_runs import Images, images_in, packed, trained_autoencoder, trained_ifnet
from tests.isofield.ready_runs import make_run

FILES = {"README.md", "card.json", "config.yaml", "model.safetensors", "preparation.json", "pack.json"}


def test_nothing_but_what_is_needed(autoencoder: RunDir, images: Images):  # noqa: F811
    assert set(images) == FILES
    manifest = json.loads(images["pack.json"])
    for name in FILES - {"pack.json"}:
        expected = {"size": len(images[name]), "sha256": hashlib.sha256(images[name]).hexdigest()}
        assert manifest["files"][name] == expected
    loaded = load_run(autoencoder)
    assert manifest["model_hash"] == loaded.model_hash and manifest["step"] == 15
    for name, value in weights_of(images["model.safetensors"], where="test").items():
        assert torch.equal(value, loaded.model.state_dict()[name])


def test_no_place_of_this_machine_is_in_it(boxes: Path, autoencoder: RunDir, images: Images, tmp_path: Path):  # noqa: F811
    places = {str(boxes.parent), str(autoencoder.path.parent), str(Path.home()) + "/", str(Path.cwd()), "/tmp"}
    assert str(boxes) in autoencoder.config_file.read_text()  # there was something to clean
    for name, image in images.items():
        assert not [place for place in places if place.encode() in image], name
    config = yaml.safe_load(images["config.yaml"])
    assert config["data"]["path"] == boxes.name and config["runs"] == autoencoder.path.parent.name
    about = tmp_path / "about.md"
    about.write_text(f"See {autoencoder.path.resolve()}/logs.\n")
    with pytest.raises(ValueError, match=r"README\.md would name .*take it out"):
        packed(autoencoder, tmp_path / "out", "--card", about)
    assert not (tmp_path / "out").exists()


def test_the_same_run_gives_the_same_bytes(autoencoder: RunDir, tmp_path: Path):  # noqa: F811
    first, second = (packed(autoencoder, tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert set(archive.namelist()) == FILES
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {name: archive.read(name) for name in FILES} == images_in(packed(autoencoder, tmp_path / "folder"))


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_what_is_there_is_not_overwritten(autoencoder: RunDir, tmp_path: Path, name: str):  # noqa: F811
    out = tmp_path / name
    out.mkdir()
    with pytest.raises(ValueError, match=rf"{name} is there already.*OUT"):
        packed(autoencoder, out)
    out.rmdir()
    out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"{name} is there already"):
        packed(autoencoder, out)
    out.unlink()
    out.write_text("mine")
    assert status_of(pack.main, autoencoder.path, out) == 1
    assert out.read_text() == "mine" and os.listdir(tmp_path) == [name]


def test_what_cannot_be_packed(autoencoder: RunDir, tmp_path: Path):  # noqa: F811
    with pytest.raises(FileNotFoundError, match="nowhere is not a run"):
        packed(RunDir(tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"'7'; it has: last, best"):
        packed(autoencoder, tmp_path / "out", "--checkpoint", 7)
    folder = packed(autoencoder, tmp_path / "tiny")
    with pytest.raises(ValueError, match="packed already"):
        packed(RunDir(folder), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"about\.md"):
        packed(autoencoder, tmp_path / "out", "--card", tmp_path / "about.md")
    assert sorted(os.listdir(tmp_path)) == ["tiny"]


def test_the_card_says_what_is_known(boxes: Path, tmp_path: Path):
    run = make_run(boxes, tmp_path / "runs")
    words = ("--run", run.path, "--split", "test")
    assert call(generate.main, *words, "--resolution", 24, "--device", "cpu") == 0
    assert call(evaluate.main, *words, "--against", "voxels", "--protocol", "imnet", "onet", "--points", 500) == 0
    about = tmp_path / "about.md"
    about.write_text("Boxes of our own | made up.\n")
    out = packed(run, tmp_path / "out", "--card", about)
    card: dict[str, Any] = json.loads((out / "card.json").read_text())
    text = (out / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == card["licence"] == "cc-by-4.0"
    measured = json.loads((run.evaluation / "test-imnet.json").read_text())
    ours = {table["protocol"]: table for table in card["protocols"]}
    assert set(ours) == {"imnet", "onet"} and ours["imnet"]["mean"] == measured["mean"]
    assert ours["imnet"]["settings"]["points"] == 500 and ours["imnet"]["settings"]["resolution"] == 24
    assert card["data"] == {"name": boxes.name, "categories": [], "shapes": {"test": 3, "train": 5}}
    weights = (out / "model.safetensors").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(weights).hexdigest() in text
    for expected in (
        "imnet_autoencoder",
        "voxels",
        "Boxes of our own | made up.",
        "isofield train --config",
        "| imnet |",
    ):
        assert expected in text
    # Numbers of other weights are not of these.
    manifest = run.meshes("test") / "manifest.json"
    assert load_run(run).model_hash in manifest.read_text()
    other = json.loads((run.evaluation / "test-onet.json").read_text())
    other["settings"]["model_hash"] = "0"
    (run.evaluation / "test-onet.json").write_text(json.dumps(other))
    card = json.loads((packed(run, tmp_path / "again") / "card.json").read_text())
    assert [table["protocol"] for table in card["protocols"]] == ["imnet"]


def test_without_a_licence_or_numbers_it_says_so(
    autoencoder: RunDir,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert call(pack.main, autoencoder.path, tmp_path / "out") == 0
    assert "--licence" in capsys.readouterr().out
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| licence | not stated |" in text and "Nothing was measured with these weights" in text
    assert "NOT FINISHED" not in text


def test_an_unfinished_training_is_said(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = trained_autoencoder(boxes, tmp_path / "runs", max_steps=4)
    out = packed(run, tmp_path / "out")
    said = "NOT FINISHED: 4 of 15 steps"
    assert said in capsys.readouterr().out and said in (out / "README.md").read_text()
    assert json.loads((out / "card.json").read_text())["training"]["unfinished"] is True
    assert "4 of 15 steps" in load_run(find_run(out)).unfinished
    # The best checkpoint of a training that came to its end may be an early one.
    last = run.checkpoint_file("last")
    checkpoint.save(last, {**checkpoint.load(last), "step": 15})
    out = packed(run, tmp_path / "ended")
    assert "NOT FINISHED" not in (out / "README.md").read_text() and load_run(find_run(out)).unfinished == ""


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["solid", "points"])
def test_rounded_weights(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, kind: str):
    run = trained_ifnet(prepared, tmp_path / "runs", kind=kind)
    whole, half = packed(run, tmp_path / "whole"), packed(run, tmp_path / "half", "--precision", precision)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(precision)]
    card = json.loads((half / "card.json").read_text())["weights"]
    change = card["field_change"]
    assert 0 < change["largest"] <= 0.02 * change["span"] and change["points"] == 3 * 32**3
    assert f"{change['largest']:.2g} of a span" in line and "bound 2.00%" in line
    assert f"{change['largest']:.2g} of a span" in (half / "README.md").read_text()
    loaded, original = load_run(find_run(half)), load_run(run)
    assert loaded.model_hash == card["model_hash"] != original.model_hash
    for name, value in original.model.state_dict().items():
        rounded = value.to(getattr(torch, precision)).float() if value.is_floating_point() else value
        assert torch.equal(loaded.model.state_dict()[name], rounded) and rounded.dtype == value.dtype
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.8 * sizes[0]  # names and counts weigh much in so small a model


def test_rounding_beyond_the_bound_is_refused(autoencoder: RunDir, tmp_path: Path):  # noqa: F811
    with pytest.raises(ValueError, match=r"--precision bfloat16: .*--bound 1e-06"):
        packed(autoencoder, tmp_path / "out", "--precision", "bfloat16", "--bound", 1e-6)
    assert not (tmp_path / "out").exists()


def test_numbers_that_float16_has_not(boxes: Path, tmp_path: Path):
    run = make_run(boxes, tmp_path / "runs")
    content = checkpoint.load(run.checkpoint_file("best"))
    content["model"]["decoder.layers.3.bias"][0] = 1e6
    checkpoint.save(run.checkpoint_file("best"), content)
    with pytest.raises(ValueError, match=r"decoder\.layers\.3\.bias .*1e\+06.*float16.*bfloat16 or float32"):
        packed(run, tmp_path / "out", "--precision", "float16")


def test_a_calibrated_prior_judges_as_before(echo: None, tmp_path: Path):  # noqa: F811
    prior = make_prior(tmp_path / "runs")
    write_scan(tmp_path / "scans" / "one.nii.gz", *brain_values())
    place = packed(prior, tmp_path / "prior.zip")
    found = find_run(place)
    assert {"calibration.json", "judge.npz"} <= {file.name for file in found.path.iterdir()}
    ours, theirs = preparation_of(found).labels, preparation_of(prior).labels
    assert ours is not None and theirs is not None and ours.structures == theirs.structures
    assert f"({ours.table})" in (found.path / "README.md").read_text()  # it does not travel
    scores = [load_detector(run).calibration.scores.tolist() for run in (prior, place)]
    assert scores[0] == scores[1]
    rows: list[dict[Any, Any]] = []
    for run in (prior, RunDir(place)):
        out = tmp_path / f"out of {run.path.name}"
        assert run_analysis(run, tmp_path / "scans", out, "--no-pictures") in (0, 1)
        rows.append({key: (row["status"], row["p"], row["dice"]) for key, row in rows_in(out).items()})
        masks = sorted(file for file in out.rglob("*.nii.gz"))
        rows[-1]["masks", ""] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in masks]
    assert rows[0] == rows[1] and len(rows[0]) > 2


def test_a_calibration_of_other_weights_stays_at_home(echo: None, tmp_path: Path):  # noqa: F811
    prior = make_prior(tmp_path / "runs")
    saved = checkpoint.load(prior.checkpoint_file("best"))
    saved["model"]["scale"] += 1e-4
    checkpoint.save(prior.checkpoint_file("best"), saved)
    with pytest.raises(ValueError, match=r"calibration\.json was made with another model"):
        packed(prior, tmp_path / "out")
    # Of these weights, but rounding makes others, and the clean masks it was made with are not here.
    content = json.loads(prior.calibration_file.read_text())
    prior.calibration_file.write_text(json.dumps(content | {"model_hash": load_run(prior).model_hash}))
    with pytest.raises(ValueError, match=r"float32 weights.*no data set.*--no-calibration"):
        packed(prior, tmp_path / "out", "--precision", "float16")
    out = packed(prior, tmp_path / "out", "--precision", "float16", "--no-calibration")
    assert "calibration.json" not in images_in(out)


@pytest.mark.slow
def test_rounded_weights_are_calibrated_again(brain_set: Path, echo: None, tmp_path: Path):  # noqa: F811
    prior = write_run(brain_set, tmp_path / "runs", scale=1 + 1e-4)
    calibrate_run(prior)
    for precision in ("float32", "float16"):
        out = packed(prior, tmp_path / precision, "--precision", precision)
        detector, own = load_detector(out), load_detector(prior)
        assert (detector.loaded.model_hash == own.loaded.model_hash) is (precision == "float32")
        assert detector.calibration.data_hash == own.calibration.data_hash
        assert detector.calibration.data == brain_set.name  # and not where it lies here
    # The repeating model gives back the same mask with either scale, hardly surer of it.
    ours, theirs = (one.calibration.scores.tolist() for one in (detector, own))
    assert ours == pytest.approx(theirs, rel=1e-3) and ours != theirs


def test_the_preparation_makes_the_data_again(prepared: Path, tmp_path: Path):
    """Its JSON is a data config: the command on the card reads it."""
    out = packed(trained_ifnet(prepared, tmp_path / "runs"), tmp_path / "out")
    assert (
        "prepare --config preparation.json --set input=FOLDER name=DATASET output=null"
        in (out / "README.md").read_text()
    )
    words = ["input=raw", "name=again", "output=null"]
    config = read_config(out / "preparation.json", DataConfig, overrides=words)
    assert config.contents == preparation_of(find_run(out)).contents and config.folder == Path("datasets/again")


def test_the_command_asks_for_licences(tmp_path: Path, autoencoder: RunDir, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """A table of licences lies beside the data, so the pack has it not: its name alone would be looked for here."""
    credited = dataclasses.replace(preparation_of(autoencoder), licences=tmp_path / "credits.csv")
    monkeypatch.setattr("isofield.packs.writing.pack.preparation_of", lambda _: credited)
    card = json.loads((packed(autoencoder, tmp_path / "out") / "card.json").read_text())
    assert card["again"][0].endswith("output=null licences=CREDITS")


def test_a_packed_config_is_whole(images: Images, tmp_path: Path, autoencoder: RunDir):  # noqa: F811
    (tmp_path / "config.yaml").write_bytes(images["config.yaml"])
    ours, theirs = read_run_config(tmp_path / "config.yaml"), read_run_config(autoencoder.config_file)
    assert ours.model == theirs.model and ours.training == theirs.training
    assert dataclasses.replace(ours.data, path=theirs.data.path) == theirs.data
