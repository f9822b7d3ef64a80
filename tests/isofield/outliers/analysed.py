"""A calibrated prior that repeats what it is shown, folders of real scans to analyse with it, and the command."""

import csv
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from isofield.commands import analyse
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.outliers.scoring.calibrate import fit_judge
from isofield.outliers.scoring.calibration import Calibration, save_calibration
from isofield.outliers.scoring.detector import MaskPrior
from isofield.outliers.scoring.scores import scorer_arrays
from isofield.registry import build_model, load_run, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.commandline import SOME_FAILED
from isofield.runtime.config import to_plain, to_yaml
from isofield.training.state import initial_state
from isofield.training.state import save as save_state
from tests.commands import status_of
from tests.conftest import ROOT
from tests.data_processing.scan_files import save
from tests.isofield.outliers.conftest import ALONE, save_model
from tests.isofield.outliers.organs import DONORS, brain_config, brain_mask
from tests.made_once import made_once

IDS = {"left hippocampus": 40, "right hippocampus": 81}
PLAIN = 40  # calibration scores, -1 to 2: a clean mask is somewhere among them
ROOM = 18  # voxels around both in a small scan


def make_prior(runs: Path, *, name: str = "hippocampus", scale: float = 1.0, count: int = PLAIN) -> RunDir:
    """runs/NAME with its calibration. `scale` 0: it reconstructs nothing. `count` of clean scores; 0: none at all."""
    preparation = brain_config()
    config = RunConfig(
        name=name,
        model={"type": "echo"},
        data=LoadingConfig(path=Path("unused"), input=InputConfig(kind="solid", resolution=128)),
        training=TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1),)),
        runs=runs,
    )
    config = resolve(config, where="test")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=to_plain(preparation), resume=False)
    save_model(run, config, scale=scale)
    if count:
        loaded = load_run(run)
        judge = _judge(scale, lambda: MaskPrior(loaded, preparation))
        scores = np.linspace(-1, 2, count)
        calibration = Calibration(scores, scores, loaded.model_hash, "clean", "made up", "calibration")
        save_calibration(run, calibration, judge)
    return run


def _judge(scale: float, prior: Callable[[], MaskPrior]) -> dict[str, NDArray[Any]]:
    """Of the eight clean masks, fitted once for each model: these priors differ in their weights alone."""

    def fit(folder: Path) -> None:
        training = [brain_mask(donor, side) for donor in range(4) for side in ("left", "right")]
        np.savez(folder / "judge.npz", **scorer_arrays(fit_judge(prior(), training)))

    with np.load(made_once(f"judge-{scale:g}", fit) / "judge.npz") as arrays:
        return dict(arrays)


def brain_values(donor: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Both hippocampi of a donor, in a small scan around them, and its affine."""
    image: Any = nibabel.load(ROOT / "examples" / "brain" / DONORS[donor])
    stored = np.asanyarray(image.dataobj)
    values = np.where(np.isin(stored, list(IDS.values())), stored, 0).astype(np.uint8)
    places = np.argwhere(values)
    lower, upper = np.maximum(places.min(0) - ROOM, 0), places.max(0) + 1 + ROOM
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ lower
    return values[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))].copy(), affine


def write_scan(path: Path, values: NDArray, affine: NDArray, *, names: dict[str, int] | None = IDS) -> Path:
    """A label volume with its names beside it."""
    save(path, values, affine)
    if names is not None:
        stem = path.name.partition(".nii")[0]
        path.with_name(f"{stem}.json").write_text(json.dumps({"labels": names}))
    return path


def run_analysis(runs: RunDir | list[RunDir], folder: Path, out: Path, *more: object) -> int:
    """The exit status of `python analyse.py`."""
    models = [str(run.path) for run in (runs if isinstance(runs, list) else [runs])]
    words = ["--models", *models, "--input", folder, "--out", out, "--device", "cpu", *more]
    return status_of(analyse.main, *words, error=SOME_FAILED)


def rows_in(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Of results.json by scan and organ; results.csv has the same."""
    rows = json.loads((out / "results.json").read_text())["rows"]
    with open(out / "results.csv", newline="") as file:
        assert [(row["scan"], row["organ"], row["status"]) for row in csv.DictReader(file)] == [
            (row["scan"], row["organ"], row["status"]) for row in rows
        ]
    found = {(row["scan"], row["organ"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def statuses(out: Path) -> dict[tuple[str, str], str]:
    return {key: row["status"] for key, row in rows_in(out).items()}


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def started(words: list[str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def passes_of(monkeypatch: pytest.MonkeyPatch, model: Any) -> list[int]:
    """Grows by the number of masks of each pass through the encoder of a model or of a class of them."""
    encode, passes = model.encode, []

    def counted(*args: Any) -> Any:
        passes.append(len(args[-1]))
        return encode(*args)

    monkeypatch.setattr(model, "encode", counted)
    return passes


def make_network(runs: Path) -> RunDir:
    """A real but tiny network with weights by chance, without calibration: for processes of their own."""
    model = {"type": "ifnet", "resolution": 32, "stages": [[2], [4, 4]], "decoder_widths": [8]}
    config = RunConfig(
        name="chance",
        model=model,
        data=LoadingConfig(path=Path("unused"), input=InputConfig(kind="solid", resolution=32)),
        training=TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1),)),
        runs=runs,
    )
    config = resolve(config, where="test")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=to_plain(brain_config()), resume=False)
    torch.manual_seed(0)
    save_state(initial_state(build_model(config.model, where="test"), config), config, run, which="best", group=ALONE)
    return run
