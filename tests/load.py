"""A day of work in miniature, in one process: memory, open files, threads and disk use have to stay flat.

    OMP_NUM_THREADS=1 python -m tests.load [training] [analysis] [--cycles 3000] [--scans 2000] [--folder FOLDER]

training: a tiny model; every step is judged with pictures, every second one is followed by two checkpoints, of which
three numbered ones are kept. Every 50 cycles it is stopped and resumed, the meshes are generated and evaluated anew.
analysis: a folder of real hippocampi, one NIfTI file each, through a calibrated prior that gives back what it is
shown (each scan has one of the two organs: its other row is EMPTY).
The commands are the real ones (train.main and so on). The table: after a tenth, half and all of the time; the slope is
a fit over the second half.
"""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from data_processing.store.shape_set import open_shapes
from isofield import registry
from isofield.commands import analyse, evaluate, generate, train
from isofield.config import OptimConfig, RunConfig, TrainingStage, ValidationConfig
from isofield.registry import build_model, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.commandline import say
from isofield.runtime.config import to_yaml
from isofield.training.state import initial_state, save
from tests.commands import Main, call
from tests.isofield.conftest import tiny_config
from tests.isofield.outliers.analysed import brain_values, make_prior, write_scan
from tests.isofield.ready_runs import ALONE, Echo, EchoConfig, octahedron_weights
from tests.small_sets import write_published

ROUND = 50  # cycles of training between two stops
KEPT = 3  # numbered checkpoints


class Sample(NamedTuple):
    """What the process holds at a moment."""

    seconds: float
    resident: float  # MiB
    files: int
    threads: int


class Watch:
    """Looks at this process from a thread of its own while it works."""

    def __init__(self, every: float = 0.2) -> None:
        self.samples: list[Sample] = []
        self._every, self._done, self._began = every, threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.samples.append(self._now())

    def at(self, share: float) -> Sample:
        """The sample after this share of the time."""
        return self.samples[round(share * (len(self.samples) - 1))]

    def slope(self) -> float:
        """MiB of resident memory gained over the second half, as a straight line has it."""
        half = self.samples[len(self.samples) // 2 :]
        seconds = np.array([sample.seconds for sample in half])
        steepness = np.polyfit(seconds, [sample.resident for sample in half], 1)[0]
        return float(steepness * np.ptp(seconds))

    def _look(self) -> None:
        while not self._done.wait(self._every):
            self.samples.append(self._now())

    def _now(self) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Sample(
            time.monotonic() - self._began,
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            len(os.listdir("/proc/self/fd")),
            threading.active_count() - 1,
        )


def training_under_load(folder: Path, *, cycles: int) -> tuple[Watch, list[dict[str, float]]]:
    """Training, generation and evaluation in turn; what lies on the disk after each round."""
    data = write_published(folder, train=5, test=3)
    config = tiny_config(
        data,
        folder / "runs",
        stages=(TrainingStage(level=16, epochs=1_000_000, points=256),),
        checkpoint_every=1,
        keep_checkpoints=KEPT,
        validation=ValidationConfig(every=1, split="test", shapes=3, pictures=1, resolution=16),
        optim=OptimConfig(learning_rate=1e-7),  # its surfaces stay
    )
    file, run = folder / "load.yaml", octahedra(resolve(config, where="load"))
    file.write_text(to_yaml(config))
    on_disk = []
    with Watch() as watch:
        for step in range(ROUND, cycles + 1, ROUND):
            run_quietly(train.main, "--config", file, "--resume", "--set", f"training.max_steps={step}")
            made = ("--run", run.path, "--split", "test")
            run_quietly(generate.main, *made, "--checkpoint", "last", "--resolution", 16, "--device", "cpu")
            few = ("--points", 500, "--iou-points", 500, "--workers", 1, "--pictures", 3)
            run_quietly(evaluate.main, *made, "--against", "voxels", *few)
            assert run.saved_steps() == list(range(step + 1 - min(KEPT, step), step + 1))
            on_disk.append({what: size_of(run.path / what) for what in ("checkpoints", "meshes", "evaluation", "logs")})
    return watch, on_disk


def octahedra(config: RunConfig) -> RunDir:
    """A run at step 0 that has surfaces already."""
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=open_shapes(config.data.path).settings, resume=True)
    state = initial_state(build_model(config.model, where="load"), config)
    state.model.load_state_dict(octahedron_weights(state.model.state_dict()))
    save(state, config, run, which="last", group=ALONE)
    return run


def analysis_under_load(folder: Path, *, scans: int) -> tuple[Watch, list[dict[str, object]]]:
    """A folder of scans through analyse.py; its rows."""
    registry.MODELS["echo"] = (EchoConfig, Echo)  # in this process: it gives back what it is shown
    run = make_prior(folder / "runs")
    values, affine = brain_values()
    left = np.where(values == 40, values, 0).astype(np.uint8)
    for number in range(scans):
        moved = np.roll(left, (number % 7, number % 11, number % 13), (0, 1, 2))  # stays within its margin
        write_scan(folder / "scans" / f"sub-{number:04d}.nii.gz", moved, affine)
    words = ("--models", run.path, "--input", folder / "scans", "--out", folder / "out", "--device", "cpu")
    with Watch() as watch:
        run_quietly(analyse.main, *words)
    return watch, json.loads((folder / "out" / "results.json").read_text())["rows"]


def run_quietly(main: Main, *words: object) -> None:
    """One of our commands in this process, its words kept back. Any status but 0 and 1 is an error."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        assert call(main, *words) in (0, 1), words


def size_of(folder: Path) -> float:
    """MiB of all files below."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def told(title: str, watch: Watch, *, units: int, unit: str) -> None:
    """The table of a part."""
    say(f"{title}: {watch.samples[-1].seconds:.0f} s")
    say(f"{'':24}{'resident MiB':>14}{'open files':>12}{'threads':>9}")
    for share in (0.1, 0.5, 1.0):
        _, resident, files, threads = watch.at(share)
        say(f"{f'after {share:.0%}':24}{resident:14.1f}{files:12}{threads:9}")
    highest = max(sample.resident for sample in watch.samples)
    say(f"highest {highest:.1f} MiB; second half: {watch.slope() / (units / 2) * 1024:+.2f} KiB a {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="training, analysis; default: both")
    parser.add_argument("--cycles", type=int, default=3000)
    parser.add_argument("--scans", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "training" in (options.parts or ["training"]):
            watch, disk = training_under_load(folder, cycles=options.cycles)
            told(f"{options.cycles} cycles of training", watch, units=options.cycles, unit="cycle")
            for what in disk[0]:
                grown = [round(disk[round(share * (len(disk) - 1))][what], 2) for share in (0.1, 0.5, 1.0)]
                say(f"{what} on disk, MiB after 10, 50, 100 %: {grown}")
        if "analysis" in (options.parts or ["analysis"]):
            watch, rows = analysis_under_load(folder, scans=options.scans)
            told(f"{options.scans} scans analysed", watch, units=options.scans, unit="scan")
            page = (folder / "out" / "report.html").stat().st_size / 2**20
            say(f"{len(rows)} rows, {sorted({str(row['status']) for row in rows})}; report.html {page:.1f} MiB")


if __name__ == "__main__":
    main()
