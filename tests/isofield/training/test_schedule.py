"""Which shapes and points each step sees."""

import numpy as np
import pytest
import torch

from data_processing.loading.batches import BatchPlan
from isofield.config import TrainingConfig, TrainingStage
from isofield.runtime.distributed import Group
from isofield.training.schedule import StagePlan, draw_of_step, local_part, plan

STAGES = (TrainingStage(level=16, epochs=2, points=100), TrainingStage(level=64, epochs=3, points=64))


def section(**changes: object) -> TrainingConfig:
    return TrainingConfig(**{"stages": STAGES, "batch_shapes": 4, **changes})


def draws(stage: StagePlan, training: TrainingConfig, indices: np.ndarray, level_points: int = 256) -> list[BatchPlan]:
    return [
        draw_of_step(stage, step, indices=indices, level_points=level_points, section=training)
        for step in range(stage.first, stage.end)
    ]


def test_stages_follow_each_other():
    first, second = plan(section(), shapes=10)
    assert (first.first, first.steps_per_epoch, first.end) == (0, 3, 6)
    assert (second.first, second.steps_per_epoch, second.end) == (6, 3, 15)
    assert [stage.end for stage in plan(section(), shapes=8)] == [4, 10]
    assert [stage.end for stage in plan(section(), shapes=1)] == [2, 5]


@pytest.mark.parametrize("shapes", [1, 3, 4, 10])
def test_every_epoch_sees_every_shape_once_in_another_order(shapes: int):
    indices = np.arange(shapes) * 7 + 2
    for stage in plan(section(), shapes=shapes):
        drawn = [draw.shapes for draw in draws(stage, section(), indices)]
        epochs = [
            np.concatenate(drawn[i : i + stage.steps_per_epoch]) for i in range(0, len(drawn), stage.steps_per_epoch)
        ]
        assert len(epochs) == stage.stage.epochs
        assert all(np.array_equal(np.sort(epoch), indices) for epoch in epochs)
        assert all(len(batch) == min(4, shapes) for batch in drawn[:-1] if shapes % 4 == 0)
        if shapes == 10:
            assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_a_draw_depends_on_seed_and_step_alone():
    stage = plan(section(), shapes=10)[1]
    indices = np.arange(10)
    forward = draws(stage, section(), indices)
    again = [draw_of_step(stage, s, indices=indices, level_points=256, section=section()) for s in (14, 6, 9)]
    for draw, step in zip(again, (14, 6, 9), strict=True):
        assert np.array_equal(draw.shapes, forward[step - 6].shapes)
        assert draw.first_point == forward[step - 6].first_point
    other = draws(stage, section(seed=1), indices)
    assert any(not np.array_equal(a.shapes, b.shapes) for a, b in zip(forward, other, strict=True))


@pytest.mark.parametrize(("points", "level_points"), [(64, 256), (100, 256), (300, 256), (256, 256)])
def test_blocks_reach_every_point_and_have_one_size(points: int, level_points: int):
    training = section(stages=(TrainingStage(level=16, epochs=200, points=points),))
    (stage,) = plan(training, shapes=1)
    drawn = draws(stage, training, np.arange(1), level_points)
    assert {draw.points for draw in drawn} == {min(points, level_points)}
    seen = {(draw.first_point + i) % level_points for draw in drawn for i in range(draw.points)}
    assert seen == set(range(level_points))
    starts, counts = np.unique([draw.first_point for draw in drawn], return_counts=True)
    assert len(starts) == -(-level_points // points) and counts.min() > 0.5 * counts.mean()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("shapes", [1, 2, 3, 4, 7, 8])
def test_ranks_share_a_batch(size: int, shapes: int):
    draw = BatchPlan(np.arange(shapes) * 3, 5, 7)
    parts = [local_part(draw, Group(rank, size, torch.device("cpu"))) for rank in range(size)]
    own = [part.shapes for part, weight in parts if weight > 0]
    assert np.array_equal(np.concatenate(own), draw.shapes)  # all, once, in order
    assert sum(weight for _, weight in parts) == pytest.approx(1)
    assert all(weight == pytest.approx(len(part.shapes) / shapes) for part, weight in parts if weight > 0)
    assert max(map(len, own)) - min(map(len, own)) <= 1
    assert all(len(part.shapes) == 1 for part, weight in parts if weight == 0)  # has something to work on
    assert all((part.first_point, part.points) == (5, 7) for part, _ in parts)
