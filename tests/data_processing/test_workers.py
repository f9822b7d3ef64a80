"""Workers when the process that starts them is gone, as after an out-of-memory kill: one clear error, no hang."""

import os
from multiprocessing import forkserver

import pytest

from data_processing.job import prepare_folder
from data_processing.workers import worker_pool
from engine.processes import in_order
from tests.data_processing.box_folders import write_boxes
from tests.data_processing.test_job import config_for
from tests.engine.test_processes import JOBS, square


@pytest.fixture
def gone(monkeypatch):
    with worker_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
    monkeypatch.setattr(forkserver._forkserver, "_forkserver_address", "\0nobody-listens-here")


def test_a_preparation_ends_with_one_error(gone, tmp_path):
    with pytest.raises(OSError, match="die as soon as they start: memory or process limits"):
        prepare_folder(config_for(write_boxes(tmp_path / "raw"), tmp_path / "boxes", workers=2))


def test_an_evaluation_ends_with_one_error(gone):
    with pytest.raises(OSError, match=r"died at or before shape 0 \(out of memory"):
        list(in_order(square, JOBS, workers=2))
