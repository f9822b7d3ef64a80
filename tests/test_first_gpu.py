"""The script for the first minutes on a GPU works: in its quick form on a CPU, so that no minute of a GPU is lost."""

import json
from pathlib import Path

import pytest

from tests import first_gpu
from tests.benchmarks import predictions


def test_steps_are_measured_and_stand_beside_what_was_predicted(tmp_path: Path):
    words = ["--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "steps", "batches"]
    assert first_gpu.main(words) == 0
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert content["failed"] == content["missed by a third"] == []
    numbers = content["numbers"]
    for name in (
        "imnet float32, plain",
        "imnet tf32",
        "ifnet bfloat16",
        "ifnet bfloat16, six shapes",
        "latent gan, played back",
    ):
        assert numbers[name]["found"].keys() == {"ms", "GB", "launches", "waits"}
        assert numbers[name]["found"]["ms"] > 0
    for name in ("scan conversion", "levels", "thinning"):
        assert {f"{name}, {count} at once" for count in (1, 2)} <= numbers.keys()
    assert numbers["imnet bfloat16"]["predicted"] == predictions.PREDICTED["imnet bfloat16"]
    assert (tmp_path / "profile-imnet_bfloat16.txt").read_text()


def test_what_misses_its_prediction_by_a_third_is_named():
    numbers = {"imnet float32": {"ms": 66.0}, "imnet tf32": {"ms": 9.0}, "copy, TB/s": 2.0, "waits of a step": 1}
    missed = predictions.compared(numbers, applies=True)["missed by a third"]
    assert missed == ["imnet float32", "copy, TB/s", "waits of a step"]
    assert predictions.compared(numbers, applies=False)["missed by a third"] == []


def test_a_part_that_fails_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(first_gpu, "ceilings", lambda session: 1 / 0)
    monkeypatch.setattr(first_gpu, "suite", lambda session: session.command("suite", ["no", "time"], limit=1))
    assert first_gpu.main(["--out", str(tmp_path), "--device", "cpu", "--only", "ceilings", "suite"]) == 1
    failed = json.loads((tmp_path / "numbers.json").read_text())["failed"]
    assert "ZeroDivisionError" in failed[0] and "budget" in failed[1]


@pytest.mark.slow
def test_commands_and_suite_run_in_the_quick_form(tmp_path: Path):
    words = ["--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "ceilings", "tests", "commands", "suite"]
    assert first_gpu.main([*words, "--budget", "3000"]) == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text())["numbers"]
    for name in ("prepare-cpu, shapes/s", "train-imnet, s", "resume-imnet, s", "demo, meshes", "suite, s"):
        assert name in numbers
