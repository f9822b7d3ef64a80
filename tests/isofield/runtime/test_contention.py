"""Waiting threads yield while other work wants the cores: on a real scheduler, with real busy processes."""

import os
import subprocess
import sys

import pytest
import torch

from isofield.runtime.contention import LOOKS_FREE, ContentionWatch
from isofield.runtime.thread_waiting import POLICY_VARIABLE, SCHEDULER, SPIN_VARIABLE, teams_to_yield
from isofield.runtime.threads import threads_for_mesh
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not SCHEDULER.is_file(), reason="this system does not tell how long threads wait")

OWN = (POLICY_VARIABLE, SPIN_VARIABLE, "OMP_NUM_THREADS", "LOCAL_WORLD_SIZE")
SPIN_COST = """
import time, torch
from isofield.runtime.contention import IdleTeams
torch.set_num_threads(2)
values = torch.zeros(1 << 17)
def cost():
    before = time.process_time()
    for _ in range(100):
        values.add_(1)
        time.sleep(0.004)
    return time.process_time() - before
cost()
alone = cost()
teams = IdleTeams(2)
yielding = cost()
teams.close()
time.sleep(0.2)
print(alone, yielding, cost(), float(values[0]))
"""
WATCHED = """
import os, threading, time, torch
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
from isofield.runtime.contention import ContentionWatch
torch.set_num_threads(2)
watch = ContentionWatch()
threading.Thread(target=watch.run, daemon=True).start()
end = time.monotonic() + 60
while watch.yielding is None and time.monotonic() < end:
    sum(range(10_000))
print(watch.yielding is not None)
"""


def output_of(code: str) -> str:
    """What a process of its own prints, with OpenMP as the package leaves it."""
    environment = {key: value for key, value in os.environ.items() if key not in OWN} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2 if SCHEDULER.is_file() else True, reason="needs two cores")
def test_idle_teams_end_the_spinning_and_give_it_back():
    """CPU time, not time: a thread that spins for 3 ms after each of 100 loops uses some 0.2 s more."""
    alone, yielding, again, value = map(float, output_of(SPIN_COST).split())
    assert value == 400
    assert yielding < alone / 2 and yielding < again / 2


def test_a_process_that_shares_its_core_is_seen_to_wait():
    core = min(os.sched_getaffinity(0))
    loop = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    try:
        assert output_of(WATCHED).strip() == "True"
    finally:
        for process in loops:
            process.kill()
            process.wait()


def test_threads_yield_at_the_first_sign_and_spin_again_after_a_while_without_any():
    watch = ContentionWatch()
    watch.look(run=97, delay=3)
    assert watch.yielding is None
    watch.look(run=80, delay=20)
    assert watch.yielding is not None
    for _ in range(LOOKS_FREE - 1):
        watch.look(run=100, delay=0)
    watch.look(run=95, delay=5)  # neither busy nor free: the count begins anew
    for _ in range(LOOKS_FREE - 1):
        watch.look(run=100, delay=0)
    assert watch.yielding is not None
    watch.look(run=0, delay=0)  # a process that sleeps waits for no core
    assert watch.yielding is None


def test_teams_opened_while_torch_has_one_thread_make_way_for_real_ones():
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        watch = ContentionWatch()
        with threads_for_mesh(0):
            watch.look(run=1, delay=1)
            useless = watch.yielding
        assert useless is not None and useless.alone
        watch.look(run=1, delay=1)
        opened = watch.yielding
        assert opened is not None and not opened.alone
        watch.look(run=1, delay=1)
        assert watch.yielding is opened
        opened.close()
    finally:
        torch.set_num_threads(count)


@pytest.mark.parametrize(("cores", "threads", "teams"), [(2, 2, 1), (8, 4, 2), (64, 8, 9), (4, 1, 4)])
def test_teams_are_more_than_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, teams: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert teams_to_yield(threads) == teams
    assert threads == 1 or threads + teams * (threads - 1) > cores


def test_results_do_not_change_while_threads_yield():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 300, 300, generator=generator)
    spinning = left @ right, left.sum(), torch.nn.functional.softmax(left, 1)
    watch = ContentionWatch()
    watch.look(run=1, delay=1)
    yielding = left @ right, left.sum(), torch.nn.functional.softmax(left, 1)
    assert watch.yielding is not None
    watch.yielding.close()
    assert all(torch.equal(one, other) for one, other in zip(spinning, yielding, strict=True))
