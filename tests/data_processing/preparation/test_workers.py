"""Workers when the process that starts them is gone, one clear error; and where no kernel has been compiled yet."""

import pytest

from data_processing.preparation import workers
from data_processing.preparation.job import prepare_folder
from isofield.runtime.processes import worker_pool
from tests.data_processing.box_folders import write_boxes
from tests.data_processing.preparation.test_job import config_for, same_as


def test_a_preparation_ends_with_one_error(no_fork_server, tmp_path):
    with pytest.raises(OSError, match="worker processes"):
        prepare_folder(config_for(write_boxes(tmp_path / "raw"), tmp_path / "boxes", workers=2))


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
