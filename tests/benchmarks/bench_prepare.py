"""Preparing real meshes at 256^3, stage by stage, in one process on one thread; and reading the rows back.

    python -m tests.benchmarks.bench_prepare [shapes]

Floor: one pass over the 16.7 M voxels. Published, for pool + levels of one 256^3 chair: 2.5 CPU-s, carving 5.1 CPU-s
more (as measured by others: that code is not run here).
"""

import statistics
import sys
import tempfile
from pathlib import Path

import torch

from data_processing.preparation.config import DataConfig, config_of
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.shape import read_shape
from data_processing.preparation.sources import list_sources
from data_processing.preparation.workers import Task, make_part
from data_processing.store.shape_set import StoredShapes, open_shapes
from data_processing.store.shards import Shard
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import EXAMPLES, Table, Work, once

STAGES = ("read", "occupancy", "pool", "levels", "write")


def main() -> None:
    shapes = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.set_num_threads(1)
    sources = list_sources(EXAMPLES).sources
    config = DataConfig(name="bench", input=EXAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "parts"
        make_part(Task(sources[0], parts / "warm.h5"), config, {}, "cpu")  # compiles what is compiled
        runs = []
        for number, source in enumerate(sources[:: max(1, len(sources) // shapes)][:shapes]):
            runs.append(make_part(Task(source, parts / f"{number}.h5"), config, {}, "cpu"))
        assert all(run.record.status == "done" for run in runs)
        say(f"{len(runs)} of {len(sources)} example meshes at 256^3, one thread, torch {torch.__version__}")
        table = Table("medians over shapes", "wall s", "CPU s", "worst CPU s", label=24)
        for stage in STAGES:
            row(table, stage, [run.wall[stage] for run in runs], [run.cpu[stage] for run in runs])
        row(table, "all", [sum(run.wall.values()) for run in runs], [sum(run.cpu.values()) for run in runs])
        grid = read_shape(EXAMPLES / sources[0].file, config).grid_RRR
        repeated(table, "floor: one pass", lambda: grid.view(torch.int64).amax())
        _reading(Path(folder), table)


def _reading(folder: Path, table: Table) -> None:
    """A small data set of copies, opened and read row by row."""
    for number in range(16):
        (folder / "raw/chair").mkdir(parents=True, exist_ok=True)
        (folder / f"raw/chair/{number}.ply").symlink_to(EXAMPLES / "chair/BlendSwap_CC_0_93_Chair.ply")
    config = DataConfig(name="bench", input=folder / "raw", output=folder / "set")
    prepare_folder(config)
    repeated(table, "open", lambda: open_shapes(folder / "set"))
    shapes = StoredShapes(folder / "set")
    assert config_of(shapes.settings) == config
    shapes.packed_row(0)
    repeated(table, "a row, three levels", lambda: shapes.packed_row(7), 50)
    repeated(table, "a row, one level", lambda: shapes.packed_row(7, ["voxels", "points_32", "values_32"]), 50)
    with Shard(folder / "set/shards/00000.h5", shapes.layout) as shard:
        repeated(table, "verify a shard of 16", shard.verify)


def repeated(table: Table, label: str, work: Work, repeats: int = 7) -> None:
    timings = [once(work) for _ in range(repeats)]
    row(table, label, [timing.wall for timing in timings], [timing.cpu for timing in timings])


def row(table: Table, label: str, wall: list[float], cpu: list[float]) -> None:
    table.row(label, statistics.median(wall), statistics.median(cpu), max(cpu))


if __name__ == "__main__":
    say(f"{once(main).wall:.0f} s in all")
