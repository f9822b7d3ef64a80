"""Light field distance: cost of a descriptor by stage, of a distance, and of the matrix between two sets of shapes.

python -m tests.benchmarks.bench_light_field [--shapes 100] [--faces 100000] [--floaters 6] [--device cpu]

Shapes are the example meshes, each turned at random, refined to at least --faces faces, with --floaters small balls.
"""

import argparse
import statistics
from collections.abc import Iterator

import numpy as np
import trimesh

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field import Descriptor, describe, distance_matrix
from isofield.metrics.light_field.descriptors import describe_silhouettes, measure
from isofield.metrics.light_field.distance import rows_plain
from isofield.metrics.light_field.silhouettes import normalise_box, silhouettes, silhouettes_plain
from isofield.metrics.light_field.tables import screen_axes
from isofield.runtime.threads import map_in_threads
from tests.benchmarks.measuring import EXAMPLES, Table, threads, timed
from tests.data_processing.solids import ball, joined
from tests.isofield.metrics.light_field.plain import outline


def shapes(count: int, faces: int, floaters: int) -> Iterator[TriangleMesh]:
    """Turned, refined example meshes with floaters, the same at every call."""
    paths, generator = sorted(EXAMPLES.glob("*/*.ply")), np.random.default_rng(0)
    for k in range(count):
        mesh = read_mesh(paths[k % len(paths)])
        plain = trimesh.Trimesh(
            mesh.vertices @ np.linalg.qr(generator.normal(size=(3, 3)))[0], mesh.faces, process=False
        )
        while len(plain.faces) < faces:
            plain = plain.subdivide()
        lower, upper = plain.bounds
        size = float((upper - lower).max())
        places = lower + generator.random((floaters, 3)) * (upper - lower)
        balls = [ball(size * generator.uniform(0.005, 0.04), place, 2) for place in places]
        yield joined(TriangleMesh(np.array(plain.vertices), np.array(plain.faces, dtype=np.int64)), *balls)


def stages(table: Table, mesh: TriangleMesh, device: str) -> None:
    """One descriptor by stage, beside plain formulations of the slowest stages."""
    wall, cpu, pixels = timed(lambda: silhouettes(mesh, device=device), 3, device=device)
    table.row("100 silhouettes", wall, cpu, note=f"{len(mesh.faces)} faces")
    if device == "cpu":
        few = screen_axes()[:5]
        wall, cpu, _ = timed(
            lambda: silhouettes_plain(normalise_box(mesh), mesh.faces, few, device="cpu"), device=device
        )
        table.row("  the same by torch operators (5 views, x 20)", 20 * wall, 20 * cpu)
    images = pixels.cpu().numpy()
    wall, cpu, _ = timed(lambda: list(map_in_threads(measure, images)), 3, device=device)
    table.row("contours and numbers of single views", wall, cpu)
    wall, cpu, steps = timed(lambda: [outline(image)[1] for image in images[::20]], device=device)
    joined_views = sum(step > 0 for step in steps)
    table.row(
        "  contours by numpy and scipy (5 views, x 20)",
        20 * wall,
        20 * cpu,
        note=f"{joined_views} of 5 views of several parts",
    )
    wall, cpu, _ = timed(lambda: describe_silhouettes(pixels), 3, device=device)
    table.row("the same and the radial transform", wall, cpu)
    wall, cpu, _ = timed(lambda: describe(mesh, device=device), 3, device=device)
    table.row("descriptor, all of it", wall, cpu)


def whole(table: Table, count: int, faces: int, floaters: int, device: str) -> None:
    """Descriptors of two sets and the matrix between them."""
    meshes, walls, cpus, descriptors = shapes(2 * count, faces, floaters), [], [], []
    for mesh in meshes:
        wall, cpu, descriptor = timed(lambda mesh=mesh: describe(mesh, device=device), device=device)  # type: ignore[misc]
        walls.append(wall)
        cpus.append(cpu)
        descriptors.append(descriptor)
    table.row(f"{2 * count} descriptors", sum(walls), sum(cpus), note=f"median {statistics.median(cpus):.3f} CPU-s")
    first, second = descriptors[:count], descriptors[count:]
    wall, cpu, matrix = timed(lambda: distance_matrix(first, second, device=device), device=device)
    table.row(f"{count} x {count} distances", wall, cpu, note=f"{1e6 * cpu / count**2:.0f} CPU-us a pair")
    table.row(f"{count} x {count} shapes", sum(walls) + wall, sum(cpus) + cpu)
    plain_distances(table, first[0], second, matrix[0], device)


def plain_distances(
    table: Table, first: Descriptor, second: list[Descriptor], expected: np.ndarray, device: str
) -> None:
    wall, cpu, found = timed(lambda: next(rows_plain([first], second, device=device)), device=device)
    note = "equal" if np.array_equal(found, expected) else "DIFFERENT"
    table.row(
        f"  one row of {len(second)} by torch operators, x {len(second)}",
        len(second) * wall,
        len(second) * cpu,
        note=note,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=100)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--floaters", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    mesh = next(shapes(1, options.faces, options.floaters))
    wall, cpu, descriptor = timed(lambda: describe(mesh, device=options.device), device=options.device)
    distance_matrix([descriptor], [descriptor], device=options.device)
    table = Table(threads(), "wall s", "CPU s", label=54)
    table.row("first call (kernels are compiled, or read from disk)", wall, cpu)
    stages(table, mesh, options.device)
    whole(table, options.shapes, options.faces, options.floaters, options.device)


if __name__ == "__main__":
    main()
