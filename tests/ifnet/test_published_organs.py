"""A folder of a published organ model becomes a run that knows its organ; old thresholds are shown, not trusted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ifnet import published
from ifnet.published_organs import read_organ_folder
from isofield.outliers.analysis.priors import load_priors, organs_of
from isofield.registry import load_run
from isofield.run_dir import RunDir, preparation_of
from isofield.runtime.commandline import ERROR
from tests.commands import call, status_of
from tests.ifnet.test_published import published_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pancreas is 10 in the first table, a lobe of the lung in the second."""
    place = tmp_path / "models" / "10"
    (place / "checkpoints").mkdir(parents=True)
    for epoch in (5, 20):
        (place / "checkpoints" / f"checkpoint_epoch_{epoch}.tar").touch()
    np.save(place / "val_min=20.npy", np.array([20, 1234.5]))
    np.save(place / "outlier_threshold.npy", np.array([0.83, 4.5]))
    return place


def test_the_best_epoch_and_the_name_come_from_the_folder(folder: Path):
    found = read_organ_folder(folder)
    assert (found.organ, found.label, found.checkpoint.name) == ("pancreas", 10, "checkpoint_epoch_20.tar")
    assert found.validation == (20, 1234.5) and found.thresholds == [0.83, 4.5]
    assert "0.83, 4.5 are not used" in found.about_thresholds()
    assert read_organ_folder(folder, checkpoint="checkpoint_epoch_5").checkpoint.name == "checkpoint_epoch_5.tar"


def test_what_is_not_clear_is_asked_for(folder: Path):
    with pytest.raises(ValueError, match="checkpoint_epoch_20"):
        read_organ_folder(folder, checkpoint="checkpoint_epoch_7")
    (folder / "val_min=20.npy").unlink()
    with pytest.raises(ValueError, match="--checkpoint"):
        read_organ_folder(folder)
    with pytest.raises(ValueError, match="total_v1"):
        read_organ_folder(folder.rename(folder.with_name("pancreas")))
    with pytest.raises(FileNotFoundError):
        read_organ_folder(folder)


def test_pickled_thresholds_are_not_executed(folder: Path):
    np.save(folder / "outlier_threshold.npy", np.array({"dice": 0.8}, dtype=object), allow_pickle=True)
    found = read_organ_folder(folder)
    assert isinstance(found.thresholds, str) and "cannot be read" in found.about_thresholds()


def test_the_run_knows_its_organ_and_says_that_calibration_is_missing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save(published_checkpoint("organs"), folder / "checkpoints" / "checkpoint_epoch_20.tar")
    out = tmp_path / "runs" / "pancreas"
    assert call(published.main, "--organ-folder", folder, "--out", out) == 0
    said = capsys.readouterr().out
    assert "calibration is missing" in said and "0.83" in said and "pancreas" in said
    run = RunDir(out)
    assert json.loads(run.published_file.read_text())["old_thresholds"] == [0.83, 4.5]
    labels = preparation_of(run).labels
    assert labels is not None and labels.structures[0].labels == ("pancreas",)
    assert load_run(run).config.model["convolution_padding"] == "replicate"
    (prior,) = load_priors([out], device=torch.device("cpu"))
    assert organs_of(prior) == ["pancreas"] and prior.detector is None and prior.missing(0.05) == 19
    assert "19 more are needed" in prior.about(0.05) and "0.83" in prior.about(0.05)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected a published checkpoint, or --organ-folder"),
        (["x.tar", "--organ-folder", "10"], "expected a published checkpoint, or --organ-folder"),
        (["--organ-folder", "10", "--setup", "voxels_32"], "has the set-up organs"),
        (["x.tar", "--setup", "organs"], "--align-corners, --out"),
    ],
)
def test_wrong_usage_is_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert status_of(published.main, *words) == ERROR
    assert said in capsys.readouterr().err
