"""A few damages of every kind of file; `python -m tests.fuzz --cases 1000` tries more."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_damaged_files_are_read_or_refused_with_a_reason():
    """In a process of its own: children with limits on memory are forked from it."""
    pytest.importorskip("resource", reason="processes cannot be limited here")
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "8", "--seed", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 44
