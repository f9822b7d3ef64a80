"""Extraction: points evaluated against the floor, and CPU-seconds against the published arrangement.

python -m tests.benchmarks.bench_extraction [--resolution 256] [--width 1024] [--repeats 3] [--memory]

Counts: points evaluated on the chair-like field at four shifts, with and without a thin rung, over the floor: distinct
samples that are corners of cells crossing the level. Time: the chair carries the cost of an IM-NET decoder (random
weights, times zero, added to it), once in the published arrangement (frame of a quarter, refined blocks of 4^3 with a
queue, the code repeated and concatenated for every point, PyMCubes on the padded dense grid) and once in ours (code
folded into the first layer once). `--width` scales the decoder for a quick run. `--memory` measures the peak of 512^3.
"""

import argparse
import itertools
from collections.abc import Callable

import numpy as np
import torch

from data_processing.geometry.marching_cubes import corner_offsets, crossing_cells, marching_cubes, pad_outside
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import Field, Resolution, axis_centres, evaluate_field
from isofield.runtime.commandline import say
from tests.benchmarks import fields
from tests.benchmarks.measuring import Device, Table, Work, highest_memory, in_turn, timed
from tests.plain_ways import mesh_of_grid

ISO = fields.ISO_LEVEL
OURS_BATCH, PUBLISHED_BATCH = 1 << 14, 16**3 * 4


def dense_values(field: Field, resolution: int | Resolution, device: Device = "cpu") -> torch.Tensor:
    shape = (resolution,) * 3 if isinstance(resolution, int) else resolution
    axes = [axis_centres(shape, axis, device) for axis in range(3)]
    slabs = [evaluate_field(field, torch.cartesian_prod(x[None], *axes[1:]), batch_points=1 << 16) for x in axes[0]]
    return torch.stack(slabs).view(shape)


def floor_points(values_XYZ: torch.Tensor, *, iso_level: float) -> int:
    """Distinct samples of the grid that are corners of cells crossing the level: no method can do with fewer."""
    padded = pad_outside(values_XYZ)
    cells, flat = crossing_cells(padded, iso_level=iso_level), padded.view(-1)
    corner = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    for offset in corner_offsets(tuple(padded.shape)):
        corner[cells + offset] = True
    return int((corner & torch.isfinite(flat)).sum())


class Decoder:
    """An IM-NET sized decoder of random weights; `width` 1024 is the published size (3.05 M multiply-adds a point)."""

    def __init__(self, width: int, device: Device = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        sizes = [259, width, width, width, width // 2, width // 4, width // 8, 1]
        weights = [torch.randn(o, i, generator=generator) * 0.02 for i, o in itertools.pairwise(sizes)]
        self.weights = [weight.to(device) for weight in weights]
        self.multiply_adds = sum(weight.numel() for weight in weights) - width * 256  # a point, the code's share folded
        self.code_Z = torch.rand(256, generator=generator).to(device)
        self.folded = self.weights[0][:, 3:] @ self.code_Z

    def published(self, points_N3: torch.Tensor) -> torch.Tensor:
        """The code repeated and concatenated to every point."""
        code_NZ = self.code_Z.expand(len(points_N3), -1)
        return self._rest(torch.nn.functional.linear(torch.cat([points_N3, code_NZ], 1), self.weights[0]))

    def split(self, points_N3: torch.Tensor) -> torch.Tensor:
        """The code's share of the first layer computed once."""
        return self._rest(torch.nn.functional.linear(points_N3, self.weights[0][:, :3], self.folded))

    def _rest(self, hidden: torch.Tensor) -> torch.Tensor:
        for weight in self.weights[1:]:
            hidden = torch.nn.functional.linear(torch.nn.functional.leaky_relu_(hidden, 0.02), weight)
        return hidden[:, 0]


def costly(field: Field, decoder: Callable[[torch.Tensor], torch.Tensor]) -> Field:
    return lambda points_N3: field(points_N3) + 0 * decoder(points_N3)


@torch.inference_mode()
def published_values(field: Field, resolution: int, device: Device = "cpu") -> tuple[np.ndarray, int]:
    """The published frame and queue: the padded grid, and the evaluations.

    A block of 4^3 is evaluated when its 3^3 neighbourhood in the frame is mixed, or a neighbour that was evaluated
    holds a value above the level. All blocks of a round go together and none is evaluated twice, which is kind to it:
    the published queue evaluates about a third of its blocks again.
    """
    coarse = resolution // 4
    frame = dense_values(field, coarse, device)
    evaluations = coarse**3
    inside = torch.nn.functional.pad((frame > ISO).float(), (1,) * 6)[None]
    mixed = torch.nn.functional.max_pool3d(inside, 3, 1) != -torch.nn.functional.max_pool3d(-inside, 3, 1)
    grid = torch.nn.functional.interpolate((frame > ISO).float()[None, None], scale_factor=4)[0, 0]
    centres = axis_centres((resolution,) * 3, 0, device)
    offsets = torch.cartesian_prod(*[torch.arange(4, device=device)] * 3)
    done = torch.zeros(coarse, coarse, coarse, dtype=torch.bool, device=device)
    queue = mixed[0]
    while queue.any():
        blocks_C3 = queue.nonzero()
        index_N3 = (4 * blocks_C3[:, None] + offsets).reshape(-1, 3)
        values = evaluate_field(field, centres[index_N3], batch_points=PUBLISHED_BATCH)
        evaluations += len(values)
        grid[index_N3.unbind(1)] = values
        done |= queue
        push = torch.zeros(coarse, coarse, coarse, device=device)
        push[blocks_C3.unbind(1)] = (values.view(-1, 64) > ISO).any(1).float()
        queue = (torch.nn.functional.max_pool3d(push[None], 3, 1, 1)[0] > 0) & ~done
    return np.pad(grid.cpu().numpy(), 1), evaluations


def report_counts(resolution: int) -> None:
    say(f"points evaluated at {resolution}^3, chair-like field")
    say(f"{'field':34s} {'floor':>9s} {'ours':>9s} {'ratio':>6s}  mesh against dense")
    for rung in (False, True):
        for shift in fields.SHIFTS:
            field = fields.chair(shift, rung=rung)
            values_XYZ = dense_values(field, resolution)
            floor, dense = floor_points(values_XYZ, iso_level=ISO), mesh_of_grid(values_XYZ, iso_level=ISO)
            ours = extract(field, iso_level=ISO, resolution=resolution, batch_points=1 << 16, device="cpu")
            same = all(np.array_equal(getattr(ours.mesh, k), getattr(dense, k)) for k in ("vertices", "faces"))
            name = f"{shift}{' with rung' if rung else ''}"
            ratio = ours.evaluations / floor
            say(f"{name:34s} {floor:9d} {ours.evaluations:9d} {ratio:6.2f}  {'equal' if same else 'NOT EQUAL'}")


def report_times(resolution: int, width: int, repeats: int) -> None:
    import mcubes

    decoder, field = Decoder(width), fields.chair(fields.SHIFTS[2])
    plain, ours = costly(field, decoder.published), costly(field, decoder.split)
    counts = {}

    def published() -> None:
        grid, counts["published"] = published_values(plain, resolution)
        mcubes.marching_cubes(grid, ISO)

    def coarse_to_fine() -> None:
        result = extract(ours, iso_level=ISO, resolution=resolution, batch_points=OURS_BATCH, device="cpu")
        counts["ours"] = result.evaluations

    coarse_to_fine()
    works: dict[str, Work] = {"published": published, "ours": coarse_to_fine}
    rows = in_turn(works, repeats, warm=False)
    table = Table(f"{resolution}^3 with a decoder {width} wide", "points", "wall s", "CPU s")
    for name, (wall, cpu, _) in rows.items():
        table.row(name, counts[name], wall, cpu)
    wall, cpu = (rows["published"][k] / rows["ours"][k] for k in range(2))
    table.row("ratio", counts["published"] / counts["ours"], wall, cpu)


def report_marching_cubes(resolution: int, repeats: int) -> None:
    import mcubes

    padded = pad_outside(dense_values(fields.chair(fields.SHIFTS[2]), resolution))
    cells, finite = crossing_cells(padded, iso_level=ISO), padded.clamp_min(0).numpy()
    works: dict[str, Work] = {
        "PyMCubes": lambda: mcubes.marching_cubes(finite, ISO),
        "ours, dense": lambda: marching_cubes(padded, iso_level=ISO),
        "ours, active cells": lambda: marching_cubes(padded, iso_level=ISO, cells=cells),
    }
    table = Table(f"marching cubes at {resolution}^3, {len(cells)} crossing cells", "wall s", "CPU s", label=52)
    for name, (wall, cpu, _) in in_turn(works, repeats, warm=False).items():
        table.row(name, wall, cpu)


def report_memory() -> None:
    before = highest_memory()
    field = fields.chair(fields.SHIFTS[2])
    wall, _, result = timed(lambda: extract(field, iso_level=ISO, resolution=512, batch_points=1 << 16, device="cpu"))
    say(f"512^3: {result.evaluations} points, {len(result.mesh.faces)} faces, {wall:.2f} s")
    say(f"peak memory {highest_memory():.2f} GiB")
    say(f"of which {before:.2f} GiB before the extraction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="only the peak memory of an analytic field at 512^3")
    arguments = parser.parse_args()
    if arguments.memory:
        report_memory()
        return
    report_counts(arguments.resolution)
    report_marching_cubes(arguments.resolution, max(arguments.repeats, 5))
    report_times(arguments.resolution, arguments.width, arguments.repeats)


if __name__ == "__main__":
    main()
