"""Commands killed with -9 at many moments and started again: what stands in the end is as if nothing happened.

Moments and comparison: tests/kills.py, which goes on for as many rounds as one likes. With several ranks see
tests/test_ranks.py; of preparation and generation also tests/data_processing/test_prepare_cli.py and
tests/isofield/generation/test_meshes.py.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.victims import VICTIMS

PARTED = ("prepare", "generate", "evaluate", "analyse")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def succeeds(module: str, *words: str) -> str:
    """What `python -m MODULE ...` says, which has to end well."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_gan_between_its_players():
    assert "gan: 1 rounds" in succeeds("tests.kills", "gan", "--rounds", "1", "--kills", "2")


@pytest.mark.slow
def test_one_of_three_parts():
    """Of generate; the others take longer, below."""
    assert "generate: 1 rounds, 1 kills" in succeeds("tests.kills", "generate", "--at", "parts", "--rounds", "1")


@pytest.mark.slow
@pytest.mark.parametrize("victim", PARTED)
def test_each_of_three_parts(victim: str):
    """It is started again, or the command without --part: both join what all of them made."""
    assert f"{victim}: 3 rounds, 3 kills" in succeeds("tests.kills", victim, "--at", "parts", "--rounds", "3")


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_random_moments(victim: str):
    said = succeeds("tests.kills", victim, "--rounds", "3", "--kills", "3", "--seed", "1")
    assert f"{victim}: 3 rounds" in said and " 0 kills" not in said


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["train", "generate", "analyse"])
def test_before_every_change_of_a_file(victim: str):
    assert f"{victim}: " in succeeds("tests.kills", victim, "--at", "files")
