"""Evaluations read back: of a run, a folder, a file; and what is none is refused by its name."""

import json
from pathlib import Path

import pytest

from isofield.evaluation.results import chosen_candidates, read_candidates
from tests.isofield.evaluation.written_results import CHAMFER, written_result


def a_run(folder: Path, *protocols: str) -> Path:
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    for protocol in protocols:
        written_result(folder / "evaluation" / f"test-{protocol}.json", CHAMFER, protocol=protocol)
    return folder


def test_a_run_and_its_file_are_called_as_the_run(tmp_path: Path):
    run, other = a_run(tmp_path / "one", "onet", "imnet"), a_run(tmp_path / "other", "imnet")
    (run / "evaluation" / "samples-test-generative.json").write_text('{"sets": {}}')
    of_paths, notes = read_candidates([run, other / "evaluation" / "test-imnet.json"])
    assert [[(each.name, each.protocol, each.split) for each in candidates] for candidates in of_paths] == [
        [("one", "imnet", "test"), ("one", "onet", "test")],
        [("other", "imnet", "test")],
    ]
    assert of_paths[1][0].run == other
    assert len(notes) == 1 and "generative.json" in notes[0]
    (left, _) = chosen_candidates(of_paths, protocols=["imnet"], split=None)
    assert [each.protocol for each in left] == ["imnet"]
    with pytest.raises(ValueError, match=r"--protocol onet: other has no such evaluation; it has: imnet, split test"):
        chosen_candidates(of_paths, protocols=["onet"], split=None)


def test_infinite_distances_come_back(tmp_path: Path):
    file = written_result(tmp_path / "a.json", {"x": float("inf"), "y": 1.0})
    ((candidate,),), _ = read_candidates([file])
    assert candidate.name == "a" and candidate.run is None
    assert candidate.done()["x"]["chamfer"] == float("inf")


def test_two_of_one_name_are_called_by_their_paths(tmp_path: Path):
    runs = [a_run(tmp_path / part / "same", "onet") for part in ("p", "q")]
    of_paths, _ = read_candidates(runs)
    assert [candidates[0].name for candidates in of_paths] == list(map(str, runs))
    of_paths, _ = read_candidates(runs, ["p", "q"])
    assert [candidates[0].name for candidates in of_paths] == ["p", "q"]
    with pytest.raises(ValueError, match=r"--names: expected 2 different names"):
        read_candidates(runs, ["p", "p"])


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_candidates([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"has no evaluation of pairs .* evaluate --run"):
        read_candidates([a_run(tmp_path / "bare")])


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": 3},
        {"split": 3},
        {"settings": {}},
        {"per_shape": [{"name": "x"}]},
        {"per_shape": [{"name": "x", "category": "y", "status": "done", "chamfer": "much"}]},
        {"per_shape": 2 * [{"name": "x", "category": "y", "status": "failed"}]},
        {"per_shape": None},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, change: dict):
    file = written_result(tmp_path / "a.json", CHAMFER)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=r"a\.json: no evaluation of ours .* evaluate again") as told:
        read_candidates([file])
    assert "NoneType" not in str(told.value)
