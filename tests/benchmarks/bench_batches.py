"""Stages of a preparation on a device: one shape, and many at once.

    python -m tests.benchmarks.bench_batches [--device cuda] [--shapes 32] [--quick]

Scan conversion at 256^3, levels, and cells of 128^3 with thin parts kept, of two closed chairs of examples/ in turn.
What a GPU is asked for is counted on a pretended device (tests/isofield/test_host_waits.py, LOG.md).
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.occupancy.coarse_solids import solid_cells_of_all
from data_processing.occupancy.mesh_parts import MeshParts
from data_processing.occupancy.scan_batches import scan_grids
from data_processing.preparation.config import RESOLUTION
from data_processing.preparation.level_batches import ShapeGrid, sample_levels_of_all
from data_processing.preparation.workers import AT_ONCE
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import EXAMPLES, Table, threads, timed

CHAIRS = ("KatorLegaz_51_Chair", "BlendSwap_CC_0_114_Chair")
CELLS, QUICK_CELLS, QUICK_GRID = 128, 16, 32


def works(count: int, device: torch.device, *, quick: bool = False) -> dict[str, Callable[[], object]]:
    """The stages of `count` shapes at once, on what lies on the device already."""
    meshes = [triangles_of(CHAIRS[number % len(CHAIRS)], device) for number in range(count)]
    if quick:
        rod = torch.zeros((RESOLUTION,) * 3, dtype=torch.uint8)
        rod[100:150, 90:99, 20:220] = 1
        grids = [rod.to(device) for _ in meshes]
    else:
        grids = [number.ne(0).to(torch.uint8) for number in scan_grids(meshes, RESOLUTION)]
    coarse = [grid[::4, ::4, ::4].contiguous() for grid in grids] if quick else grids
    shapes = [ShapeGrid(grid, 0, str(number)) for number, grid in enumerate(grids)]
    return {
        "scan conversion": partial(scan_grids, meshes, QUICK_GRID if quick else RESOLUTION),
        "levels": partial(sample_levels_of_all, shapes),
        "thinning": partial(solid_cells_of_all, coarse, QUICK_CELLS if quick else CELLS, keep_thin=True),
    }


def triangles_of(name: str, device: torch.device) -> torch.Tensor:
    """The closed parts of a chair in the cube: triangles (F, 3, 3)."""
    mesh = read_mesh(EXAMPLES / "chair" / f"{name}.ply")
    to_world = normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)
    return torch.from_numpy(MeshParts(mesh.transform(np.linalg.inv(to_world))).closed).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shapes", type=int, default=AT_ONCE)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    say(f"{threads()}, {device}")
    table = Table("a shape", "wall s, alone", f"of {options.shapes}", "CPU-s, alone", f"of {options.shapes}")
    alone, together = (works(count, device, quick=options.quick) for count in (1, options.shapes))
    for name, work in alone.items():
        one, many = timed(work, 3, device), timed(together[name], 3, device)
        table.row(name, one.wall, many.wall / options.shapes, one.cpu, many.cpu / options.shapes)


if __name__ == "__main__":
    main()
