"""A training step that is recorded once and played back: on a GPU one launch instead of hundreds.

A model whose layers are small spends its steps on launches: the latent GAN asks a device some 400 times a step for work
of microseconds. Where every step does the same with tensors of the same sizes, which the model says of itself
(contract.py: StepsAlike), the whole step, both players and their optimisers, becomes one CUDA graph. What differs
between steps comes in by tensors that stay where they are: the batch with the keys of its noise, and the learning rate.
So a step played back does what a step launched piece by piece does.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Protocol

import torch

from data_processing.batch import Batch
from isofield.contract import StepsAlike
from isofield.ops.fallback import warn_once
from isofield.training.job import Logs, TrainingJob
from isofield.training.state import State

DEVICES = ("cuda",)
WARM_UP = 3  # steps of one size before it is recorded: libraries choose their algorithms and take their memory
PARTS = tuple(part.name for part in fields(Batch) if part.name not in ("shapes", "is_padding"))
Take = Callable[[Batch, float], Logs]  # a step, given the batch and its weight


class Recorder(Protocol):
    """What plays work back."""

    def beside(self, work: Callable[[], Logs]) -> Logs:
        """Do work that is not recorded."""
        ...

    def record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """What does the work again and returns its result, which lies in the same place every time."""
        ...


class StaticStep:
    """Steps of one stage. `take`: a step launched piece by piece, which sets no learning rate.

    Batches of another size than the one recorded, as the last of an epoch may be, are launched piece by piece.
    """

    def __init__(self, take: Take, recorder: Recorder) -> None:
        self.take, self.recorder = take, recorder
        self.seen: dict[object, int] = {}
        self.recorded: object = None
        self.failed = False

    def __call__(self, batch: Batch, weight: float) -> Logs:
        """One step; returns what it logs, in tensors of its own."""
        size = _size(batch), weight
        if self.recorded is None and not self.failed and self.seen.get(size, 0) >= WARM_UP:
            self._record(batch, weight)
            self.recorded = None if self.failed else size
        if self.recorded == size:
            return self._play(batch)
        self.seen[size] = self.seen.get(size, 0) + 1
        return self.recorder.beside(lambda: self.take(batch, weight))

    def _record(self, batch: Batch, weight: float) -> None:
        """Nothing is computed here: recording asks for the work without doing it."""
        parts = {name: getattr(batch, name) for name in PARTS}
        still = replace(batch, **{name: part.clone() for name, part in parts.items() if part is not None})

        def work() -> torch.Tensor:
            logs = self.take(still, weight)
            self.names = list(logs)
            return torch.stack([value.float().reshape(()) for value in logs.values()])

        try:
            self.play = self.recorder.record(work)
        except RuntimeError as error:
            self.failed = True
            warn_once("a step as one CUDA graph", f"it cannot be recorded ({error})")
            return
        self.still = still

    def _play(self, batch: Batch) -> Logs:
        for name in PARTS:
            if (into := getattr(self.still, name)) is not None:
                into.copy_(getattr(batch, name))
        # The next step writes its losses into the same place, and they are looked at some steps later.
        values = self.play().clone()
        return dict(zip(self.names, values.unbind(), strict=True))


def _size(batch: Batch) -> object:
    parts = [getattr(batch, name) for name in PARTS]
    return tuple(None if part is None else (part.shape, part.dtype) for part in parts)


class GraphRecorder:
    """By a CUDA graph."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def beside(self, work: Callable[[], Logs]) -> Logs:
        # On the stream that is recorded later: torch asks for that.
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            logs = work()
        here.wait_stream(self.stream)
        return logs

    def record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        graph = torch.cuda.CUDAGraph()
        # "thread_local": another thread may pin memory for the next batch meanwhile.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            result = work()

        def play() -> torch.Tensor:
            graph.replay()
            return result

        return play


def played_steps(state: State, job: TrainingJob, take: Take) -> StaticStep | None:
    """What plays the steps of a stage back, where they are to be: on one GPU, unless the config says no.

    Not where weights are averaged, by another share in every step, nor on several ranks: their sums are no part of it.
    """
    alike = isinstance(state.model, StepsAlike) and state.model.steps_alike
    if not (job.config.training.record_steps and alike) or state.average:
        return None
    if job.group.device.type not in DEVICES or job.group.size > 1:
        return None
    job.tell("steps: recorded once, then played back as one CUDA graph")
    return StaticStep(take, GraphRecorder(job.group.device))
