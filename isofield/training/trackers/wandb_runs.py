"""Weights & Biases, offline unless WANDB_MODE says otherwise: files below the run's logs, for `wandb sync`."""

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.config import RunConfig
from isofield.run_dir import RunDir
from isofield.runtime.config import to_plain
from isofield.training.trackers.protocol import cannot_start
from isofield.training.trackers.tracker_ids import keep_id, kept_id

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing leaves this machine that nobody asked for

import wandb

PROJECT = "isofield"  # unless WANDB_PROJECT says otherwise


class Wandb:
    """Numbers, pictures and histograms; it draws no meshes of ours."""

    errors: tuple[type[Exception], ...] = (wandb.Error, OSError, ValueError, RuntimeError)

    def __init__(self, run: Any) -> None:
        self._run = run

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._run.log({name: wandb.Image(pixels)}, step=step)

    def histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        self._run.log({name: wandb.Histogram(values.detach().float().cpu().numpy().ravel())}, step=step)

    def mesh(self, name: str, mesh: TriangleMesh, step: int) -> None:
        """Nothing."""


@contextlib.contextmanager
def wandb_run(config: RunConfig, run: RunDir) -> Iterator[Wandb]:
    """The run of this training, the same one after --resume. ValueError where it cannot be started."""
    # The id is ours and kept before the first number is written: after an interrupt the same one is resumed, even
    # offline, where no server could tell it.
    known = kept_id(run, "wandb") or uuid.uuid4().hex[:8]
    run.logs.mkdir(parents=True, exist_ok=True)
    try:
        own = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=config.name,
            id=known,
            resume="allow",
            dir=str(run.logs),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=to_plain(config),
            settings=wandb.Settings(console="off", silent=True),
        )
    except Wandb.errors as error:
        raise cannot_start("wandb", error) from error
    keep_id(run, "wandb", known)
    # Anything that leaves the block early, an interrupt too, is shown as a run that failed.
    status = 1
    try:
        yield Wandb(own)
        status = 0
    finally:
        # A server that is gone must not hide the error that ended the training.
        with contextlib.suppress(*Wandb.errors):
            own.finish(exit_code=status)
