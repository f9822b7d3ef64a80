"""How time and memory grow with shapes, points and resolution, and what streaming costs against resident data.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_growth [--only shapes points resolution streaming] [--quick]

Shapes: data sets of 1,000, 10,000 and 35,000 simulated shapes in 13 categories, rows of 2 KB (of a real one: 110):
split their names, open the set, start to train (read all rows or begin to stream, first batch of 32). Points: decoding
by the published IM-NET, inside or outside of a closed mesh, Chamfer distance and normals of two clouds. Resolution:
extraction of the chair-like field at 32^3 to 512^3. Streaming: batches of 32 x 4096 points from rows of the published
layout, by themselves (from memory and, page cache emptied, from disk) and with a training step.

"grows as n^e" is a fit of log time, by least squares over all sizes of a table (resolutions: from 128^3, memory from
256^3). Memory is that of the first call; what fits into memory that the process already has does not show.
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data_processing.batch import Batch
from data_processing.geometry.triangle_mesh import sample_surface
from data_processing.loading.batches import BatchPlan, BatchSource, LoadingConfig, open_source
from data_processing.loading.network_inputs import InputConfig
from data_processing.occupancy.inside_outside import inside_points
from data_processing.store.shape_set import INDEX_FILE, SHARDS, DatasetIndex, ShardEntry, StoredShapes
from data_processing.store.shards import SCHEMA, Layout, ShapeRecord, write_shard
from data_processing.store.splits import SplitConfig, split_names
from imnet.autoencoder import Autoencoder, Config
from isofield.extraction.isosurface import extract
from isofield.metrics import surfaces
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime.commandline import say
from isofield.runtime.config import to_plain
from tests.benchmarks import fields
from tests.benchmarks.bench_evaluation import PAIRS
from tests.benchmarks.bench_training import our_loss, step
from tests.benchmarks.measuring import Table, Timing, Work, in_turn, number, once, peak_memory, threads, timed

CATEGORIES, ROWS_OF_A_SHARD, BATCH = 13, 500, 32
SMALL = Layout(voxel_resolution=16, level_points={16: 512})
PUBLISHED = Layout()


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    shapes: tuple[int, ...] = (1_000, 10_000, 35_000)
    decoded: tuple[int, ...] = (4_096, 16_384, 65_536)
    asked: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    sampled: tuple[int, ...] = (10_000, 100_000, 400_000)
    resolutions: tuple[int, ...] = (32, 64, 128, 256, 512)
    streamed_shapes: int = 1024
    streamed_batches: int = 16
    repeats: int = 3


QUICK = Sizes(
    (100, 200, 600), (256, 512, 1024), (1_000, 2_000, 4_000), (1_000, 2_000, 4_000), (16, 24, 32, 48, 64), 128, 2, 1
)
# Far narrower than published: the shorter a step, the more reading has to hurry.
NARROW = Config(latent=32, encoder_channels=(4, 8, 16, 32), decoder_widths=(32, 32))


def simulated(folder: Path, count: int, layout: Layout) -> StoredShapes:
    """A data set of random rows, as a preparation leaves it."""
    random, entries = np.random.default_rng(0), list[ShardEntry]()
    names = [f"{number % CATEGORIES:02d}/shape-{number:06d}" for number in range(count)]
    (folder / SHARDS).mkdir(parents=True)
    drawn = {
        key: random.integers(0, 256, (ROWS_OF_A_SHARD, *shape), dtype=np.uint8).astype(dtype)
        for key, (shape, dtype) in layout.fields().items()
    }
    for first in range(0, count, ROWS_OF_A_SHARD):
        members = names[first : first + ROWS_OF_A_SHARD]
        rows = [{key: values[row] for key, values in drawn.items()} for row in range(len(members))]
        records = [ShapeRecord(name, name[:2], f"{name}.ply", 1, "done") for name in members]
        entries.append(ShardEntry(f"{len(entries):05d}.h5", len(members)))
        write_shard(folder / SHARDS / entries[-1].file, rows, records, layout=layout, settings={})
    categories, words = [name[:2] for name in names], [""] * count
    splits = {key: values.tolist() for key, values in split_names(names, categories, SplitConfig()).items()}
    sources = [f"{name}.ply" for name in names]
    index = DatasetIndex(
        SCHEMA,
        "simulated",
        {},
        "raw",
        layout,
        entries,
        names,
        categories,
        sources,
        ["scan"] * count,
        words,
        words,
        splits,
    )
    (folder / INDEX_FILE).write_text(json.dumps(to_plain(index)))
    return StoredShapes(folder)


def source_of(shapes: StoredShapes, resident: bool, device: torch.device) -> BatchSource:
    shown = InputConfig(resolution=shapes.voxel_resolution)
    section = LoadingConfig(shapes.path, resident="yes" if resident else "no", input=shown)
    return open_source(shapes, shapes.indices("train"), level=16, device=device, section=section)[0]


def draws(shapes: StoredShapes, batches: int) -> Iterator[BatchPlan]:
    """Random shapes of the training split, as an epoch takes them."""
    order = np.random.default_rng(0).permutation(shapes.indices("train"))
    for turn in range(batches):
        start = turn * BATCH % (len(order) - BATCH)
        yield BatchPlan(order[start : start + BATCH], 0, shapes.level_points[16], step=turn)


def of_shapes(device: torch.device, sizes: Sizes) -> None:
    """Splitting, opening, starting to train."""
    table = Table("shapes", *(f"{count:,}" for count in sizes.shapes), "grows as n^", label=52)
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    for count in sizes.shapes:
        with tempfile.TemporaryDirectory() as folder:
            shapes = simulated(Path(folder) / "set", count, SMALL)
            names, categories = shapes.names, shapes.categories

            def start(resident: bool, shapes: StoredShapes = shapes) -> Batch:
                return next(iter(source_of(shapes, resident, device).batches(draws(shapes, 1))))

            works: dict[str, Work] = {
                "split": lambda: split_names(names, categories, SplitConfig()),  # noqa: B023
                "open": lambda: StoredShapes(shapes.path),  # noqa: B023
                "start to train, resident": lambda: start(True),
                "start to train, streamed": lambda: start(False),
            }
            for name, work in works.items():
                peaks.setdefault(name, []).append(peak_memory(work)[1] / 2**20)  # of the first call
                seconds.setdefault(name, []).append(timed(work, sizes.repeats, device).cpu)
    for name, values in seconds.items():
        table.row(f"{name}, CPU-s", *values, exponent(sizes.shapes, values))
    for name, values in peaks.items():
        table.row(f"{name}, MiB more at the peak", *(f"{value:.1f}" for value in values))


def of_points(device: torch.device, sizes: Sizes) -> None:
    """What is asked at points."""
    model = Autoencoder(Config()).to(device).eval()
    code = torch.rand(1, 256, device=device)
    truth, prediction = PAIRS[3].load()
    random = np.random.default_rng(0)
    lower, upper = truth.bounds()

    @torch.inference_mode()
    def decode(count: int) -> None:
        points = torch.rand(1, count, 3, device=device) - 0.5
        for start in range(0, count, 1 << 14):
            model.decode(points[:, start : start + (1 << 14)], code)

    def inside(count: int) -> None:
        inside_points(truth, lower + random.random((count, 3)) * (upper - lower))

    meshes = prediction, truth
    clouds = {n: [SurfaceSamples(*sample_surface(mesh, n, random)) for mesh in meshes] for n in sizes.sampled}
    works: dict[str, tuple[tuple[int, ...], Callable[[int], object]]] = {
        "decoded by the published IM-NET": (sizes.decoded, decode),
        "inside or outside, 79,616 faces": (sizes.asked, inside),
        "Chamfer distance and normals": (sizes.sampled, lambda count: surfaces.compare(*clouds[count])),
    }
    table = Table("points", "few", "more", "many", "grows as n^", label=52)
    for name, (counts, work) in works.items():
        work(counts[0])
        values = [timed(partial(work, count), sizes.repeats, device).cpu for count in counts]
        table.row(f"{name}, CPU-s", *values, exponent(counts, values), note=" / ".join(f"{n:,}" for n in counts))


def of_resolution(device: torch.device, sizes: Sizes) -> None:
    """Extraction of an analytic field."""
    resolutions = sizes.resolutions
    field = fields.chair(fields.SHIFTS[2])
    rows: dict[str, list[float]] = {"points evaluated": [], "CPU-s": [], "MiB more at the peak": []}
    for resolution in resolutions:

        def work(resolution: int = resolution) -> int:
            return extract(
                field, iso_level=fields.ISO_LEVEL, resolution=resolution, batch_points=1 << 16, device=device
            ).evaluations

        _, peak = peak_memory(work, device)  # of the first call
        timing = timed(work, sizes.repeats, device)
        for values, value in zip(rows.values(), (timing.result, timing.cpu, peak / 2**20), strict=True):
            values.append(value)
    table = Table("extraction, chair-like field", *(f"{n}^3" for n in resolutions), "grows as R^", label=52)
    for name, values in rows.items():
        first = 3 if "MiB" in name else 2  # what is small comes out of memory that the process already has
        table.row(name, *values, exponent(resolutions[first:], values[first:]))


def of_streaming(device: torch.device, sizes: Sizes) -> None:
    """The same batches, resident and streamed."""
    torch.manual_seed(0)
    models = {"narrow": Autoencoder(NARROW).to(device)} | (
        {"published": Autoencoder(Config()).to(device)} if device.type == "cuda" else {}
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("ISOFIELD_BENCH_DISK")) as folder:
        shapes = simulated(Path(folder) / "set", sizes.streamed_shapes, PUBLISHED)
        sources = {"resident": source_of(shapes, True, device), "streamed": source_of(shapes, False, device)}

        def feed(name: str, cold: bool = False) -> None:
            if cold:
                forget(shapes.path)
            for _ in sources[name].batches(draws(shapes, sizes.streamed_batches)):
                pass

        def train(name: str, model: Autoencoder, optimiser: torch.optim.Optimizer) -> None:
            for batch in sources[name].batches(draws(shapes, sizes.streamed_batches)):
                step(our_loss, model, optimiser, batch)

        columns = ("wall s", "CPU s", "of resident", "by CPU-s")
        table = Table(f"{sizes.streamed_batches} batches of {BATCH} x 4096", *columns, label=52)
        works: dict[str, Work] = {name: partial(feed, name) for name in sources}
        works["streamed, page cache emptied"] = partial(feed, "streamed", cold=True)
        rows_of(table, "batches alone", in_turn(works, 3 * sizes.repeats, device))
        for which, model in models.items():
            optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
            works = {name: partial(train, name, model, optimiser) for name in sources}
            rows_of(table, f"with a {which} step", in_turn(works, sizes.repeats, device))


def rows_of(table: Table, title: str, times: dict[str, Timing]) -> None:
    resident = times["resident"]
    for name, (wall, cpu, _) in times.items():
        table.row(f"{title}, {name}", wall, cpu, f"{resident.wall / wall:.0%}", f"{resident.cpu / cpu:.0%}")


def forget(folder: Path) -> None:
    """Ask the system to drop the shards' pages, so that they are read from disk again."""
    for file in sorted((folder / SHARDS).iterdir()):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> str:
    """Of the power of the size that fits best."""
    slope = np.polyfit([math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values], 1)[0]
    return f"{slope:.2f}"


def main() -> None:
    parts = {"shapes": of_shapes, "points": of_points, "resolution": of_resolution, "streaming": of_streaming}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    options = parser.parse_args()
    device = torch.device(options.device)
    say(f"{threads()}, {device}")
    for name in options.only:
        say(f"{number(once(partial(parts[name], device, QUICK if options.quick else Sizes())).wall)} s\n")


if __name__ == "__main__":
    main()
