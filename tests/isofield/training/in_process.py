"""Trainings in this process, as train.py does them, and whether two of them came to the same end, bit by bit."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from data_processing.store.shape_set import open_shapes
from isofield.config import RunConfig
from isofield.registry import new_model, resolve
from isofield.run_dir import RunDir
from isofield.runtime.distributed import Group
from isofield.runtime.seeds import seed_of
from isofield.training.loop import train
from isofield.training.state import State

ALONE = Group(0, 1, torch.device("cpu"))


def run_training(config: RunConfig, *, resume: bool = False) -> State:
    config = resolve(config, where="test")
    torch.manual_seed(seed_of(config.training.seed, "weights"))
    model = new_model(config.model, where="test")
    return train(model, open_shapes(config.data.path), config, RunDir(config.run_path), ALONE, resume=resume)


def with_training(config: RunConfig, **changes: object) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def same(a: State, b: State) -> bool:
    """Bitwise equal steps, weights with statistics, averages and moments."""
    return a.step == b.step and all(torch.equal(x, y) for x, y in zip(_tensors(a), _tensors(b), strict=True))


def whole_and_halves(config: RunConfig, folder: Path, *, stop: int) -> tuple[State, State]:
    """Trained in one go, and by `stop` steps and the rest: the same end, and not that of another seed.

    What was best may differ: where a training stops it validates once more.
    """
    whole = run_training(config)
    halves = dataclasses.replace(config, runs=folder / "halves")
    assert run_training(with_training(halves, max_steps=stop)).step == stop
    resumed = run_training(halves, resume=True)
    assert same(whole, resumed)
    other = run_training(with_training(dataclasses.replace(config, runs=folder / "other"), seed=1))
    parameters = zip(whole.model.parameters(), other.model.parameters(), strict=True)
    assert not all(torch.equal(x, y) for x, y in parameters if x.requires_grad)
    return whole, resumed


def _tensors(state: State) -> Iterator[torch.Tensor]:
    yield from state.model.state_dict().values()
    if state.average is not None:
        yield from state.average.weights.values()
    for optimiser in state.optimisers.values():
        for moments in optimiser.state_dict()["state"].values():
            yield from moments.values()
