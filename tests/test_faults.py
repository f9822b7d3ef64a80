"""Full disks, folders that vanish, signals, second starts: tests/faults, which does it to all commands, and more."""

import pytest

from tests.faults.disks import NEED_ROOT
from tests.test_kills import succeeds
from tests.victims import VICTIMS

pytestmark = pytest.mark.slow
EVERY = ("full", "read-only", "vanished", "input-vanished", "ended", "second")
MORE = ("full-at", "replaced", "clock", "ended-twice")


def survives(victim: str, *faults: str) -> None:
    """The harness says which faults it leaves out where this process may not mount disks."""
    said = succeeds("tests.faults", victim, "--only", *faults)
    for fault in faults:
        left_out = fault in NEED_ROOT and f"{fault}: left out, disks cannot be mounted here (not root)" in said
        assert left_out or f"{victim}: {fault} " in said


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_fault_is_one_clear_error_and_the_result_the_same(victim: str):
    survives(victim, *EVERY)


@pytest.mark.parametrize("victim", ["train", "gan", "generate", "evaluate"])
def test_faults_at_single_files(victim: str):
    """Of the slower commands: `python -m tests.faults`."""
    survives(victim, *MORE)


@pytest.mark.parametrize("victim", ["generate", "evaluate", "analyse"])
def test_journals_after_a_power_cut(victim: str):
    survives(victim, "journals")


@pytest.mark.parametrize("victim", ["prepare", "evaluate"])
def test_a_process_that_is_killed(victim: str):
    survives(victim, "child-killed")


@pytest.mark.parametrize("victim", ["train", "gan"])
def test_sigterm_before_every_change_of_a_file(victim: str):
    """Before the first step, in the middle of a checkpoint, after the last step."""
    survives(victim, "ended-everywhere")
