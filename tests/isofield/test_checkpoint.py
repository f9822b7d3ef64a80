"""Checkpoints: what goes in comes out, what is not one is refused, and nothing in a file is executed."""

import os
import pickle  # noqa: TID251 - to make the hostile file
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isofield import checkpoint
from tests.conftest import ROOT

CONTENT = {"model": {"w": torch.arange(6.0).view(2, 3)}, "step": 3, "best": None, "config": {"a": [1, "x"]}}


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.trace}",)


def test_tensors_and_plain_data_come_back(tmp_path: Path):
    file = tmp_path / "a" / "last.pt"
    checkpoint.save(file, CONTENT)
    content = checkpoint.load(file)
    assert torch.equal(content["model"]["w"], CONTENT["model"]["w"])
    assert {key: content[key] for key in ("step", "best", "config")} == {
        "step": 3,
        "best": None,
        "config": CONTENT["config"],
    }


@pytest.mark.parametrize("writer", ["torch", "torch-legacy", "pickle"])
def test_code_in_a_file_is_refused_and_not_executed(tmp_path: Path, writer: str):
    file, trace = tmp_path / "last.pt", tmp_path / "executed"
    content = {"format": checkpoint.FORMAT, "model": {}, "bomb": Hostile(trace)}
    if writer == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(ValueError, match=r"last\.pt: "):
        checkpoint.load(file)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Hostile(trace)))
    assert trace.exists()  # the bomb was a bomb


def test_whole_modules_are_refused(tmp_path: Path):
    torch.save({"format": checkpoint.FORMAT, "model": torch.nn.Linear(2, 2)}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: .*tensors"):
        checkpoint.load(tmp_path / "last.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path: Path, share: float):
    file = tmp_path / "last.pt"
    checkpoint.save(file, CONTENT)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=rf"last\.pt: .* {file.stat().st_size} bytes"):
        checkpoint.load(file)


@pytest.mark.parametrize("content", [{"w": torch.ones(1)}, [1, 2], {"format": 1}, {"format": 99, "model": {}}])
def test_other_torch_files_are_no_checkpoints(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt .*isofield import imnet"):
        checkpoint.load(tmp_path / "x.pt")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"x\.pt"):
        checkpoint.load(tmp_path / "x.pt")


def test_failing_to_write_leaves_the_old_one(tmp_path: Path):
    file = tmp_path / "last.pt"
    checkpoint.save(file, CONTENT)
    before = file.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        checkpoint.save(file, {**CONTENT, "bad": lambda: None})
    assert file.read_bytes() == before and os.listdir(tmp_path) == ["last.pt"]


def test_a_hash_tells_names_values_and_nothing_else():
    weights = {"a": torch.arange(4.0), "b": torch.tensor(3)}
    same = {"b": torch.tensor(3), "a": torch.arange(8.0)[::2] / 2}  # another order, not contiguous
    assert checkpoint.hash_of(weights) == checkpoint.hash_of(same)
    others = [{"a": weights["a"]}, {**weights, "a": weights["a"] + 1e-6}, {"a": weights["a"], "c": torch.tensor(3)}]
    assert len({checkpoint.hash_of(other) for other in [weights, *others]}) == 4


def test_a_full_disk_is_an_oserror_and_keeps_the_old_file(tmp_path: Path):
    """A process that may write 100 kB a file stands in for a full disk."""
    pytest.importorskip("resource", reason="files cannot be limited here")
    file = tmp_path / "last.pt"
    checkpoint.save(file, {"model": {"w": torch.ones(3)}})
    program = (
        "import resource, sys, torch; from pathlib import Path; from isofield import checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: checkpoint.save(Path(sys.argv[1]), {'model': {'w': torch.zeros(100_000)}})\n"
        "except OSError: sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert torch.equal(checkpoint.load(file)["model"]["w"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
