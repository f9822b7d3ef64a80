"""What starting costs with 50,000 shapes: seconds and memory of each command before its first shape.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_scale [--shapes 5000 50000] [--only NAME ...] [--profile NAME]

The shapes are simulated: input files of 200 bytes, rows of 700 bytes in shards of 32 as a preparation leaves them,
meshes and label files that are empty: nothing here opens one. Each work runs in a process of its own, forked when all
is imported: wall and CPU seconds, and MiB that its memory at the peak lies above that. "grows" is the exponent between
both sizes: 1 is linear, 2 would be quadratic.
"""

import argparse
import contextlib
import cProfile
import json
import math
import multiprocessing
import os
import pstats
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from data_processing.loading.batches import UNLIMITED, LoadingConfig, open_source, select_shapes
from data_processing.loading.network_inputs import InputConfig
from data_processing.preparation import job as preparation
from data_processing.preparation import report
from data_processing.preparation.config import DataConfig, content_settings, layout_of
from data_processing.preparation.contents import BoundaryConfig, Contents
from data_processing.preparation.job_file import open_job
from data_processing.preparation.shape import digest_of
from data_processing.preparation.sources import list_sources
from data_processing.preparation.workers import Task
from data_processing.store.shape_set import SHARDS, open_shapes
from data_processing.store.shards import ShapeRecord, write_shard
from data_processing.store.splits import SplitConfig, SplitLists, split_names
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.evaluation.pairs import pairs_of_run
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise, write_csv, write_json
from isofield.generation.inputs import items_of_split
from isofield.generation.meshes import generate
from isofield.generation.surfaces import GenerationConfig
from isofield.outliers.analysis.journal import line_of_organ, open_journal
from isofield.outliers.analysis.rows import new_row
from isofield.outliers.analysis.scans import find_scans
from isofield.reports.pairs import write_report
from isofield.run_dir import RunDir
from isofield.runtime.commandline import say
from isofield.runtime.config import to_plain, to_yaml
from isofield.runtime.distributed import Group
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.journal import journal_file
from isofield.runtime.processes import worker_pool
from isofield.training.schedule import draw_of_step, plan
from tests.benchmarks.measuring import Table, Timing, peak_memory

CATEGORIES, BATCH, STEPS = 13, 32, 16
ALONE = Group(0, 1, torch.device("cpu"))
SHOWN = InputConfig(kind="solid", resolution=16)
GENERATED = GenerationConfig("model", resolution=64, frame=32, refine_steps=0, suffix=".ply", iso_level=0.5)
Work = Callable[[], Any]


@dataclass(frozen=True)
class Set:
    """Everything of one size in a folder."""

    folder: Path
    count: int

    @property
    def config(self) -> DataConfig:
        contents = Contents(voxels=0, levels=False, grids=(16,), boundary=BoundaryConfig(sigmas=(0.1,), points=8))
        return DataConfig(name="set", input=self.folder / "raw", output=self.folder / "set", contents=contents)

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "runs" / "run")

    @property
    def names(self) -> list[str]:
        return [f"{number % CATEGORIES:02d}/shape-{number:06d}" for number in range(self.count)]


def simulated(folder: Path, count: int) -> Set:
    """Input files, a finished data set, a run with meshes of its training split, label files and their rows."""
    made = Set(folder, count)
    for category in range(CATEGORIES):
        for place in ("raw", "runs/run/meshes/train", "scans"):
            (folder / place / f"{category:02d}").mkdir(parents=True)
    np.save(folder / "tiny.npy", np.ones((4, 4, 4), np.uint8))
    tiny = (folder / "tiny.npy").read_bytes()
    for name in made.names:
        (folder / "raw" / f"{name}.npy").write_bytes(tiny)
        (folder / "scans" / f"{name}.nii.gz").touch()
    write_data_set(made)
    write_run(made)
    (folder / "out").mkdir()
    rows = [
        {
            "name": line_of_organ(name, "liver"),
            "made_from": "x",
            "row": new_row(name, name, "liver", "OK", ""),
        }
        for name in made.names
    ]
    scans = [{"name": name, "made_from": "y", "row": {"liver": "x"}} for name in made.names]
    journal_file(folder / "out", 0).write_text("".join(json.dumps(line) + "\n" for line in rows + scans))
    return made


def write_data_set(made: Set) -> None:
    """As a preparation leaves it: its own reports are written by the code that is measured."""
    config, settings = made.config, content_settings(to_plain(made.config))
    random, layout = np.random.default_rng(0), layout_of(made.config)
    drawn = {
        key: random.integers(0, 100, (config.shard_size, *shape)).astype(dtype)
        for key, (shape, dtype) in layout.fields().items()
    }
    file = made.folder / "raw" / f"{made.names[0]}.npy"
    size, digest = file.stat().st_size, digest_of(file)
    records, members, names = list[ShapeRecord](), list[int](), sorted(made.names)
    for shard, first in enumerate(range(0, made.count, config.shard_size)):
        own = [
            ShapeRecord(name, name[:2], f"{name}.npy", size, "done", "", digest, "voxels", "ok")
            for name in names[first : first + config.shard_size]
        ]
        rows = [{key: values[number] for key, values in drawn.items()} for number in range(len(own))]
        write_shard(config.folder / SHARDS / f"{shard:05d}.h5", rows, own, layout=layout, settings=settings)
        records += own
        members.append(len(own))
    report.write_all(config, records, members=members)


def write_run(made: Set) -> None:
    """A run, and all that was generated of its training split."""
    config = RunConfig(
        name="run",
        model={"type": "imnet_autoencoder"},
        data=LoadingConfig(path=made.config.folder, input=SHOWN),
        training=TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1),)),
        runs=made.folder / "runs",
    )
    made.run.config_file.write_text(to_yaml(config))
    meshes, rows = made.run.meshes("train"), list[dict[str, Any]]()
    for name in open_shapes(made.config.folder).names:
        (meshes / f"{name}.ply").touch()
        rows.append({"name": name, "origin": "same", "file": f"{name}.ply", "status": "done", "reason": ""})
        rows[-1] |= {"evaluations": 40000, "vertices": 10000, "faces": 20000, "to_world": np.eye(4).tolist()}
    (meshes / "manifest.json").write_text(json.dumps({"model_hash": "model", "shapes": rows}, indent=1))
    made_from = fingerprint([asdict(GENERATED), "same"])
    lines = [json.dumps({"name": row["name"], "made_from": made_from, "row": row}) + "\n" for row in rows]
    journal_file(meshes, 0).write_text("".join(lines))


def of_preparation(made: Set) -> dict[str, Work]:
    """python -m data_processing."""
    config = made.config
    lists = SplitLists(train=made.folder / "train.txt")
    (made.folder / "train.txt").write_text("".join(f"{name}\n" for name in made.names))
    categories = [name[:2] for name in made.names]
    fresh = DataConfig(name="new", input=config.input, output=made.folder / "new", contents=config.contents)

    def planned() -> list[Task]:
        job, _ = preparation._listed(fresh)
        fresh.folder.mkdir(exist_ok=True)
        open_job(fresh, job.settings, [source.name for source in job.sources], "")
        states = [preparation._examine(job, shard, ()) for shard in range(job.shard_count)]
        return [Task(job.sources[n], job.part_file(n)) for state in states for n in sorted(state.missing)]

    return {
        "list the input files": lambda: list_sources(config.input),
        "split by category": lambda: split_names(made.names, categories, SplitConfig()),
        "split by a list": lambda: split_names(made.names, categories, SplitConfig(rule="lists", lists=lists)),
        "prepare: plan, nothing is done": planned,
        "prepare: all is done, to the index": lambda: preparation.prepare_folder(config),
    }


def of_training(made: Set) -> dict[str, Work]:
    """train.py: up to its first batch; then some steps' batches streamed."""
    path = made.config.folder

    def batches(resident: Literal["yes", "no"], steps: int) -> None:
        shapes = open_shapes(path)
        indices = select_shapes(shapes, "train")
        training = TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1, points=8),), batch_shapes=BATCH)
        (stage,) = plan(training, shapes=len(indices))
        section = LoadingConfig(path, resident=resident, input=SHOWN)
        source, _ = open_source(shapes, indices, level="boundary", device=ALONE.device, section=section)
        draw = partial(draw_of_step, stage, indices=indices, level_points=UNLIMITED, section=training)
        draws = (draw(step) for step in range(steps))
        for _ in source.batches(draws):
            pass

    return {
        "open the data set": lambda: open_shapes(path),
        "start to train, resident": lambda: batches("yes", 1),
        "start to train, streamed": lambda: batches("no", 1),
        f"{STEPS} batches of {BATCH}, streamed": lambda: batches("no", STEPS),
    }


def of_results(made: Set) -> dict[str, Work]:
    """generate.py, evaluate.py, analyse.py on the training split."""
    shapes, meshes = open_shapes(made.config.folder), made.run.meshes("train")
    protocols, draws = find_protocols(["imnet"]), SampleCounts()

    def wanted() -> list[Any]:
        return items_of_split(open_shapes(made.config.folder), "train", section=SHOWN, seed=0)

    def again() -> None:
        items = [type(item)(item.name, item.load, lambda: "same") for item in wanted()]
        generate(torch.nn.Identity(), items, meshes, settings=GENERATED, batch_points=1, group=ALONE, header={})

    def tables() -> None:
        pairs = pairs_of_run(made.run, "train")
        metrics = dict.fromkeys((*protocols[0].metrics, *protocols[0].flags), 0.5)
        rows = [
            {"name": pair.name, "category": pair.category, "status": "done", "reason": "", "ground_truth": "mesh"}
            | metrics
            for pair in pairs
        ]
        evaluation = summarise(rows, protocols[0], draws, split="train", about={})
        write_json(made.folder / "imnet.json", evaluation)
        write_csv(made.folder / "imnet.csv", evaluation)
        write_report(made.folder / "report.html", [evaluation], pairs, title="all", pictures=0)

    return {
        "generate: what is wanted of train": wanted,
        "generate: all is done, to the manifest": again,
        "evaluate: pairs of train": lambda: pairs_of_run(made.run, "train"),
        "evaluate: pairs, tables, report": tables,
        "a worker: the data set opened there": partial(in_worker, made.config.folder, len(shapes)),
        "analyse: scans of the folder": lambda: find_scans(made.folder / "scans", ["liver"]),
        "analyse: journal of all, read": lambda: open_journal(made.folder / "out"),
    }


def in_worker(path: Path, count: int) -> None:
    """Says how much memory a worker of evaluate.py has with the set open; its imports are in it."""
    with worker_pool(1) as pool:
        before, after = pool.submit(resident).result(), pool.submit(opened_there, path).result()
    say(f"  (a worker of {count:,} shapes: {before:.0f} MiB, {after:.0f} with the set open)")


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def opened_there(path: Path) -> float:
    from isofield.evaluation.pairs import open_once

    open_once(path).source(0)
    return resident()


def alone(work: Work) -> tuple[Timing, float]:
    """In a forked process: seconds, and MiB above what it began with."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_measured, args=(work, there))
    process.start()
    there.close()
    timing, memory = here.recv()
    process.join()
    return timing, memory


def _measured(work: Work, pipe: Connection) -> None:
    os.environ["TQDM_DISABLE"] = "1"
    with contextlib.ExitStack() as stack:
        if not isinstance(work, partial):  # that one has something to say
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        timing, memory = peak_memory(work)
    pipe.send((Timing(timing.wall, timing.cpu), memory / 2**20))


PARTS = {"prepare": of_preparation, "train": of_training, "results": of_results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs=2, default=[5_000, 50_000])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--profile", help="profile the work whose name holds this")
    options = parser.parse_args()
    found: dict[str, list[tuple[Timing, float]]] = {}
    for count in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            made = simulated(Path(folder), count)
            works = {name: work for part in options.only for name, work in PARTS[part](made).items()}
            for name, work in works.items():
                if options.profile is None:
                    found.setdefault(name, []).append(alone(work))
                elif options.profile in name:
                    profile = cProfile.Profile()
                    profile.runcall(work)
                    pstats.Stats(profile).sort_stats("cumulative").print_stats(25)
    titles = [f"{count:,}" for count in options.shapes]
    if not found:
        return
    table = Table("shapes", *(f"{title}: {what}" for title in titles for what in ("wall s", "CPU s", "MiB")), "grows")
    for name, ((few, m), (many, n)) in found.items():
        growth = math.log(max(many.cpu, 1e-3) / max(few.cpu, 1e-3)) / math.log(options.shapes[1] / options.shapes[0])
        table.row(name, few.wall, few.cpu, f"{m:.0f}", many.wall, many.cpu, f"{n:.0f}", f"{growth:.2f}")


if __name__ == "__main__":
    main()
