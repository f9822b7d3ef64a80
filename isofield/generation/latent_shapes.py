"""Shapes to generate that have no input: out of noise, or on the way from one shape to another."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed, observe_shape
from data_processing.store.shape_set import ShapeSet
from isofield.contract import MakesShapes, Model
from isofield.generation.meshes import Item
from isofield.generation.surfaces import Coded
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.hints import did_you_mean

SHOWN = 5  # names listed when one is unknown


def items_of_samples(model: Model, count: int, *, seed: int) -> list[Item]:
    """`count` new shapes, sample-0000 and so on: the same for a seed, the first of many being those of few.

    ValueError when the model makes no new shapes, or none are asked for.
    """
    if not isinstance(model, MakesShapes):
        raise ValueError("this run's model makes no new shapes: --samples wants a run of imnet_latent_gan")
    if count < 1:
        raise ValueError(f"--samples: expected at least one, got {count}")
    codes_NZ = model.sample(count, torch.Generator().manual_seed(seed))
    return [_coded(f"sample-{number:04d}", code_Z[None]) for number, code_Z in enumerate(codes_NZ)]


@torch.no_grad()
def items_of_walk(model: Model, ends: Sequence[Observed], steps: int, *, device: torch.device) -> list[Item]:
    """`steps` shapes from the first end to the second, both included: straight in the space of codes.

    (Chen and Zhang 2019, section 4.2.) ValueError when the model's code is not one vector, or there are too few steps.
    """
    if steps < 2:
        raise ValueError(f"--steps: expected at least 2 (the two shapes themselves), got {steps}")
    first, last = (model.encode(end.inputs[None].to(device)) for end in ends)
    return [_coded(f"step-{number:03d}", code) for number, code in enumerate(codes_between(first, last, steps))]


def codes_between(first: Any, last: Any, steps: int) -> list[torch.Tensor]:
    """`steps` codes (1, Z) from one to the other, both included. ValueError when they are not one vector each."""
    if not all(isinstance(code, torch.Tensor) and code.ndim == 2 for code in (first, last)):
        raise ValueError("a walk goes between codes that are one vector each; this run's model has volumes")
    return [torch.lerp(first, last, share) for share in torch.linspace(0, 1, steps).tolist()]


def end_of_walk(
    text: str,
    shapes: Callable[[], ShapeSet],
    items_of: Callable[[Path], Sequence[Item]],
    *,
    section: InputConfig,
    seed: int,
) -> Observed:
    """What a user calls A: a file, or a shape of the data set by its name, where the category may be left out.

    ValueError, listing the nearest names, when it is neither or could be several.
    """
    file = Path(text)
    if file.is_file():
        inputs = [item.load() for item in items_of(file)]
        if len(inputs) != 1 or isinstance(inputs[0], Coded):
            raise ValueError(f"{file} holds {len(inputs)} shapes, expected one")
        return inputs[0]
    opened = shapes()
    names = [name for name in opened.names if text in (name, name.rpartition("/")[2])]
    if len(names) == 1:
        return observe_shape(opened, opened.names.index(names[0]), section, seed=seed)
    if names:
        raise ValueError(f"{text!r} could be any of {', '.join(names)}: give the category too")
    raise ValueError(f"{text!r} is no file and no shape of {opened.path}; {_nearest(text, opened.names)}")


def walk_name(first: str, last: str) -> str:
    """The folder of a walk."""
    return f"{_stem(first)}-to-{_stem(last)}"


def _nearest(text: str, names: Sequence[str]) -> str:
    hint = did_you_mean(text, names, most=SHOWN, compared=lambda name: name.rpartition("/")[2])
    return hint or f"names look like {', '.join(map(repr, sorted(names)[:SHOWN]))}"


def _coded(name: str, code: torch.Tensor) -> Item:
    return Item(name, functools.partial(Coded, code), functools.partial(fingerprint, code))


def _stem(text: str) -> str:
    return Path(text.rpartition("/")[2]).stem or "shape"
