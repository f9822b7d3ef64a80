"""The packed runs of pretrained/: whole, free to give away, as good as their cards say, found from anywhere."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors
import torch

import isofield
from isofield.commands import generate
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.runtime.shipped import pack_names
from tests.commands import call
from tests.conftest import ROOT
from tests.tools.pretrained import FREE, MEASURED, OUT, RECIPES, ROWS

NAMES = pack_names()
MOST_BYTES = 25_000_000  # of all together
HELD_OUT = ROOT / "examples" / "chair" / "Scopia_62_Chair.ply"
CHAMFER = 0.12  # of that shape from 3,000 points, onet protocol


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
    rows = ROWS.findall((OUT / name / "README.md").read_text())
    assert len(rows) == len({row[0] for row in rows}) > 150
    assert {licence for _, _, licence in rows} <= FREE and all(author.strip() for _, author, _ in rows)


def test_a_shape_that_was_held_out_comes_back(tmp_path: Path):
    words = ("--run", OUT / "points", "--input", HELD_OUT, "--out", tmp_path, "--device", "cpu")
    assert call(generate.main, *words, "--points", 3000, "--resolution", 64) == 0
    row = isofield.evaluate(tmp_path / "Scopia_62_Chair.ply", HELD_OUT, points=20000, iou_points=2000)
    assert row["chamfer"] < CHAMFER and row["watertight"]
    assert HELD_OUT.stem not in (OUT / "points" / "README.md").read_text()


def test_they_are_found_where_no_such_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From any directory; results then go to the cache, as of a zip."""
    monkeypatch.setenv("ISOFIELD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run = find_run("pretrained/points")
    assert run.path.is_relative_to(tmp_path / "cache")
    assert find_run("./pretrained/points/").path == find_run(Path("pretrained/points")).path == run.path
    assert load_run(run).model_hash == load_run(find_run(OUT / "points")).model_hash
    with pytest.raises(ValueError, match=r"pretrained/pionts: .*there are: pretrained/points"):
        find_run("pretrained/pionts")
    # A folder of the user's own comes first, and is checked as any other.
    shutil.copytree(OUT / "points", tmp_path / "pretrained" / "points", ignore=shutil.ignore_patterns("card.json"))
    with pytest.raises(ValueError, match=r"lacks 'card\.json'"):
        find_run("pretrained/points")
