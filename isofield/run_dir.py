"""The files of a run: the only place that knows how they are called.

runs/NAME/
  config.yaml            resolved config
  preparation.json       how the data set was made: read back for the user's own files
  checkpoints/           last.pt, previous.pt (the one before it), best.pt, step-00001000.pt
  calibration.json       scores of clean masks that the model never saw, of a prior of organ masks (outliers)
  judge.npz              what those scores are computed with
  input_calibration.json which inputs are unlike those of training (generation/out_of_distribution.py)
  published.json         what came with published weights, to be shown
  codes.npz              codes of a frozen autoencoder, where the model trains on them
  logs/                  TensorBoard, and what another tracker keeps here
  curves.csv, curves.png the numbers of all validations, and their picture
  meshes/SPLIT/NAME.ply  generated meshes, manifest.json; SPLIT may be input, samples, or A-to-B of a walk
                         record.jsonl: what each was made from; a second start makes only what is new
  evaluation/            SPLIT-PROTOCOL.{json,csv}, report.html

A packed run (isofield/packs) has, in place of checkpoints/ and logs/:
  model.safetensors      its weights
  pack.json              what is in it, with the SHA-256 of each file
  README.md, card.json   what it is, for people and for programs
"""

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from data_processing.preparation.config import DataConfig, config_of
from isofield.runtime.atomic_files import WriteError, remove_leftovers, write_text
from isofield.runtime.config import override
from isofield.runtime.file_names import path_in
from isofield.runtime.json_files import read_object
from isofield.runtime.locks import hold_lock
from isofield.runtime.parts import Part, hold_folder

BESIDE_LAST = ("best", "previous")
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class RunDir:
    """Paths inside one run. Creates nothing but the folders it is asked to write to."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def preparation_file(self) -> Path:
        return self.path / "preparation.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def codes_file(self) -> Path:
        return self.path / "codes.npz"

    @property
    def calibration_file(self) -> Path:
        return self.path / "calibration.json"

    @property
    def judge_file(self) -> Path:
        return self.path / "judge.npz"

    @property
    def input_calibration_file(self) -> Path:
        return self.path / "input_calibration.json"

    @property
    def published_file(self) -> Path:
        return self.path / "published.json"

    @property
    def weights_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def pack_file(self) -> Path:
        return self.path / "pack.json"

    @property
    def is_packed(self) -> bool:
        """Whether it holds weights to be used, and nothing to go on training with."""
        return self.pack_file.is_file()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def curves_file(self) -> Path:
        return self.path / "curves.csv"

    @property
    def curves_picture(self) -> Path:
        return self.path / "curves.png"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    def existing(self) -> "RunDir":
        """Itself, when it is a run; FileNotFoundError that names the runs beside it when not."""
        if not self.config_file.is_file():
            runs = sorted(p.parent.name for p in self.path.parent.glob("*/config.yaml"))
            beside = ", ".join(runs) if runs else "none"
            raise FileNotFoundError(f"{self.path} is not a run (it has no config.yaml); runs beside it: {beside}")
        return self

    def checkpoint_file(self, which: str | int) -> Path:
        """`last`, `best`, `previous`, or a step number."""
        if isinstance(which, int) or which.isdigit():
            return self.checkpoints / f"step-{int(which):08d}.pt"
        if which not in ("last", *BESIDE_LAST):
            raise ValueError(f"checkpoint '{which}': expected last, best or a step number")
        return self.checkpoints / f"{which}.pt"

    def saved_steps(self) -> list[int]:
        """Steps of the numbered checkpoints, ascending."""
        matches = (re.fullmatch(r"step-(\d+)\.pt", p.name) for p in self.checkpoints.glob("step-*.pt"))
        return sorted(int(match[1]) for match in matches if match)

    @property
    def has_checkpoints(self) -> bool:
        return self.checkpoint_file("last").is_file() or bool(self.others())

    def others(self) -> list[str]:
        """The checkpoints that are there beside `last`."""
        steps = map(str, self.saved_steps())
        return [which for which in (*BESIDE_LAST, *steps) if self.checkpoint_file(which).is_file()]

    def existing_checkpoint(self, which: str | int) -> Path:
        """The file of a checkpoint that is there; FileNotFoundError that names the ones that are."""
        file = self.checkpoint_file(which)
        if not file.is_file():
            there = [name for name in ("last",) if self.checkpoint_file(name).is_file()] + self.others()
            names = ", ".join(there) if there else "none: train it first"
            raise FileNotFoundError(f"{self.path} has no checkpoint '{which}'; it has: {names}")
        return file

    def lock(self) -> AbstractContextManager[None]:
        """One training at a time; the folder is made. ValueError when another process is at it, or it is a pack."""
        refuse_training(self)
        # In the run itself, where other machines that share the disk meet it too.
        return hold_lock(make_folder(self.path) / ".lock", what="training")

    def meshes(self, split: str) -> Path:
        return self.path / "meshes" / split

    def evaluation_file(self, split: str, protocol: str, suffix: str) -> Path:
        return self.evaluation / f"{split}-{protocol}{suffix}"


def mesh_in(folder: Path, name: str, suffix: str, *, last: str = "", ending: str = "") -> Path:
    """`folder/name` + suffix, and never outside, whatever the name; see file_names.py."""
    return path_in(folder, name, suffix, last=last, ending=ending)


def manifest_file(folder: Path) -> Path:
    """What was generated into a folder of meshes."""
    return folder / "manifest.json"


def create_run(run: RunDir, *, config: str, preparation: Mapping[str, Any], resume: bool) -> None:
    """Make the folder of a run and write what it starts from: its config (YAML text) and how its data were prepared.

    What a killed training was writing is removed.
    Raises ValueError when the run holds checkpoints already and `resume` is not set: nothing is overwritten.
    """
    # Before anything is removed or written: what is refused stays as it was.
    refuse_training(run)
    if not resume and run.has_checkpoints:
        raise ValueError(f"{run.path} holds checkpoints already: add --resume to go on, or choose another name")
    remove_leftovers([run.path, run.checkpoints])
    write_text(run.config_file, config)
    write_text(run.preparation_file, json.dumps(dict(preparation), indent=1, sort_keys=True) + "\n")


def refuse_training(run: RunDir) -> None:
    """ValueError when training would go on in a packed run."""
    if run.is_packed:
        raise ValueError(
            f"{run.path} is a packed run: weights without an optimiser, nothing goes on from there. --resume belongs "
            f"to the run that it was packed from; to train anew, without it: --config {run.config_file} --set "
            "name=NAME data.path=DATASET"
        )


def refuse_calibration(run: RunDir) -> None:
    """ValueError when a packed run would be changed."""
    if run.is_packed:
        raise ValueError(
            f"{run.path} is a packed run and stays as it is: run --calibrate on the run that it was packed from, then "
            "pack that again"
        )


def refuse_vanished_run(run: RunDir) -> None:
    """WriteError where the run's folder is no longer there: another disk may be below, and nothing is begun on that."""
    if not run.config_file.is_file():
        raise WriteError(errno.ENOENT, "the run's folder vanished", str(run.config_file))


def exclusive(folder: Path, rank: int, *, what: str, part: Part | None = None) -> AbstractContextManager[None]:
    """One process a rank, or a part, at a time writes results into a folder, which is made. As hold_folder."""
    refuse_unwritable(folder)
    return hold_folder(folder, rank, what=what, part=part)


def refuse_unwritable(folder: Path) -> None:
    """Make a folder of results; ValueError when nobody may write there: packed runs often lie where users only read."""
    reason = None
    try:
        # Asked before hours of work, for the first write may come at their end.
        if not os.access(make_folder(folder), os.W_OK):
            # access() does not say why: the flags of the file system tell a read-only one from a folder that is
            # somebody else's.
            read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
            reason = errno.EROFS if read_only else errno.EACCES
    except OSError as error:
        if error.errno not in NOT_ALLOWED:
            raise
        reason = error.errno
    if reason is not None:
        raise ValueError(f"{folder}: {os.strerror(reason)}: say with --out FOLDER where the results go instead")


def make_folder(folder: Path) -> Path:
    """The folder, and those above. ValueError when something else is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{folder}: a file or a broken link is in its way; move that, or write elsewhere") from error
    return folder


def preparation_of(run: RunDir, *, overrides: Sequence[str] = ()) -> DataConfig:
    """How the run's data were prepared, read back from the run, with `--set` overrides."""
    settings = read_object(run.preparation_file, again="it comes with the run, from its training")
    for text in overrides:
        override(settings, text)
    return config_of(settings)
