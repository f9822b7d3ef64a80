"""Hints name a command as the user typed the one that prints them."""

import subprocess
import sys

import pytest

from isofield.runtime.command_names import SCRIPTS, as_typed, command_line, kept_line
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("started", "said"),
    [
        ("/venv/bin/isofield", "isofield evaluate"),
        ("C:/venv/Scripts/isofield.exe", "isofield evaluate"),
        ("/venv/lib/isofield/__main__.py", "python -m isofield evaluate"),
        ("train.py", "python evaluate.py"),
        ("/checkout/generate.py", "python evaluate.py"),
        ("/checkout/data_processing/__main__.py", "python evaluate.py"),
        ("/somebodys/notebook/__main__.py", "isofield evaluate"),
        ("", "isofield evaluate"),
    ],
)
def test_the_door_that_was_taken(started, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert command_line("evaluate", "--run", "runs/a b") == f"{said} --run 'runs/a b'"
    assert kept_line("evaluate", "--run", "R") == "isofield evaluate --run R"
    assert as_typed("as `python evaluate.py --run R` does") == f"as `{said} --run R` does"


def test_what_has_no_script_is_named_by_the_one_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command_line("import", "imnet") == "isofield import imnet"
    assert command_line("prepare") == "python -m data_processing"
    assert all((ROOT / words[-1]).is_file() for words in SCRIPTS.values() if words[-1].endswith(".py"))


@pytest.mark.parametrize(
    ("door", "said"),
    [(["-m", "isofield", "evaluate"], "python -m isofield evaluate --run runs/NAME"),
     (["evaluate.py"], "python evaluate.py --run runs/NAME")],
)  # fmt: skip
def test_both_doors_as_processes(door, said):
    told = subprocess.run([sys.executable, *door, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "".join(said.split()) in "".join(told.stdout.split())  # wrapped, also within words
