"""Small jobs for each command, for tests that disturb them. All paths are relative: a copy gives the same bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from data_processing import __main__ as data_processing
from isofield.commands import analyse, evaluate, generate, train
from isofield.config import OptimConfig, RunConfig, TrainingStage, ValidationConfig
from isofield.runtime.commandline import SOME_FAILED
from isofield.runtime.config import to_yaml
from tests.commands import call
from tests.data_processing.box_folders import write_boxes
from tests.isofield.conftest import tiny_config
from tests.isofield.outliers.analysed import brain_values, make_network, write_scan
from tests.isofield.ready_runs import make_run
from tests.isofield.training.test_frozen_codes import gan_config
from tests.small_sets import write_published

DATA = Path("data/boxes_train.hdf5")
ENDINGS = {
    "checkpoint_every": 4,
    "keep_checkpoints": 2,
    "validation": ValidationConfig(every=6, shapes=3, pictures=0),
    "optim": OptimConfig(learning_rate=1e-3, ema_decay=0.9),
}


@dataclass(frozen=True)
class Victim:
    """A command. `write` makes what it needs in the current folder, in which it is to be called.

    `input`, `output`: the folders that it reads and writes.
    """

    name: str
    main: Callable[[Sequence[str]], int]
    words: tuple[str, ...]
    write: Callable[[Path], object]
    input: str
    output: str
    error: int = 1
    statuses: tuple[int, ...] = (0,)


def raw_boxes(folder: Path) -> None:
    """Six boxes and a broken file, in shards of two."""
    write_boxes(folder / "raw", chairs=4, tables=2)
    (folder / "raw/table/cut.ply").write_bytes(b"ply\n")
    plain = {"name": "boxes", "input": "raw", "workers": 1, "shard_size": 2}
    (folder / "boxes.yaml").write_text(yaml.safe_dump(plain))


def published(folder: Path) -> None:
    (folder / "data").mkdir(exist_ok=True)
    write_published(folder / "data", train=5, test=3)


def autoencoder(folder: Path) -> None:
    """Across three stages, with partial batches, validation and numbered checkpoints out of step with each other."""
    published(folder)
    stages = tuple(TrainingStage(level=level, epochs=2, points=256) for level in (16, 32, 64))
    write_config(folder, tiny_config(DATA, Path("runs"), stages=stages, **ENDINGS))


def latent_gan(folder: Path) -> None:
    """Two players on the codes of a frozen autoencoder."""
    published(folder)
    initial = make_run(DATA, Path("initial"))
    write_config(
        folder, gan_config(DATA, Path("runs"), initial, stages=(TrainingStage(level="codes", epochs=5),), **ENDINGS)
    )


def write_config(folder: Path, config: RunConfig) -> None:
    (folder / "train.yaml").write_text(to_yaml(config))


def trained(folder: Path) -> None:
    """A run that generates octahedra."""
    published(folder)
    make_run(DATA, Path("runs"))


def generated(folder: Path) -> None:
    """Their meshes too."""
    trained(folder)
    assert call(generate.main, "--run", "runs/tiny", "--split", "test", "--resolution", 32, "--device", "cpu") == 0


def scans(folder: Path) -> None:
    """Three small scans of two organs each, a broken one, and a prior."""
    make_network(Path("runs"))
    values, affine = brain_values()
    for name in "abc":
        write_scan(folder / "scans" / f"{name}.nii.gz", values, affine)
    (folder / "scans" / "cut.nii.gz").write_bytes(b"no scan")


TRAIN = ("--config", "train.yaml", "--resume")
GENERATE = (
    "--run",
    "runs/tiny",
    "--split",
    "train",
    "--resolution",
    "32",
    "--with-input",
    "--device",
    "cpu",
)
EVALUATE = ("--run", "runs/tiny", "--split", "test", "--against", "voxels", "--protocol", "imnet", "lfd")
FEW = ("--points", "500", "--iou-points", "500", "--workers", "1")
ANALYSE = ("--models", "runs/chance", "--input", "scans", "--out", "out", "--resume", "--device", "cpu")
PREPARE = ("--config", "boxes.yaml")
SOME = (SOME_FAILED,)
TWO = {"prepare": ("--set", "workers=2"), "evaluate": ("--workers", "2")}
VICTIMS = {
    victim.name: victim
    for victim in (
        Victim("prepare", data_processing.main, PREPARE, raw_boxes, "raw", "datasets", statuses=SOME),
        Victim("train", train.main, TRAIN, autoencoder, "data", "runs"),
        Victim("gan", train.main, TRAIN, latent_gan, "data", "runs"),
        Victim("generate", generate.main, GENERATE, trained, "data", "runs/tiny/meshes"),
        Victim("evaluate", evaluate.main, EVALUATE + FEW, generated, "data", "runs/tiny/evaluation"),
        Victim("analyse", analyse.main, ANALYSE, scans, "scans", "out", error=SOME_FAILED, statuses=SOME),
    )
}


def in_two_processes(victim: Victim) -> Victim:
    """The same work by two workers."""
    return replace(victim, words=victim.words + TWO[victim.name])
