"""One mesh pair: 100,000 surface points both ways and IoU on 1,000,000 points, against rays for every point.

    python -m tests.benchmarks.bench_evaluation

Truth: a real watertight chair, every face split into 16 (79,616 faces). Prediction: its reconstruction from 112^3
voxels by marching cubes. Plain: trimesh samples and casts rays (embree) for every point, k-d trees as scipy builds them
by default. Both in the same run, alternating, medians; both must agree on the numbers.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from data_processing import views
from data_processing.commandline import say
from data_processing.coordinates import normalising_to_world, voxel_centres
from data_processing.marching_cubes import marching_cubes, pad_outside
from data_processing.meshes import TriangleMesh, is_watertight, read_mesh, sample_surface
from data_processing.occupancy import inside_points
from engine import metrics
from engine.evaluation import Draws, compare
from engine.ground_truth import MeshTruth
from engine.metrics import SurfaceSamples
from engine.protocols import find_protocol

ROUNDS = 3
CHAIR = Path(__file__).resolve().parents[2] / "examples/chair/Scopia_6_Chair.ply"
IFNET = find_protocol("ifnet")
DRAWS = Draws()


def chair_pair(*, resolution: int = 112) -> tuple[TriangleMesh, TriangleMesh]:
    """A truth of 79,616 faces and its reconstruction from voxels; both watertight, in the frame of the file."""
    chair = read_mesh(CHAIR)
    vertices, faces = chair.vertices, chair.faces
    for _ in range(2):
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)
    truth = TriangleMesh(np.asarray(vertices), np.asarray(faces, dtype=np.int64))
    to_world = normalising_to_world(*truth.bounds(), by="longest_edge", length=0.95)
    axis = voxel_centres(torch.arange(resolution), resolution).numpy().astype(np.float64)
    grid_N3 = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = inside_points(truth.transformed(np.linalg.inv(to_world)), grid_N3).reshape((resolution,) * 3)
    found, triangles = marching_cubes(pad_outside(torch.from_numpy(inside.astype(np.float32))), iso_level=0.5)
    cube = TriangleMesh((found.numpy() - 1 + 0.5) / resolution - 0.5, triangles.numpy())
    return truth, cube.transformed(to_world)


def plain(prediction: TriangleMesh, truth: TriangleMesh) -> dict[str, float]:
    """The usual arrangement: trimesh's samples and rays against every point."""
    matrix = IFNET.normalising(*truth.bounds())
    solids = [trimesh.Trimesh(m.transformed(matrix).vertices, m.faces, process=False) for m in (prediction, truth)]
    clouds = [trimesh.sample.sample_surface(solid, DRAWS.surface_count(IFNET), seed=0) for solid in solids]
    trees = [cKDTree(points) for points, _ in clouds]
    distances = [trees[1].query(clouds[0][0]), trees[0].query(clouds[1][0])]
    corners = np.concatenate([solid.bounds for solid in solids])
    drawn = np.random.default_rng(0).random((DRAWS.iou_count(IFNET), 3))
    points = corners.min(axis=0) + drawn * np.ptp(corners, axis=0)
    first, second = (solid.contains(points) for solid in solids)
    return {"chamfer": sum(float((d**2).mean()) for d, _ in distances) / 2, "iou": metrics.iou(first, second)}


def ours(prediction: TriangleMesh, truth: TriangleMesh) -> dict[str, float]:
    """All metrics of the protocol, and whether the prediction is watertight."""
    return compare(prediction, MeshTruth(truth), IFNET, DRAWS, name="chair", watertight=is_watertight(prediction))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def parts(prediction: TriangleMesh, truth: TriangleMesh) -> dict[str, Callable[[], object]]:
    """What ours consists of, and what stands beside it in a report."""
    generator = np.random.default_rng(0)
    clouds = [SurfaceSamples(*sample_surface(mesh, 100_000, generator)) for mesh in (prediction, truth)]
    lower, upper = truth.bounds()
    points = lower + generator.random((1_000_000, 3)) * (upper - lower)
    cameras = views.camera_ring(24)
    return {
        "samples, 2 x 100,000": lambda: [sample_surface(mesh, 100_000, generator) for mesh in (prediction, truth)],
        "nearest neighbours both ways": lambda: metrics.compare(*clouds),
        "inside of the prediction, 1,000,000": lambda: inside_points(prediction, points),
        "inside of the truth, 1,000,000": lambda: inside_points(truth, points),
        "watertight?": lambda: is_watertight(prediction),
        "24 views of 137 px (not in the pair)": lambda: views.render(truth, cameras, size=137),
    }


def main() -> None:
    torch.set_num_threads(1)  # as evaluate.py does
    truth, prediction = chair_pair()
    say(
        f"truth {len(truth.faces):,} faces, watertight {is_watertight(truth)}; ",
    )
    say(f"prediction {len(prediction.faces):,} faces, watertight {is_watertight(prediction)}")
    results = {"plain": plain(prediction, truth), "ours": ours(prediction, truth)}  # warms up too
    for name, values in results.items():
        say(f"{name}: chamfer {values['chamfer']:.4g}, iou {values['iou']:.5f}")
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    for _ in range(ROUNDS):
        times["plain"].append(seconds(lambda: plain(prediction, truth)))
        times["ours"].append(seconds(lambda: ours(prediction, truth)))
    middle = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    say(f"{'one pair':40}{'wall s':>9}{'CPU s':>9}")
    for name, (wall, cpu) in middle.items():
        say(f"{name:40}{wall:>9.3f}{cpu:>9.3f}")
    ratio = [plain_s / ours_s for plain_s, ours_s in zip(middle["plain"], middle["ours"], strict=True)]
    say(f"{'plain / ours':40}{ratio[0]:>9.1f}{ratio[1]:>9.1f}")
    for name, work in parts(prediction, truth).items():
        work()
        wall, cpu = (statistics.median(column) for column in zip(*[seconds(work) for _ in range(ROUNDS)], strict=True))
        say(f"{name:40}{wall:>9.3f}{cpu:>9.3f}")


if __name__ == "__main__":
    main()
