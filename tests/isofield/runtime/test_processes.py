"""Work in several processes: in order, the same as in one, with the name of what killed a process."""

import os
from dataclasses import dataclass

import pytest

from isofield.runtime.processes import in_order


@dataclass(frozen=True)
class Job:
    name: str
    number: int


JOBS = [Job(f"shape {number}", number) for number in range(7)]


def square(job: Job) -> int:
    return job.number**2


def die_at_five(job: Job) -> int:
    if job.number == 5:
        os._exit(1)
    return job.number


def divide(job: Job) -> float:
    return 1 / job.number


def process(job: Job) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2, 100])
def test_results_come_in_order(workers):
    assert list(in_order(square, JOBS[:3], workers=workers)) == [0, 1, 4]


def test_a_few_shapes_are_not_worth_a_process_but_workers_are_processes():
    assert set(in_order(process, JOBS, workers=0)) == {os.getpid()}
    assert os.getpid() not in in_order(process, JOBS, workers=2)
    assert list(in_order(square, [], workers=2)) == []


def test_a_process_that_dies_is_an_error_with_a_name():
    with pytest.raises(OSError, match=r"shape \d .*--workers"):
        list(in_order(die_at_five, JOBS, workers=2))


def test_a_lost_starter_of_processes_is_an_error(no_fork_server):
    with pytest.raises(OSError, match=r"shape 0\b"):
        list(in_order(square, JOBS, workers=2))


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(in_order(divide, JOBS, workers=2))
