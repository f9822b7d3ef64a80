"""One training step of the published autoencoder: ours against the plain formulation, in one run.

    python -m tests.benchmarks.bench_training [--shapes 32] [--points 4096] [--rounds 3]

Plain: the code repeated and concatenated to every point, all shapes decoded at once, ordinary autograd (what the
published code does). Ours: first layer split, one shape at a time. Floor: the multiply-adds of decoder and encoder,
forward and twice that backward, at the rate of a bare matrix product of the same dtype measured in the same run.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch

from data_processing.batch import Batch
from data_processing.commandline import say
from engine.ops.linear_leaky import linear_leaky
from imnet.autoencoder import Autoencoder, Config
from imnet.decoder import plain_forward

Seconds = tuple[float, float]  # wall, CPU


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


def timed(work: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def product_rate(dtype: torch.dtype) -> float:
    """Multiply-adds a second of wall time of a 32768 x 1024 x 1024 product, by the faster of torch's two libraries."""
    a, b = torch.randn(32768, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    bias = torch.zeros(1024, dtype=dtype)
    products = (lambda: a @ b), (lambda: linear_leaky(a, b, bias, slope=1.0))
    fastest = min(statistics.median(timed(product)[0] for _ in range(4)) for product in products)
    return 32768 * 1024 * 1024 / fastest


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
    variants = {
        "plain, float32": lambda: step(plain_loss, model, optimiser, batch),
        "ours, float32": lambda: step(our_loss, model, optimiser, batch),
        "plain, bfloat16 autocast": lambda: step(plain_loss, model, optimiser, batch, bfloat16=True),
        "ours, bfloat16 autocast": lambda: step(our_loss, model, optimiser, batch, bfloat16=True),
    }
    times: dict[str, list[Seconds]] = {name: [] for name in variants}
    for number in range(arguments.rounds + 1):  # variants in turn, so that drift hits all; the first round warms up
        for name, variant in variants.items():
            seconds = timed(variant)
            if number:
                times[name].append(seconds)
    work = multiply_adds(model, shapes=arguments.shapes, points=arguments.points)
    floors = {"float32": work / product_rate(torch.float32), "bfloat16": work / product_rate(torch.bfloat16)}
    count = arguments.shapes * arguments.points
    plain_wall, plain_cpu = (statistics.median(t[i] for t in times["plain, float32"]) for i in (0, 1))
    threads = torch.get_num_threads()
    say(f"{arguments.shapes} shapes x {arguments.points} points, torch {torch.__version__}, {threads} threads")
    columns = ("wall s", 8), ("CPU s", 8), ("points/CPU-s", 14), ("ratio wall", 12), ("ratio CPU", 11), ("of floor", 10)
    say(f"{'variant':28}" + "".join(f"{title:>{width}}" for title, width in columns))
    for name, measured in times.items():
        wall, cpu = (statistics.median(t[i] for t in measured) for i in (0, 1))
        floor = floors["bfloat16" if "bfloat16" in name else "float32"]
        say(
            f"{name:28}{wall:8.2f}{cpu:8.2f}{count / cpu:14.0f}{plain_wall / wall:12.2f}{plain_cpu / cpu:11.2f}"
            f"{floor / wall:10.0%}"
        )


if __name__ == "__main__":
    main()
