"""Golden numbers (tests/data/golden), and the random weights with which the published networks computed them.

Two to ten million weights are too many to ship, but nearly all of them are draws of torch's generator, of a seed that
is known: they are drawn again here. Those of IM-NET, which are compared to 1e-5, in float64, so that no processor's
rounding matters. What was set otherwise (last layers, biases, normalisation), and the few weights that float32 rounded
to the other side, lie in `*_rest.npz`.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent / "data" / "golden"
IFNET_SEEDS = {"ShapeNet32Vox": 31, "ShapeNet128Vox": 41, "ShapeNetPoints": 51}
IMNET_SEED = 11
IMNET_CHANNELS = (1, 32, 64, 128, 256, 256)
IMNET_WIDTHS = (259, 1024, 1024, 1024, 512, 256, 128)


def imnet_state() -> dict[str, Tensor]:
    """Of the autoencoder, in the published layout, float16 as it was stored."""
    rest = np.load(FOLDER / "imnet_ae_rest.npz")
    state = {}
    for name, draws in imnet_draws():
        weights = draws.astype(np.float16)
        # float32 had rounded these to the neighbour: (flat places, values).
        weights.ravel()[rest[f"{name}:places"]] = rest[f"{name}:values"]
        state[name] = torch.from_numpy(weights)
    return state | {name: torch.from_numpy(rest[name]) for name in rest.files if ":" not in name}


def imnet_draws() -> Iterator[tuple[str, NDArray[np.float64]]]:
    """What was drawn, in the order of the stream: convolutions by Xavier's rule, linear layers normal."""
    stream = torch.Generator().manual_seed(IMNET_SEED)
    shapes = [(after, before, 4, 4, 4) for before, after in itertools.pairwise(IMNET_CHANNELS)]
    # The defaults of the layers, overwritten later, came first.
    torch.rand(sum(map(math.prod, shapes)) + IMNET_CHANNELS[-1], generator=stream)
    for layer, shape in enumerate(shapes, start=1):
        limit = math.sqrt(6 / ((shape[0] + shape[1]) * 4**3))
        yield f"encoder.conv_{layer}.weight", (2 * _uniform(stream, math.prod(shape)) - 1).reshape(shape) * limit
    sides = [(after, before) for before, after in itertools.pairwise(IMNET_WIDTHS)]
    torch.rand(sum(after * (before + 1) for after, before in [*sides, (1, IMNET_WIDTHS[-1])]), generator=stream)
    for layer, side in enumerate(sides, start=1):
        scale = 0.02 * (3 if layer == 1 else 1.7)
        yield f"generator.linear_{layer}.weight", _normal(stream, math.prod(side)).reshape(side) * scale


def _uniform(stream: torch.Generator, count: int) -> NDArray[np.float64]:
    return torch.rand(count, generator=stream).double().numpy()


def _normal(stream: torch.Generator, count: int) -> NDArray[np.float64]:
    """torch's way of many numbers: Box and Muller's, in blocks of 16 draws, the first eight radii, the last angles."""
    draws = _uniform(stream, count).reshape(-1, 2, 8)
    radius, angle = np.sqrt(-2 * np.log(1 - draws[:, 0])), 2 * np.pi * draws[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def ifnet_state(name: str) -> dict[str, Tensor]:
    """Of an IF-Net (`ShapeNet32Vox`, ...), in the published layout: layers as torch makes them, the rest as stored."""
    rest = np.load(FOLDER / f"ifnet_{name}_rest.npz")
    state: dict[str, Tensor] = {}
    kinds: dict[int, Any] = {5: nn.Conv3d, 3: nn.Conv1d}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(IFNET_SEEDS[name])
        for layer, shape in zip(rest["drawn_names"].tolist(), rest["drawn_shapes"].tolist(), strict=True):
            sides = [side for side in shape if side]
            made = kinds[len(sides)](sides[1], sides[0], sides[2])
            state |= {f"{layer}.weight": made.weight.detach(), f"{layer}.bias": made.bias.detach()}
    return state | {key: torch.from_numpy(rest[key]) for key in rest.files if not key.startswith("drawn_")}


def save_imnet(folder: Path) -> Path:
    """A checkpoint as the authors publish it: the bare weights."""
    file = folder / "imnet_ae.pth"
    torch.save(imnet_state(), file)
    return file


def save_ifnet(name: str, folder: Path) -> Path:
    """A checkpoint as the authors publish it: epoch, weights, and the state of an optimiser."""
    file = folder / f"ifnet_{name}.tar"
    optimiser = {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}]}
    torch.save({"epoch": 3, "model_state_dict": ifnet_state(name), "optimizer_state_dict": optimiser}, file)
    return file
