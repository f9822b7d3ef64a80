"""The five commands on a folder of meshes, one of them broken: every shape ends in every table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh
import yaml

from isofield.commands import evaluate as evaluate_command
from isofield.commands import generate as generate_command
from isofield.commands import prepare
from tests.commands import status_of
from tests.conftest import ROOT


def command(folder: Path, *arguments: str, status: int) -> str:
    """Run one of our commands in `folder`; it must end with `status`. Returns what it printed."""
    threads = os.environ.get("OMP_NUM_THREADS", "2")  # of a process among several: one
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten boxes somewhere in space, of two categories, the last of the first category cut short; and two configs."""
    folder = tmp_path_factory.mktemp("end to end")
    for category in ("long", "tall"):
        (folder / "raw" / category).mkdir(parents=True)
        for number in range(5):
            sides = (3 + number / 2, 1, 1) if category == "long" else (1, 3 + number / 2, 1.5)
            box = trimesh.creation.box(sides).apply_translation((100, -50, number))
            box.export(folder / "raw" / category / f"box{number}.ply")
    broken = folder / "raw" / "long" / "box4.ply"
    broken.write_bytes(broken.read_bytes()[:-40])
    (folder / "data.yaml").write_text(yaml.safe_dump({"name": "boxes", "input": "raw", "workers": 2}))
    model = {
        "type": "imnet_autoencoder",
        "latent": 8,
        "encoder_channels": [2, 2, 4, 8],
        "decoder_widths": [64, 64, 32],
        "initialisation": "kaiming",
    }
    training = {
        "stages": [{"level": 32, "epochs": 200, "points": 1024}],
        "batch_shapes": 8,
        "optim": {"learning_rate": 0.005},
        "validation": {"every": 0, "pictures": 1},
    }
    config = {
        "name": "boxes",
        "model": model,
        "data": {"path": "datasets/boxes"},
        "training": training,
        "device": "cpu",
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_from_meshes_to_a_table(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    # In processes of their own, as a user types them.
    prepared = command(workplace, "-m", "data_processing", "--config", "data.yaml", status=2)
    assert "9 prepared" in prepared and "1 failed" in prepared
    command(workplace, str(ROOT / "train.py"), "--config", "train.yaml", status=0)
    generate = [str(ROOT / "generate.py"), "--run", "runs/boxes", "--split", "test", "--resolution", "64"]
    assert "2 meshes, 1 failed" in command(workplace, *generate, status=2)
    evaluate = [str(ROOT / "evaluate.py"), "--run", "runs/boxes", "--split", "test", "--protocol", "onet"]
    printed = command(workplace, *evaluate, "--points", "5000", "--iou-points", "20000", status=2)
    report = workplace / "runs" / "boxes" / "evaluation" / "report.html"
    assert str(report.relative_to(workplace)) in printed and report.stat().st_size > 10_000

    result = json.loads((report.parent / "test-onet.json").read_text())
    assert (result["n"], result["split"], result["protocol"]) == (2, "test", "onet")
    assert [(failure["name"], "preparation failed" in failure["reason"]) for failure in result["failed"]] == [
        ("long/box4", True)
    ]
    assert {row["name"]: row["status"] for row in result["per_shape"]} == {
        "tall/box4": "done",
        "long/box3": "done",  # of the four that can be read
        "long/box4": "failed",
    }
    # It learned something, and the mesh is where the input is (about 100, -50, 4), not in the unit cube.
    assert result["mean"]["iou"] > 0.5
    lower, upper = trimesh.load(workplace / "runs/boxes/meshes/test/tall/box4.ply").bounds
    assert abs((lower + upper) / 2 - (100, -50, 4)).max() < 0.5 and 3 < upper[1] - lower[1] < 7

    # Once more, on files of the user's own, and on two folders: here, as each process takes seconds to start.
    monkeypatch.chdir(workplace)
    capsys.readouterr()
    assert status_of(prepare.main, "--config", "data.yaml") == 2
    assert "10 shapes are finished already" in capsys.readouterr().out
    own = ["--input", "raw/tall/box0.ply", "--resolution", "32", "--format", "obj", "--out", "own"]
    assert status_of(generate_command.main, "--run", "runs/boxes", *own) == 0
    assert (workplace / "own" / "box0.obj").is_file()
    folders = [
        "--pred",
        "runs/boxes/meshes/test",
        "--gt",
        "raw",
        "--protocol",
        "ifnet",
        "--points",
        "2000",
        "--out",
        "pair",
    ]
    assert status_of(evaluate_command.main, *folders, "--out", "pair") == 2
    assert json.loads((workplace / "pair" / "ifnet.json").read_text())["n"] == 2
