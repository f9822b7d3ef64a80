"""What generate.py was asked for: another number of points than in training."""

import json
from pathlib import Path

import pytest

from isofield.commands import generate
from isofield.run_dir import manifest_file
from tests.commands import call
from tests.isofield.packs.tiny_runs import trained_ifnet
from tests.isofield.ready_runs import make_run

COARSE = ("--resolution", 24, "--frame", 12, "--device", "cpu")


def test_a_run_is_shown_as_many_points_as_are_asked_for(prepared: Path, tmp_path: Path):
    run = trained_ifnet(prepared, tmp_path / "runs")
    inputs = {}
    for points in (40, 200, None):
        words = () if points is None else ("--points", points)
        words = (*words, *(("--sheet",) if points == 200 else ()))
        assert call(generate.main, "--run", run.path, "--split", "test", *COARSE, *words, "--with-input") == 0
        assert (run.meshes("test") / "sheet.png").is_file() == (points != 40)
        manifest = json.loads(manifest_file(run.meshes("test")).read_text())
        assert manifest.get("input_points") == points
        files = [run.meshes("test") / row["input_file"] for row in manifest["shapes"]]
        inputs[points] = [file.read_bytes() for file in files]
    # What was shown with other numbers was made again under the same name; without a number as in training.
    assert len(inputs[40]) == len(inputs[200]) > 0 and inputs[40] != inputs[200] != inputs[None]
    sizes = {points: sum(map(len, files)) for points, files in inputs.items()}
    assert sizes[40] < sizes[200]


def test_the_manifest_lists_what_was_shown_as_many_points(prepared: Path, tmp_path: Path):
    """Files of one folder, made one after the other: what is said of all holds for each."""
    run, files = (
        trained_ifnet(prepared, tmp_path / "runs"),
        sorted(file for file in (prepared.parent / "raw").rglob("*") if file.is_file())[:2],
    )
    for words, listed in ((("--points", 40), 0), (("--points", 200), 1), ((), 0)):
        assert call(generate.main, "--run", run.path, "--input", files[listed], *COARSE, *words) == 0
        manifest = json.loads(manifest_file(run.meshes("input")).read_text())
        assert [row["name"] for row in manifest["shapes"]] == [files[listed].stem]


def test_a_run_that_is_shown_no_points_refuses_a_number(boxes: Path, prepared: Path, tmp_path: Path):
    run = make_run(boxes, tmp_path / "runs")
    with pytest.raises(ValueError, match="--points: this run is shown voxels"):
        call(generate.main, "--run", run.path, "--split", "test", "--points", 300, *COARSE)
    run = trained_ifnet(prepared, tmp_path / "more")
    with pytest.raises(ValueError, match=r"--points: .*got -1"):
        call(generate.main, "--run", run.path, "--split", "test", "--points", -1, *COARSE)
