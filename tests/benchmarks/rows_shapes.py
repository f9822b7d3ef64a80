"""Rows of the suite without a network: preparing shapes, judging them, drawing them."""

import functools

import numpy as np
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.rendering import photographs
from data_processing.occupancy.inside_outside import InsideConfig, occupancy_grid
from data_processing.occupancy.winding_number import winding_numbers
from data_processing.preparation.level_points import sample_levels
from isofield.metrics.light_field import describe, distance_matrix
from isofield.metrics.light_field.distance import rows_plain
from isofield.metrics.light_field.silhouettes import normalise_box, silhouettes, silhouettes_plain
from isofield.metrics.light_field.tables import screen_axes
from isofield.metrics.set_distances import Solver
from tests.benchmarks import bench_evaluation, bench_generative, bench_light_field, bench_sampling, bench_views
from tests.benchmarks.bench_voxelise import in_cube
from tests.benchmarks.measuring import EXAMPLES, Timing, Work, in_turn, number, once, timed
from tests.benchmarks.results import Floor, Result
from tests.benchmarks.setting import Setting, one_thread
from tests.isofield.metrics.light_field.plain import outline
from tests.plain_ways import closed_faces

LFD_VIEWS, LFD_PART = 100, 5


def preparation(setting: Setting) -> list[Result]:
    """Three levels of points out of one resident grid of 256^3."""
    cells = bench_sampling.chair()
    grid = torch.from_numpy(cells).to(setting.device)
    works: dict[str, Work] = {
        "ours": lambda: sample_levels(grid, seed=0, name="chair"),
        "floor": lambda: grid.view(torch.int64).sum(),
    }
    with one_thread():
        times = in_turn(works, setting.pick(15, 3), setting.device)
        plain = timed(lambda: bench_sampling.plain_levels(cells), setting.pick(3, 1))
    ours = times["ours"]
    if setting.gpu:
        goals = [setting.goal("shapes a second", 1 / ours.wall, 300)]
    else:
        goals = [setting.goal("CPU-s a shape", ours.cpu, 0.03, at_least=False)]
    work, plain_is = "preparation at 256^3, three levels", "a loop over cells, drawn until a voxel matches"
    return [
        Result("preparation", work, ours, plain, plain_is, Floor("one read of the grid", times["floor"].wall), goals)
    ]


def voxelise(setting: Setting) -> list[Result]:
    """The open mesh of the most faces among the examples."""
    resolution = setting.pick(256, 64)
    meshes = {path.stem: read_mesh(path) for path in sorted(EXAMPLES.rglob("*.ply"))}
    soups = {name: mesh for name, mesh in meshes.items() if not closed_faces(mesh).all()}
    name = max(soups, key=lambda name: len(soups[name].faces))
    mesh, every = in_cube(soups[name]), setting.pick(64, 16)
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    chosen = np.random.default_rng(0).integers(0, resolution, (resolution**3 // every, 3))
    with one_thread():
        # Both ways compile before the clock runs; seconds of that would be scaled up with the points.
        occupancy_grid(mesh, 32, InsideConfig(), device=setting.device)
        winding_numbers(mesh.triangles(), axis[chosen[:1]])
        works: dict[str, Work] = {
            "ours": lambda: occupancy_grid(mesh, resolution, InsideConfig(), device=setting.device),
            "plain": lambda: winding_numbers(mesh.triangles(), axis[chosen]),
        }
        times = in_turn(works, setting.rounds, setting.device, warm=False)
    plain = Timing(every * times["plain"].wall, every * times["plain"].cpu)
    goals = [] if setting.gpu else [setting.goal("seconds", times["ours"].wall, 6, at_least=False)]
    return [
        Result(
            "voxelise",
            f"voxelise a soup at {resolution}^3, {len(mesh.faces):,} faces",
            times["ours"],
            plain,
            f"winding number at every voxel (1 of {every}, scaled up)",
            goals=goals,
            note=f"{name}, by {times['ours'].result.method}",
        )
    ]


def pairs(setting: Setting) -> list[Result]:
    """Chamfer distance, normals and IoU; a closed mesh and a soup."""
    chosen = setting.pick(("chair/Scopia_6_Chair", "chair/KatorLegaz_49_Bar_stool"), ("chair/Scopia_92_Chair",))
    results = []
    for pair in (pair for pair in bench_evaluation.PAIRS if pair.name in chosen):
        truth, prediction = pair.load()
        works: dict[str, Work] = {
            "plain": functools.partial(bench_evaluation.plain, prediction, truth),
            "ours": functools.partial(bench_evaluation.ours, prediction, truth),
        }
        with one_thread():
            times = in_turn(works, setting.rounds)
        closed = "closed" if closed_faces(truth).all() else "soup"
        ratio = times["plain"].cpu / times["ours"].cpu
        results.append(
            Result(
                f"pair, {closed}",
                f"Chamfer, normals, IoU of a pair, {closed}, {len(truth.faces):,} faces",
                times["ours"],
                times["plain"],
                "trimesh's samples, default k-d trees, rays for each of 1,000,000 points",
                goals=[setting.goal("ratio of CPU-s", ratio, 5)],
                note=pair.name,
            )
        )
    return results


def light_field(setting: Setting) -> list[Result]:
    """A descriptor and distances between sets."""
    faces, count, device = setting.pick(100_000, 3_000), setting.pick(50, 5), setting.device
    mesh = next(bench_light_field.shapes(1, faces, 6))
    few = screen_axes()[:LFD_PART]
    images = silhouettes(mesh, device=device).cpu().numpy()[:: LFD_VIEWS // LFD_PART]

    def plain() -> None:
        silhouettes_plain(normalise_box(mesh), mesh.faces, few, device=device)
        for image in images:
            outline(image)

    descriptor = once(lambda: describe(mesh, device=device), device).result
    many = [descriptor] * count
    works: dict[str, Work] = {
        "plain": plain,
        "ours": lambda: describe(mesh, device=device),
        "plain row": lambda: next(rows_plain([descriptor], many, device=device)),
        "matrix": lambda: distance_matrix(many, many, device=device),
    }
    times = in_turn(works, setting.rounds, device)
    scale = LFD_VIEWS / LFD_PART
    return [
        Result(
            "light-field-descriptor",
            f"light field descriptor, {len(mesh.faces):,} faces",
            times["ours"],
            Timing(scale * times["plain"].wall, scale * times["plain"].cpu),
            f"silhouettes by torch operators, contours by numpy and scipy; no transforms ({LFD_PART} views, scaled up)",
        ),
        Result(
            "light-field-distance",
            f"light field distances, {count} x {count}",
            times["matrix"],
            Timing(count * times["plain row"].wall, count * times["plain row"].cpu),
            "torch operators (one row, scaled up)",
        ),
    ]


def generative(setting: Setting) -> list[Result]:
    """Distances between sets of clouds."""
    results = []
    plains = {"chamfer": bench_generative.chamfer_by_trees, "emd": bench_generative.emd_by_scipy}
    sizes = {"chamfer": setting.pick((12, 2048), (3, 512)), "emd": setting.pick((4, 512), (2, 128))}
    for kind, (count, points) in sizes.items():
        x, y = (bench_generative.stretched_clouds(count, points, side) for side in ("samples", "references"))
        solver = Solver(kind, workers=1, device=setting.device, progress=False)
        works: dict[str, Work] = {
            "plain": functools.partial(plains[kind], x, y),
            "ours": functools.partial(solver.between, x, y, what=""),
        }
        with one_thread():
            times = in_turn(works, setting.rounds, setting.device)
        ms = number(1e3 * times["ours"].cpu / count**2)
        results.append(
            Result(
                f"generative, {kind}",
                f"generative metrics, {kind}, {count} x {count} clouds of {points:,} points",
                times["ours"],
                times["plain"],
                {"chamfer": "k-d trees, each built once", "emd": "scipy's assignment, exact"}[kind],
                note=f"{ms} CPU-ms a pair" + " (within 1 %)" * (kind == "emd"),
            )
        )
    return results


def views(setting: Setting) -> list[Result]:
    """24 pictures of a real chair as a network is shown it."""
    file = sorted((EXAMPLES / "chair").glob("*.ply"))[0]
    mesh = read_mesh(file) if setting.quick else bench_views.split(read_mesh(file))
    mesh = in_cube(mesh) if setting.quick else mesh
    cameras, distance = bench_views.cameras_of(mesh, file.stem)
    cameras, size = cameras[: setting.pick(24, 2)], bench_views.SETTINGS.size
    works: dict[str, Work] = {
        "plain": lambda: bench_views.supersampled(mesh, cameras, distance, 4),
        "ours": lambda: photographs(mesh, cameras, [distance] * len(cameras), size=size),
    }
    with one_thread():
        times = in_turn(works, setting.rounds)
    ms = number(1e3 * times["ours"].cpu / len(cameras))
    work = f"{len(cameras)} views of {size}^2, {len(mesh.faces):,} faces"
    return [Result("views", work, times["ours"], times["plain"], "16 rays in every pixel", note=f"{ms} CPU-ms a view")]
