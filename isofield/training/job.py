"""What stays the same during a training, and where it leaves what it says."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.loading.batches import BatchPlan, Codes
from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig
from isofield.run_dir import RunDir
from isofield.runtime.distributed import Group
from isofield.runtime.progress import Progress
from isofield.training.history import History
from isofield.training.schedule import StagePlan
from isofield.training.stopping import Stop
from isofield.training.trackers.protocol import Tracker
from isofield.training.validation import Validator

Logs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainingFiles:
    """Where numbers and pictures go."""

    run: RunDir
    tracker: Tracker | None  # of the first rank
    history: History


@dataclass
class TrainingJob:
    """What stays the same during a run."""

    config: RunConfig
    shapes: ShapeSet
    indices: NDArray[np.int64]  # of the training shapes
    stages: list[StagePlan]
    files: TrainingFiles
    group: Group
    validator: Validator
    codes: Codes | None  # of `level: codes`
    progress: Progress
    stop: Stop
    unchecked: list[tuple[int, BatchPlan, Logs]] = field(default_factory=list)  # losses nobody looked at yet
    reported: tuple[int, float] = (0, 0.0)  # step and seconds at the last report

    def tell(self, line: str) -> None:
        """A line above the progress bar, once for all ranks."""
        if self.group.is_first:
            self.progress.write(line)

    @property
    def last_step(self) -> int:
        return min(self.stages[-1].end, self.config.training.max_steps or self.stages[-1].end)
