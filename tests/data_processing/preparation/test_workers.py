"""Workers when the process that starts them is gone, as after an out-of-memory kill: one clear error, no hang."""

import pytest

from data_processing.preparation.job import prepare_folder
from tests.data_processing.box_folders import write_boxes
from tests.data_processing.preparation.test_job import config_for


def test_a_preparation_ends_with_one_error(no_fork_server, tmp_path):
    with pytest.raises(OSError, match="worker processes"):
        prepare_folder(config_for(write_boxes(tmp_path / "raw"), tmp_path / "boxes", workers=2))
