"""Reconstructions of held-out shapes beside classical tools: one table, one protocol, one seed.

    python -m tests.benchmarks.bench_reconstruction --data datasets/furniture --out OUT --clouds 3000 300 \\
        --runs points=pretrained/points [--poses 8] --pymeshlab PYTHON [--classical poisson ...] [--voxels] \\
        [--every 5] [--meshes NAME=DIR ...] [--no-topology]

Every method is shown the same points, drawn by seed and name from what the data set's convention takes for the
surface; their normals (for poisson_true alone) point out of the solid. Clouds: a number of points, or what is done to
3,000 of them: `noise05`, `noise10` (sigma of 0.5 and 1 % of the longest edge), `third_missing` (beyond a plane),
`uneven` (density falls to a tenth along x), `turned` (by 40 degrees about y), `unit` (times 1000, shifted). `--voxels`:
marching cubes of the stored 32^3 solid, as it is and after ten steps of Taubin smoothing. `--meshes`: meshes that are
there already, DIR/category/name.ply in the source's frame. Judged: protocol onet against the source mesh with the data
set's conventions for voids and inner surfaces; share of shapes with more tunnels than the truth and with more pieces
(isofield/metrics/topology.py), both on 64^3 cells, thin parts one cell thick (`--no-topology` leaves both out: half of
the time). A method that makes no mesh of a shape fails there; failures are counted, means are over the others. What
rows.jsonl has is not done again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.formats.point_clouds import PointCloud, write_cloud
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight
from data_processing.geometry.voxel_grid import VoxelGrid
from data_processing.occupancy.coarse_solids import solid_cells
from data_processing.occupancy.inside_outside import inside_points, occupancy_grid
from data_processing.store.bits import unpack_array
from data_processing.store.shape_set import StoredShapes, open_shapes
from isofield.evaluation.ground_truth import MeshTruth, VoxelTruth, truth_of_shape
from isofield.evaluation.pairs import inside_settings
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts, surface_metrics
from isofield.metrics.topology import new_tunnels, topology
from isofield.runtime.json_files import Row
from isofield.runtime.seeds import numpy_generator

CLASSICAL = ("poisson", "poisson_true", "ball_pivoting")
HANDLED = ("noise05", "noise10", "third_missing", "uneven", "turned", "unit")  # of 3,000 points
SHOWN = 3000
CELLS, FINE = 64, 256
STEP = 2e-3  # of the longest edge: how far from the surface is asked which side is inside
COLUMNS = ("chamfer", "normal_consistency", "iou", "f_score")


def main(arguments: Sequence[str] | None = None) -> int:
    """Clouds, meshes, rows, tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of clouds, meshes and rows.jsonl")
    parser.add_argument("--clouds", nargs="*", default=[], help=f"numbers of points, and {', '.join(HANDLED)}")
    parser.add_argument("--runs", nargs="*", default=[], metavar="NAME=RUN", help="models that take clouds")
    parser.add_argument("--poses", type=int, default=1, metavar="N", help="of `isofield generate`, for --runs")
    parser.add_argument("--meshes", nargs="*", default=[], metavar="NAME=DIR", help="meshes that are there")
    parser.add_argument("--pymeshlab", type=Path, help="interpreter that has pymeshlab; none: no classical tools")
    parser.add_argument("--classical", nargs="*", default=CLASSICAL, choices=CLASSICAL, help="of these tools [all]")
    parser.add_argument("--no-topology", action="store_true", help="no tunnels and pieces")
    parser.add_argument("--voxels", action="store_true", help="marching cubes of 32^3 voxels")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th test shape only")
    options = parser.parse_args(arguments)
    bench = Bench(options.data, options.out, options.every, with_topology=not options.no_topology)
    runs = [entry.partition("=")[::2] for entry in options.runs]
    for shown in options.clouds:
        for name, run in runs:
            bench.judge(name, shown, bench.by_model(name, Path(run), shown, options.poses))
        for method in options.classical if options.pymeshlab else ():
            bench.judge(method, shown, bench.by_meshlab(method, options.pymeshlab, shown))
    if options.voxels:
        for name, steps in (("marching_cubes", 0), ("marching_cubes_smoothed", 10)):
            bench.judge(name, "voxels_32", bench.by_marching_cubes(name, steps))
    for entry in options.meshes:
        name, _, folder = entry.partition("=")
        bench.judge(name, "as made", {index: Path(folder) / f"{bench.shapes.names[index]}.ply" for index in bench.test})
    print(table(bench.rows.read_text().splitlines()))
    return 0


class Bench:
    """Test shapes of a data set and what was found of them so far."""

    def __init__(self, data: Path, out: Path, every: int, *, with_topology: bool = True) -> None:
        shapes = open_shapes(data)
        assert isinstance(shapes, StoredShapes)
        self.shapes, self.out, self.rows = shapes, out, out / "rows.jsonl"
        self.with_topology = with_topology
        self.test = [int(index) for index in shapes.splits["test"][::every]]
        out.mkdir(parents=True, exist_ok=True)
        self.rows.touch()

    def file(self, folder: str, index: int) -> Path:
        path = self.out / folder / f"{self.shapes.names[index].replace('/', '__')}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def clouds(self, shown: str) -> dict[int, Path]:
        """Files of what is shown, made where they are missing."""
        files = {index: self.file(f"clouds/{shown}", index) for index in self.test}
        for index, path in files.items():
            if not path.is_file():
                write_cloud(path, self.cloud(index, shown))
        return files

    def cloud(self, index: int, shown: str) -> PointCloud:
        truth = truth_of_shape(self.shapes, index, settings=inside_settings(self.shapes))
        assert isinstance(truth, MeshTruth)
        generator = numpy_generator(0, self.shapes.names[index], "bench_reconstruction", shown)
        lower, upper = truth.bounds()
        edge, middle = float((upper - lower).max()), (lower + upper) / 2
        count = SHOWN if shown in HANDLED else int(shown)
        samples = truth.surface(count if shown != "uneven" else 10 * count, generator)
        points, normals = samples.points_N3, samples.normals_N3
        assert normals is not None
        if shown == "uneven":
            kept = generator.random(len(points)) < 0.1 ** ((points[:, 0] - lower[0]) / (upper[0] - lower[0]))
            points, normals = points[kept][:count], normals[kept][:count]
        outer = inside_points(truth.mesh, points + STEP * edge * normals, truth.settings, method=truth.method)
        inner = inside_points(truth.mesh, points - STEP * edge * normals, truth.settings, method=truth.method)
        normals = np.where((outer & ~inner)[:, None], -normals, normals)
        if shown == "third_missing":
            direction = generator.standard_normal(3)
            height = points @ direction
            kept = height <= np.quantile(height, 2 / 3)
            points, normals = points[kept], normals[kept]
        if shown.startswith("noise"):
            points = points + generator.normal(0, int(shown[5:]) / 1000 * edge, points.shape)
        matrix = self.moved(shown, middle)
        return PointCloud(transform_points(points, matrix), normals @ np.linalg.inv(matrix[:3, :3]))

    def moved(self, shown: str, middle: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the frame of the source to that of the cloud, 4x4."""
        matrix = np.eye(4)
        if shown == "turned":
            cosine, sine = np.cos(np.radians(40)), np.sin(np.radians(40))
            matrix[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
            matrix[:3, 3] = middle - matrix[:3, :3] @ middle
        if shown == "unit":
            matrix[:3] *= 1000
            matrix[:3, 3] = (5000, -300, 20)
        return matrix

    def by_model(self, name: str, run: Path, shown: str, poses: int) -> dict[int, Path]:
        clouds = self.clouds(shown)
        files = {index: self.out / "meshes" / shown / name / path.name for index, path in clouds.items()}
        if missing := [clouds[index] for index, path in files.items() if not path.is_file()]:
            words = ["--run", run, "--out", self.out / "meshes" / shown / name, "--resolution", 128, "--frame", 64]
            words += ["--poses", poses]
            command = [sys.executable, "-m", "isofield", "generate", *words, "--input", *missing]
            subprocess.run(list(map(str, command)), check=False)
        return files

    def by_meshlab(self, method: str, python: Path, shown: str) -> dict[int, Path]:
        clouds = self.clouds(shown)
        files = {index: self.out / "meshes" / shown / method / path.name for index, path in clouds.items()}
        if missing := [clouds[index] for index, path in files.items() if not path.is_file()]:
            script = Path(__file__).with_name("classical_surfaces.py")
            folder = self.out / "meshes" / shown / method
            subprocess.run(list(map(str, [python, script, method, folder, *missing])), check=False)
        return files

    def by_marching_cubes(self, name: str, steps: int) -> dict[int, Path]:
        files = {index: self.file(f"meshes/voxels_32/{name}", index) for index in self.test}
        for index, path in files.items():
            truth = VoxelTruth(self.stored(index, 32))
            surface = truth.surface_to_show()
            mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
            if steps:
                trimesh.smoothing.filter_taubin(mesh, iterations=steps)
            write_mesh(path, TriangleMesh(np.asarray(mesh.vertices), np.asarray(mesh.faces, dtype=np.int64)))
        return files

    def stored(self, index: int, cells: int) -> VoxelGrid:
        to_cube = np.eye(4)
        to_cube[:3, :3] /= cells
        to_cube[:3, 3] = 0.5 / cells - 0.5
        return VoxelGrid(self.solid(index, cells), self.shapes.to_world(index) @ to_cube)

    def solid(self, index: int, cells: int) -> NDArray:
        field = f"grid_{cells}"
        return unpack_array(self.shapes.packed_row(index, [field])[field], (cells,) * 3)

    def judge(self, method: str, shown: str, files: dict[int, Path]) -> None:
        """A row for each shape that has none yet."""
        done = {(row["method"], row["shown"], row["name"]) for row in map(json.loads, self.rows.open())}
        for index, path in files.items():
            name = self.shapes.names[index]
            if (method, shown, name) in done:
                continue
            row: Row = {"method": method, "shown": shown, "name": name}
            try:
                row |= self.row(index, path, shown)
            except (ValueError, OSError) as error:
                row |= {"failed": str(error)[:200]}
            with open(self.rows, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        print(f"{method}, {shown}: done", flush=True)

    def row(self, index: int, path: Path, shown: str) -> Row:
        settings = inside_settings(self.shapes)
        truth = truth_of_shape(self.shapes, index, settings=settings)
        lower, upper = truth.bounds()
        mesh = read_mesh(path).transform(np.linalg.inv(self.moved(shown, (lower + upper) / 2)))
        (onet,) = find_protocols(["onet"])
        values = surface_metrics(mesh, truth, onet, SampleCounts(), name=self.shapes.names[index])
        del values["ground_truth"]
        values["watertight"] = bool(is_watertight(mesh))
        if not self.with_topology:
            return values
        in_cube = mesh.transform(np.linalg.inv(self.shapes.to_world(index)))
        # What sticks out of the cube is pressed to its walls: it is neither a hole nor a piece of the shape.
        in_cube = TriangleMesh(np.clip(in_cube.vertices, -0.5, 0.5), in_cube.faces)
        fine = occupancy_grid(in_cube, FINE, settings, device="cpu").grid_RRR
        solid, true = solid_cells(fine, CELLS, keep_thin=True).numpy(), self.solid(index, CELLS)
        return values | {"tunnels": new_tunnels(solid, true), "pieces": topology(solid).pieces - topology(true).pieces}


def table(lines: Sequence[str]) -> str:
    """Markdown of all rows, in the order in which methods first come."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in map(json.loads, lines):
        groups.setdefault((row["shown"], row["method"]), []).append(row)
    return "\n".join(_lines(groups))


def _mean(rows: Sequence[Row], key: str) -> str:
    return f"{np.mean([row[key] for row in rows if row[key] is not None]):.3f}" if rows else "-"


def _share(rows: Sequence[Row], key: str) -> str:
    counted = [row[key] > 0 for row in rows if key in row]
    return f"{np.mean(counted):.2f}" if counted else "-"


def _lines(groups: dict[tuple[str, str], list[Row]]) -> Iterator[str]:
    yield "| shown | method | n | failed | Chamfer (x10) | median | NC | IoU | F | watertight | holes | more pieces |"
    yield "|---|---|" + "---:|" * 10
    for (shown, method), rows in groups.items():
        good = [row for row in rows if "failed" not in row]
        middle = f"{np.median([row['chamfer'] for row in good]):.3f}" if good else "-"
        figures = [_mean(good, "chamfer"), middle, *(_mean(good, key) for key in COLUMNS[1:])]
        figures += [_share(good, "watertight"), _share(good, "tunnels"), _share(good, "pieces")]
        yield f"| {shown} | {method} | {len(rows)} | {len(rows) - len(good)} | " + " | ".join(figures) + " |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
