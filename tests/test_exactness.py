"""Equal to the last bit: run by run, resumed after any step, and shared out among ranks."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.loading.batches import BatchPlan, open_source, select_shapes
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield import checkpoint
from isofield.config import OptimConfig, RunConfig, TrainingStage, ValidationConfig
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.schedule import draw_of_step, local_part, plan
from tests.isofield.conftest import boxes, tiny_config  # noqa: F401 - a fixture
from tests.isofield.ready_runs import make_run
from tests.isofield.training.test_frozen_codes import gan_config, run_training
from tests.kills import comparable
from tests.torchrun import torchrun

CPU = torch.device("cpu")
EVERY = {
    "checkpoint_every": 1,
    "keep_checkpoints": 99,
    "validation": ValidationConfig(every=4, shapes=3, pictures=0),
    "optim": OptimConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=3, ema_decay=0.9, clip_norm=1.0),
}


def configs(boxes: Path, folder: Path, players: int) -> RunConfig:  # noqa: F811
    """18 steps across three stages and their epochs, or 12 of two players."""
    if players == 1:
        stages = tuple(TrainingStage(level=level, epochs=2, points=256) for level in (16, 32, 64))
        return tiny_config(boxes, folder / "whole", stages=stages, **EVERY)
    return gan_config(boxes, folder / "whole", make_run(boxes, folder / "initial"), **EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("players", [1, 2])
def test_resumed_after_any_step_and_run_again(boxes: Path, tmp_path: Path, players: int):  # noqa: F811
    """Weights, averages, moments of all optimisers, generators, best value: all that a checkpoint holds."""
    config = configs(boxes, tmp_path, players)
    end = run_training(config).step
    whole = RunDir(config.run_path)

    def ends_as(name: str) -> bool:
        run = RunDir(tmp_path / name / config.name)
        changed = dataclasses.replace(config, runs=tmp_path / name)
        run_training(changed, resume=True)
        return all(
            comparable(run.checkpoint_file(which)).replace(name.encode(), b"whole")
            == comparable(whole.checkpoint_file(which))
            for which in ("last", "best", str(end))
        )

    assert ends_as("again")
    for step in range(1, end):
        run = RunDir(tmp_path / f"from{step:02d}" / config.name)
        shutil.copytree(whole.path, run.path, ignore=lambda folder, names: [n for n in names if n.endswith(".pt")])
        if step >= 4:  # judged before
            shutil.copy(whole.checkpoint_file(_best_before(whole, step)), run.checkpoint_file("best"))
        shutil.copy(whole.checkpoint_file(step), run.checkpoint_file("last"))
        assert ends_as(f"from{step:02d}"), step


def _best_before(whole: RunDir, step: int) -> int:
    """The step whose checkpoint was the best one at a later step."""
    values = {at: checkpoint.load(whole.checkpoint_file(at))["best"] for at in range(4, step + 1, 4)}
    return next(at for at in values if values[at] == values[max(values)])


@pytest.mark.parametrize("level", [16, "boundary"])
def test_ranks_draw_the_batches_of_one_process(prepared: Path, boxes: Path, level: int | str):  # noqa: F811
    """1, 2, 4 and more ranks than shapes: inputs, points, values and keys of every step."""
    shapes, folder = (open_shapes(prepared), prepared) if level == "boundary" else (open_shapes(boxes), boxes)
    config = tiny_config(
        folder, Path("unused"), stages=(TrainingStage(level=level, epochs=2, points=64),), batch_shapes=3
    )
    indices = select_shapes(shapes, "train")
    (stage,) = plan(config.training, shapes=len(indices))
    for step in range(stage.first, stage.end):
        points = shapes.level_points.get(level, 1 << 31)
        draw = draw_of_step(stage, step, indices=indices, level_points=points, section=config.training)
        whole = batch_of(shapes, config, [draw], level)
        for size in (1, 2, 4):
            parts = [local_part(draw, Group(rank, size, CPU)) for rank in range(size)]
            shared = batch_of(shapes, config, [part for part, weight in parts if weight], level)
            assert all(torch.equal(one, other) for one, other in zip(whole, shared, strict=True)), (step, size)


def batch_of(shapes: ShapeSet, config: RunConfig, draws: list[BatchPlan], level: int | str) -> list[torch.Tensor]:
    """Tensors of the batches of some draws, one after the other."""
    section = dataclasses.replace(config.data, path=shapes.path)
    if level == "boundary":
        section = dataclasses.replace(section, input=dataclasses.replace(section.input, kind="solid", resolution=32))
    source, _ = open_source(shapes, np.arange(len(shapes)), level=level, device=CPU, section=section)
    made = list(source.batches(draws))
    return [
        torch.cat([getattr(batch, what) for batch in made]) for what in ("inputs", "points_BN3", "values_BN", "keys_B")
    ]


@pytest.mark.slow
def test_four_processes_train_as_one(boxes: Path, tmp_path: Path):  # noqa: F811
    """Sums are taken in another order: close, not equal. Two batches of 4 and 1 shapes: ranks without a shape."""
    config = tiny_config(boxes, tmp_path / "one", batch_shapes=4)
    one = run_training(config)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(dataclasses.replace(config, runs=tmp_path / "four")))
    torchrun("train.py", "--config", file, processes=4)
    four = checkpoint.load(tmp_path / "four" / "tiny" / "checkpoints" / "last.pt")
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, four["model"][name], atol=2e-4), name
