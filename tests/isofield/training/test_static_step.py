"""Steps that are played back against steps launched piece by piece: the same weights, from few launches."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_processing.batch import Batch
from isofield.config import OptimConfig
from isofield.ops.fallback import warn_once
from isofield.registry import build_model
from isofield.runtime.distributed import Group
from isofield.training import static_step
from isofield.training.loop import take_turns, train_step
from isofield.training.state import State, initial_state
from isofield.training.static_step import WARM_UP, StaticStep, played_steps
from tests.isofield.conftest import TINY_MODEL, tiny_config
from tests.isofield.scripts_on_a_device import run_on_a_device

AUTOENCODER = {key: value for key, value in TINY_MODEL.items() if key != "type"}
GAN = {"type": "imnet_latent_gan", "autoencoder": AUTOENCODER, "generator_widths": [16], "critic_widths": [16]}
SIZES = [3] * 5 + [2] + [3] * 4 + [2]  # of batches; the last of an epoch is smaller


class Repeater:
    """Does recorded work anew each time: what a graph plays back, on any device."""

    def __init__(self) -> None:
        self.played = 0

    def beside(self, work: Callable[[], Any]) -> Any:
        return work()

    def record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def play() -> torch.Tensor:
            self.played += 1
            return work()

        return play


class Refusing(Repeater):
    def record(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        raise RuntimeError("no such thing while a stream is captured")


def batch_of(count: int, step: int) -> Batch:
    codes = torch.rand(count, 8, generator=torch.Generator().manual_seed(step))
    keys = torch.arange(count) + 100 * step
    return Batch(codes, torch.empty(count, 0, 3), codes, tuple(range(count)), False, keys, keys[:1])


def trained(folder: Path, recorder: Any = None, *, sizes: list[int] = SIZES, **model: object) -> tuple[State, list]:
    optim = OptimConfig(learning_rate=1e-3, clip_norm=1.0)
    config = dataclasses.replace(tiny_config(folder, folder, optim=optim), model={**GAN, **model})
    torch.manual_seed(0)
    state = initial_state(build_model(config.model, where="test"), config)
    job: Any = SimpleNamespace(config=config, group=Group(0, 1, torch.device("cpu")))
    played = StaticStep(lambda *given: take_turns(state, job, *given), recorder) if recorder else None
    logs = [
        train_step(state, batch_of(count, n), job, weight=1.0, rate=1e-3 / (1 + n), played=played)
        for n, count in enumerate(sizes)
    ]
    return state, logs


def assert_same(one: tuple[State, list], other: tuple[State, list]) -> None:
    weights = other[0].model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one[0].model.state_dict().items())
    assert one[1] == other[1]  # scalars of every step, of its own: not those of the step played last


@pytest.mark.parametrize("interpolation", ["sample", "batch"])
def test_steps_played_back_are_the_plain_ones_bit_for_bit(tmp_path: Path, interpolation: str):
    repeater = Repeater()
    played = trained(tmp_path, repeater, interpolation=interpolation)
    assert repeater.played == SIZES.count(3) - WARM_UP
    assert_same(played, trained(tmp_path, interpolation=interpolation))


def test_a_step_that_cannot_be_recorded_is_launched_piece_by_piece(tmp_path: Path):
    warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r"CUDA graph: .*while a stream is captured"):
        refused = trained(tmp_path, Refusing())
    assert_same(refused, trained(tmp_path))


@pytest.mark.parametrize("why", ["", "other device", "ranks", "config", "average", "model"])
def test_who_plays_steps_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str):
    monkeypatch.setattr(static_step, "GraphRecorder", lambda device: Repeater())
    optim = OptimConfig(ema_decay=0.9 if why == "average" else 0.0)
    config = tiny_config(tmp_path, tmp_path, optim=optim, record_steps=why != "config")
    config = config if why == "model" else dataclasses.replace(config, model=GAN)
    state = initial_state(build_model(config.model, where="test"), config)
    group = Group(0, 2 if why == "ranks" else 1, torch.device("cpu" if why == "other device" else "cuda"))
    told: list[str] = []
    played = played_steps(state, SimpleNamespace(config=config, group=group, tell=told.append), lambda *given: {})
    assert (played is None) == bool(why) and len(told) == (not why)


LAUNCHES = """
import json
import tempfile
from isofield.runtime.distributed import Group
from isofield.training import optim
from tests.isofield.training import test_static_step as ours

optim.FUSED = ("cuda", "pretended")

class Pausing(ours.Repeater):
    inside = 0

    def record(self, work):
        def play():
            with counts() as within, count.pause():
                result = work()
            self.inside = within.operators
            return result
        return play

with tempfile.TemporaryDirectory() as folder, pretended_device() as device:
    given = ours.dataclasses.replace(
        ours.tiny_config(Path(folder), Path(folder), optim=ours.OptimConfig(clip_norm=1.0)), model=ours.GAN
    )
    state = ours.initial_state(ours.build_model(given.model, where="test").to(device), given)
    rates = [group["lr"].device.type for o in state.optimisers.values() for group in o.param_groups]
    assert rates == ["pretended", "pretended"], rates
    job, found = ours.SimpleNamespace(config=given, group=Group(0, 1, device)), []
    for recorder in (None, Pausing()):
        played = recorder and ours.StaticStep(lambda *given: ours.take_turns(state, job, *given), recorder)
        for n in range(ours.WARM_UP + 2):
            batch = ours.batch_of(3, n)
            sent = {name: getattr(batch, name).to(device) for name in ours.static_step.PARTS}
            with counts() as count:
                ours.train_step(state, ours.dataclasses.replace(batch, **sent), job, weight=1.0, rate=1e-3 / (n + 1),
                    played=played)
        assert not count.waits, count.waits
        found.append(count.operators)
print(json.dumps([*found, recorder.inside]))
"""


def test_beside_what_is_played_back_a_step_launches_little():
    plain, beside, inside = json.loads(run_on_a_device(LAUNCHES))
    assert beside <= 10 and plain > 100 and inside >= plain - 10
