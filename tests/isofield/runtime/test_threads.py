"""How many threads torch gets, and how they wait: seen in processes of their own, as torch reads it when loaded."""

import json
import os
import subprocess
import sys

import pytest
import torch

from isofield.runtime.thread_waiting import SCHEDULER, SPINS
from isofield.runtime.threads import SMALL_MESH, describe_threads, threads_for_mesh
from tests.conftest import ROOT

MANY_CORES = "os.sched_getaffinity = lambda process: set(range(64))"
SHOWN = """
import json, os, sys
{before}
import {entry}
from isofield.runtime import cores, threads
cores.cpu_quota = lambda: {quota}
threads.limit_threads()
import torch
print(json.dumps([os.environ.get("GOMP_SPINCOUNT"), torch.get_num_threads(), threads.describe_threads()]))
"""


def shown(
    entry: str = "isofield", quota: float | None = None, before: str = "", **variables: str
) -> tuple[str | None, int, str]:
    """The count of spins, torch's threads and the line that says both, after `import entry` in a new process."""
    own = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LOCAL_WORLD_SIZE")
    environment = {key: value for key, value in os.environ.items() if key not in own}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    code = SHOWN.format(entry=entry, quota=quota, before=before)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    spins, threads, line = json.loads(done.stdout)
    return spins, threads, line


@pytest.mark.parametrize("entry", ["isofield", "data_processing", "isofield.commands.evaluate"])
def test_waiting_threads_yield_whatever_is_imported_first(entry: str):
    spins, _, line = shown(entry)
    if SCHEDULER.is_file():
        assert spins is None and "while other work wants the cores" in line
    else:
        assert spins == str(SPINS) and f"{SPINS} spins" in line


def test_spinning_is_bounded_where_a_few_of_many_cores_are_ours():
    spins, _, line = shown(LOCAL_WORLD_SIZE="1000", OMP_NUM_THREADS="2", before=MANY_CORES)
    assert spins == str(SPINS) and f"{SPINS} spins" in line


def test_what_the_user_has_set_stays():
    assert shown(GOMP_SPINCOUNT="7")[0] == "7"
    spins, threads, line = shown(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="2", quota=1.0)
    # Torch alone may take fewer: the cores of this machine.
    alone = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    taken = int(subprocess.run(alone, env=environment, capture_output=True, text=True, check=True).stdout)
    assert spins is None and threads == taken and "OMP_WAIT_POLICY=PASSIVE" in line


def test_torch_gets_no_more_threads_than_the_quota_has_cores():
    _, threads, line = shown(quota=1.2)
    assert threads == 1 and "CPU quota of 1.2" in line


def test_ranks_of_a_machine_share_its_cores():
    assert shown(LOCAL_WORLD_SIZE="1000")[1] == 1


def test_a_small_mesh_is_prepared_on_one_thread_and_said_to_be():
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert "3 threads of torch (1 while a small mesh is prepared);" in describe_threads(meshes=True)
        assert "3 threads of torch;" in describe_threads()
        with threads_for_mesh(SMALL_MESH + 1):
            assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="no mesh"), threads_for_mesh(SMALL_MESH):
            assert torch.get_num_threads() == 1
            raise ValueError("no mesh")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(count)
