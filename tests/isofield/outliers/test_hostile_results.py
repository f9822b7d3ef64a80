"""Attacks on what lies beside a prior or in a folder of results: calibration, judge, journals of an analysis."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isofield.outliers.analysis.journal import forget, line_of_organ, open_journal
from isofield.outliers.analysis.rows import new_row
from isofield.outliers.scoring.calibration import Calibration, load_calibration, save_calibration
from isofield.outliers.scoring.scores import scorer_of
from isofield.run_dir import RunDir
from isofield.runtime.journal import journal_file
from tests.data_processing.formats.test_hostile_grids import declared, deflated_zeros, zipped
from tests.hostile import refusal

DEEP = "[" * 100_000


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    scores = np.linspace(0, 1, 30)
    run = RunDir(tmp_path / "inside")
    save_calibration(run, Calibration(scores, scores, "abc", "data"), {"a": np.eye(3)})
    assert load_calibration(run, model_hash="abc")[0].n == 30
    return run


CALIBRATIONS: dict[str, Any] = {
    "deep": DEEP,
    "list": [],
    "huge_number": {"scores": [10**400], "visible_scores": [1.0], "n": 1},
    "nested": {"scores": [[1.0]], "visible_scores": [[1.0]], "n": 1},
    "texts": {"scores": ["x"], "visible_scores": ["x"], "n": 1},
    "nan": {"scores": [float("nan")], "visible_scores": [1.0], "n": 1},
    "no_number": {"n": "30"},
    "other_judge": {"judge": ["abc"]},
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_calibrations(run: RunDir, name: str):
    change = CALIBRATIONS[name]
    whole = json.loads(run.calibration_file.read_text())
    text = change if isinstance(change, str) else json.dumps(whole | change if isinstance(change, dict) else change)
    run.calibration_file.write_text(text)
    refusal(lambda path: load_calibration(run, model_hash="abc"), run.calibration_file)


@pytest.mark.parametrize(
    "content",
    [
        lambda: deflated_zeros("a.npy", declared((1 << 28,), "<f8")),
        lambda: zipped({"a.npy": declared((1 << 40,), "<f8")}),
        lambda: zipped({"a.npy": b"\x80\x04cos\nmkdir\n(S'executed'\ntR."}),
        lambda: b"PK\x05\x06",
    ],
)
def test_judges(run: RunDir, content: Any):
    run.judge_file.write_bytes(content())
    refusal(lambda path: load_calibration(run, model_hash="abc"), run.judge_file)
    assert not Path("executed").exists()


def judge(**changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {
        "names": np.array(["shape_size"]),
        "frame": np.array([4.0, 2]),
        "components/mean": np.zeros(8),
        "components/modes": np.zeros((1, 8)),
        "components/spread": np.ones(1),
        "groups/itself/mean": np.zeros(1),
        "groups/itself/spread": np.ones(1),
        "groups/itself/inverse": np.eye(1),
        "groups/itself/tail": np.array([0.0, 1.0]),
    }
    return arrays | {key.replace("_", "/"): value for key, value in changes.items()}


def test_a_judge_without_the_group_that_every_score_takes():
    arrays = {key: values for key, values in judge().items() if "itself" not in key}
    with pytest.raises(ValueError, match="lack itself"):
        scorer_of(arrays)


@pytest.mark.parametrize(
    "change",
    [
        {"frame": np.array([4.0, 1e9])},
        {"frame": np.array([np.nan, np.nan])},
        {"frame": np.array("x")},
        {"components_modes": np.zeros((1, 9))},
        {"components_mean": np.full(8, np.nan)},
        {"components_spread": np.array(["x"])},
        {"components_spread": np.zeros(1)},
        {"groups_itself_spread": np.zeros(1)},
        {"groups_itself_inverse": np.eye(2)},
        {"groups_itself_tail": np.array([0.0, -1.0])},
        {"names": np.array(["shape_size", "shape_place"])},
        {"names": np.array(["prior_size"])},
    ],
)
def test_arrays_that_are_no_judge(change: dict[str, np.ndarray]):
    assert scorer_of(judge()).sdf_grid.cells == 2
    with pytest.raises(ValueError, match="arrays of a judge"):
        scorer_of(judge(**change))


ROW = new_row("a", "a.nii", "liver", "OK", "fine", p=0.5, picture="pictures/a/liver.png")
LINES: list[Any] = [
    DEEP,
    "7",
    "{}",
    {"made_with": "x", "row": 7},
    {"made_with": "x", "row": ROW | {"picture": "../outside.png"}},
    {"made_with": "x", "row": ROW | {"reconstruction": "/etc/passwd"}},
    {"made_with": "x", "row": ROW | {"picture": {"a": 1}}},
    {"made_with": "x", "row": ROW | {"status": "<script>"}},
    {"made_with": "x", "row": ROW | {"p": "<script>"}},
    {"made_with": "x", "row": ROW | {"organ": ["liver"]}},
    {"made_with": "x", "row": {"scan": "a"}},
    {"made_with": ["x"], "row": ROW},
    {"made_with": "x", "row": ROW, "at": "tomorrow"},
    {"made_with": "x", "row": ROW, "at": float("inf")},
    {"made_with": "x", "scan": "a", "organs": ["liver"], "at": 1},
    {"made_with": "x", "scan": "a", "organs": {"liver": 7}, "at": 1},
    {"scan": "a", "organs": {}, "at": 1},
    {"name": "a", "made_from": "x", "row": {"liver": 7}},
    {"name": line_of_organ("b", "liver"), "made_from": "x", "row": ROW},
    {"name": line_of_organ("b", "liver"), "made_from": "x", "row": {"liver": "x"}},
    {"name": line_of_organ("a", "liver"), "made_from": "x", "row": ROW | {"picture": "../outside.png"}, "start": 9},
]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_lines_of_a_journal_that_are_not_ours(tmp_path: Path, number: int):
    out = tmp_path / "inside"
    (out / "pictures" / "a").mkdir(parents=True)
    for file in (tmp_path / "outside.png", out / "pictures" / "a" / "liver.png", out / "mine.txt"):
        file.write_text("here")
    line, good = LINES[number], {"name": line_of_organ("a", "liver"), "made_from": "good", "row": ROW, "start": 1}
    text = line if isinstance(line, str) else json.dumps(line)
    journal_file(out, 0).write_text(f"{text}\n{json.dumps(good)}\n")
    assert open_journal(out).lines == {good["name"]: good}
    forget(out)
    assert (tmp_path / "outside.png").exists() and (out / "mine.txt").exists()
    assert not (out / "pictures" / "a" / "liver.png").exists()


def test_what_is_forgotten_lies_below_the_results(tmp_path: Path):
    """A page of a scan too, where the folder of the pages is a link."""
    out, elsewhere = tmp_path / "inside", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (elsewhere / "a.html").write_text("here")
    (out / "scans").symlink_to(elsewhere)
    line = {"name": "a", "made_from": "good", "row": {}, "start": 1}
    journal_file(out, 0).write_text(json.dumps(line) + "\n")
    forget(out)
    assert (elsewhere / "a.html").exists() and not journal_file(out, 0).exists()
