"""Meshes that a reader turns on a page: simplified, quantised and packed as text, unpacked by templates/viewer.js.

A packed mesh is plain data for JSON: `vertices` and `faces` (numbers of), `of` (faces before), `origin` (3) and `step`
(a position is origin + step * whole number, in the frame of the file), `ball` (centre x, y, z and radius of what the
view shows), `up`, `look` (azimuth and elevation in degrees where the view begins), `limit` (the value of +-127, or null
for a mesh without values) and `data`: base64 of zlib of 16-bit numbers, all low bytes before all high ones. These are
the positions as differences from the vertex before (x of all, y, z), then the faces (first corners as differences from
the face before, second and third as differences from the first); differences are zigzag-coded. A byte for the value of
each vertex follows. A mesh of 5,000 faces takes about 30 kB.
"""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.rendering import THREE_QUARTER, Up, ViewBall, view_ball_around
from data_processing.geometry.simplification import collapse_edges
from data_processing.geometry.triangle_mesh import TriangleMesh

MOST_FACES = 5000
MOST_SIMPLIFIED = 50_000  # faces given to the simplifier, which takes a second for a million
STEPS = (1 << 14) - 1  # along the longest edge of a mesh: finer than a screen
VALUES = 127  # of a byte, at the ends of the scale
Packed = dict[str, Any]
Look = tuple[float, float]  # azimuth and elevation in degrees, as of a Camera


def pack_mesh(
    mesh: TriangleMesh,
    *,
    view_ball: ViewBall | None = None,
    up: Up = "y",
    look: Look = (THREE_QUARTER.azimuth, THREE_QUARTER.elevation),
    values_V: NDArray[np.floating] | None = None,
    limit: float | None = None,
) -> Packed | None:
    """The mesh as data for a page, in at most MOST_FACES faces; None for a mesh without faces or without a finite box.

    `values_V`: a number for each vertex, shown as a colour between -limit and +limit.
    """
    if not len(mesh.faces) or not np.isfinite(mesh.vertices[mesh.faces]).all():
        return None
    lower, upper = mesh.bounds()
    ball = view_ball_around(lower, upper) if view_ball is None else view_ball
    # Simplification is in single precision: positions from 0 to 1.
    extent = max(float((upper - lower).max()), 1e-12)
    points_V3, faces_F3, source_V = _merged(mesh)
    points_V3 = (points_V3 - lower) / extent
    simple_V3, simple_F3 = simplify(points_V3, faces_F3, most=MOST_FACES)
    values_V = None if values_V is None else np.asarray(values_V, dtype=np.float64)[source_V]
    if values_V is not None and simple_V3 is not points_V3:
        values_V = values_V[_nearest(points_V3, simple_V3)]
    whole_V3 = np.clip(np.rint(simple_V3 * STEPS), 0, STEPS).astype(np.int64)
    whole_V3, simple_F3, order_V = _ordered(whole_V3, simple_F3)
    data = _bytes_of(whole_V3, simple_F3)
    if values_V is not None:
        assert limit is not None
        data += np.clip(np.rint(values_V[order_V] / limit * VALUES), -VALUES, VALUES).astype(np.int8).tobytes()
    return {
        "vertices": len(whole_V3),
        "faces": len(simple_F3),
        "of": len(mesh.faces),
        "origin": [float(value) for value in lower],
        "step": extent / STEPS,
        "ball": [*(float(value) for value in ball.centre_3), ball.radius],
        "up": up,
        "look": list(look),
        "limit": None if values_V is None else limit,
        "data": base64.b64encode(zlib.compress(data, 9)).decode(),
    }


def simplify(
    points_V3: NDArray[np.float64], faces_F3: NDArray[np.int64], *, most: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Fewer faces (quadric error, Garland and Heckbert 1997); the arrays themselves where there are few enough."""
    if len(faces_F3) <= most:
        return points_V3, faces_F3
    cells = 128
    while len(faces_F3) > MOST_SIMPLIFIED and cells >= 32:
        points_V3, faces_F3 = _clustered(points_V3, faces_F3, cells)
        cells //= 2
    points, faces = collapse_edges(points_V3.astype(np.float32), faces_F3, most=most)
    if len(faces) > most:  # pieces that hang together with nothing cannot be made simpler
        faces = _largest(points, faces, most)
    return np.asarray(points, dtype=np.float64), np.asarray(faces, dtype=np.int64)


def _merged(mesh: TriangleMesh) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points, faces over them, and the vertex that each was: equal positions are one, what nothing uses is gone."""
    number_F3 = mesh.merged_faces
    used, faces_F3 = np.unique(number_F3, return_inverse=True)
    source = np.empty(int(used.max()) + 1, dtype=np.int64)
    source[number_F3.ravel()] = mesh.faces.ravel()
    source_V = source[used]
    return mesh.vertices[source_V], faces_F3.reshape(-1, 3), source_V


def _clustered(
    points_V3: NDArray[np.float64], faces_F3: NDArray[np.int64], cells: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All points of a cell of a grid become their mean (Rossignac and Borrel 1993): quick for millions of faces."""
    key_V = np.clip((points_V3 * cells).astype(np.int64), 0, cells - 1) @ np.array([cells * cells, cells, 1])
    _, number_V, count = np.unique(key_V, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(number_V, points_V3[:, axis]) / count for axis in range(3)], axis=1)
    faces = number_V[faces_F3]
    is_area = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return means, faces[is_area]


def _largest(points: NDArray[np.floating], faces: NDArray[np.integer], most: int) -> NDArray[np.integer]:
    """The faces of most area; of equal ones some from everywhere."""
    a, b, c = (points[faces[:, corner]].astype(np.float64) for corner in range(3))
    area_F = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    mixed = np.random.default_rng(0).permutation(len(faces))
    return faces[np.sort(mixed[np.argsort(-np.round(area_F[mixed], 9), kind="stable")[:most]])]


def _nearest(points_V3: NDArray[np.float64], asked_N3: NDArray[np.float64]) -> NDArray[np.int64]:
    from scipy.spatial import KDTree

    return np.asarray(KDTree(points_V3, balanced_tree=False).query(asked_N3)[1], dtype=np.int64)


def _ordered(
    whole_V3: NDArray[np.int64], faces_F3: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Vertices along a Morton curve, faces by their lowest vertex: neighbours get near numbers, which pack well."""
    used = np.unique(faces_F3)
    key = np.zeros(len(used), dtype=np.int64)
    for bit in range(STEPS.bit_length()):
        for axis in range(3):
            key |= (whole_V3[used, axis] >> bit & 1) << (3 * bit + axis)
    order_V = used[np.argsort(key, kind="stable")]
    number = np.zeros(len(whole_V3), dtype=np.int64)
    number[order_V] = np.arange(len(order_V))
    faces = number[faces_F3]
    turn_F = faces.argmin(axis=1)
    faces = np.stack([faces[np.arange(len(faces)), (turn_F + corner) % 3] for corner in range(3)], axis=1)
    return whole_V3[order_V], faces[np.lexsort(faces.T[::-1])], order_V


def _bytes_of(whole_V3: NDArray[np.int64], faces_F3: NDArray[np.int64]) -> bytes:
    first_F, second_F, third_F = faces_F3.T
    differences = [
        np.diff(whole_V3, axis=0, prepend=0).T.ravel(),
        np.diff(first_F, prepend=0),
        second_F - first_F,
        third_F - first_F,
    ]
    numbers = np.concatenate(differences)
    # Low and high bytes apart: of small differences the high ones are nearly all zero, and pack to almost nothing.
    halves = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype("<u2").view(np.uint8)
    return halves[::2].tobytes() + halves[1::2].tobytes()
