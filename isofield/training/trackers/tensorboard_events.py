"""TensorBoard: event files in the logs of a run."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import WriteError


class TensorBoard:
    """The tracker that always is. What cannot be written ends the training: it is part of the run."""

    errors: tuple[type[Exception], ...] = ()

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")

    def histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        self._writer.add_histogram(name, values, step)

    def mesh(self, name: str, mesh: TriangleMesh, step: int) -> None:
        vertices, faces = torch.from_numpy(mesh.vertices)[None], torch.from_numpy(mesh.faces)[None]
        self._writer.add_mesh(name, vertices.float(), faces=faces, global_step=step)


@contextlib.contextmanager
def tensorboard(run: RunDir, *, step: int) -> Iterator[TensorBoard]:
    """Events after `step` are dropped when resuming, those of it stay. WriteError when it cannot write."""
    before = threading.excepthook
    threading.excepthook = lambda told: None if issubclass(told.exc_type, OSError) else before(told)  # raised here too
    try:
        with SummaryWriter(str(run.logs), purge_step=step + 1) as writer:
            yield TensorBoard(writer)
    except OSError as error:
        its_own = error.filename is None or str(run.logs) in os.fsdecode(error.filename)
        if error.errno is None or not its_own:
            raise
        raise WriteError(error.errno, error.strerror, str(run.logs)) from error
    finally:
        threading.excepthook = before
