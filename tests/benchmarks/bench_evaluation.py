"""Mesh pairs: 100,000 surface points both ways and IoU on 1,000,000 points, against rays for every point.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_evaluation [--rounds 5] [--pairs NAME ...] [--parts]

Truth: a real mesh, its faces split. Prediction: its reconstruction from voxels by marching cubes, watertight. Plain:
trimesh samples and casts rays (embree) for every point, k-d trees as scipy builds them by default. Both alternate in
one run; medians. Chamfer distances and IoU of both are shown: rays miscount overlapping parts, and soups entirely, at
the usual cost. For soups ours takes the winding number, once as evaluate.py meets two folders (the method is chosen
first) and once with the method that the preparation recorded. Last: what the first call of the kernels costs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import rendering
from data_processing.geometry.coordinates import normalising_to_world, voxel_centres
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from data_processing.occupancy.inside_outside import inside_points
from isofield.evaluation.ground_truth import MeshTruth
from isofield.evaluation.protocols import find_protocol
from isofield.evaluation.rows import SampleCounts, compare
from isofield.metrics import surfaces
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import EXAMPLES, Table, Work, in_turn

IFNET = find_protocol("ifnet")
DRAWS = SampleCounts()


@dataclass(frozen=True)
class PairOfMeshes:
    """Where a truth comes from: every face split into 4^splits; the prediction from voxels of `resolution`."""

    name: str
    splits: int
    resolution: int

    def load(self) -> tuple[TriangleMesh, TriangleMesh]:
        mesh = read_mesh(EXAMPLES / f"{self.name}.ply")
        vertices, faces = mesh.vertices, mesh.faces
        for _ in range(self.splits):
            vertices, faces = trimesh.remesh.subdivide(vertices, faces)
        truth = TriangleMesh(np.asarray(vertices), np.asarray(faces, dtype=np.int64))
        return truth, reconstruction(mesh, self.resolution)


PAIRS = [
    PairOfMeshes("chair/Scopia_92_Chair", 0, 32),
    PairOfMeshes("chair/BlendSwap_CC_BY_95_Armchair", 1, 64),
    PairOfMeshes("table/Scopia_64_Glass_table", 2, 96),
    PairOfMeshes("chair/Scopia_6_Chair", 2, 112),
    PairOfMeshes("chair/BlendSwap_CC_0_93_Chair", 2, 112),
    PairOfMeshes("chair/BlendSwap_CC_0_118_Folding_chair", 3, 160),
    PairOfMeshes("chair/Scopia_387_Ryokan_chair", 4, 256),
    PairOfMeshes("chair/BlendSwap_CC_0_86_Armchair", 0, 112),  # soups from here on
    PairOfMeshes("chair/KatorLegaz_49_Bar_stool", 1, 112),
    PairOfMeshes("table/Scopia_38_Table", 2, 112),
    PairOfMeshes("chair/BlendSwap_CC_0_101_Chair", 2, 112),
]


def reconstruction(mesh: TriangleMesh, resolution: int) -> TriangleMesh:
    """Marching cubes of the voxels of a mesh, in the frame of its file."""
    to_world = normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.95)
    axis = voxel_centres(torch.arange(resolution), resolution).numpy().astype(np.float64)
    grid_N3 = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = inside_points(mesh.transform(np.linalg.inv(to_world)), grid_N3, method="winding")
    occupancy = torch.from_numpy(inside.reshape((resolution,) * 3).astype(np.float32))
    found, triangles = marching_cubes(pad_outside(occupancy), iso_level=0.5)
    return TriangleMesh((found.numpy() - 1 + 0.5) / resolution - 0.5, triangles.numpy()).transform(to_world)


def plain(prediction: TriangleMesh, truth: TriangleMesh) -> dict[str, float]:
    """The usual arrangement: trimesh's samples and rays against every point."""
    matrix = IFNET.normalising(*truth.bounds())
    solids = [trimesh.Trimesh(m.transform(matrix).vertices, m.faces, process=False) for m in (prediction, truth)]
    clouds = [trimesh.sample.sample_surface(solid, DRAWS.surface_count(IFNET), seed=0) for solid in solids]
    trees = [cKDTree(points) for points, _ in clouds]
    distances = [trees[1].query(clouds[0][0]), trees[0].query(clouds[1][0])]
    corners = np.concatenate([solid.bounds for solid in solids])
    drawn = np.random.default_rng(0).random((DRAWS.iou_count(IFNET), 3))
    points = corners.min(axis=0) + drawn * np.ptp(corners, axis=0)
    first, second = (solid.contains(points) for solid in solids)
    return {"chamfer": sum(float((d**2).mean()) for d, _ in distances) / 2, "iou": surfaces.iou(first, second)}


def ours(prediction: TriangleMesh, truth: TriangleMesh, method: str = "auto") -> dict[str, float]:
    """All metrics of the protocol, and whether the prediction is watertight. Nothing is remembered between calls."""
    fresh = TriangleMesh(prediction.vertices, prediction.faces)
    known = MeshTruth(TriangleMesh(truth.vertices, truth.faces), method=method)
    return compare(fresh, known, IFNET, DRAWS, name="pair", watertight=is_watertight(fresh))


def one_pair(pair: PairOfMeshes, rounds: int) -> None:
    """A row of the table."""
    truth, prediction = pair.load()
    watertight = is_watertight(truth)
    works: dict[str, Work] = {
        "plain": lambda: plain(prediction, truth),
        "ours": lambda: ours(prediction, truth),
    }
    if not watertight:
        works["recorded"] = lambda: ours(prediction, truth, "winding")
    numbers = [plain(prediction, truth), ours(prediction, truth)]  # warms up too
    taken = in_turn(works, rounds, warm=False)
    row = f"{pair.name:42}{len(truth.faces):>9,}{len(prediction.faces):>9,}{'' if watertight else ' soup':5}"
    row += "".join(f"{taken[name][1]:>9.3f}" for name in works) + " " * 9 * watertight
    for column in (1, 0):
        row += "".join(f"{taken['plain'][column] / taken[name][column]:>7.1f}" for name in list(works)[1:])
        row += " " * 7 * watertight
    for name in ("chamfer", "iou"):
        row += f"{numbers[0][name]:>10.4g}{numbers[1][name]:>10.4g}"
    say(row)


def parts(pair: PairOfMeshes, rounds: int) -> None:
    """What ours consists of, and what stands beside it in a report."""
    truth, prediction = pair.load()
    generator = np.random.default_rng(0)
    clouds = [SurfaceSamples(*sample_surface(mesh, 100_000, generator)) for mesh in (prediction, truth)]
    lower, upper = truth.bounds()
    points = lower + generator.random((1_000_000, 3)) * (upper - lower)
    cameras = rendering.camera_ring(24)
    works: dict[str, Work] = {
        "samples, 2 x 100,000": lambda: [sample_surface(mesh, 100_000, generator) for mesh in (prediction, truth)],
        "nearest neighbours both ways": lambda: surfaces.compare(*clouds),
        "inside of the prediction, 1,000,000": lambda: inside_points(prediction, points, method="scan"),
        "inside of the truth, 1,000,000": lambda: inside_points(truth, points),
        "watertight?": lambda: is_watertight(TriangleMesh(prediction.vertices, prediction.faces)),
        "1,000,000 uniform points": lambda: generator.random((1_000_000, 3)) * (upper - lower) + lower,
        "24 views of 137 px (not in the pair)": lambda: rendering.render(truth, cameras, size=137),
    }
    table = Table(f"parts of {pair.name}", "wall s", "CPU s")
    for name, (wall, cpu, _) in in_turn(works, rounds, warm=False).items():
        table.row(name, wall, cpu)


def first_call() -> None:
    """CPU seconds of the first pair of a process, beyond a second one: kernels compiled, then from disk."""
    code = (
        "import time, torch; torch.set_num_threads(1)\n"
        "from tests.benchmarks.bench_evaluation import ours\n"
        "import numpy as np, trimesh\n"
        "from data_processing.geometry.triangle_mesh import TriangleMesh\n"
        "ball = trimesh.creation.icosphere(subdivisions=4)\n"
        "mesh = TriangleMesh(np.array(ball.vertices), np.array(ball.faces, dtype=np.int64))\n"
        "def once():\n"
        "    start = time.process_time(); ours(mesh, mesh); return time.process_time() - start\n"
        "first = once(); print(first - once())"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for what in ("compiled", "from disk"):
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            say(f"first call of a process, kernels {what}: {float(run.stdout):.2f} CPU-s more than the second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", nargs="*", default=[""], help="only those whose names hold one of these")
    parser.add_argument("--parts", action="store_true", help="the parts of each pair too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as evaluate.py does
    chosen = [pair for pair in PAIRS if any(name in pair.name for name in arguments.pairs)]
    say(
        f"{'truth':42}{'faces':>9}{'predict.':>9}{'':5}{'plain':>9}{'ours':>9}{'recorded':>9}"
        f"{'ratio of CPU-s':>14}{'of wall':>14}{'chamfer':>20}{'iou':>20}"
    )
    for pair in chosen:
        one_pair(pair, arguments.rounds)
    if arguments.parts:
        for pair in chosen:
            parts(pair, arguments.rounds)
    first_call()


if __name__ == "__main__":
    main()
