"""What it costs to show the network a shape anew in each epoch, against the training step of the same shape.

    python -m tests.benchmarks.bench_observations [--shapes 1] [--rounds 5] [--threads 2] [--device cpu]

128^3 inputs and 50,000 points near the surface of each shape, drawn from packed rows on the device; the step is that of
IF-Net's published `voxels_128`. Shares are of the fastest step of ours (bfloat16), medians of all rounds.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from data_processing.batch import Batch
from data_processing.geometry.coordinates import to_fixed
from data_processing.loading.batches import BatchPlan, LoadingConfig, Recipe, assemble
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.network_inputs import InputConfig, observe
from data_processing.store.shards import Layout
from ifnet.model import Config, IFNet
from isofield.runtime.commandline import say
from isofield.runtime.counter_random import keys_of
from tests.benchmarks.bench_ifnet_training import our_loss, step
from tests.benchmarks.measuring import Table, Work, in_turn, threads

RESOLUTION, STORED, SURFACE, POINTS, RADIUS = 128, 100_000, 32768, 50_000, 0.35
LAYOUT = Layout(0, {}, (RESOLUTION,), (0.1, 0.01), STORED, SURFACE, 16)


def packed_spheres(shapes: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Rows of solid spheres with every field, as a data set holds them."""
    random = np.random.default_rng(0)
    axis = (np.arange(RESOLUTION) + 0.5) / RESOLUTION - 0.5
    solid = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2 < RADIUS**2
    surface = random.normal(size=(SURFACE + 2 * STORED, 3))
    surface *= RADIUS / np.linalg.norm(surface, axis=1, keepdims=True)
    near = surface[SURFACE:] + random.normal(size=(2 * STORED, 3)) * np.repeat([[0.1], [0.01]], STORED, 0)
    row = {
        f"grid_{RESOLUTION}": np.packbits(solid.reshape(-1)),
        "boundary_points": to_fixed(near),
        "boundary_values": np.packbits(np.linalg.norm(near, axis=1) < RADIUS),
        "surface_points": to_fixed(surface[:SURFACE]),
        "surface_visible": random.integers(0, 256, (SURFACE, 2), dtype=np.uint8),
    }
    return {
        key: torch.from_numpy(np.repeat(np.asarray(values)[None], shapes, axis=0)).to(device)
        for key, values in row.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, shapes = torch.device(arguments.device), arguments.shapes
    packed, names = packed_spheres(shapes, device), [f"sphere {number}" for number in range(shapes)]
    recipe = Recipe(names, LAYOUT, "boundary", LoadingConfig(Path("-"), input=InputConfig("solid", RESOLUTION)), 0)
    draw = BatchPlan(np.arange(shapes), 0, POINTS)
    batch: Batch = assemble(packed, draw, recipe)
    model = IFNet(Config()).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.0)
    both = DeformationConfig(modes=("both",))
    inputs = {
        "solid": InputConfig("solid", RESOLUTION),
        "deformed (add or remove)": InputConfig("deformed", RESOLUTION),
        "deformed (both)": InputConfig("deformed", RESOLUTION, deform=both),
        "points, 3000": InputConfig("points", RESOLUTION, points=3000, noise=0.005),
        "scan, all seen": InputConfig("scan", RESOLUTION, points=0),
        "solid, noise and crop": InputConfig("solid", RESOLUTION, noise=0.01, crop=(0.1, 0.5)),
    }

    def show(section: InputConfig) -> Callable[[], object]:
        return lambda: observe(packed, section, keys_of(range(shapes), device))

    work: dict[str, Work] = {
        "step, float32": lambda: step(our_loss, model, optimiser, batch, bfloat16=False),
        "step, bfloat16": lambda: step(our_loss, model, optimiser, batch, bfloat16=True),
        "solid and 50,000 points": lambda: assemble(packed, draw, recipe),
        **{name: show(section) for name, section in inputs.items()},
    }
    times = in_turn(work, arguments.rounds, device)
    floor = times["step, bfloat16"]
    say(f"{shapes} shapes on {device}, {threads()}")
    table = Table("work", "wall s", "CPU s", "of the step: wall", "CPU", label=28)
    for name, (wall, cpu, _) in times.items():
        table.row(name, wall, cpu, f"{wall / floor.wall:.1%}", f"{cpu / floor.cpu:.1%}")


if __name__ == "__main__":
    main()
