"""Which inputs a run says are unlike its training: AUROC against held-out shapes, and how many are flagged.

    python -m tests.benchmarks.bench_out_of_distribution --run pretrained/points --data datasets/furniture \\
        [--every 4] [--json pretrained/measured/inputs-points.json]

Near: the test shapes, of which nothing was calibrated. Far, 3,000 points of each: every N-th test shape turned, with
another axis up, noisy, cut off, with points beside it, on a floor, beside another one, as blocks of voxels; six
structures of two brains (examples/brain); simple solids; clouds at random. All draws by name and kind.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.coordinates import from_fixed
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.loading.single_inputs import observe_in_memory
from data_processing.store.shape_set import StoredShapes, open_shapes
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import field_of
from isofield.generation.out_of_distribution import InputScore, load_input_calibration, measure_input
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.run_dir import preparation_of
from isofield.runtime.json_files import Row
from isofield.runtime.seeds import numpy_generator
from tests.conftest import ROOT
from tests.tools.pretrained import table_of_inputs

POINTS = 3000
NEAR = ("clean", "clean, 300 points", "clean, 10,000 points")
BRAIN = ROOT / "examples" / "brain"
STRUCTURES = ("hippocampus", "amygdala", "caudate", "putamen", "pallidum", "thalamusproper")
Points = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores, then a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a run that was calibrated: evaluate --calibrate inputs")
    parser.add_argument("--data", type=Path, required=True, help="its data set")
    parser.add_argument("--every", type=int, default=4, metavar="N", help="each N-th test shape is spoilt [4]")
    parser.add_argument("--near", type=int, default=1, metavar="N", help="each N-th test shape is asked as it is [1]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args(arguments)
    judge, shapes = Judge(options.run), open_shapes(options.data)
    assert isinstance(shapes, StoredShapes)
    test = [int(index) for index in shapes.splits["test"]]
    near = [judge(name, cloud) for name, cloud in clean(shapes, test[:: options.near], POINTS)]
    by_kind: dict[str, list[InputScore]] = {NEAR[0]: near}
    for name, points in zip(NEAR[1:], (300, 10_000), strict=True):
        by_kind[name] = [judge(*one) for one in clean(shapes, test[:: options.every], points)]
    for kind, name, cloud in [*spoilt(shapes, test, options.every), *others()]:
        by_kind.setdefault(kind, []).append(judge(f"{kind} {name}", cloud))
    rows = [row(kind, scores, near) for kind, scores in by_kind.items()]
    print("\n".join(table_of_inputs(rows)))
    if options.json:
        content = {"model_hash": judge.loaded.model_hash, "points": POINTS, "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


class Judge:
    """A run, as generate.py asks it of a cloud."""

    def __init__(self, run: str) -> None:
        place = find_run(run)
        self.loaded, self.preparation = load_run(place), preparation_of(place)
        section = self.loaded.config.data.input
        usual = load_input_calibration(place, model_hash=self.loaded.model_hash, section=section)
        assert usual is not None, f"{run}: calibrate it first"
        self.usual = usual

    def __call__(self, name: str, points_N3: Points) -> InputScore:
        model = self.loaded.model
        section = self.loaded.config.data.input
        observed = observe_in_memory(PointCloud(points_N3), self.preparation, section, name=name, where=name)
        with torch.no_grad():
            code = model.encode(observed.inputs[None])
        field = field_of(model, code)
        mesh = extract(field, iso_level=model.iso_level, resolution=64, device="cpu").mesh
        if not len(mesh.faces):  # generate.py fails there, which is said too
            return InputScore(float("inf"), 0.0, 0.0, "misfit")
        about = (observed, code, field, mesh)
        values, shown = measure_input(self.usual.distance, self.usual.parts, *about, iso_level=model.iso_level)
        return self.usual.judge(values, shown)


def row(kind: str, scores: Sequence[InputScore], near: Sequence[InputScore]) -> Row:
    """One kind of input: AUROC against clean ones, the share that is flagged, which measurement was the largest."""
    theirs, ours = (np.array([one.score for one in some]) for some in (scores, near))
    above = (theirs[:, None] > ours).mean() + 0.5 * (theirs[:, None] == ours).mean()
    most = {part: sum(one.most == part for one in scores) for part in ("features", "misfit", "unseen")}
    auroc = None if kind == NEAR[0] else round(float(above), 3)
    return {
        "input": kind,
        "n": len(scores),
        "auroc": auroc,
        "flagged": np.mean([o.is_far for o in scores]),
        "most": most,
    }


def clean(shapes: StoredShapes, indices: Sequence[int], count: int) -> Iterator[tuple[str, Points]]:
    for index in indices:
        yield shapes.names[index], some(stored(shapes, index), count, shapes.names[index])


def spoilt(shapes: StoredShapes, test: Sequence[int], every: int) -> Iterator[tuple[str, str, Points]]:
    """Each kind of each N-th test shape, in the cube."""
    for place in range(0, len(test), every):
        name, whole = shapes.names[test[place]], stored(shapes, test[place])
        generator = numpy_generator(0, name, "bench_out_of_distribution")
        cloud, direction = some(whole, POINTS, name), generator.standard_normal(3)
        height = whole @ direction
        yield "turned by 40 degrees about the up axis", name, cloud @ rotation([0, 1, 0], 40)
        yield "lying (z up)", name, cloud @ rotation([1, 0, 0], 90)
        yield "upside down", name, cloud @ rotation([1, 0, 0], 180)
        for sigma in (0.005, 0.01, 0.02, 0.05):
            yield f"noise, {sigma:.1%} of the edge", name, cloud + generator.normal(0, sigma * 0.9, cloud.shape)
        for kind, share in (("a third missing", 2 / 3), ("half missing", 1 / 2)):
            yield kind, name, some(whole[height <= np.quantile(height, share)], int(POINTS * share), name)
        strewn, where = cloud.copy(), generator.random(POINTS) < 0.05
        strewn[where] = generator.uniform(-0.45, 0.45, (where.sum(), 3))
        yield "5 % of the points anywhere", name, strewn
        floor = generator.uniform(-0.8, 0.8, cloud.shape) * [1, 0, 1] + [0, whole[:, 1].min(), 0]
        yield "on a piece of floor", name, np.concatenate([cloud, floor])
        beside = stored(shapes, test[(place + 7) % len(test)]) + np.array([0.95, 0, 0])
        yield "two shapes side by side", name, np.concatenate([cloud, some(beside, POINTS, name)])
        cells = np.unique(np.floor(whole * 24), axis=0)
        on_faces = generator.random((POINTS, 3))
        on_faces[np.arange(POINTS), generator.integers(3, size=POINTS)] = generator.integers(2, size=POINTS)
        yield "faces of voxels of 1/24", name, (cells[generator.integers(len(cells), size=POINTS)] + on_faces) / 24


def others() -> Iterator[tuple[str, str, Points]]:
    """What is no furniture."""
    generator = numpy_generator(0, "bench_out_of_distribution")
    for name, mesh in [*organs(), *solids()]:
        kind = "structure of a brain" if name[0].isdigit() else "simple solid"
        yield kind, name, sample_surface(mesh, POINTS, generator)[0]
    for number in range(5):
        yield "points at random in a box", f"box {number}", generator.uniform(-0.5, 0.5, (POINTS, 3))
        yield "points at random, normal", f"normal {number}", generator.standard_normal((POINTS, 3))


def organs() -> Iterator[tuple[str, TriangleMesh]]:
    with open(BRAIN / "atlas-desikankilliany.csv", encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["label"] in STRUCTURES and row["hemisphere"] == "L"]
    for donor in ("9861", "15496"):
        labels = np.asanyarray(nibabel.Nifti1Image.from_filename(BRAIN / f"donor_{donor}_dk.nii.gz").dataobj)
        for entry in rows:
            index = np.argwhere(labels == int(entry["id"]))
            lower, upper = index.min(0), index.max(0) + 1
            box = labels[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] == int(entry["id"])
            vertices, faces = marching_cubes(pad_outside(torch.from_numpy(box.astype(np.float32))), iso_level=0.5)
            yield f"{donor} {entry['label']}", TriangleMesh(vertices.double().numpy(), faces.numpy())


def solids() -> Iterator[tuple[str, TriangleMesh]]:
    made = trimesh.creation
    meshes = {
        "ball": made.icosphere(4),
        "ring": made.torus(1, 0.3),
        "thin ring": made.torus(1, 0.08),
        "cone": made.cone(1, 2),
        "cylinder": made.cylinder(0.3, 2),
        "capsule": made.capsule(2, 0.4),
        "tube": made.annulus(0.6, 1, 0.4),
        "cube": made.box((1, 1, 1)),
        "plate": made.box((1, 0.03, 1)),
        "bar": made.box((2, 0.2, 0.2)),
    }
    for name, mesh in meshes.items():
        yield name, TriangleMesh(np.asarray(mesh.vertices), np.asarray(mesh.faces, dtype=np.int64))


def stored(shapes: StoredShapes, index: int) -> Points:
    """Surface points of a shape, in the cube."""
    fixed = torch.from_numpy(np.asarray(shapes.packed_row(index, ["surface_points"])["surface_points"]))
    return from_fixed(fixed).double().numpy()


def some(points: Points, count: int, name: str) -> Points:
    return points[numpy_generator(0, name, str(count)).choice(len(points), count, replace=len(points) < count)]


def rotation(axis: Sequence[float], degrees: float) -> NDArray[np.float64]:
    return np.asarray(trimesh.transformations.rotation_matrix(np.radians(degrees), axis)[:3, :3])


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
