"""Batches made while the step before them runs, on a GPU: by another thread, on a stream of its own."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from data_processing.batch import Batch

Item = TypeVar("Item")
Ready = Callable[[], None]  # makes what the caller asks of the device next come after the batch


def made_ahead(batches: Iterator[Batch], *, device: torch.device) -> Iterator[Batch]:
    """The same batches in the same order, on CUDA each made while the one before it is in use; elsewhere as they come.

    A batch of poses, deformations and damages is thousands of small operators: to ask for them takes the host as long
    as a training step. An error in making a batch is raised where that batch would have come.
    """
    if device.type != "cuda":
        return batches
    return _ahead(batches, _StreamOfItsOwn(device))


def _ahead(
    batches: Iterator[Item], make: Callable[[Iterator[Item]], tuple[Item, Ready] | None]
) -> Generator[Item, None, None]:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as maker:
        coming = maker.submit(make, batches)
        while (made := coming.result()) is not None:
            # The next batch is asked for before this one is used: both are under way at once, and never a third.
            coming = maker.submit(make, batches)
            batch, ready = made
            ready()
            yield batch


class _StreamOfItsOwn:
    """Makes batches beside the stream that the step runs on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def __call__(self, batches: Iterator[Batch]) -> tuple[Batch, Ready] | None:
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            batch = next(batches, None)
            return None if batch is None else (batch, _after(batch, self.stream.record_event()))


def _after(batch: Batch, made: torch.cuda.Event) -> Ready:
    def wait() -> None:
        stream = torch.cuda.current_stream(batch.inputs.device)
        stream.wait_event(made)  # the device's own wait: the host goes on
        for value in (getattr(batch, field.name) for field in dataclasses.fields(batch)):
            with contextlib.suppress(AttributeError):  # names and flags are no tensors
                value.record_stream(stream)  # its memory is given to nobody else before the step is done with it

    return wait
