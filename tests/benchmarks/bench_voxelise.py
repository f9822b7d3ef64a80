"""Voxelisation and inside tests: ours against the full winding number and rays, in the same run.

python -m tests.benchmarks.bench_voxelise [--meshes DIR] [--count 8] [--resolution 256] [--full]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from data_processing.coordinates import normalising_to_world
from data_processing.meshes import TriangleMesh, closed_faces, read_mesh
from data_processing.occupancy import InsideSettings, inside_points, occupancy_grid
from data_processing.winding import winding_numbers
from tests.data_processing.solids import ball, centres

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def timed(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float, Any]:
    """Median wall and CPU seconds, and the last result."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), result


def row(label: str, wall: float, cpu: float, note: str = "") -> None:
    print(f"{label:<46} {wall:8.3f} {cpu:8.3f}  {note}", flush=True)


def wavy_ball() -> TriangleMesh:
    """A closed surface of 327,680 faces."""
    mesh = ball(1.0, subdivisions=7)
    waves = 0.3 + 0.1 * np.sin(7 * mesh.vertices[:, :1]) * np.cos(5 * mesh.vertices[:, 1:2])
    return TriangleMesh(mesh.vertices * waves, mesh.faces)


def in_cube(mesh: TriangleMesh) -> TriangleMesh:
    to_world = normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)
    return mesh.transformed(np.linalg.inv(to_world))


def grids(paths: list[Path], resolution: int, *, full: bool) -> None:
    settings = InsideSettings()
    by_method: dict[str, list[tuple[float, float]]] = {}
    for path in paths:
        mesh = in_cube(read_mesh(path))
        wall, cpu, result = timed(partial(occupancy_grid, mesh, resolution, settings, device="cpu"), 1)
        by_method.setdefault(result.method, []).append((wall, cpu))
        note = f"{result.method}, {len(mesh.faces)} faces, {result.quality[:40]}"
        row(path.stem[:45], wall, cpu, note)
        if full and not closed_faces(mesh).all():
            plain_wall, plain_cpu, number = timed(partial(winding_numbers, mesh.triangles(), centres(resolution)), 1)
            bare = occupancy_grid(mesh, resolution, InsideSettings(thin="drop"), device="cpu").grid_RRR.numpy()
            differ = int(((np.abs(number) > 0.5) != bare.reshape(-1).astype(bool)).sum())
            row("  full winding number", plain_wall, plain_cpu, f"{differ} voxels differ")
    for method, times in by_method.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        row(f"median of {len(times)} by {method}", wall, cpu)


def points(mesh: TriangleMesh, count: int) -> None:
    query = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3))
    wall, cpu, ours = timed(lambda: inside_points(mesh, query))
    row(f"{count} points, ours", wall, cpu, f"{len(mesh.faces)} faces")
    wall, cpu, number = timed(lambda: winding_numbers(mesh.triangles(), query), 1)
    row("  fast winding number", wall, cpu, f"{int(((np.abs(number) > 0.5) != ours).sum())} points differ")
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    wall, cpu, rays = timed(lambda: plain.contains(query), 1)
    row("  rays (trimesh, embreex)", wall, cpu, f"{int((rays != ours).sum())} points differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meshes", type=Path, default=EXAMPLES)
    parser.add_argument("--count", type=int, default=8, help="meshes, evenly taken from the folder")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--full", action="store_true", help="compare soups with the full winding number")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.resolution}^3")
    print(f"{'':<46} {'wall s':>8} {'CPU s':>8}")
    mesh = wavy_ball()
    wall, cpu, _ = timed(lambda: occupancy_grid(mesh, arguments.resolution, InsideSettings(), device="cpu"))
    row("closed surface, grid", wall, cpu, f"scan, {len(mesh.faces)} faces")
    points(mesh, 1_000_000)
    paths = sorted(arguments.meshes.rglob("*.ply"))
    grids(paths[:: max(len(paths) // arguments.count, 1)], arguments.resolution, full=arguments.full)


if __name__ == "__main__":
    main()
