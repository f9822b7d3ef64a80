"""What to type next, in the form in which we were called; each line that is told here works when it is pasted."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from isofield.runtime.invocation import as_typed, kept_line, next_command, resuming_command, same_command
from tests.conftest import ROOT

RANKS = ("WORLD_SIZE", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in RANKS:
        monkeypatch.delenv(key, raising=False)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This interpreter is the one that the shell finds."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "isofield"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return "python"


def called(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", list(map(str, words)))


@pytest.mark.parametrize(
    ("typed", "generate", "prepare"),
    [
        ("train.py", "python generate.py --run 'runs/a b'", "python -m data_processing"),
        ("../it/train.py", "python ../it/generate.py --run 'runs/a b'", "python -m data_processing"),
        ("/x/isofield/__main__.py", "python -m isofield generate --run 'runs/a b'", "python -m isofield prepare"),
        ("/x/data_processing/__main__.py", "python -m isofield generate --run 'runs/a b'", "python -m data_processing"),
        ("/usr/lib/pytest/__main__.py", "isofield generate --run 'runs/a b'", "isofield prepare"),
        ("", "isofield generate --run 'runs/a b'", "isofield prepare"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("python")
def test_the_next_command_has_the_form_of_this_one(
    monkeypatch: pytest.MonkeyPatch, typed: str, generate: str, prepare: str
):
    called(monkeypatch, typed, "--config", "x")
    assert next_command("generate", "--run", Path("runs/a b")) == generate
    assert next_command("prepare") == prepare
    assert next_command("import") == ("python -m " if prepare.startswith("python") else "") + "isofield import"


@pytest.mark.usefixtures("python")
def test_a_command_that_the_shell_does_not_find_keeps_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    called(monkeypatch, tmp_path / "bin/isofield", "train", "--config", "x")
    assert next_command("generate") == "isofield generate" and same_command() == "isofield train --config x"
    (tmp_path / "venv").mkdir()
    monkeypatch.chdir(tmp_path)
    called(monkeypatch, tmp_path / "venv/isofield", "train")
    assert next_command("generate") == "venv/isofield generate"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/python3"))
    called(monkeypatch, "train.py")
    assert next_command("evaluate") == "venv/python3 evaluate.py"


@pytest.mark.usefixtures("python")
def test_what_was_typed_comes_back_with_what_goes_on(monkeypatch: pytest.MonkeyPatch):
    called(monkeypatch, "train.py", "--config", "my file.yaml")
    assert same_command("--resume") == "python train.py --config 'my file.yaml' --resume"
    called(monkeypatch, "train.py", "--resume")
    assert same_command("--resume") == "python train.py --resume"
    called(monkeypatch, "/x/isofield/__main__.py", "analyse")
    assert same_command() == "python -m isofield analyse"
    called(monkeypatch, "/x/my_program.py", "analyse")
    assert same_command("--resume") == ""


@pytest.mark.usefixtures("python")
def test_under_torchrun_training_goes_on_under_torchrun(monkeypatch: pytest.MonkeyPatch):
    for key in RANKS:
        monkeypatch.setenv(key, "4")
    called(monkeypatch, "train.py", "--config", "x")
    launched = "torchrun --standalone --nproc-per-node=4"
    assert resuming_command("--resume") == f"{launched} train.py --resume"
    assert same_command("--resume") == f"{launched} train.py --config x --resume"
    assert next_command("generate") == "python generate.py"
    called(monkeypatch, "/x/isofield/__main__.py", "train", "--config", "x")
    assert resuming_command("--resume") == f"{launched} -m isofield train --resume"
    assert same_command() == f"{launched} -m isofield train --config x"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # on two machines: nobody knows how the other was called
    assert same_command() == "" and resuming_command() == "python -m isofield train"


@pytest.mark.parametrize("words", [["train.py"], ["-m", "isofield", "train"], ["-m", "data_processing"]])
def test_real_processes_tell_lines_that_work(words: list[str], tmp_path: Path):
    """The line about the same command, pasted, does the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\nfrom isofield.runtime.invocation import same_command\n"
        "atexit.register(lambda: print(same_command('--help')))\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        [sys.executable, *words, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    pasted = shlex.split(told.splitlines()[-1])
    assert pasted[-1] == "--help" and pasted[1:-1] == words
    again = subprocess.run(pasted, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert again == told


def test_a_script_that_adds_a_model_is_what_is_typed_next(tmp_path: Path):
    """`isofield evaluate` would not know that model; the line, pasted, does the same."""
    (tmp_path / "mine.py").write_text("from isofield.__main__ import main\n\nif __name__ == '__main__':\n    main()\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\nfrom isofield.runtime.invocation import next_command, same_command\n"
        "atexit.register(lambda: print(next_command('evaluate'), same_command('--help'), sep='\\n'))\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    words = [sys.executable, "mine.py", "configs", "--help"]
    told = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    following, same = map(shlex.split, told.splitlines()[-2:])
    assert following[1:] == ["mine.py", "evaluate"] and same == words


@pytest.mark.parametrize("called", ["/checkout/train.py", "/venv/lib/isofield/__main__.py", "/venv/bin/isofield", ""])
def test_what_is_kept_says_the_same_whichever_way_we_were_called(called, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called])
    assert kept_line("evaluate", "--run", "runs/a b") == "isofield evaluate --run 'runs/a b'"
    line = next_command("evaluate")
    assert as_typed("such as `python evaluate.py --run R`") == f"such as `{line} --run R`"
