"""The table of docs/performance.md that says what runs where names every kernel there is, and no other."""

import re
from pathlib import Path

import pytest
import torch

from data_processing.preparation import job
from data_processing.preparation.config import DataConfig

ROOT = Path(__file__).parents[1]
PACKAGES = ("data_processing", "isofield", "imnet", "ifnet")
HEADING = "## What runs where: CPU kernels and CUDA"


def rows() -> list[list[str]]:
    """Cells of the table's rows: stage, CPU kernel, CUDA path, which is chosen when."""
    section = (ROOT / "docs/performance.md").read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def modules_with(text: str) -> set[str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {file.stem for file in files if text in file.read_text(encoding="utf-8")}


@pytest.mark.parametrize("column, mark", [(1, "\n@compile_"), (2, "@triton.jit")], ids=["numba", "triton"])
def test_each_module_of_kernels_stands_in_its_column(column, mark):
    named = {name for cells in rows() for name in re.findall(r"`(\w+)`", cells[column])}
    assert named == modules_with(mark)


def test_every_stage_says_both_paths_and_the_choice():
    assert len(rows()) > 10
    for cells in rows():
        assert len(cells) == 4 and all(cells), cells


def test_a_preparation_takes_the_cpu_unless_it_is_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    auto, cuda = (DataConfig(name="x", input=tmp_path, device=device) for device in ("auto", "cuda"))
    assert job._device(auto) == "cpu" and job._device(cuda) == "cuda:0"
    assert job._workers(cuda, 100) == 1
