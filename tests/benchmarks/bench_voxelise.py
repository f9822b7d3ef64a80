"""Voxelisation and inside tests: ours against the full winding number and rays, in the same run.

python -m tests.benchmarks.bench_voxelise [--meshes DIR] [--count 8] [--resolution 256] [--full]
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import trimesh

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.occupancy.inside_outside import InsideConfig, inside_points, occupancy_grid
from data_processing.occupancy.winding_number import cells_grid, winding_grid, winding_numbers
from tests.benchmarks.measuring import EXAMPLES, Table, Work, in_turn, threads, timed
from tests.data_processing.solids import ball, centres
from tests.plain_ways import closed_faces


def wavy_ball() -> TriangleMesh:
    """A closed surface of 327,680 faces."""
    mesh = ball(1.0, subdivisions=7)
    waves = 0.3 + 0.1 * np.sin(7 * mesh.vertices[:, :1]) * np.cos(5 * mesh.vertices[:, 1:2])
    return TriangleMesh(mesh.vertices * waves, mesh.faces)


def in_cube(mesh: TriangleMesh) -> TriangleMesh:
    to_world = normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)
    return mesh.transform(np.linalg.inv(to_world))


def grids(table: Table, paths: list[Path], resolution: int, *, full: bool) -> None:
    settings = InsideConfig()
    by_method: dict[str, list[tuple[float, float]]] = {}
    for path in paths:
        mesh = in_cube(read_mesh(path))
        wall, cpu, result = timed(partial(occupancy_grid, mesh, resolution, settings, device="cpu"), 1)
        by_method.setdefault(result.method, []).append((wall, cpu))
        note = f"{result.method}, {len(mesh.faces)} faces, {result.quality[:40]}"
        table.row(path.stem[:45], wall, cpu, note=note)
        soup = mesh.triangles()[~closed_faces(mesh)]
        if len(soup):
            works: dict[str, Work] = {
                "boundary": partial(winding_grid, soup, resolution),
                "tree": partial(cells_grid, soup, resolution),
            }
            both = in_turn(works, 1, warm=False)
            apart = int((both["boundary"].result != both["tree"].result).sum())
            table.row("  its open parts, by boundary edges", *both["boundary"][:2], note=f"{len(soup)} faces")
            table.row("  by the tree over faces", *both["tree"][:2], note=f"{apart} voxels differ")
        if full and not closed_faces(mesh).all():
            plain_wall, plain_cpu, number = timed(partial(winding_numbers, mesh.triangles(), centres(resolution)), 1)
            bare = occupancy_grid(mesh, resolution, InsideConfig(thin="drop"), device="cpu").grid_RRR.numpy()
            differ = int(((np.abs(number) > 0.5) != bare.reshape(-1).astype(bool)).sum())
            table.row("  full winding number", plain_wall, plain_cpu, note=f"{differ} voxels differ")
    for method, times in by_method.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        table.row(f"median of {len(times)} by {method}", wall, cpu)


def points(table: Table, mesh: TriangleMesh, count: int) -> None:
    query = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3))
    wall, cpu, ours = timed(lambda: inside_points(mesh, query), 3)
    table.row(f"{count} points, ours", wall, cpu, note=f"{len(mesh.faces)} faces")
    wall, cpu, number = timed(lambda: winding_numbers(mesh.triangles(), query), 1)
    table.row("  fast winding number", wall, cpu, note=f"{int(((np.abs(number) > 0.5) != ours).sum())} points differ")
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    wall, cpu, rays = timed(lambda: plain.contains(query), 1)
    table.row("  rays (trimesh, embreex)", wall, cpu, note=f"{int((rays != ours).sum())} points differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meshes", type=Path, default=EXAMPLES)
    parser.add_argument("--count", type=int, default=8, help="meshes, evenly taken from the folder")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--full", action="store_true", help="compare soups with the full winding number")
    arguments = parser.parse_args()
    table = Table(f"{threads()}, {arguments.resolution}^3", "wall s", "CPU s", label=46)
    mesh = wavy_ball()
    wall, cpu, _ = timed(lambda: occupancy_grid(mesh, arguments.resolution, InsideConfig(), device="cpu"), 3)
    table.row("closed surface, grid", wall, cpu, note=f"scan, {len(mesh.faces)} faces")
    points(table, mesh, 1_000_000)
    paths = sorted(arguments.meshes.rglob("*.ply"))
    grids(table, paths[:: max(len(paths) // arguments.count, 1)], arguments.resolution, full=arguments.full)


if __name__ == "__main__":
    main()
