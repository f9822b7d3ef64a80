"""What a run knows of its inputs travels with it: as it is, or made again for rounded weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_processing.loading.network_inputs import InputConfig
from isofield.commands import evaluate
from isofield.generation import out_of_distribution
from isofield.generation.out_of_distribution import load_input_calibration
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.commands import call
from tests.isofield.packs.tiny_runs import images_in, packed
from tests.isofield.ready_runs import make_run

NAME = "input_calibration.json"


@pytest.fixture
def calibrated(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """By what five training shapes and three others can say."""
    monkeypatch.setattr(out_of_distribution, "FEWEST", 3)
    monkeypatch.setattr(out_of_distribution, "FPR", 0.25)
    run = make_run(boxes, tmp_path / "runs")
    assert call(evaluate.main, "--run", run.path, "--calibrate", "inputs", "--split", "test", "--device", "cpu") == 0
    return run


def test_it_is_packed_and_read_from_the_pack(boxes: Path, calibrated: RunDir, tmp_path: Path):
    out = packed(calibrated, tmp_path / "out")
    content = json.loads(images_in(out)[NAME])
    assert content["data"] == boxes.name  # and not where it lies here
    assert json.loads((out / "card.json").read_text())["input_calibration"] == NAME
    model_hash = load_run(calibrated).model_hash
    about = {"model_hash": model_hash, "section": InputConfig("voxels")}
    own, theirs = (load_input_calibration(run, **about) for run in (calibrated, find_run(out)))
    assert own is not None and theirs is not None and theirs.fingerprint() == own.fingerprint()
    (out / NAME).write_text(json.dumps(content | {"split": "val"}))
    with pytest.raises(ValueError, match=NAME):
        find_run(out)


def test_rounded_weights_are_calibrated_again(calibrated: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = packed(calibrated, tmp_path / "out", "--precision", "float16")
    said = capsys.readouterr()
    assert "made again for the rounded weights" in said.out + said.err
    place = find_run(out)
    loaded = load_run(place)
    section = loaded.config.data.input
    own = load_input_calibration(calibrated, model_hash=load_run(calibrated).model_hash, section=section)
    theirs = load_input_calibration(place, model_hash=loaded.model_hash, section=section)
    assert own is not None and theirs is not None and theirs.fingerprint() != own.fingerprint()
    assert np.allclose(theirs.distance.mean_D, own.distance.mean_D, atol=1e-2)


def test_it_stays_at_home_where_it_cannot_be_made_again(calibrated: RunDir, tmp_path: Path):
    file = calibrated.input_calibration_file
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data": str(tmp_path / "nowhere")}))
    with pytest.raises(ValueError, match=r"json: is of the float32 weights and cannot be made again"):
        packed(calibrated, tmp_path / "out", "--precision", "float16")
    assert not (tmp_path / "out").exists()
