"""Views of a mesh for single-view reconstruction: milliseconds a picture of 137x137, and how far from many rays.

Real chairs, their faces split until there are 100,000: 24 pictures each, the ray structure built anew for each chair.
All at the same distance. Plain: 4x4 rays in every pixel of the picture, as reports are rendered. Where embreex is
installed: the same rays as ours, cast by it.

python -m tests.benchmarks.bench_views [--shapes 4]
"""

import argparse
import functools
import importlib.util
import statistics
from unittest import mock

import numpy as np
import trimesh

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import rendering
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.ray_casting import Eye, FirstHits, RayScene, SceneView
from data_processing.geometry.rendering import MARGIN, Camera, ViewBall, photographs, render
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.preparation.contents import RenderingConfig
from data_processing.preparation.renderings import drawn_cameras
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import EXAMPLES, Work, in_turn

FACES = 100_000
SETTINGS = RenderingConfig()
REFERENCE = 8  # rays along each edge of a pixel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--faces", type=int, default=FACES, help="of each shape at least; 0: as they are")
    arguments = parser.parse_args()
    files = sorted((EXAMPLES / "chair").glob("*.ply"))[:: 36 // arguments.shapes][: arguments.shapes]
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for file in files:
        mesh = split(read_mesh(file), arguments.faces)
        cameras, distance = cameras_of(mesh, file.stem)
        exact = supersampled(mesh, cameras[:2], distance, REFERENCE).astype(float)
        ways: dict[str, Work] = {
            "plain": functools.partial(supersampled, mesh, cameras, distance, 4),
            "ours": functools.partial(photographs, mesh, cameras, [distance] * len(cameras), size=SETTINGS.size),
        }
        if importlib.util.find_spec("embreex"):
            ways["embree"] = functools.partial(by_embree, mesh, cameras, distance)
        # The first call of ours compiles; it is not counted.
        photographs(mesh, cameras[:1], [distance], size=SETTINGS.size)
        for name, (wall_s, cpu_s, pictures) in in_turn(ways, arguments.repeats, warm=False).items():
            wall, cpu = (1e3 * seconds / len(pictures) for seconds in (wall_s, cpu_s))
            error = float(np.sqrt(np.square(pictures[:2] - exact).mean()))
            rows.setdefault(name, []).append((wall, cpu, error))
            say(f"{file.stem:32s} {len(mesh.faces):>7,} faces, {name}: {cpu:6.2f} CPU-ms a view, off by {error:.2f}")
    for name, values in rows.items():
        wall, cpu, error = (statistics.median(column) for column in zip(*values, strict=True))
        say(f"{name}: medians {wall:.2f} ms wall, {cpu:.2f} CPU-ms a view; root mean square from many rays {error:.2f}")


def by_embree(mesh: TriangleMesh, cameras: list[Camera], distance: float) -> np.ndarray:
    """The same pictures, but for single pixels, by the library that drew them before."""
    with mock.patch.object(rendering, "RayScene", EmbreeScene):
        return photographs(mesh, cameras, [distance] * len(cameras), size=SETTINGS.size)


class EmbreeScene(RayScene):
    """Rays cast by embree, one by one."""

    def __init__(self, vertices_V3: np.ndarray, faces_F3: np.ndarray) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh as EmbreeMesh

        super().__init__(vertices_V3, faces_F3)
        self._scene = rtcore_scene.EmbreeScene()
        EmbreeMesh(self._scene, self.vertices_V3, self.faces_F3.astype(np.int32))

    def view(self, eye: Eye) -> SceneView:
        return EmbreeView(self, eye, np.empty((0, 3)), np.empty((5, 0)))

    def run(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> dict[str, np.ndarray]:
        return self._scene.run(origins_N3, directions_N3, output=True)


class EmbreeView(SceneView):
    """All rays from one eye."""

    def cast(self, places_N2: np.ndarray, *, within_N: np.ndarray | None = None) -> FirstHits:
        position_3, right_3, up_3, forward_3 = self.eye
        directions_N3 = forward_3 + places_N2[:, :1] * right_3 + places_N2[:, 1:] * up_3
        directions_N3 /= np.sqrt(np.einsum("nc,nc->n", directions_N3, directions_N3))[:, None]
        origins_N3 = np.empty(directions_N3.shape, dtype=np.float32)
        origins_N3[:] = position_3
        hits = self.scene.run(origins_N3, directions_N3.astype(np.float32))  # type: ignore[attr-defined]
        face_N = np.where(hits["geomID"] < 0, -1, hits["primID"].astype(np.int64))
        return FirstHits(face_N, hits["tfar"].astype(np.float64))


def split(mesh: TriangleMesh, faces: int = FACES) -> TriangleMesh:
    """In cube coordinates, each face cut in four until there are enough."""
    mesh = mesh.transform(np.linalg.inv(normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)))
    fine = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    while len(fine.faces) < faces:
        largest = np.argsort(-fine.area_faces)[: max(1, min(len(fine.faces), (faces - len(fine.faces)) // 3 + 1))]
        fine = fine.subdivide(face_index=largest)
    return TriangleMesh(np.asarray(fine.vertices), np.asarray(fine.faces))


def cameras_of(mesh: TriangleMesh, name: str) -> tuple[list[Camera], float]:
    """As a data set has them, at the middle distance."""
    radius = float(np.linalg.norm(np.ptp(np.stack(mesh.bounds()), axis=0)) / 2)
    rows = drawn_cameras(SETTINGS, radius=radius, seed=0, name=name).tolist()
    distance = sum(SETTINGS.distance) / 2 * radius
    return [Camera(azimuth, elevation, SETTINGS.field_of_view) for azimuth, elevation, _ in rows], distance


def supersampled(mesh: TriangleMesh, cameras: list[Camera], distance: float, rays: int) -> np.ndarray:
    """With a frame that puts the cameras where they stand."""
    sine = np.sin(np.radians(SETTINGS.field_of_view) / 2) / (1 + MARGIN)
    return render(
        mesh, cameras, size=SETTINGS.size, view_ball=ViewBall(np.zeros(3), distance * sine), supersampling=rays
    )


if __name__ == "__main__":
    main()
