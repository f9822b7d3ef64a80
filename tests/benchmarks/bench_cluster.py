"""From raw files to a table of metrics, whole commands on simulated shapes: what a shape costs, what a cluster takes.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_cluster [--shapes 64 192] [--target 35000] [--cores 16]

Every shape is a box in 16^3 voxels in a file of its own, with its number as a pattern of voxels, so that no two are
equal (equal ones share no split), and all so thick that a network has a surface of each after a few steps. `prepare`,
one epoch of a small IM-NET, `generate` at 64^3 (by a network that was trained until it has a surface: not counted) and
`evaluate` run as from a shell, with one worker.
"a shape" is the slope between both sizes, "start" what is left at none; "grows" the exponent of the whole. The last
columns scale the slope up to the target and divide it by the cores of 1, 8 and 64 nodes, `start` added to each: wall
seconds where disks and queues cost nothing and parts are equal; of an epoch without what an all-reduce
costs on a network. What starting costs with 50,000 shapes: bench_scale.
"""

import argparse
import contextlib
import csv
import io
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from isofield.commands import evaluate, generate, prepare, train
from isofield.runtime.commandline import DONE, say
from tests.benchmarks.measuring import Table

CATEGORIES, NODES = 4, (1, 8, 64)
BATCH, STEPS, NUMBER_BITS = 8, 120, 16
UNCOUNTED = "train until there is a surface"
Main = Callable[[Sequence[str]], int]
DATA = """
name: set
input: {folder}/raw
output: {folder}/set
workers: 1
contents: {{levels: true}}
splits: {{rule: ratios, ratios: {{train: 0.5, val: 0.0, test: 0.5}}}}
"""
RUN = """
name: {name}
runs: {folder}/runs
model: {{type: imnet_autoencoder, latent: 16, encoder_channels: [4, 8, 16, 32], decoder_widths: [32, 32]}}
data: {{path: {folder}/set}}
training:
  batch_shapes: %d
  stages: [{{level: 16, epochs: {epochs}, points: 1024}}]
  optim: {{learning_rate: 3.0e-3}}
""".replace("%d", str(BATCH))


def simulated(folder: Path, count: int) -> None:
    """Raw files of different boxes, and the configs of both commands."""
    random = np.random.default_rng(0)
    for number in range(count):
        file = folder / "raw" / f"{number % CATEGORIES:02d}" / f"shape-{number:06d}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        voxels, (x, y, z) = np.zeros((16,) * 3, np.uint8), random.integers(10, 13, 3)
        voxels[1 : 1 + x, 1 : 1 + y, 1 : 1 + z] = 1
        for bit in range(NUMBER_BITS):  # on a side of the box, four by four
            voxels[0, 3 + 2 * (bit % 4), 3 + 2 * (bit // 4)] = number >> bit & 1
        np.save(file, voxels)
    (folder / "data.yaml").write_text(DATA.format(folder=folder), encoding="utf-8")
    enough = -(-STEPS // -(-count // (2 * BATCH)))  # epochs
    for name, epochs in (("once", 1), ("run", enough)):
        (folder / f"{name}.yaml").write_text(RUN.format(folder=folder, name=name, epochs=epochs), encoding="utf-8")


def stages(folder: Path) -> dict[str, tuple[Main, list[str]]]:
    """Commands in their order."""
    run = str(folder / "runs" / "run")
    return {
        "prepare": (prepare.main, ["--config", str(folder / "data.yaml")]),
        "train, one epoch": (train.main, ["--config", str(folder / "once.yaml")]),
        UNCOUNTED: (train.main, ["--config", str(folder / "run.yaml")]),
        "generate": (generate.main, ["--run", run, "--split", "test", "--resolution", "64"]),
        "evaluate": (evaluate.main, ["--run", run, "--split", "test", "--protocol", "imnet", "--workers", "1"]),
    }


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def seconds_of_workers(folder: Path) -> float:
    """CPU seconds of the shapes of a preparation: its workers are children of a server that lives on."""
    with open(folder / "set" / "timings.csv", encoding="utf-8", newline="") as handle:
        return sum(float(value) for row in csv.DictReader(handle) for key, value in row.items() if key.endswith("_cpu"))


def measure(count: int) -> dict[str, float]:
    """CPU seconds of each command on so many shapes."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        simulated(Path(name), count)
        for stage, (main, words) in stages(Path(name)).items():
            before, told = cpu_seconds(), io.StringIO()
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                status = main(words)
            if status != DONE:
                raise RuntimeError(f"{stage} of {count} shapes ended with status {status}: {told.getvalue()[-2000:]}")
            found[stage] = cpu_seconds() - before
            if stage == "prepare":
                found[stage] += seconds_of_workers(Path(name))
    return {stage: seconds for stage, seconds in found.items() if stage != UNCOUNTED}


def costs(counts: tuple[int, int], seconds: tuple[float, float]) -> tuple[float, float, float]:
    """Of a stage that took so long on so many shapes: the exponent of the whole, what a shape and the start take."""
    (few, many), (first, second) = counts, seconds
    slope = max(second - first, 0.0) / (many - few)
    return math.log(second / first) / math.log(many / few), slope, max(first - slope * few, 0.0)


def wall(slope: float, start: float, target: int, cores: int) -> float:
    """Seconds of so many shapes on so many cores, each with its own start."""
    return start + slope * target / cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs=2, default=[64, 192])
    parser.add_argument("--target", type=int, default=35_000)
    parser.add_argument("--cores", type=int, default=16, help="of a node [16]")
    options = parser.parse_args()
    few, many = options.shapes
    measure(8)  # compiles what is compiled
    first, second = measure(few), measure(many)
    nodes = [f"{nodes} x {options.cores} cores, s" for nodes in NODES]
    table = Table(f"CPU-s; {options.target:,} shapes", f"{few:,}", f"{many:,}", "grows", "a shape", "start", *nodes)
    for stage, seconds in second.items():
        grows, slope, start = costs((few, many), (first[stage], seconds))
        scaled = [wall(slope, start, options.target, number * options.cores) for number in NODES]
        cells = (first[stage], seconds, f"{grows:.2f}", f"{slope:.4f}", f"{start:.1f}", *(f"{s:.0f}" for s in scaled))
        table.row(stage, *cells)
    say("generate and evaluate take half of the shapes, those of the test split; an epoch takes the other half.")


if __name__ == "__main__":
    main()
