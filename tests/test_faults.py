"""Disks that are full or read-only, folders that vanish, signals: tests/faults.py, which does it to all commands."""

import pytest

from tests.test_kills import succeeds
from tests.victims import VICTIMS


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_fault_is_one_clear_error_and_the_result_the_same(victim: str):
    """The harness says which faults it leaves out where this process may not mount disks."""
    said = succeeds("tests.faults", victim)
    assert all(f"{victim}: {fault} " in said for fault in ("vanished", "input-vanished", "ended"))
    assert f"{victim}: full " in said or "full: left out, disks cannot be mounted here (not root)" in said
