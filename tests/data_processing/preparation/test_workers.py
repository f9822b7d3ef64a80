"""Workers that are killed, or cannot be started, cost no shape that goes unsaid; and where kernels are not compiled."""

import multiprocessing
import os
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from data_processing.preparation import workers
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.sources import list_sources
from data_processing.preparation.workers import Task, run_tasks
from isofield.runtime.processes import worker_pool
from tests.data_processing.box_folders import write_boxes
from tests.data_processing.preparation.test_job import config_for, same_as


def test_a_preparation_ends_with_one_error(no_fork_server, tmp_path):
    with pytest.raises(OSError, match="worker processes"):
        prepare_folder(config_for(write_boxes(tmp_path / "raw"), tmp_path / "boxes", workers=2))


def test_what_a_broken_pool_refuses_is_made_by_the_next(tmp_path, monkeypatch):
    """The system kills all workers while an outcome is looked at: the shape that is submitted next is refused."""
    config = config_for(write_boxes(tmp_path / "raw", chairs=5, tables=4), tmp_path / "boxes")
    tasks = [
        Task(source, tmp_path / f"{number}.h5") for number, source in enumerate(list_sources(config.input).sources)
    ]
    pools = []

    @contextmanager
    def noted(count, **options):
        with worker_pool(count, **options) as pool:
            pools.append(pool)
            yield pool

    monkeypatch.setattr(workers, "worker_pool", noted)
    outcomes = []
    for outcome in run_tasks(tasks, config, settings={}, device="cpu", workers=2):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            break_pool(pools[-1])
    assert sorted(outcome.task.part for outcome in outcomes) == sorted(task.part for task in tasks)
    assert all(task.part.exists() for task in tasks)
    assert {outcome.record.status for outcome in outcomes} == {"done"}


def break_pool(pool):
    for process in multiprocessing.active_children():
        process.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            pool.submit(os.getpid)
        except BrokenProcessPool:
            return
        time.sleep(0.01)
    pytest.fail("the pool goes on without its workers")


@pytest.mark.parametrize(("tables", "pools"), [(1, [("forks", False)]), (2, [("alone", False), ("forks", True)])])
def test_shapes_are_made_before_kernels_are_compiled(tmp_path, monkeypatch, tables, pools):
    """A few are all made without them, of many the first, by a process of its own: the same bytes."""
    raw, started = write_boxes(tmp_path / "raw", tables=tables), []
    prepare_folder(config_for(raw, tmp_path / "warm"))

    def noted(count, *, preload=(), forked=True):
        started.append(("forks" if forked else "alone", workers.KERNELS in preload))
        return worker_pool(count, preload=preload, forked=forked)

    monkeypatch.setattr(workers, "are_called", lambda _: False)
    monkeypatch.setattr(workers, "worker_pool", noted)
    prepare_folder(config_for(raw, tmp_path / "cold"))
    assert started == pools
    same_as(tmp_path / "warm", tmp_path / "cold")
