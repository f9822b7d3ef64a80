"""`isofield COMMAND`: hands on, answers at once, and says what it knows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import isofield
from isofield import __main__ as door
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from tests.conftest import ROOT
from tests.isofield.conftest import tiny_config
from tests.torchrun import torchrun

HELP_SECONDS = 0.5  # CPU of the whole interpreter
COMMANDS = [
    *([name] for name in door.COMMANDS),
    ["import", "imnet"],
    ["import", "ifnet"],
]
AS_BEFORE = [*([f"{name}.py"] for name in ("train", "generate", "evaluate", "analyse"))]
AS_BEFORE += [["-m", "data_processing"], ["-m", "imnet.published"], ["-m", "ifnet.published"]]


def ended(words: list[str]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The process, and which packages it imported."""
    command, environment = [sys.executable, "-X", "importtime", *words], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stderr.splitlines()
    imports = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    done.stderr = "\n".join(line for line in lines if not line.startswith("import time:"))
    return done, imports


def cpu_seconds(words: list[str]) -> float:
    """User and system time of the child alone, however busy the machine is."""
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *words],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", [*(["-m", "isofield", *words] for words in COMMANDS), *AS_BEFORE], ids=" ".join)
def test_help_comes_at_once_and_names_the_command(words: list[str]):
    done, imported = ended([*words, "--help"])
    assert done.returncode == 0 and done.stderr == ""
    asked = " ".join(words).replace("-m isofield", "isofield").replace("-m ", "python -m ")
    assert done.stdout.startswith(f"usage: {asked} ")
    assert not {"torch", "numpy", "scipy", "nibabel", "pydantic"} & imported


@pytest.mark.parametrize("words", [["-m", "isofield"], ["-m", "isofield", "evaluate"], ["train.py"]], ids=" ".join)
def test_help_takes_half_a_second_of_one_core_at_most(words: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    assert cpu_seconds([*words, "--help"]) < HELP_SECONDS


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["train", "--confg", "x"], 1, "--config"),
        (["evaluate", "--run", "x", "--splt", "test"], 1, "--splt"),
        (["analyse", "--models", "x"], 2, "--input"),  # 1 says that there are outliers
        (["analyse", "--run", "x", "--input", "y"], 2, "analyse calls it --models"),
        (["import", "imnett"], 1, "imnett"),
        (["trian"], 1, "did you mean 'train'?"),
        (["xyz"], 1, "prepare, inspect, train, curves, generate, evaluate, compare, analyse, import, pack, configs"),
    ],
)
def test_wrong_usage_is_told_before_anything_heavy_is_imported(words: list[str], status: int, expected: str):
    done, imported = ended(["-m", "isofield", *words])
    assert done.returncode == status and expected in done.stderr and done.stdout == ""
    assert not {"torch", "numpy"} & imported


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]):
    for words, status in (([], 1), (["--help"], 0), (["help"], 0)):
        with pytest.raises(SystemExit) as end:
            door.main(words)
        said = capsys.readouterr().out
        assert end.value.code == status and all(f"  {name} " in said for name in door.COMMANDS)


def test_the_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        door.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"isofield {isofield.__version__}\n"


def test_torchrun_starts_it_as_a_module(boxes: Path, tmp_path: Path):
    config = tiny_config(boxes, tmp_path / "runs", max_steps=2)
    file = tmp_path / "tiny.yaml"
    file.write_text(to_yaml(config))
    torchrun("-m", "isofield", "train", "--config", file)
    assert RunDir(config.run_path).has_checkpoints
