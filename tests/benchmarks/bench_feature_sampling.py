"""Feature sampling at seven places over all scales: ours against the plain formulation, in one run.

    python -m tests.benchmarks.bench_feature_sampling [--points 50000] [--rounds 3] [--threads 2] [--only ours]

Sizes of the published `voxels_128`, batch 1: 1, 16, 32, 64, 128 and 128 channels at 128, 128, 64, 32, 16 and 8 voxels
a side; points near a sphere, half with sigma 0.1 and half 0.01. Plain: one `grid_sample` of every volume at all seven
places, features concatenated as [channel][place]; forward and backward, gradients for all volumes but the input.
"and layer": the first layer of the decoder, 2583 to 256, behind them.

Floor of forward and backward: 50,000 x 7 x 8 x 369 = 1.03 G multiply-adds forward (8 GB of rows read, most from
cache), as many backward with the rows written too; the features, 50,000 x 2583 float32, are 0.52 GB to write and their
gradient 0.52 GB to read; gradients of the volumes 0.19 GB. At 10 GB/s and a core's 20 G multiply-adds a second that is
0.1 to 0.2 s on 2 cores. The layer costs 33 G multiply-adds plain and 11 G with the two coarse grids folded, three times
that with backward.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F

from isofield.ops.feature_sampling import PLACES, plain, sample_features, sampled_linear
from isofield.ops.feature_sampling.places import Sampling, places
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Table, in_turn, threads

SCALES = (1, 128), (16, 128), (32, 64), (64, 32), (128, 16), (128, 8)  # channels, resolution
SAMPLING = Sampling(0.0722, "zeros", align_corners=False)
OUTPUTS = 256


def volumes(*, channels_last: bool) -> list[torch.Tensor]:
    """Random volumes in the layout that the formulation likes; all but the input want gradients."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, c, r, r, r, generator=generator) for c, r in SCALES]
    if channels_last:
        made = [volume.contiguous(memory_format=torch.channels_last_3d) for volume in made]
    return [made[0], *(volume.requires_grad_() for volume in made[1:])]


def points_near_a_sphere(count: int) -> torch.Tensor:
    """(1, N, 3) cube points, half of them with sigma 0.1 and half with 0.01, in random order."""
    generator = torch.Generator().manual_seed(0)
    surface = 0.35 * F.normalize(torch.randn(count, 3, generator=generator), dim=1)
    sigma = torch.where(torch.arange(count) < count // 2, 0.1, 0.01)[:, None]
    points = surface + sigma * torch.randn(count, 3, generator=generator)
    return points[torch.randperm(count, generator=generator)][None]


def plain_features(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
    """Published layout: (B, C * 7, N)."""
    grid = places(points_BN3, SAMPLING.displacement)[:, None]
    sampled = [F.grid_sample(volume, grid, align_corners=SAMPLING.align_corners) for volume in volumes]
    return torch.cat(sampled, dim=1)[:, :, 0].flatten(1, 2)


def torch_features(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
    return plain.sample(volumes, points_BN3, SAMPLING)


def our_features(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
    return sample_features(volumes, points_BN3, SAMPLING)


class Layer:
    """The first layer of the decoder behind the features."""

    def __init__(self) -> None:
        features = PLACES * sum(channels for channels, _ in SCALES)
        generator = torch.Generator().manual_seed(1)
        self.weight = (torch.randn(OUTPUTS, features, generator=generator) / features**0.5).requires_grad_()
        self.bias = torch.zeros(OUTPUTS, requires_grad=True)

    def plain(self, volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
        return F.conv1d(plain_features(volumes, points_BN3), self.weight[:, :, None], self.bias)

    def torch_only(self, volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
        return plain.sampled_linear(volumes, points_BN3, self.weight, self.bias, SAMPLING)

    def ours(self, volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.Tensor:
        return sampled_linear(volumes, points_BN3, self.weight, self.bias, SAMPLING)


Operator = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]


@functools.cache
def upstream(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """The gradient that comes from above, made once: 516 MB of features are no part of the operator."""
    return torch.ones(shape, dtype=dtype)


def forward_and_backward(
    operator: Operator, volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, *, bfloat16: bool
) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        out = operator(volumes, points_BN3)
    out.backward(upstream(out.shape, out.dtype))
    for volume in volumes:
        volume.grad = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="variants with this word in their name, and the plain ones")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    points, layer = points_near_a_sphere(arguments.points), Layer()
    theirs, ours = volumes(channels_last=False), volumes(channels_last=True)
    variants = {
        "features, plain": (plain_features, theirs, False),
        "features, torch only": (torch_features, ours, False),
        "features, ours": (our_features, ours, False),
        "features, ours, NCDHW volumes": (our_features, theirs, False),
        "and layer, plain": (layer.plain, theirs, False),
        "and layer, torch only": (layer.torch_only, ours, False),
        "and layer, ours": (layer.ours, ours, False),
        "and layer, plain, bfloat16": (layer.plain, theirs, True),
        "and layer, ours, bfloat16": (layer.ours, ours, True),
    }
    variants = {
        name: variant
        for name, variant in variants.items()
        if arguments.only in name or name in ("features, plain", "and layer, plain")
    }
    works = {
        name: partial(forward_and_backward, operator, grids, points, bfloat16=bfloat16)
        for name, (operator, grids, bfloat16) in variants.items()
    }
    times = in_turn(works, arguments.rounds, settled=works)  # as in training, after one of its own kind
    say(f"{arguments.points} points, {threads()}, forward + backward")
    table = Table("variant", "wall s", "CPU s", "ratio wall", "ratio CPU", label=34)
    for name, (wall, cpu, _) in times.items():
        base = times["features, plain" if name.startswith("features") else "and layer, plain"]
        table.row(name, wall, cpu, base.wall / wall, base.cpu / cpu)


if __name__ == "__main__":
    main()
