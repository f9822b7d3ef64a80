"""What version 0.1 wrote is read, gone on with, and gives the numbers that it gave. It is in tests/data/version_0_1."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_processing import __main__ as data_processing
from data_processing.formats.mesh_files import read_mesh
from data_processing.store.shape_set import open_shapes
from isofield.commands import analyse, evaluate, generate, train
from isofield.registry import load_run
from isofield.run_dir import RunDir
from tests.commands import call
from tests.conftest import ROOT

KEPT = ROOT / "tests" / "data" / "version_0_1"
MADE_IN = "/tmp/isofield-0.1"
AUTOENCODER, GAN, PRIOR = Path("runs/autoencoder"), Path("runs/gan"), Path("runs/hippocampus")
GENERATE = ("--resolution", 16, "--device", "cpu")
EVALUATE = ("--split", "test", "--against", "voxels", "--protocol", "imnet", "--points", 500, "--iou-points", 500)
ANALYSE = ("--input", "scans", "--out", "analysis", "--device", "cpu", "--no-pictures", "--fpr", 0.4)
ROUNDING = {"rel": 1e-3, "abs": 1e-3}  # of other processors; on one that is like the first the numbers are the same


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((KEPT / "expected.json").read_text())


@pytest.fixture(autouse=True)
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """A copy of what was left, with its times of change, as the current folder."""
    with tarfile.open(KEPT / "left.tar.xz") as archive:
        # Python 3.11.0 to 3.11.3 have no filter; the archive is our own.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sums_of_weights(run: Path) -> dict[str, list[float]]:
    state = load_run(RunDir(run), which="last").model.state_dict()
    return {key: [float(value.double().sum()), float(value.double().norm())] for key, value in state.items()}


def assert_weights(run: Path, expected: dict[str, Any]) -> None:
    told = expected["training"][run.name]
    assert load_run(RunDir(run), which="last").step == told["step"]
    sums = sums_of_weights(run)
    assert sums.keys() == told["weights"].keys()
    for name, value in sums.items():
        assert value == pytest.approx(told["weights"][name], **ROUNDING), name


def assert_meshes(folder: Path, expected: dict[str, Any]) -> None:
    told = expected["meshes"][f"{folder.parts[1]}/{folder.name}"]
    meshes = {file.stem: read_mesh(file) for file in sorted(folder.rglob("*.ply"))}
    assert meshes.keys() == told.keys()
    for name, mesh in meshes.items():
        assert len(mesh.faces) == pytest.approx(told[name]["faces"], rel=1e-2)
        assert mesh.vertices.astype(float).mean(0) == pytest.approx(np.array(told[name]["mean"]), **ROUNDING)


def assert_row(row: dict[str, Any], told: dict[str, Any], *, without: frozenset[str] = frozenset()) -> None:
    """Every cell that 0.1 wrote; a later version may add some."""
    for key in told.keys() - without:
        value = told[key]
        close = isinstance(value, float) and not isinstance(value, bool)
        assert row[key] == (pytest.approx(value, **ROUNDING) if close else value), key


@pytest.mark.parametrize(
    ("name", "shapes", "splits"),
    [("boxes", 5, {"train": 3, "val": 0, "test": 2}), ("organs", 12, {"train": 8, "val": 2, "test": 2})],
)
def test_a_data_set_opens(name: str, shapes: int, splits: dict[str, int]):
    opened = open_shapes(Path("datasets", name))
    assert len(opened) == shapes and not opened.failed
    assert {split: len(opened.splits.get(split, ())) for split in splits} == splits
    assert np.isfinite(opened.to_world(0)).all()


def test_a_finished_preparation_makes_nothing_again(capsys: pytest.CaptureFixture[str]):
    """Where its input lay stands in job.json: there it moved along."""
    job = Path("datasets/boxes/job.json")
    job.write_text(job.read_text().replace(MADE_IN, str(Path.cwd())))
    before = bytes_below(Path("datasets/boxes/shards"))
    assert len(before) == 2
    assert call(data_processing.main, "--config", "boxes.yaml") == 0
    assert "5 shapes are finished already" in capsys.readouterr().out
    assert bytes_below(Path("datasets/boxes/shards")) == before


def test_training_goes_on_to_the_same_weights(expected: dict[str, Any]):
    assert load_run(RunDir(AUTOENCODER), which="last").step == 40
    assert call(train.main, "--config", "autoencoder.yaml", "--resume") == 0
    assert_weights(AUTOENCODER, expected)


def test_training_on_kept_codes_goes_on_and_generates(expected: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    codes = (GAN / "codes.npz").read_bytes()
    assert call(train.main, "--config", "gan.yaml", "--resume") == 0
    assert "codes" not in capsys.readouterr().out.partition("level codes")[0].partition("device: cpu")[2]
    assert (GAN / "codes.npz").read_bytes() == codes
    assert_weights(GAN, expected)
    samples = ("--samples", 2, "--seed", 0)
    assert call(generate.main, "--run", GAN, "--checkpoint", "last", *samples, *GENERATE) == 0
    assert_meshes(GAN / "meshes" / "samples", expected)


def test_generation_goes_on_with_its_journal(expected: dict[str, Any]):
    folder = AUTOENCODER / "meshes" / "train"
    (there,) = folder.rglob("*.ply")
    changed = there.stat().st_mtime_ns
    assert call(generate.main, "--run", AUTOENCODER, "--split", "train", *GENERATE) == 0
    assert there.stat().st_mtime_ns == changed
    assert_meshes(folder, expected)
    assert [row["status"] for row in json.loads((folder / "manifest.json").read_text())["shapes"]] == ["done"] * 3


def test_meshes_are_made_again_alike(expected: dict[str, Any]):
    out = Path("again", "autoencoder", "test")
    assert call(generate.main, "--run", AUTOENCODER, "--split", "test", "--out", out, *GENERATE) == 0
    assert_meshes(out, expected)


@pytest.mark.parametrize("journal", [True, False])
def test_an_evaluation_goes_on(journal: bool, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    (notes,) = (AUTOENCODER / "evaluation").glob(".rows-*")
    if not journal:
        notes.unlink()
    assert call(evaluate.main, "--run", AUTOENCODER, *EVALUATE, "--workers", 1) == 0
    assert ("1 of 2 shapes were evaluated before" in capsys.readouterr().out) is journal
    result = json.loads((AUTOENCODER / "evaluation" / "test-imnet.json").read_text())
    assert_row(result["mean"], expected["evaluation"]["mean"])
    for row, told in zip(result["per_shape"], expected["evaluation"]["per_shape"], strict=True):
        assert_row(row, told)


def test_an_analysis_with_its_calibration_goes_on(expected: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    """Both scans are judged by the calibration that 0.1 made, as it did; its rows say less and are made anew."""
    assert call(analyse.main, "--models", PRIOR, *ANALYSE, "--resume") == 0
    assert "older version" in capsys.readouterr().out
    rows = json.loads(Path("analysis/results.json").read_text())["rows"]
    for row, told in zip(rows, expected["analysis"], strict=True):
        assert told["calibration_n"] == 2 and told["status"] in ("OK", "OUTLIER")
        assert_row(row, told, without=frozenset({"seconds", "model", "score_parts"}))
        assert row["score_parts"] == pytest.approx(told["score_parts"], **ROUNDING)
