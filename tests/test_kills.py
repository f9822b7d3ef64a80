"""Commands killed with -9 at many random moments and started again: what stands in the end is as if nothing happened.

Of preparation and generation see also tests/data_processing/test_prepare_cli.py and tests/engine/test_generation.py.
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_processing.config import to_yaml
from engine import checkpoint
from engine.config import Stage, ValidationSection
from engine.optim import OptimSection
from engine.run_dir import RunDir
from tests.conftest import ROOT
from tests.engine.conftest import boxes, tiny_config  # noqa: F401 - a fixture
from tests.engine.ready_runs import make_run
from tests.engine.test_codes import gan_config

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
KILLS = 2
LATEST = 0.6  # seconds after the command's first sign of work


def killed_and_run(command: list[str], sign: Callable[[], object], *, kills: int = KILLS, seed: int = 0) -> int:
    """Start a command, kill it a random moment after it shows a new sign of work, again and again; then let it finish.

    Returns how many of its processes were really killed.
    """
    moments, killed = random.Random(seed), 0
    for _ in range(kills):
        before = sign()
        with subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            end = time.monotonic() + 60
            while sign() == before and process.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(moments.uniform(0, LATEST))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += process.returncode == -signal.SIGKILL
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return killed


def last(run: RunDir) -> dict:
    return checkpoint.load(run.checkpoint_file("last"))


def same(one: object, other: object) -> bool:
    """Equal bit by bit, whatever tensors are nested in."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@pytest.mark.parametrize("players", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_training(boxes: Path, tmp_path: Path, players: int):  # noqa: F811
    """Across stages, within an epoch, between a GAN's two players: tensor by tensor the checkpoint of a whole run."""
    settings = {
        "checkpoint_every": 7,
        "validation": ValidationSection(every=50, shapes=3, pictures=0),
        "optim": OptimSection(learning_rate=1e-3, ema_decay=0.9),
    }
    if players == 1:
        stages = tuple(Stage(level=level, epochs=25, points=512) for level in (16, 32, 64))
        config = tiny_config(boxes, tmp_path / "whole", stages=stages, **settings)
    else:
        autoencoder = make_run(boxes, tmp_path / "initial")
        config = gan_config(
            boxes, tmp_path / "whole", autoencoder, stages=(Stage(level="codes", epochs=150),), **settings
        )
    runs = {}
    for name in ("whole", "killed"):
        changed, file = dataclasses.replace(config, runs=tmp_path / name), tmp_path / f"{name}.yaml"
        file.write_text(to_yaml(changed))
        runs[name] = RunDir(changed.run_path)
        command = [sys.executable, "train.py", "--config", str(file), "--resume"]
        if name == "whole":
            subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)

    def sign() -> object:
        file = runs["killed"].checkpoint_file("last")
        return file.stat().st_mtime_ns if file.is_file() else None

    killed = killed_and_run(command, sign, seed=players)
    assert killed >= 1  # on a quick machine the rest may be done before the signal comes
    whole, disturbed = last(runs["whole"]), last(runs["killed"])
    for content in (whole, disturbed):
        del content["seconds"], content["config"]["runs"]
    assert same(whole, disturbed)


@pytest.mark.slow
def test_evaluation(boxes: Path, tmp_path: Path):  # noqa: F811
    """It keeps nothing but whole tables: the same ones in the end."""
    run = make_run(boxes, tmp_path)
    generate = [sys.executable, "generate.py", "--run", str(run.path), "--split", "test", "--resolution", "32"]
    subprocess.run(
        [*generate, "--device", "cpu"], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=120
    )
    tables = {}
    for kills in (0, 1):
        command = [sys.executable, "evaluate.py", "--run", str(run.path), "--split", "test", "--against", "voxels"]
        command += ["--protocol", "imnet", "--out", str(tmp_path / f"tables{kills}"), "--workers", "1"]
        killed_and_run(command, lambda kills=kills: (tmp_path / f"tables{kills}").exists(), kills=kills)  # type: ignore[misc]
        for file in (tmp_path / f"tables{kills}").glob("*.json"):
            json.loads(file.read_text())
        tables[kills] = [file.read_bytes() for file in sorted((tmp_path / f"tables{kills}").glob("*.[cj]s*"))]
    assert len(tables[0]) == 2 and tables[0] == tables[1]
