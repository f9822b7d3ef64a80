"""Rays from an eye to the first surface that they meet: for pictures of meshes, and for what a camera sees.

On a CPU, by compiled kernels (ray_casting_kernels.py), with the same result on every machine and any number of threads.
No library and no structure over the mesh: a view of 100,000 faces takes some milliseconds.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS_OF_A_RAY = (4, 2)  # along x and y, in the mean
MOST_CELLS = 2048  # along an edge


class Eye(NamedTuple):
    """Where rays come from, and three axes (unit vectors, perpendicular to each other) that span the picture."""

    position_3: NDArray[np.float64]
    right_3: NDArray[np.float64]
    up_3: NDArray[np.float64]
    forward_3: NDArray[np.float64]


class FirstHits(NamedTuple):
    """What N rays meet first: the face (-1: none) and how far that is along `forward` (infinite: none)."""

    face_N: NDArray[np.int64]
    depth_N: NDArray[np.float64]


class RayScene:
    """Triangles to cast rays at: vertices (V, 3), of which single precision is kept, and faces (F, 3).

    Scale to about 1 first.
    """

    def __init__(self, vertices_V3: NDArray[np.floating], faces_F3: NDArray[np.integer]) -> None:
        self.vertices_V3 = np.ascontiguousarray(vertices_V3, dtype=np.float32)
        self.faces_F3 = np.ascontiguousarray(faces_F3, dtype=np.int64)

    def view(self, eye: Eye) -> "SceneView":
        """The triangles as an eye has them, for many rays from there."""
        from data_processing.geometry.ray_casting_kernels import face_boxes

        corners_V3, boxes_5F = np.empty(self.vertices_V3.shape), np.empty((5, len(self.faces_F3)))
        face_boxes(self.vertices_V3, self.faces_F3, np.array(eye, dtype=np.float64), corners_V3, boxes_5F)
        return SceneView(self, eye, corners_V3, boxes_5F)

    def normals(self, face_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """Normals (N, 3) of faces, of the length of twice their areas, in single precision."""
        from data_processing.geometry.ray_casting_kernels import face_normals

        normals_N3 = np.empty((len(face_N), 3), dtype=np.float32)
        face_normals(self.vertices_V3, self.faces_F3, face_N, normals_N3)
        return normals_N3


@dataclass(frozen=True)
class SceneView:
    """Triangles from an eye: corners (V, 3) to the right, upwards and away, and where each face is in the picture."""

    scene: RayScene
    eye: Eye
    corners_V3: NDArray[np.float64]
    boxes_5F: NDArray[np.float64]  # left, right, lower and upper end, least depth

    def cast(self, places_N2: NDArray[np.float64], *, within_N: NDArray[np.float64] | None = None) -> FirstHits:
        """What is met first on the rays from the eye through forward + x * right + y * up, for places (N, 2) x and y.

        `within_N`: depths beyond which nothing counts. Both facings of a triangle are met.
        """
        from data_processing.geometry.ray_casting_kernels import first_faces, sort_places

        count = len(places_N2)
        hits = FirstHits(np.full(count, -1, dtype=np.int64), np.full(count, np.inf))
        if count == 0:
            return hits
        # Rays are sorted into cells of the picture. Narrow ones: a face looks up each row, and no column.
        columns, rows = (min(int(np.ceil(np.sqrt(count)) * share), MOST_CELLS) for share in CELLS_OF_A_RAY)
        places_2N, order_N = np.empty((2, count)), np.empty(count, dtype=np.int64)
        first_C, grid_6 = np.zeros(columns * rows + 1, dtype=np.int64), np.empty(6)
        places_N2 = np.ascontiguousarray(places_N2, dtype=np.float64)
        sort_places(places_N2, columns, rows, places_2N, order_N, first_C, grid_6)
        face_N, depth_N = hits.face_N.copy(), hits.depth_N.copy() if within_N is None else within_N[order_N]
        faces_F3, corners_V3 = self.scene.faces_F3, self.corners_V3
        first_faces(corners_V3, faces_F3, self.boxes_5F, places_2N, first_C, grid_6, depth_N, face_N)
        # Back in the order of the places.
        hits.face_N[order_N], hits.depth_N[order_N] = face_N, np.where(face_N < 0, np.inf, depth_N)
        return hits


def eye_towards(position_3: NDArray[np.float64], target_3: NDArray[np.float64]) -> Eye:
    """An eye that looks from one place at another, whatever is up."""
    forward_3 = (target_3 - position_3) / np.linalg.norm(target_3 - position_3)
    # Crossing with the axis that the view leans on least is never degenerate.
    right_3 = np.cross(forward_3, np.eye(3)[np.abs(forward_3).argmin()])
    right_3 /= np.linalg.norm(right_3)
    return Eye(position_3, right_3, np.cross(right_3, forward_3), forward_3)
