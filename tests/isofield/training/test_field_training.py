"""Training on points near the surface with inputs drawn anew: resume, streaming, ranks and validation, any model."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.loading.batches import LoadingConfig, ResidentShapes, recipe_of
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.store.shape_set import open_shapes
from isofield import registry
from isofield.config import OptimConfig, TrainingStage, ValidationConfig
from isofield.run_dir import RunDir
from isofield.runtime.distributed import Group
from isofield.training.schedule import draw_of_step, local_part, plan
from isofield.training.validation import Validator
from tests.isofield.tiny_field import TinyConfig, TinyField, field_config
from tests.isofield.training.in_process import ALONE, run_training, same, whole_and_halves, with_training

CPU = torch.device("cpu")
ANY = 1 << 31  # points near the surface: as many as are asked for
DEFORM = DeformationConfig(add_margin=3, remove_margin=1, threshold=(0.5, 0.8))
SECTIONS = {
    "deformed": InputConfig("deformed", 16, noise=0.01, deform=DEFORM),
    "points": InputConfig("points", 16, points=60, noise=0.01, crop=(0.0, 0.4)),
    "scan": InputConfig("scan", 16, points=60),
}


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(registry.MODELS, "tiny_field", (TinyConfig, TinyField))


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.parametrize("stop", [3, 6, 9])  # within an epoch, at the border of stages, within the second stage
def test_n_steps_and_the_rest_equal_all_steps_bitwise(prepared: Path, tmp_path: Path, kind: str, stop: int):
    optim = OptimConfig(learning_rate=1e-3, ema_decay=0.9)
    config = field_config(prepared, tmp_path / "whole", section=SECTIONS[kind], optim=optim)
    whole, _ = whole_and_halves(config, tmp_path, stop=stop)
    assert whole.step == 14 and whole.average is not None and torch.isfinite(torch.tensor(whole.best))


def test_streamed_equals_resident_bitwise(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = field_config(prepared, tmp_path / "a", section=SECTIONS["deformed"])
    resident = run_training(config)
    assert "level boundary: 4 shapes" in (out := capsys.readouterr().out) and "resident on cpu" in out
    data = dataclasses.replace(config.data, resident="no")
    assert same(resident, run_training(dataclasses.replace(config, runs=tmp_path / "b", data=data)))
    assert "streamed" in capsys.readouterr().out


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_draw_what_one_draws(prepared: Path, size: int):
    """Every step of every epoch; 4 shapes in batches of 3 leave ranks without a shape, and those say so."""
    shapes, indices = open_shapes(prepared), np.array([3, 0, 1, 2])
    config = field_config(prepared, Path("runs"), section=SECTIONS["deformed"])
    stages = plan(config.training, shapes=4)
    steps = [(stage, step) for stage in stages for step in range(stage.first, stage.end)]
    whole = [draw_of_step(s, step, indices=indices, level_points=ANY, section=config.training) for s, step in steps]
    source = ResidentShapes(shapes, np.arange(5), recipe_of(shapes, "boundary", config.data), device=CPU)
    idle = 0
    for draw, one in zip(whole, source.batches(whole), strict=True):
        parts = [local_part(draw, Group(rank, size, CPU)) for rank in range(size)]
        batches = [batch for batch in source.batches(part for part, _ in parts) if not batch.is_padding]
        idle += size - len(batches)
        for key in ("inputs", "points_BN3", "values_BN"):
            assert torch.equal(torch.cat([getattr(batch, key) for batch in batches]), getattr(one, key))
        assert [not batch.is_padding for batch in source.batches(part for part, _ in parts)] == [
            w > 0 for _, w in parts
        ]
        assert sum((batch.shapes for batch in batches), ()) == one.shapes
    assert idle > 0


def test_every_epoch_of_a_run_draws_anew_across_stages(prepared: Path):
    """The first epoch of the second stage is not the first of the run again."""
    config = field_config(prepared, Path("runs"), section=SECTIONS["points"])
    stages = plan(config.training, shapes=1)
    draws = [
        draw_of_step(stage, step, indices=np.array([2]), level_points=ANY, section=config.training)
        for stage in stages
        for step in range(stage.first, stage.end)
    ]
    assert [draw.epoch for draw in draws] == list(range(7))
    assert [draw.points for draw in draws] == [300] * 3 + [200] * 4 and all(draw.first_point == 0 for draw in draws)
    shapes = open_shapes(prepared)
    source = ResidentShapes(shapes, np.arange(5), recipe_of(shapes, "boundary", config.data), device=CPU)
    batches = list(source.batches(draws))
    assert len({batch.points_BN3[0, :50].numpy().tobytes() for batch in batches}) == 7
    assert len({batch.inputs.numpy().tobytes() for batch in batches}) == 7


def test_validation_sees_the_same_every_time_and_what_training_never_sees(prepared: Path):
    config = field_config(prepared, Path("runs"), section=SECTIONS["deformed"])
    validator = Validator(open_shapes(prepared), config, ALONE, indices=np.arange(3))
    first, second = (list(validator.source.batches(validator.draws)) for _ in range(2))
    assert len(first) == 1 and torch.equal(first[0].inputs, second[0].inputs)
    assert torch.equal(first[0].points_BN3, second[0].points_BN3)
    looked_at = validator.look(int(validator.indices[0])).inputs
    assert torch.equal(looked_at, first[0].inputs[0])  # pictures and meshes are of the input that is judged


def test_validation_reconstructs_from_the_observed_input(prepared: Path, tmp_path: Path):
    validation = ValidationConfig(every=7, split="test", shapes=1, pictures=1, resolution=16)
    state = run_training(field_config(prepared, tmp_path, section=SECTIONS["points"], validation=validation))
    assert state.best is not None and any(RunDir(tmp_path / "tiny").logs.iterdir())


def test_training_lowers_the_loss(prepared: Path, tmp_path: Path):
    config = field_config(
        prepared,
        tmp_path,
        section=InputConfig("solid", 32),
        stages=(TrainingStage(level="boundary", epochs=80, points=400),),
        batch_shapes=4,
        validation=ValidationConfig(every=0, split="train", shapes=4, pictures=0),
        optim=OptimConfig(learning_rate=1e-2),
    )
    first = run_training(with_training(config, max_steps=1))
    second = run_training(config, resume=True)
    assert first.best is not None and second.best is not None and second.best < 0.6 * first.best


def test_what_the_data_set_lacks_is_said_before_a_run_is_made(prepared: Path, boxes: Path, tmp_path: Path):
    config = field_config(prepared, tmp_path, section=InputConfig("solid", 64))
    with pytest.raises(ValueError, match="grid_64"):
        run_training(config)
    published = dataclasses.replace(config, data=LoadingConfig(boxes))
    with pytest.raises(ValueError, match=r"contents: \{boundary: "):
        run_training(published)
    assert not RunDir(config.run_path).path.exists()
