"""A mesh at 256^3 by the published `voxels_128`: coarse to fine with one encoding, against the published arrangement.

    python -m tests.benchmarks.bench_ifnet_generation [--resolution 256] [--chunks 2] [--threads 1] [--memory]

The field is the chair-like one with the cost of the network (random weights, times zero, added). Plain: every sample of
the grid, in chunks of 400,000 points (42 at 256^3), the encoder run again for each, seven `grid_sample`s, features
concatenated to 2583 x N; its time is that of `--chunks` chunks scaled up to all, since all cost the same.

Floor: 20.3 G multiply-adds of convolutions once, and for each corner of a crossing cell 0.79 M of the decoder.
`--memory` prints the peak of ours alone.
"""

import argparse

import torch
import torch.nn.functional as F

from ifnet.model import Config, IFNet
from isofield.extraction.isosurface import extract
from isofield.ops.feature_sampling import published_columns
from isofield.ops.feature_sampling.places import places
from isofield.runtime.commandline import say
from tests.benchmarks import fields
from tests.benchmarks.bench_extraction import dense_values, floor_points
from tests.benchmarks.bench_ifnet_training import batch_of_a_sphere
from tests.benchmarks.measuring import Table, highest_memory, threads, timed

PUBLISHED_CHUNK, OURS_BATCH = 400_000, 1 << 16


@torch.inference_mode()
def plain_chunk(model: IFNet, inputs: torch.Tensor, points_1N3: torch.Tensor) -> torch.Tensor:
    """Encoder and decoder as published, for one chunk of points: (1, N) logits."""
    volumes = model.encode(inputs)
    grid = places(points_1N3, model.config.displacement)[:, None]
    h = torch.cat([F.grid_sample(volume, grid, align_corners=False) for volume in volumes], 1)[:, :, 0].flatten(1, 2)
    first, *others = (layer for layer in model.decoder.layers if isinstance(layer, torch.nn.Linear))
    weight = torch.empty_like(first.weight)
    weight[:, published_columns(model.config.channels)] = first.weight
    h = F.conv1d(h, weight[:, :, None], first.bias)
    for layer in others:
        h = F.conv1d(F.relu(h), layer.weight[:, :, None], layer.bias)
    return h[:, 0]


@torch.inference_mode()
def ours(model: IFNet, inputs: torch.Tensor, resolution: int) -> int:
    """Encode once, extract coarse to fine; returns the evaluations."""
    code, chair = model.encode(inputs), fields.chair(fields.SHIFTS[2])
    return extract(
        lambda points_N3: chair(points_N3) + 0 * model.decode(points_N3[None], code)[0],
        iso_level=fields.ISO_LEVEL,
        resolution=resolution,
        batch_points=OURS_BATCH,
        device="cpu",
    ).evaluations


def report(model: IFNet, inputs: torch.Tensor, resolution: int, chunks: int) -> None:
    points_1N3 = torch.rand(1, PUBLISHED_CHUNK, 3) - 0.5
    plain_chunk(model, inputs, points_1N3[:, :1000])
    evaluations = ours(model, inputs, resolution)  # warm: kernels are compiled
    count = resolution**3
    chunk = timed(lambda: plain_chunk(model, inputs, points_1N3), chunks)
    plain_wall, plain_cpu = (chunk[i] * count / PUBLISHED_CHUNK for i in (0, 1))
    wall, cpu, _ = timed(lambda: ours(model, inputs, resolution), 3)
    floor = floor_points(dense_values(fields.chair(fields.SHIFTS[2]), resolution), iso_level=fields.ISO_LEVEL)
    say(f"{resolution}^3, {threads()}; floor {floor} points")
    table = Table("", "points", "wall s", "CPU s", label=24, cell=12)
    table.row("plain (scaled up)", count, plain_wall, plain_cpu)
    table.row("ours", evaluations, wall, cpu)
    table.row("ratio", count / evaluations, plain_wall / wall, plain_cpu / cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help="only the peak memory of ours")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model, inputs = IFNet(Config()).eval(), batch_of_a_sphere(8).inputs
    if not arguments.memory:
        report(model, inputs, arguments.resolution, arguments.chunks)
        return
    before = highest_memory()
    ours(model, inputs, arguments.resolution)
    say(f"peak {highest_memory():.2f} GiB, of which {before:.2f} GiB with the model alone")


if __name__ == "__main__":
    main()
