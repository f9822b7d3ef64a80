"""One training step of the published autoencoder: ours against the plain formulation, in one run.

    python -m tests.benchmarks.bench_training [--shapes 32] [--points 4096] [--rounds 3]

Plain: the code repeated and concatenated to every point, all shapes decoded at once, ordinary autograd (what the
published code does). Ours: first layer split, one shape at a time. Floor: the multiply-adds of decoder and encoder,
forward and twice that backward, at the rate of a bare matrix product of the same dtype measured in the same run.
"""

import argparse
import itertools
from collections.abc import Callable

import torch

from data_processing.batch import Batch
from imnet.autoencoder import Autoencoder, Config
from imnet.decoder import plain_forward
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Table, Work, in_turn, product_rate, threads


def plain_loss(model: Autoencoder, batch: Batch) -> torch.Tensor:
    field = plain_forward(model.decoder, batch.points_BN3, model.encode(batch.inputs))
    return (field.float() - batch.values_BN).square().mean()


def our_loss(model: Autoencoder, batch: Batch) -> torch.Tensor:
    return next(iter(model.losses(batch)))[1]["loss"]


def step(
    loss_of: Callable[[Autoencoder, Batch], torch.Tensor],
    model: Autoencoder,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    *,
    bfloat16: bool = False,
) -> None:
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bfloat16):
        loss = loss_of(model, batch)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def multiply_adds(model: Autoencoder, *, shapes: int, points: int) -> float:
    """Of one step: forward, and twice as much backward. The first decoder layer counts 3 columns a point."""
    widths = model.config.decoder_widths
    decoder = 3 * widths[0] + sum(a * b for a, b in itertools.pairwise([*widths, 1]))
    channels, sides = [1, *model.config.encoder_channels, model.config.latent], (32, 16, 8, 4, 1)
    encoder = sum(64 * a * b * r**3 for (a, b), r in zip(itertools.pairwise(channels), sides, strict=True))
    return 3.0 * shapes * (decoder * points + encoder)


def random_batch(shapes: int, points: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    voxels = (torch.rand(shapes, 1, 64, 64, 64, generator=generator) > 0.9).float()
    points_BN3 = torch.rand(shapes, points, 3, generator=generator) - 0.5
    values_BN = (torch.rand(shapes, points, generator=generator) > 0.5).float()
    return Batch(voxels, points_BN3, values_BN, tuple(range(shapes)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=32)
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, batch = Autoencoder(Config()), random_batch(arguments.shapes, arguments.points)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-5, betas=(0.5, 0.999))
    variants: dict[str, Work] = {
        "plain, float32": lambda: step(plain_loss, model, optimiser, batch),
        "ours, float32": lambda: step(our_loss, model, optimiser, batch),
        "plain, bfloat16 autocast": lambda: step(plain_loss, model, optimiser, batch, bfloat16=True),
        "ours, bfloat16 autocast": lambda: step(our_loss, model, optimiser, batch, bfloat16=True),
    }
    times = in_turn(variants, arguments.rounds)
    work = multiply_adds(model, shapes=arguments.shapes, points=arguments.points)
    floors = {"float32": work / product_rate(torch.float32), "bfloat16": work / product_rate(torch.bfloat16)}
    count = arguments.shapes * arguments.points
    plain = times["plain, float32"]
    say(f"{arguments.shapes} shapes x {arguments.points} points, {threads()}")
    table = Table("variant", "wall s", "CPU s", "points/CPU-s", "ratio wall", "ratio CPU", "of floor", label=28)
    for name, (wall, cpu, _) in times.items():
        floor = floors["bfloat16" if "bfloat16" in name else "float32"]
        table.row(name, wall, cpu, count / cpu, plain.wall / wall, plain.cpu / cpu, f"{floor / wall:.0%}")


if __name__ == "__main__":
    main()
