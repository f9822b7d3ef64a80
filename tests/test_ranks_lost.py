"""Ranks of a real torchrun that die, stop or are told to end: all go down with the reason, and go on exactly."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_processing.preparation.config import DataConfig
from isofield.config import TrainingStage
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from tests.conftest import ROOT
from tests.data_processing.box_folders import write_boxes
from tests.isofield.conftest import boxes, tiny_config  # noqa: F401 - a fixture
from tests.kills import comparable
from tests.torchrun import ENVIRONMENT, descendants, launched, torchrun

pytestmark = pytest.mark.slow
STEPS = 400  # in the whole run; each takes some milliseconds
SOON = 120  # seconds, on a busy machine too; torchrun itself takes 30 to kill a rank that is stopped


def configured(data: Path, runs: Path) -> tuple[RunDir, list[str]]:
    """A run, and the command that trains it, or goes on."""
    stages = (TrainingStage(level=16, epochs=STEPS, points=64),)
    config = tiny_config(data, runs, stages=stages, batch_shapes=5, checkpoint_every=50)
    runs.mkdir()
    file = runs / "config.yaml"
    file.write_text(to_yaml(config))
    return RunDir(config.run_path), ["train.py", "--config", str(file), "--resume"]


@pytest.fixture(scope="module")
def whole(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:  # noqa: F811
    """The last checkpoint of two ranks that nobody disturbs."""
    run, words = configured(boxes, tmp_path_factory.mktemp("runs") / "whole")
    torchrun(*words)
    return last(run)


def last(run: RunDir) -> bytes:
    """Its last checkpoint, wherever it lies."""
    return comparable(run.checkpoint_file("last")).replace(str(run.path.parent).encode(), b"")


@pytest.fixture
def training(boxes: Path, tmp_path: Path, whole: bytes) -> Iterator[tuple[RunDir, list[str]]]:  # noqa: F811
    """A run of two ranks to disturb. At the end it is finished, and as if nobody had."""
    run, words = configured(boxes, tmp_path / "disturbed")
    yield run, words
    torchrun(*words)
    assert last(run) == whole


def disturbed(
    run: RunDir, words: list[str], disturb: Callable[[subprocess.Popen, list[int]], object], **environment: str
) -> tuple[int, str, float]:
    """Start it, disturb launcher and ranks once there is a checkpoint: status, errors, seconds until it had ended."""
    with subprocess.Popen(
        launched(*words, processes=2),
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 240
        while not run.checkpoint_file("last").is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        ranks = sorted(descendants(process.pid))
        began = time.monotonic()
        disturb(process, ranks)
        _, errors = process.communicate(timeout=600)
        return process.returncode, errors, time.monotonic() - began


def test_a_rank_that_is_killed_takes_the_run_down(training: tuple[RunDir, list[str]]):
    status, errors, seconds = disturbed(*training, lambda process, ranks: os.kill(ranks[-1], signal.SIGKILL))
    assert status == 1 and seconds < SOON
    assert "Signal 9 (SIGKILL)" in errors  # torchrun names the cause


def test_a_rank_that_stops_is_waited_for_no_longer_than_configured(training: tuple[RunDir, list[str]]):
    def stop(process: subprocess.Popen, ranks: list[int]) -> None:
        os.kill(ranks[-1], signal.SIGSTOP)

    status, errors, seconds = disturbed(*training, stop, ISOFIELD_TIMEOUT="8")
    assert status == 1 and seconds < 8 + SOON
    assert "error: rank 0: lost the other ranks: one of them ended or stopped" in errors


def test_a_rank_of_a_preparation_that_stops_is_named(tmp_path: Path):
    """It holds up nothing but the index: the other has all of its own shards."""
    write_boxes(tmp_path / "raw", chairs=12, tables=0)
    file, out = tmp_path / "boxes.yaml", tmp_path / "set"
    file.write_text(to_yaml(DataConfig(name="boxes", input=tmp_path / "raw", output=out, shard_size=1, workers=1)))
    words = ["-m", "data_processing", "--config", str(file)]
    with subprocess.Popen(
        launched(*words, processes=2),
        cwd=ROOT,
        env={**ENVIRONMENT, "ISOFIELD_TIMEOUT": "8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 240
        while not any(out.glob("shards/0*1.h5")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        stopped = next(one for one in descendants(process.pid) if b"RANK=1" in environment_of(one))
        os.kill(stopped, signal.SIGSTOP)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 1 and not (out / "dataset.json").exists()
    assert "error: rank 0: rank 1 has given no sign of life for 8 seconds" in errors
    torchrun(*words)
    assert (out / "dataset.json").exists()


def environment_of(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_of_them_writes_a_checkpoint(training: tuple[RunDir, list[str]], number: int):
    """As a terminal or a scheduler sends it: the ranks get it twice, the second time from torchrun."""
    run, words = training
    status, errors, seconds = disturbed(run, words, lambda process, ranks: os.killpg(process.pid, number))
    assert status != 0 and seconds < SOON
    how = "terminated" if number == signal.SIGTERM else "interrupted"
    assert f"{how}; run the same command again with --resume to continue" in errors


def test_a_signal_to_one_rank_ends_all_after_the_checkpoint(training: tuple[RunDir, list[str]]):
    status, errors, seconds = disturbed(*training, lambda process, ranks: os.kill(ranks[-1], signal.SIGTERM))
    assert status == 1 and seconds < SOON
    assert "terminated; run the same command again with --resume to continue" in errors
