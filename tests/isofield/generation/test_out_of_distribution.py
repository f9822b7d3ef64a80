"""Inputs unlike those of training: the number, its threshold, the file of a run, and what is said of it where."""

import dataclasses
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import isofield
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed
from isofield.commands import evaluate, generate
from isofield.generation import out_of_distribution
from isofield.generation.out_of_distribution import (
    NEAR,
    SMALLEST,
    InputCalibration,
    counts_of,
    features_of,
    load_input_calibration,
    measure_input,
    save_input_calibration,
)
from isofield.metrics.mahalanobis import fit_mahalanobis
from isofield.run_dir import RunDir
from tests.commands import call, status_of
from tests.isofield.ready_runs import make_run

FEW = {"FEWEST": 3, "FPR": 0.25}  # what five training shapes and three others can say
SHOWN = InputConfig("voxels", 64)
SAID = r"unlike the shapes that the model was trained on \(out-of-distribution score"


@pytest.fixture
def calibrated(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Octahedra of boxes, whose encoder has seen none: its code tells boxes from what is none all the same."""
    for name, value in FEW.items():
        monkeypatch.setattr(out_of_distribution, name, value)
    run = make_run(boxes, tmp_path / "runs")
    words = ("--run", run.path, "--calibrate", "inputs", "--split", "test", "--device", "cpu")
    assert call(evaluate.main, *words) == 0
    return run


def calibration(*, counts: tuple[int, ...] = (0,), model_hash: str = "abc") -> InputCalibration:
    random = np.random.default_rng(0)
    values = np.exp(random.normal(np.arange(len(counts))[:, None, None], 1.0, (len(counts), 39, 2)))
    distance = fit_mahalanobis(random.normal(size=(60, 3)))
    return InputCalibration(distance, ("features", "misfit"), counts, values, model_hash, "data", "val")


def test_features_are_mean_and_deviation_of_each_channel():
    random = np.random.default_rng(0)
    volumes = [torch.from_numpy(random.normal(size=(1, c, r, r, r))) for c, r in ((2, 4), (3, 2))]
    expected = [
        part for volume in volumes for part in (volume.mean((0, 2, 3, 4)), volume.std((0, 2, 3, 4), correction=0))
    ]
    assert np.allclose(features_of(volumes), torch.cat(expected).numpy(), atol=1e-12)
    code = torch.arange(5.0)[None]
    assert (features_of(code) == np.arange(5)).all()


def test_the_score_is_the_largest_deviation_and_its_p_value_conformal():
    """Worked out here once more: each held-out shape is counted in deviations of the others."""
    one = calibration()
    logs = np.log(one.values_CNP[0])

    def deviations(row_P: np.ndarray, usual_NP: np.ndarray) -> np.ndarray:
        above_NP = usual_NP - np.median(usual_NP, axis=0)
        return (row_P - np.median(usual_NP, axis=0)) / [np.sqrt((up[up >= 0] ** 2).mean()) for up in above_NP.T]

    scores = np.sort([deviations(row, np.delete(logs, i, 0)).max() for i, row in enumerate(logs)])
    assert np.allclose(one.scores_CN[0], scores)
    for row, most in (([0.0, 0.5], "misfit"), ([3.5, 0.0], "features"), ([-9.0, 1.0], "misfit")):
        found = one.judge(np.exp(row))
        assert found.score == pytest.approx(deviations(np.array(row), logs).max()) and found.most == most
        assert found.p == (1 + (scores >= found.score).sum()) / 40 and found.threshold == pytest.approx(scores[37])
        assert found.is_far == (found.score > scores[37])
    assert one.judge(np.exp([3.5, 0.0])).note().startswith("unlike the shapes") and not one.judge(np.ones(2)).note()


def test_the_rate_holds_on_exchangeable_draws():
    random, hits, total = np.random.default_rng(0), 0, 0
    for _ in range(60):
        values = np.exp(random.normal(size=(80, 3)))
        one = dataclasses.replace(calibration(), parts=("features", "misfit", "unseen"), values_CNP=values[None, :21])
        flags = [one.judge(row).is_far for row in values[21:]]
        hits, total = hits + sum(flags), total + len(flags)
    assert 0.02 < hits / total < 0.075  # 1 / 22 of exchangeable ones


def test_a_cloud_is_compared_with_clouds_of_nearly_as_many_points():
    one = calibration(counts=(300, 3000, 10_000))
    limits = [one.judge(np.ones(2), count).threshold for count in one.counts]
    assert len(set(limits)) == 3
    for points, place in ((1, 0), (300, 0), (900, 0), (1000, 1), (3000, 1), (5000, 1), (6000, 2), (10**6, 2)):
        assert one.judge(np.ones(2), points).threshold == limits[place]


def test_what_is_measured_of_a_cloud():
    """A field that is the height above a plane, a mesh of that plane: half of it was shown, from a little above."""
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(-0.4, 0, 4000), np.full(4000, 0.02), random.uniform(-0.4, 0.4, 4000)], axis=1)
    corners = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]])
    mesh = TriangleMesh(corners, np.array([[0, 2, 1], [0, 3, 2]]))
    code = torch.zeros(1, 3)
    observed = Observed(torch.zeros(1, 64, 64, 64), np.eye(4), lambda: PointCloud(points))
    about = (observed, code, lambda points_N3: 5 - 10 * points_N3[:, 1], mesh)
    values, shown = measure_input(calibration().distance, ("features", "misfit", "unseen"), *about, iso_level=5.0)
    assert shown == 4000 and values[1] == pytest.approx(0.2 + SMALLEST, abs=1e-6)
    assert values[2] == pytest.approx(0.5 * (1 - NEAR / 0.4) + SMALLEST, abs=0.03)  # an edge of NEAR sees points


def test_what_is_measured_of_cells():
    """A field that is inside below the middle; cells that are inside above it, and below."""
    cells = torch.zeros(1, 16, 16, 16)
    cells[:, :, :8] = 1
    code, mesh = torch.zeros(1, 3), TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    for shown, wrong in ((cells, 0.0), (1 - cells, 2.0)):
        observed = Observed(shown, np.eye(4), lambda: mesh)
        about = (observed, code, lambda points_N3: torch.where(points_N3[:, 1] < 0, 3.0, -1.0), mesh)
        values, points = measure_input(calibration().distance, ("features", "misfit"), *about, iso_level=1.0)
        assert points == 0 and values[1] == pytest.approx(wrong + SMALLEST)


@pytest.mark.parametrize(
    ("section", "counts"),
    [
        (InputConfig("points", 64, points=10_000, fewest=300), (300, 1000, 3000, 10_000)),
        (InputConfig("points", 64, points=3000), (3000,)),
        (InputConfig("scan", 64, points=2000, fewest=500), (500, 1000, 2000)),
        (InputConfig("voxels"), (0,)),
    ],
)
def test_numbers_of_points_are_those_of_training(section: InputConfig, counts: tuple[int, ...]):
    assert counts_of(section) == counts


def test_what_is_read_back_scores_to_the_bit_alike(calibrated: RunDir, tmp_path: Path):
    hash_of = json.loads(calibrated.input_calibration_file.read_text())["model_hash"]
    first = load_input_calibration(calibrated, model_hash=hash_of, section=SHOWN)
    assert first is not None
    other = RunDir(tmp_path / "other")
    save_input_calibration(other, first)
    again = load_input_calibration(other, model_hash=hash_of, section=SHOWN)
    assert again is not None and again.fingerprint() == first.fingerprint()
    values = np.array([1.3, 0.01])
    assert again.judge(values) == first.judge(values)
    assert load_input_calibration(RunDir(tmp_path), model_hash=hash_of, section=SHOWN) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"inverse": [[1.0]]}, "do not belong together"),
        ({"inverse": [[1.0, 0.0], [1.0, 0.0]]}, "one number shorter"),
        ({"spread": [0.0, 1.0, 1.0]}, "no deviations"),
        ({"mean": [float("nan"), 0.0, 0.0]}, "numbers that are none"),
        ({"values": [[[1.0, 1.0]] * 18]}, "at least 19"),
        ({"counts": [1, 2]}, "for each number of points"),
        ({"counts": []}, "points"),
        ({"parts": ["features", "unseen"]}, "it measures"),
        ({"values": None}, "damaged"),
        ({"values": [[[-1.0, 1.0]] * 39]}, "negative measurements"),
        ({"inverse": [[-1.0, 0.0, 0.0], [1.0, 0.0], [1.0]]}, "an inverse that is none"),
        ({"counts": [10**400]}, "points"),
        ({"parts": ["features"], "values": [[[1.0]] * 39]}, r"of voxels are measured \('features', 'misfit'\)"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict, said: str):
    run = RunDir(tmp_path / "run")
    save_input_calibration(run, calibration())
    content = json.loads(run.input_calibration_file.read_text())
    run.input_calibration_file.write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=rf"input_calibration\.json.*{said}.*--calibrate inputs"):
        load_input_calibration(run, model_hash="abc", section=SHOWN)


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ("[]", "got list"), (None, "expected a file")])
def test_what_is_no_such_file_is_refused_and_what_to_do_said_once(tmp_path: Path, text: str | None, said: str):
    file = RunDir(tmp_path).input_calibration_file
    if text is None:
        file.mkdir()
    else:
        file.write_text(text)
    with pytest.raises(ValueError, match=rf"input_calibration\.json.*{said}") as refused:
        load_input_calibration(RunDir(tmp_path), model_hash="abc", section=SHOWN)
    assert str(refused.value).count("input_calibration.json") == str(refused.value).count("make it again") == 1


def test_features_of_another_length_fail_by_name(calibrated: RunDir, solid: Path):
    content = json.loads(calibrated.input_calibration_file.read_text())
    content |= {"mean": content["mean"][1:], "spread": content["spread"][1:], "inverse": content["inverse"][1:]}
    calibrated.input_calibration_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"input_calibration\.json: made of \d+ features, the model's code has \d+"):
        isofield.load(calibrated.path, device="cpu").reconstruct(np.load(solid), resolution=16)


def test_that_of_another_model_is_refused(tmp_path: Path):
    run = RunDir(tmp_path / "run")
    save_input_calibration(run, calibration())
    with pytest.raises(ValueError, match=r"another model \(hash abc, the run's is now def\)"):
        load_input_calibration(run, model_hash="def", section=SHOWN)


def test_too_few_shapes_say_nothing(boxes: Path, tmp_path: Path):
    run = make_run(boxes, tmp_path / "runs")
    words = ("--run", run.path, "--calibrate", "inputs", "--device", "cpu", "--split")
    with pytest.raises(ValueError, match=r"5 training shapes and 3 of split 'test'.*at least 20 and 19"):
        call(evaluate.main, *words, "test")
    with pytest.raises(ValueError, match="did not learn from"):
        call(evaluate.main, *words, "train")
    assert not run.input_calibration_file.exists()


def usual_from(run: RunDir, low: float) -> None:
    """As if the held-out shapes had been measured between this and twice as much."""
    content = json.loads(run.input_calibration_file.read_text())
    content["values"] = [[[low * (1 + place / 30)] * 2 for place in range(30)]]
    run.input_calibration_file.write_text(json.dumps(content))


@pytest.fixture
def solid(tmp_path: Path) -> Path:
    box = np.zeros((40, 40, 40), dtype=bool)
    box[5:25, 5:35, 5:38] = True
    np.save(tmp_path / "solid.npy", box)
    return tmp_path / "solid.npy"


def test_rows_and_the_screen_tell_of_an_input_unlike_the_training(
    calibrated: RunDir, solid: Path, capsys: pytest.CaptureFixture[str]
):
    """Beside held-out shapes that were measured far smaller; beside far larger ones the mesh is made again."""
    words = ("--run", calibrated.path, "--resolution", 16, "--device", "cpu", "--input", solid)
    found = []
    for low in (1e-6, 1e6):
        usual_from(calibrated, low)
        assert call(generate.main, *words) == 0
        (row,) = json.loads((calibrated.meshes("input") / "manifest.json").read_text())["shapes"]
        said = capsys.readouterr()
        found.append((row, re.search(f"note: solid: {SAID}", said.out + said.err)))
    (far, said_of_far), (near, said_of_near) = found
    assert far["ood_score"] > far["ood_threshold"] and far["ood_p"] == 1 / 31 and said_of_far
    assert re.match(SAID, far["note"]) and far["ood_most"] in far["note"]
    assert near["ood_score"] < near["ood_threshold"] and near["ood_p"] == 1 and "note" not in near and not said_of_near


def test_reconstruct_warns(calibrated: RunDir, solid: Path):
    usual_from(calibrated, 1e-6)
    run = isofield.load(calibrated.path, device="cpu")
    with pytest.warns(UserWarning, match=f"input: {SAID}"):
        run.reconstruct(np.load(solid), resolution=16)
    coded = run.encode(np.load(solid))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.reconstruct(coded, resolution=16)  # a code alone is compared with nothing


def test_a_run_without_the_file_says_nothing(calibrated: RunDir, solid: Path):
    calibrated.input_calibration_file.unlink()
    words = ("--run", calibrated.path, "--resolution", 16, "--device", "cpu", "--input", solid)
    assert call(generate.main, *words) == 0
    manifest = json.loads((calibrated.meshes("input") / "manifest.json").read_text())
    assert not [key for key in manifest["shapes"][0] if key.startswith("ood")] and "input_calibration" not in manifest


def test_a_packed_run_stays_as_it_is(calibrated: RunDir):
    calibrated.pack_file.write_text("{}")
    assert status_of(evaluate.main, "--run", calibrated.path, "--calibrate", "inputs") == 1
