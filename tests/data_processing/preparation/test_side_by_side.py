"""Shapes prepared side by side, as on a device: each has the bytes that it has alone, whatever the others are."""

import functools
import shutil
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from data_processing.preparation import workers
from data_processing.preparation.config import DataConfig
from data_processing.preparation.contents import Contents
from data_processing.preparation.sources import list_sources
from data_processing.preparation.workers import AT_ONCE, BYTES_OF_SHAPE, Task, make_part, shapes_within
from data_processing.store.shards import Shard
from isofield.runtime.side_by_side import run_side_by_side
from tests.data_processing.box_folders import write_boxes

REAL = {"closed": "chair/KatorLegaz_51_Chair.ply", "open": "chair/Scopia_30_Chair.ply"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """Real meshes, closed and open; voxels; one without a face, one cut short, one that encloses nothing."""
    folder = tmp_path_factory.mktemp("raw") / "all"
    folder.mkdir()
    for name, pattern in REAL.items():
        (file,) = examples.glob(pattern)
        shutil.copy(file, folder / f"{name}.ply")
    text = (folder / "open.ply").read_bytes()
    (folder / "cut.ply").write_bytes(text[: len(text) // 2])
    (folder / "nothing.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    voxels = np.zeros((32,) * 3, np.uint8)
    np.save(folder / "empty.npy", voxels)
    voxels[4:20, 6:9, 8:30] = 1
    np.save(folder / "voxels.npy", voxels)
    return folder.parent


def test_each_part_has_the_bytes_that_it_has_alone(raw: Path, tmp_path: Path):
    config = DataConfig(name="x", input=raw, contents=Contents(levels=True, grids=(64,)))
    sources, asked = list_sources(raw).sources, []
    assert len(sources) == 6

    def made(folder: str):
        return [
            functools.partial(make_part, Task(source, tmp_path / folder / f"{number}.h5"), config, {}, "cpu")
            for number, source in enumerate(sources)
        ]

    alone = [work() for work in made("alone")]
    together = run_side_by_side(made("together"))
    for number, (first, second) in enumerate(zip(alone, together, strict=True)):
        assert first.record == second.record
        assert (tmp_path / f"alone/{number}.h5").read_bytes() == (tmp_path / f"together/{number}.h5").read_bytes()
        asked.append(first.record.status)
    assert sorted(asked) == ["done"] * 3 + ["failed"] * 3
    assert all(second.record.reason for second in together if second.record.status == "failed")
    with Shard(tmp_path / "together/0.h5", config.contents.layout()) as shard:
        shard.verify()


def test_a_process_takes_as_many_as_fit_and_no_more_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    raw = write_boxes(tmp_path / "raw", chairs=4, tables=3)
    config = DataConfig(name="x", input=raw)
    tasks = [Task(source, tmp_path / f"{source.name}.h5") for source in list_sources(raw).sources]
    waiting = deque(tasks)
    assert workers._next(waiting, config, 1) == tasks[:1] and workers._next(waiting, config, 3) == tasks[1:4]
    monkeypatch.setattr(workers, "BYTES_AT_ONCE", 1)
    assert workers._next(waiting, config, 3) == tasks[4:5] and len(waiting) == 2
    groups: list[int] = []

    def noted(works):
        groups.append(len(works))
        return run_side_by_side(works)

    monkeypatch.setattr(workers, "run_side_by_side", noted)
    monkeypatch.setattr(workers, "_most", lambda device, workers: 3)
    outcomes = workers._make_all(make_part, tasks, config, {}, "cpu")
    assert [outcome.task for outcome in outcomes] == tasks and groups == [3, 3]
    assert all(task.part.exists() for task in tasks)
    assert {"read", "occupancy", "pool", "levels", "write"} <= outcomes[0].wall.keys()


def test_as_many_shapes_as_half_of_the_free_memory_holds():
    assert shapes_within(0) == shapes_within(3 * BYTES_OF_SHAPE) == 1
    assert shapes_within(11 * BYTES_OF_SHAPE) == 5
    assert shapes_within(139 << 30) == AT_ONCE
