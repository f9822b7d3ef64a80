"""A day of work in miniature, shortened: see tests/load.py for the long run and its table."""

from pathlib import Path

import pytest

from tests.load import ROUND, analysis_under_load, training_under_load

pytestmark = pytest.mark.slow
GROWTH = 12.0  # MiB over the second half that caches and a fragmented heap may take


def test_training_generation_and_evaluation_stay_flat(tmp_path: Path):
    watch, disk = training_under_load(tmp_path, cycles=8 * ROUND)
    assert watch.slope() < GROWTH
    early, late = watch.at(0.4), watch.at(1.0)
    assert late.files <= early.files + 2 and late.threads <= early.threads + 1
    assert disk[-1]["checkpoints"] <= 1.05 * disk[1]["checkpoints"]
    assert disk[-1]["meshes"] <= 1.5 * disk[1]["meshes"]


def test_many_scans_stay_flat(tmp_path: Path):
    watch, rows = analysis_under_load(tmp_path, scans=60)
    assert len(rows) == 120 and {row["status"] for row in rows} <= {"OK", "OUTLIER", "EMPTY"}
    assert watch.slope() < GROWTH
    assert watch.at(1.0).files <= watch.at(0.4).files + 2
