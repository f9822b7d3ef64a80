"""Which shapes and points each step sees: pure functions of (config, step), so that a resumed run needs no state."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.loading.batches import BatchPlan
from isofield.config import TrainingConfig, TrainingStage
from isofield.runtime.distributed import Group
from isofield.runtime.seeds import numpy_generator


@dataclass(frozen=True)
class StagePlan:
    """A stage laid out on the global count of steps: [first, end)."""

    number: int
    stage: TrainingStage
    first: int
    steps_per_epoch: int
    first_epoch: int = 0  # epochs of the stages before

    @property
    def end(self) -> int:
        return self.first + self.stage.epochs * self.steps_per_epoch


def plan(section: TrainingConfig, *, shapes: int) -> list[StagePlan]:
    """All stages, one after the other. The last batch of an epoch may be smaller; no shape is dropped."""
    steps_per_epoch = -(-shapes // section.batch_shapes)
    plans, first, epochs = [], 0, 0
    for number, stage in enumerate(section.stages):
        plans.append(StagePlan(number, stage, first, steps_per_epoch, epochs))
        first, epochs = plans[-1].end, epochs + stage.epochs
    return plans


def draw_of_step(
    stage: StagePlan, step: int, *, indices: NDArray[np.int64], level_points: int, section: TrainingConfig
) -> BatchPlan:
    """The global batch of a step: shapes in the epoch's own order, and of a level one block of the points at random.

    (As published.) What is drawn near the surface, and of the input, is keyed by the epoch: loading/batches.py draws
    it.
    """
    # All from the number of the step: a resumed run, or another number of ranks, needs nothing that was remembered.
    epoch, position = divmod(step - stage.first, stage.steps_per_epoch)
    order = _order(section.seed, stage.number, epoch, len(indices))
    shapes = indices[order[position * section.batch_shapes : (position + 1) * section.batch_shapes]]
    points = min(stage.stage.points, level_points)
    blocks = 1 if isinstance(stage.stage.level, str) else -(-level_points // points)
    block = int(numpy_generator(section.seed, "block", step).integers(blocks)) if blocks > 1 else 0
    return BatchPlan(shapes, first_point=block * points, points=points, epoch=stage.first_epoch + epoch, step=step)


def local_part(draw: BatchPlan, group: Group) -> tuple[BatchPlan, float]:
    """This rank's shapes of a global batch, and the weight that makes the sum over ranks the mean over all shapes.

    A rank left without a shape (a last batch smaller than the number of ranks) takes one with weight 0.
    """
    # Ranks sum their losses and gradients: weighted by their shares, the sum is the mean over the whole batch.
    share = draw.shapes[group.share(len(draw.shapes))]
    weight = len(share) / len(draw.shapes)
    is_padding = len(share) == 0
    return dataclasses.replace(draw, shapes=draw.shapes[:1] if is_padding else share, is_padding=is_padding), weight


@functools.lru_cache(maxsize=4)
def _order(seed: int, stage: int, epoch: int, count: int) -> NDArray[np.int64]:
    return numpy_generator(seed, "order", stage, epoch).permutation(count)
