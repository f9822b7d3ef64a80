"""Triangle meshes as arrays: bounds, closedness, surface samples.

Files of meshes: formats/mesh_files.py; what is inside a mesh: occupancy/inside_outside.py.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.coordinates import transform_points
from isofield.runtime.compiled import compiled_module, is_spared

SAMPLING_KERNELS = "data_processing.geometry.surface_sampling_kernels"
compiled_kernels = functools.partial(compiled_module, SAMPLING_KERNELS)
EDGE_KERNELS = "data_processing.geometry.edge_kernels"
edge_kernels = functools.partial(compiled_module, EDGE_KERNELS)
SECONDS_OF_FACE = 4e-6  # CPU, of pairing its edges by arrays, about


class EdgePairs(NamedTuple):
    """What edge_kernels.py finds out: vertices merged by position, the half edges that meet, and if all do."""

    first_V: NDArray[np.int64]
    partner_H: NDArray[np.int64]
    manifold: bool  # every edge has two faces
    watertight: bool  # and they walk it in opposite directions


FEW_SAMPLES = 10_000  # drawn by arrays within some milliseconds: no kernel need be compiled for them
SECONDS_OF_SAMPLE = 2.5e-7  # CPU, by arrays, about


@dataclass(frozen=True)
class TriangleMesh:
    """Vertices (V, 3) float64 in any frame, faces (F, 3) int64 counter-clockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, (3,) each, of the vertices that faces use."""
        used = np.zeros(len(self.vertices), dtype=bool)
        used[self.faces] = True
        corners_3V = np.ascontiguousarray(self.vertices[used].T)  # rows are reduced ten times faster than columns
        return corners_3V.min(axis=1), corners_3V.max(axis=1)

    @functools.cached_property
    def merged_faces(self) -> NDArray[np.int64]:
        """Faces (F, 3) over merged vertices: corners at exactly equal positions get one number."""
        positions = self.vertices + 0.0  # -0.0 becomes 0.0
        # Equal positions are neighbours once sorted: every change begins a new number.
        order = np.lexsort(positions.T)
        ordered = positions[order]
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.cumsum(np.r_[False, (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(order)]
        return number[self.faces]

    @functools.cached_property
    def unbalanced_edges(self) -> NDArray[np.int64]:
        """Directed edges (E, 2) of the merged faces that are walked more often one way than the other: holes, flips."""
        return unbalanced_edges(self.merged_faces)

    @functools.cached_property
    def edge_pairs(self) -> "EdgePairs | None":
        """Which half edges meet; None where no kernel tells, or where faces have a corner twice."""
        if len(self.faces) == 0 or is_spared(EDGE_KERNELS, SECONDS_OF_FACE * len(self.faces)):
            return None
        kernels = edge_kernels()
        if kernels is None:
            return None
        first_V = kernels.merge_vertices(np.ascontiguousarray(self.vertices, dtype=np.float64))
        partner_H, state = kernels.pair_edges(np.ascontiguousarray(self.faces, dtype=np.int64), first_V)
        return (
            None
            if state == kernels.SLIVERS
            else EdgePairs(first_V, partner_H, state >= kernels.FLIPPED, state == kernels.CLOSED)
        )

    @functools.cached_property
    def is_manifold(self) -> bool:
        """Every edge has exactly two faces, whichever way they walk it, and no face has a corner twice."""
        if self.edge_pairs is not None:
            return self.edge_pairs.manifold
        a, b, c = self.merged_faces.T
        if len(a) == 0 or (a == b).any() or (b == c).any() or (c == a).any():
            return False
        start, end = np.concatenate([a, b, c]), np.concatenate([b, c, a])
        keys = np.sort(np.minimum(start, end) * (int(start.max()) + 1) + np.maximum(start, end))
        even, odd = keys[::2], keys[1::2]
        return len(keys) % 2 == 0 and bool((even == odd).all() and (even[1:] != odd[:-1]).all())

    def triangles(self) -> NDArray[np.float64]:
        """Corners of all faces: (F, 3, 3)."""
        return self.vertices.take(self.faces, axis=0)

    def transform(self, matrix_44: NDArray[np.floating]) -> "TriangleMesh":
        """The mesh under an affine; a mirroring one flips the faces, so that outside stays outside."""
        faces = self.faces[:, ::-1] if np.linalg.det(np.asarray(matrix_44)[:3, :3]) < 0 else self.faces
        return TriangleMesh(transform_points(self.vertices, matrix_44), np.ascontiguousarray(faces))


def unbalanced_edges(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows (E, 2) of directed edges that faces walk more often one way than the other: holes and flipped faces.

    None at all means that the winding number is an integer everywhere off the surface.
    """
    # A directed edge is one number, and its way back the same with both halves swapped: in a closed mesh these are the
    # same multiset.
    walked, width = _edge_keys(faces), int(faces.max(initial=0)) + 1
    if np.array_equal(np.sort(walked), np.sort(walked % width * width + walked // width)):
        return np.empty((0, 2), dtype=np.int64)  # a closed mesh: no need to ask which
    keys, surplus = walk_surplus(walked, width)
    keys = keys[surplus != 0]
    return np.stack([keys // width, keys % width], axis=1)


def walk_surplus(walked: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Directed edges (K,) as numbers from * width + to, ascending, and how much more often each is walked than back."""
    keys, count = np.unique(walked, return_counts=True)
    back = keys % width * width + keys // width
    at = np.searchsorted(keys, back).clip(max=max(len(keys) - 1, 0))
    return keys, count - np.where(keys[at] == back, count[at], 0)


def is_watertight(mesh: TriangleMesh) -> bool:
    """After merging equal vertices: every edge has exactly two faces, which walk it in opposite directions."""
    if mesh.edge_pairs is not None:
        return mesh.edge_pairs.watertight
    keys = np.sort(_edge_keys(mesh.merged_faces))
    # An edge that is walked twice the same way has four faces, or two that disagree.
    unique = bool((keys[1:] != keys[:-1]).all())
    return len(mesh.faces) > 0 and unique and len(mesh.unbalanced_edges) == 0


def sample_surface(
    mesh: TriangleMesh, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 3) uniform over the area, and the unit normals (N, 3) of their faces."""
    spared = count <= FEW_SAMPLES or is_spared(SAMPLING_KERNELS, SECONDS_OF_SAMPLE * count)
    kernels = None if spared else compiled_kernels()
    if kernels is None:
        return _sample_by_arrays(mesh, count, generator)
    vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    cumulative, normals = kernels.cumulative_area(vertices, faces)
    _refuse_no_area(cumulative)
    return kernels.place(vertices, faces, cumulative, normals, generator.random((3, count)))


def _sample_by_arrays(
    mesh: TriangleMesh, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = mesh.triangles()
    normals, area = face_normals(corners)
    cumulative = np.cumsum(area)
    _refuse_no_area(cumulative)
    # A draw along the summed areas falls on each face in proportion to its area; the clip is for a product that
    # rounding brings up to the whole sum. The root makes points uniform over a triangle (Osada et al. 2002, section
    # 4.2).
    face = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right").clip(max=len(area) - 1)
    root, along = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
    a, b, c = corners[face].transpose(1, 0, 2)
    return a * (1 - root) + b * root * (1 - along) + c * root * along, normals[face]


def _refuse_no_area(cumulative_F: NDArray[np.float64]) -> None:
    if len(cumulative_F) == 0 or not cumulative_F[-1] > 0:
        raise ValueError("cannot sample a surface without area")


def face_crosses(corners_F33: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normals (F, 3) as long as twice the area."""
    # Column by column, in the order in which numpy.cross rounds: three times as quick.
    a, b, c = (np.ascontiguousarray(corners_F33[:, k].T) for k in range(3))
    u, v = b - a, c - a
    return np.stack([u[(d + 1) % 3] * v[(d + 2) % 3] - u[(d + 2) % 3] * v[(d + 1) % 3] for d in range(3)], axis=1)


def face_normals(corners_F33: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals (F, 3) (0 where there is none) and areas (F,), in units that do not under- or overflow."""
    edges = corners_F33[:, 1:] - corners_F33[:, :1]
    scale = max(float(np.abs(edges).max(initial=0)), np.finfo(np.float64).tiny)
    cross = np.cross(edges[:, 0] / scale, edges[:, 1] / scale)
    doubled = np.linalg.norm(cross, axis=1)
    return cross / np.where(doubled > 0, doubled, 1)[:, None], doubled / 2


def _edge_keys(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    width = int(faces.max(initial=0)) + 1
    return (faces * width + np.roll(faces, -1, axis=1)).reshape(-1)
