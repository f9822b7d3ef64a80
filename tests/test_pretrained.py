"""The packed runs of pretrained/: whole, free to give away, as good as their cards say, found from anywhere."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import safetensors
import torch

import isofield
from isofield.commands import analyse, generate
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.runtime.shipped import pack_names
from tests.commands import call
from tests.conftest import ROOT
from tests.tools import pretrained
from tests.tools.pretrained import FREE, MEASURED, OUT, RECIPES, ROWS

NAMES = pack_names()
MOST_BYTES = 25_000_000  # of all together
HELD_OUT = ROOT / "examples" / "chair" / "Scopia_62_Chair.ply"
CHAMFER = 0.12  # of that shape from 3,000 points, onet protocol
BRAIN = ROOT / "examples" / "brain"
FURNITURE = ("bed", "cabinet", "car", "chair", "lamp", "sofa", "table", "vase_bottle")


def test_all_of_them_are_here():
    assert sorted(RECIPES) == NAMES
    assert sum(file.stat().st_size for name in NAMES for file in (OUT / name).iterdir() if file.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_pack_opens_and_its_weights_are_those_of_its_card(name: str):
    run = find_run(OUT / name)
    card = json.loads((OUT / name / "card.json").read_text())
    weights = card["weights"]
    loaded = load_run(run)
    assert loaded.model_hash == weights["model_hash"] and not loaded.unfinished
    # Half the bytes on disk, float32 in memory, and no further from the trained weights than the stated bound.
    assert all(value.dtype != torch.float16 for value in loaded.model.state_dict().values())
    with safetensors.safe_open(run.weights_file, framework="pt") as stored:
        floats = [stored.get_tensor(key) for key in stored.keys()]  # noqa: SIM118 (no mapping)
        assert {value.dtype for value in floats if value.is_floating_point()} == {torch.float16}
    change = weights["field_change"]
    assert 0 < change["largest"] <= change["bound"] * change["span"] and change["bound"] <= 0.02


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_card_are_those_that_were_measured(name: str):
    """With the weights that are here: by hash."""
    card = json.loads((OUT / name / "card.json").read_text())
    files = {file.name: json.loads(file.read_text()) for file in sorted(MEASURED.glob(f"{name}-*.json"))}
    assert len(card["protocols"]) == len(files) >= 1
    for table, measured in zip(card["protocols"], files.values(), strict=True):
        assert table["mean"] == measured["mean"] and table["n"] == measured["n"]
        assert table["model_hash"] == measured["settings"]["model_hash"] == card["weights"]["model_hash"]
    text = (OUT / name / "README.md").read_text()
    assert "before the rounding" not in text and card["weights"]["sha256"] in text


@pytest.mark.parametrize("name", NAMES)
def test_every_training_shape_is_credited_and_free(name: str):
    text, recipe = (OUT / name / "README.md").read_text(), RECIPES[name]
    assert set(json.loads((OUT / name / "card.json").read_text())["data"]["licences"]) <= FREE
    if recipe.credits:
        assert all(line in text for line in recipe.credits) and "CC-BY-4.0" in text
        return
    rows = ROWS.findall(text)
    # A GAN holds an autoencoder, which learned from all of them.
    assert len(rows) == len({row[0] for row in rows}) > 150
    assert {row[0].partition("/")[0] for row in rows} <= set(FURNITURE)
    assert {licence for _, _, licence in rows} <= FREE and all(author.strip() for _, author, _ in rows)


def test_the_furniture_alone_is_looked_for_where_the_caller_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The brain comes along: told of the furniture, its preparation would look for label volumes there."""
    asked: list[tuple[str, ...]] = []

    def stop_after(*words: object) -> None:
        asked.append(tuple(map(str, words)))
        raise InterruptedError

    monkeypatch.setattr(pretrained, "ROOT", tmp_path)
    monkeypatch.setattr(pretrained, "isofield", stop_after)
    for name in ("brain", "autoencoder"):
        with pytest.raises(InterruptedError):
            pretrained.make(name, RECIPES[name], Path("chairs"))
    brain, furniture = asked
    assert brain == ("prepare", "--config", "data/brain")
    assert furniture[-2:] == ("input=chairs", "licences=chairs/credits.csv")


def test_a_shape_that_was_held_out_comes_back(tmp_path: Path):
    words = ("--run", OUT / "points", "--input", HELD_OUT, "--out", tmp_path, "--device", "cpu")
    assert call(generate.main, *words, "--points", 3000, "--resolution", 64) == 0
    row = isofield.evaluate(tmp_path / "Scopia_62_Chair.ply", HELD_OUT, points=20000, iou_points=2000)
    assert row["chamfer"] < CHAMFER and row["watertight"]
    assert HELD_OUT.stem not in (OUT / "points" / "README.md").read_text()


@pytest.mark.parametrize(("name", "chamfer"), [("voxels_32", 0.15), ("autoencoder", 0.6)])
def test_a_shape_that_was_held_out_comes_back_from_voxels(name: str, chamfer: float, tmp_path: Path):
    words = ("--run", OUT / name, "--input", HELD_OUT, "--out", tmp_path, "--device", "cpu")
    assert call(generate.main, *words, "--resolution", 64) == 0
    row = isofield.evaluate(tmp_path / "Scopia_62_Chair.ply", HELD_OUT, points=20000, iou_points=2000)
    assert row["chamfer"] < chamfer and row["watertight"]
    assert HELD_OUT.stem not in (OUT / name / "README.md").read_text()


def test_new_chairs_are_drawn_and_a_seed_draws_them_again():
    run = isofield.load(OUT / "chairs_gan", device="cpu")
    chairs = run.sample(2, seed=3, resolution=32)
    again = run.sample(2, seed=3, resolution=32)
    assert all(chair.is_watertight and len(chair.faces) > 100 for chair in chairs)
    assert all((one.vertices == other.vertices).all() for one, other in zip(chairs, again, strict=True))
    assert chairs[0].vertices.shape != chairs[1].vertices.shape or (chairs[0].vertices != chairs[1].vertices).any()


def test_masks_are_judged_by_the_prior_that_comes_along(tmp_path: Path):
    """Of a donor that it was not trained on, the left hippocampus as it is and one with a ball beside it."""
    image = nibabel.Nifti1Image.from_filename(BRAIN / "donor_15496_dk.nii.gz")
    labels = np.asanyarray(image.dataobj).astype(np.int16)
    table = BRAIN / "atlas-desikankilliany.csv"
    (number,) = (int(line.split(",")[0]) for line in table.read_text().splitlines() if ",hippocampus,L," in line)
    whole = (labels == number).astype(np.int16) * number
    spoilt, beside = whole.copy(), np.argwhere(whole).mean(0) + np.array([0, 0, 11])
    places = np.indices(whole.shape).transpose(1, 2, 3, 0)
    spoilt[((places - beside) ** 2).sum(-1) < 9**2] = number
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, mask in (("clean", whole), ("spoilt", spoilt)):
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), scans / f"{name}.nii.gz")
    words = ("--models", OUT / "brain", "--input", scans, "--labels", table, "--out", tmp_path / "out")
    assert call(analyse.main, *words, "--no-pictures", "--no-masks", "--device", "cpu") == 1
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    found = {row["scan"]: row for row in rows if row["organ"].startswith("hippocampus") and row["status"] != "EMPTY"}
    assert found["clean"]["status"] == "OK" and found["spoilt"]["status"] == "OUTLIER"
    assert found["spoilt"]["score"] > found["clean"]["score"]


def test_they_are_found_where_no_such_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From any directory; results then go to the cache, as of a zip."""
    monkeypatch.setenv("ISOFIELD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run = find_run("pretrained/points")
    assert run.path.is_relative_to(tmp_path / "cache")
    assert find_run("./pretrained/points/").path == find_run(Path("pretrained/points")).path == run.path
    assert load_run(run).model_hash == load_run(find_run(OUT / "points")).model_hash
    with pytest.raises(ValueError, match=r"pretrained/pionts: .*there are: .*pretrained/points"):
        find_run("pretrained/pionts")
    # A folder of the user's own comes first, and is checked as any other.
    shutil.copytree(OUT / "points", tmp_path / "pretrained" / "points", ignore=shutil.ignore_patterns("card.json"))
    with pytest.raises(ValueError, match=r"lacks 'card\.json'"):
        find_run("pretrained/points")
