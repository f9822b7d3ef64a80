"""Fewer faces: edges collapsed where that moves the surface least (quadric error, Garland and Heckbert 1997).

fast_simplification collapses without looking whether the surface stays a manifold: of a closed mesh of thin parts a few
edges in a thousand end up with four faces, or with two that lie back to back. The surface is still closed (each edge is
walked equally often both ways), so that both can be mended: `open_pinches`.
"""

import fast_simplification
import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.connected import connected_pieces
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight

GAP = 1e-4  # of the longest edge of the box, between two sheets that touched along an edge: float32 in files keeps it


def collapse_edges(
    points_V3: NDArray[np.floating], faces_F3: NDArray[np.integer], *, most: int, aggressiveness: float = 7.0
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Vertices and faces, at most `most` where edges enough can be collapsed; positions of a box about 1 long.

    `aggressiveness`: how fast the error that is allowed grows from sweep to sweep (3: nearest shape, 9: quickest).
    """
    return fast_simplification.simplify(
        points_V3, faces_F3.astype(np.int32), target_count=min(most, len(faces_F3)), agg=aggressiveness
    )


def open_pinches(mesh: TriangleMesh) -> TriangleMesh:
    """A closed mesh that touches itself along edges, opened there: every edge has two faces afterwards.

    Pairs of faces that lie back to back are taken out. Around an edge that is left with more than two faces, those that
    bound one solid are joined in twos, each two at a middle of the edge of their own, GAP away from the others'. A mesh
    that has no such places, or has holes, comes back as it was; one without volume is empty.
    """
    merged_F3 = mesh.merged_faces
    faces = _without_pairs(merged_F3)
    if len(mesh.unbalanced_edges) or (len(faces) == len(merged_F3) and is_watertight(mesh)):
        return mesh
    if not len(faces):
        return TriangleMesh(np.zeros((0, 3)), faces)
    points = np.zeros((int(merged_F3.max()) + 1, 3))
    points[merged_F3.ravel()] = mesh.vertices[mesh.faces.ravel()]
    size = float(np.ptp(points, axis=0).max())
    for low, high in _crowded_edges(faces).tolist():
        faces, middles = _opened(points, faces, low, high, GAP * size)
        points = np.concatenate([points, middles])
    return TriangleMesh(points, faces)


def number_of_parts(mesh: TriangleMesh) -> int:
    """Pieces that hang together by vertices at one place."""
    faces_F3 = mesh.merged_faces
    used, number = np.unique(faces_F3, return_inverse=True)
    corner = number.reshape(-1, 3)
    ends = np.concatenate([corner[:, :2], corner[:, 1:]]).T
    first, second = ends.reshape(2, -1)
    return int(connected_pieces(first, second, len(used)).max(initial=-1)) + 1


def signed_volume(mesh: TriangleMesh) -> float:
    """Of what a closed mesh bounds; of an open one no more than a number."""
    corners = mesh.triangles() - mesh.vertices[mesh.faces[:1, 0]]
    return float(np.einsum("fc,fc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def _without_pairs(faces_F3: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without faces that have a corner twice, and without twos of the same corners that look in opposite directions."""
    a, b, c = faces_F3.T
    faces = faces_F3[(a != b) & (b != c) & (c != a)]
    turned = np.take_along_axis(faces, (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    looks_up = turned[:, 1] < turned[:, 2]
    _, triple, number = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    keep = np.ones(len(faces), dtype=bool)
    for at in np.flatnonzero(number > 1):
        same = np.flatnonzero(triple.ravel() == at)
        ups, downs = same[looks_up[same]], same[~looks_up[same]]
        both = min(len(ups), len(downs))
        keep[ups[:both]] = keep[downs[:both]] = False
    return faces[keep]


def _crowded_edges(faces_F3: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges (E, 2) of more than two faces, the lower vertex first."""
    edges = np.sort(np.stack([faces_F3, np.roll(faces_F3, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    unique, number = np.unique(edges, axis=0, return_counts=True)
    return unique[number > 2]


def _opened(
    points_V3: NDArray[np.float64], faces_F3: NDArray[np.int64], low: int, high: int, gap: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The faces, those at one edge divided at new vertices, and these: a middle of the edge for each two faces."""
    around = np.flatnonzero(((faces_F3 == low) | (faces_F3 == high)).sum(axis=1) == 2)
    # Each as (start, end, opposite), the edge being walked from start to end.
    is_opposite = (faces_F3[around] != low) & (faces_F3[around] != high)
    turn = (is_opposite.argmax(axis=1)[:, None] + np.array([1, 2, 0])) % 3
    corners = np.take_along_axis(faces_F3[around], turn, axis=1)
    pairs = _pairs_by_angle(points_V3[corners[:, 2]], points_V3[low], points_V3[high], corners[:, 0] == low)
    middle, faces, middles = (points_V3[low] + points_V3[high]) / 2, [faces_F3], []
    for number, pair in enumerate(pairs):
        vertex = len(points_V3) + number
        inward = points_V3[corners[pair, 2]].mean(axis=0) - middle
        length = max(float(np.linalg.norm(inward)), np.finfo(np.float64).tiny)
        # Of another length for each, so that no two middles meet even where their faces do.
        middles.append(middle + inward / length * min(gap, length / 4) * (1 + number / len(pairs)))
        start, end, opposite = corners[pair].T
        new = np.full(2, vertex)
        faces[0][around[pair]] = np.stack([start, new, opposite], axis=1)
        faces.append(np.stack([new, end, opposite], axis=1))
    return np.concatenate(faces), np.array(middles)


def _pairs_by_angle(
    opposite_H3: NDArray[np.float64],
    low_3: NDArray[np.float64],
    high_3: NDArray[np.float64],
    is_up_H: NDArray[np.bool_],
) -> list[list[int]]:
    """Twos of faces around an edge that walk it in opposite directions, matched by angle as brackets are."""
    axis = (high_3 - low_3) / max(float(np.linalg.norm(high_3 - low_3)), np.finfo(np.float64).tiny)
    away = opposite_H3 - low_3
    away = away - (away @ axis)[:, None] * axis
    order = np.argsort(np.arctan2(away @ np.cross(axis, away[0]), away @ away[0]), kind="stable")
    # From where the depth is least, every face that walks down closes one that walks up: matched twos do not cross.
    depth = np.cumsum(np.where(is_up_H[order], 1, -1))
    waiting: list[int] = []
    pairs = []
    for face in np.roll(order, -(int(depth.argmin()) + 1)).tolist():
        if is_up_H[face]:
            waiting.append(face)
        else:
            pairs.append([waiting.pop(), face])
    return pairs
