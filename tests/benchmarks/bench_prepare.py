"""Preparing real meshes at 256^3, stage by stage, in one process on one thread; and reading the rows back.

    python -m tests.benchmarks.bench_prepare [shapes]

Floor: one pass over the 16.7 M voxels. Published, for pool + levels of one 256^3 chair: 2.5 CPU-s, carving 5.1 CPU-s
more (as measured by others: that code is not run here).
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from data_processing.commandline import say
from data_processing.job import prepare_folder
from data_processing.prepare import DataConfig, Stages, config_of, read_shape
from data_processing.shards import Shard
from data_processing.sources import list_sources
from data_processing.storage import StoredShapes, open_shapes
from data_processing.workers import Task, make_part

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
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
        say(f"{'':24}{'wall s':>10}{'CPU-s':>10}{'worst CPU-s':>14}   (medians over shapes)")
        for stage in STAGES:
            row(stage, [run.wall[stage] for run in runs], [run.cpu[stage] for run in runs])
        row("all", [sum(run.wall.values()) for run in runs], [sum(run.cpu.values()) for run in runs])
        grid = read_shape(EXAMPLES / sources[0].file, config).grid_RRR
        row("floor: one pass", *timed(lambda: grid.view(torch.int64).amax()))
        _reading(Path(folder))


def _reading(folder: Path) -> None:
    """A small data set of copies, opened and read row by row."""
    for number in range(16):
        (folder / "raw/chair").mkdir(parents=True, exist_ok=True)
        (folder / f"raw/chair/{number}.ply").symlink_to(EXAMPLES / "chair/BlendSwap_CC_0_93_Chair.ply")
    config = DataConfig(name="bench", input=folder / "raw", output=folder / "set")
    prepare_folder(config)
    row("open", *timed(lambda: open_shapes(folder / "set")))
    shapes = StoredShapes(folder / "set")
    assert config_of(shapes.settings) == config
    shapes.packed(0)
    row("a row, three levels", *timed(lambda: shapes.packed(7), repeats=50))
    row("a row, one level", *timed(lambda: shapes.packed(7, ["voxels", "points_32", "values_32"]), repeats=50))
    with Shard(folder / "set/shards/00000.h5", shapes.layout) as shard:
        row("verify a shard of 16", *timed(shard.verify))


def timed(work: Callable[[], object], *, repeats: int = 7) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each repeat."""
    wall, cpu = [], []
    for _ in range(repeats):
        stages = Stages()
        work()
        stages.end("work")
        wall.append(stages.wall["work"])
        cpu.append(stages.cpu["work"])
    return wall, cpu


def row(label: str, wall: list[float], cpu: list[float]) -> None:
    say(f"{label:24}{statistics.median(wall):10.5f}{statistics.median(cpu):10.5f}{max(cpu):14.5f}")


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    say(f"{time.perf_counter() - started:.0f} s in all")
