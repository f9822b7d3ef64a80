"""What lies in the folder of kernels is what numba reads: real processes, real compilations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isofield.runtime import kernel_folder
from tests.conftest import ROOT

MODULE = "data_processing.geometry.surface_sampling_kernels"
ASK = f"from isofield.runtime.kernel_folder import are_compiled; print(are_compiled('{MODULE}'))"
COMPILE = f"""
import numpy as np
from {MODULE} import cumulative_area
cumulative_area(np.eye(3), np.array([[0, 1, 2]]))
"""


def in_checkout(root: Path, program: str, caches: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(caches)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)


def test_kernels_of_another_checkout_are_none_of_ours(tmp_path: Path):
    """numba keys its index by the path of the source: the same sources elsewhere are compiled anew."""
    pytest.importorskip("numba")
    caches, elsewhere = tmp_path / "caches", tmp_path / "elsewhere"
    for package in ("isofield", "data_processing"):
        shutil.copytree(ROOT / package, elsewhere / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert "compiling kernels" in in_checkout(ROOT, COMPILE, caches).stderr
    assert in_checkout(ROOT, ASK, caches).stdout == "True\n"
    assert in_checkout(ROOT, COMPILE, caches).stderr == ""
    assert in_checkout(elsewhere, ASK, caches).stdout == "False\n"
    # And the answer was right: there numba does compile.
    assert "compiling kernels" in in_checkout(elsewhere, COMPILE, caches).stderr


def test_kernels_of_other_sources_or_another_processor_are_none_of_ours(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(kernel_folder.FOLDER_VARIABLE, str(tmp_path))
    kernel_folder.kernel_folder.cache_clear()
    try:
        kernel_folder.mark_called("some")
        assert kernel_folder.are_called("some")
        others = {"_processor": lambda: "another", "SOURCES": ("*_kernels.py",), "version": lambda name: "0.1"}
        for name, other in others.items():
            with monkeypatch.context() as changed:
                changed.setattr(kernel_folder, name, other)
                kernel_folder.kernel_folder.cache_clear()
                assert not kernel_folder.are_called("some"), name
    finally:
        kernel_folder.kernel_folder.cache_clear()


def test_a_processor_is_told_by_the_first_of_those_that_the_system_lists(tmp_path: Path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 1.0\nflags\t\t: fma\n\nmodel name\t: B\n")
    told = kernel_folder._processor(file)
    assert told.endswith("\nmodel name\t: A\nflags\t\t: fma") and "MHz" not in told
    assert kernel_folder._processor(tmp_path / "none").count("\n") == 1
