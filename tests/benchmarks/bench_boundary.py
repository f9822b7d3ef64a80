"""Points near the surface, stored or drawn anew: bytes of a shape, time of a batch, share of wrong labels.

Stored: points in fixed point with the bits of the exact inside test (preparation/boundary_points.py); a batch chooses
among them. Drawn anew: stored surface points, noise, and a look-up in the shape's resident 256^3 bits.

python -m tests.benchmarks.bench_boundary [--shapes 4] [--device cuda]
"""

import argparse

import numpy as np
import torch

from data_processing.geometry.coordinates import from_fixed, voxel_index
from data_processing.preparation.boundary_points import boundary_row
from data_processing.preparation.config import RESOLUTION, DataConfig
from data_processing.preparation.contents import BoundaryConfig, SurfaceConfig
from data_processing.preparation.shape import CubeShape, read_shape
from data_processing.preparation.surface_points import surface_row
from data_processing.store.bits import bits_at, pack_bits
from isofield.runtime.commandline import say
from isofield.runtime.counter_random import derive_keys, integers, keys_of, normals
from isofield.runtime.seeds import seed_of
from tests.benchmarks.measuring import EXAMPLES, Device, Table, in_turn

POINTS = 50_000  # of a shape, a batch: half from each sigma
SETTINGS = BoundaryConfig()
SURFACE = SurfaceConfig()
Tensors = tuple[torch.Tensor, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    files = sorted((EXAMPLES / "chair").glob("*.ply"))[: arguments.shapes]
    config = DataConfig(name="bench", input=EXAMPLES)
    shapes = [read_shape(file, config) for file in files]
    stored, anew = stored_tensors(shapes, arguments.device), resident_tensors(shapes, arguments.device)
    keys = keys_of([seed_of(0, file.name) for file in files], arguments.device)
    say(f"{len(shapes)} shapes x {POINTS} points on {arguments.device}")
    report(stored, anew, keys, arguments.repeats, arguments.device)
    for sigma in SETTINGS.sigmas:
        wrong = [wrong_labels(shape, anew, row, sigma) for row, shape in enumerate(shapes)]
        say(f"labels wrong at sigma {sigma}: stored none (asked where stored), anew {np.mean(wrong):.2%}")


def stored_tensors(shapes: list[CubeShape], device: str) -> Tensors:
    """Points (B, K*N, 3) int16 and bits (B, K*N/8)."""
    rows = [boundary_row(shape, SETTINGS, seed=0, name=str(number)) for number, shape in enumerate(shapes)]
    fields = ("boundary_points", "boundary_values")
    return tuple(torch.from_numpy(np.stack([row[key] for row in rows])).to(device) for key in fields)


def resident_tensors(shapes: list[CubeShape], device: str) -> Tensors:
    """Surface points (B, P, 3) int16 and the bits (B, 256^3/8) of the grid."""
    points = [surface_row(shape, SURFACE, seed=0, name=str(n))["surface_points"] for n, shape in enumerate(shapes)]
    grids = [pack_bits(shape.grid_RRR.numpy()) for shape in shapes]
    return tuple(torch.from_numpy(np.stack(items)).to(device) for items in (points, grids))


def from_store(tensors: Tensors, keys: torch.Tensor) -> Tensors:
    """Points (B, N, 3) and labels (B, N)."""
    points, values = tensors
    share = POINTS // len(SETTINGS.sigmas)
    index = torch.cat(
        [
            integers(derive_keys(keys, f"sigma-{number}"), share, SETTINGS.points) + number * SETTINGS.points
            for number in range(len(SETTINGS.sigmas))
        ],
        dim=1,
    )
    chosen = points.gather(1, index[..., None].expand(-1, -1, 3))
    return from_fixed(chosen), bits_at(values, index).float()


def from_surface(tensors: Tensors, keys: torch.Tensor) -> Tensors:
    """The same with fresh noise."""
    surface, grids = tensors
    index = integers(derive_keys(keys, "index"), POINTS, SURFACE.points)
    noise = normals(derive_keys(keys, "noise"), 3 * POINTS).view(len(keys), POINTS, 3)
    sigmas = torch.tensor(SETTINGS.sigmas, device=keys.device).repeat_interleave(POINTS // len(SETTINGS.sigmas))
    points = from_fixed(surface.gather(1, index[..., None].expand(-1, -1, 3))) + sigmas[:, None] * noise
    return points, looked_up(grids, points)


def looked_up(grids: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    i, j, k = voxel_index(points, RESOLUTION).unbind(-1)
    within = (points.abs() < 0.5).all(-1)
    return bits_at(grids, (i * RESOLUTION + j) * RESOLUTION + k).float() * within


def wrong_labels(shape: CubeShape, tensors: Tensors, row: int, sigma: float) -> float:
    """Share of points drawn anew whose looked-up label is not that of the exact inside test."""
    generator = np.random.default_rng(row)
    surface = from_fixed(tensors[0][row].cpu())
    points = surface[generator.integers(0, len(surface), POINTS)] + sigma * torch.from_numpy(
        generator.normal(size=(POINTS, 3)).astype(np.float32)
    )
    found = looked_up(tensors[1][row : row + 1].cpu(), points[None])[0].numpy() > 0.5
    return float((found != shape.inside(points.double().numpy())).mean())


def report(stored: Tensors, anew: Tensors, keys: torch.Tensor, repeats: int, device: Device) -> None:
    """Both in turn."""
    works = {
        "stored: choose, decode, look the bits up": lambda: from_store(stored, keys),
        "drawn anew: noise, look the voxels up": lambda: from_surface(anew, keys),
    }
    table = Table("a batch", "wall s", "CPU s", "bytes a shape", label=46)
    for (name, (wall, cpu, _)), tensors in zip(in_turn(works, repeats, device).items(), (stored, anew), strict=True):
        table.row(name, wall, cpu, sum(tensor[0].nbytes for tensor in tensors))


if __name__ == "__main__":
    main()
