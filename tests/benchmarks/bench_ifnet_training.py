"""One training step of the published `voxels_128`: ours against the plain formulation, in one run.

    python -m tests.benchmarks.bench_ifnet_training [--points 50000] [--rounds 3] [--threads 2] [--profile]

128^3 input, batch 1. Plain: convolution, rectifier, normalisation; one `grid_sample` of every volume at all seven
places, features concatenated to 2583 x N; kernel-1 convolutions; cross-entropy over all points; ordinary autograd. Both
use the same parameters, and the losses are printed: they agree to rounding.

Floor. Convolutions: 20.3 G multiply-adds forward, 60 with backward. Decoder plain: 33 G for the first layer and 6.6 G
for the others, 119 G with backward; with coarse grids folded 11 + 6.6, 53 G with backward. At the rate of a bare
float32 product (printed) that is the time of arithmetic; the rest is interpolation (see bench_feature_sampling) and
memory: the 128^3 stage alone moves 0.13 GB at each of a dozen passes.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F

from data_processing.batch import Batch
from ifnet.encoder import EncoderStage
from ifnet.model import Config, IFNet
from isofield.ops.feature_sampling import published_columns
from isofield.ops.feature_sampling.places import places
from isofield.runtime.commandline import say
from tests.benchmarks.bench_feature_sampling import points_near_a_sphere
from tests.benchmarks.measuring import Table, Work, in_turn, product_rate, threads

Loss = Callable[[IFNet, Batch], torch.Tensor]


def plain_loss(model: IFNet, batch: Batch) -> torch.Tensor:
    x = batch.inputs
    volumes = [x]
    for number, stage in enumerate(model.encoder.stages):
        assert isinstance(stage, EncoderStage)
        x = F.max_pool3d(x, 2) if number else x
        for convolution in stage.convolutions:
            x = F.relu(convolution(x))
        x = stage.norm(x)
        volumes.append(x)
    grid = places(batch.points_BN3, model.config.displacement)[:, None]
    align_corners = model.config.align_corners
    sampled = [F.grid_sample(volume, grid, align_corners=align_corners) for volume in volumes]
    h = torch.cat(sampled, dim=1)[:, :, 0].flatten(1, 2)
    # The published order of columns, so that nothing has to be permuted but a weight.
    first, *others = (layer for layer in model.decoder.layers if isinstance(layer, torch.nn.Linear))
    weight = torch.empty_like(first.weight)
    weight[:, published_columns(model.config.channels)] = first.weight
    h = F.conv1d(h, weight[:, :, None], first.bias)
    for layer in others:
        h = F.conv1d(F.relu(h), layer.weight[:, :, None], layer.bias)
    loss = F.binary_cross_entropy_with_logits(h[:, 0].float(), batch.values_BN, reduction="none")
    return loss.sum(1).mean()


def our_loss(model: IFNet, batch: Batch) -> torch.Tensor:
    return next(iter(model.losses(batch)))[1]["loss"]


def step(loss_of: Loss, model: IFNet, optimiser: torch.optim.Optimizer, batch: Batch, *, bfloat16: bool) -> float:
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bfloat16):
        loss = loss_of(model, batch)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def batch_of_a_sphere(points: int, resolution: int = 128) -> Batch:
    """A solid sphere and points near its surface."""
    axis = (torch.arange(resolution) + 0.5) / resolution - 0.5
    squares = axis.square()
    solid = squares[:, None, None] + squares[None, :, None] + squares[None, None, :] < 0.35**2
    points_BN3 = points_near_a_sphere(points)
    return Batch(solid.float()[None, None], points_BN3, (points_BN3.norm(dim=2) < 0.35).float(), (0,))


def profile(model: IFNet, optimiser: torch.optim.Optimizer, batch: Batch, *, bfloat16: bool) -> None:
    with torch.profiler.profile() as profiler:
        step(our_loss, model, optimiser, batch, bfloat16=bfloat16)
    say(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true", help="operators of our step instead of the comparison")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model, batch = IFNet(Config()), batch_of_a_sphere(arguments.points)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.0)  # all variants see the same parameters in every round
    if arguments.profile:
        for bfloat16 in (False, True):
            step(our_loss, model, optimiser, batch, bfloat16=bfloat16)
            profile(model, optimiser, batch, bfloat16=bfloat16)
        return
    variants = {
        "plain, float32": (plain_loss, False),
        "ours, float32": (our_loss, False),
        "plain, bfloat16 autocast": (plain_loss, True),
        "ours, bfloat16 autocast": (our_loss, True),
    }

    def work(loss_of: Loss, bfloat16: bool) -> Work:
        return lambda: step(loss_of, model, optimiser, batch, bfloat16=bfloat16)

    works = {name: work(*variant) for name, variant in variants.items()}
    times = in_turn(works, arguments.rounds, settled=works)  # as in training, after a step of its own kind
    say(f"{arguments.points} points, {threads()}")
    rates = (product_rate(dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16))
    say("bare products: {:.0f} G multiply-adds/s in float32, {:.0f} in bfloat16".format(*rates))
    table = Table("variant", "wall s", "CPU s", "ratio wall", "ratio CPU", "loss", label=28)
    plain = times["plain, float32"]
    for name, (wall, cpu, loss) in times.items():
        table.row(name, wall, cpu, plain.wall / wall, plain.cpu / cpu, f"{loss:.4f}")


if __name__ == "__main__":
    main()
