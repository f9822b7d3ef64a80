"""Polygons and strips to triangles.

A polygon becomes a fan where some corner sees all of it, which is almost always the first one; other concave ones are
cut by mapbox-earcut in their best-fit plane. The library is right on simple polygons and those with bridges to holes
(measured on 20,000 random ones), but leaves out corners that lie on a straight edge; they are put back here, because
the face on the other side of the edge has them.
"""

import itertools

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

# Where edges cross, cutting N corners takes N * min(16 N, N + 2000) steps, 500 million a second. All such polygons
# together may take MAX_STEPS, and more for each corner of the file.
MAX_CUT_CORNERS, MAX_STEPS, STEPS_PER_CORNER = 20_000, 1_000_000_000, 200
FLAT = 1e-10  # a triangle of less than this share of the square of a polygon's size has no safe orientation
CROSSING = 1e-6  # a share of the area by which triangles of edges that do not cross are never too large
RESTART = -1  # between the strips of one sequence


class PolygonLimitError(ValueError):
    """Concave polygons that would take minutes to cut."""


def triangulated(
    vertices_V3: NDArray[np.float64], corners_C: NDArray[np.int64], sizes_P: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Triangles (F, 3) of polygons in their order: polygon p has the next `sizes_P[p]` of all corners.

    Polygons of fewer than three corners have no area and are left out. PolygonLimitError for concave ones beyond
    MAX_CUT_CORNERS or MAX_STEPS. Numbers of vertices must be in range.
    """
    # Most files hold triangles alone, and are done here.
    if len(sizes_P) and (sizes_P == 3).all():
        return corners_C.reshape(-1, 3)
    # Where the corners of each polygon begin, and where its triangles will: k corners make k - 2 triangles.
    starts_P = np.cumsum(sizes_P) - sizes_P
    firsts_P = np.cumsum(np.maximum(sizes_P - 2, 0)) - np.maximum(sizes_P - 2, 0)
    faces_F3 = np.empty((int(np.maximum(sizes_P - 2, 0).sum()), 3), dtype=np.int64)
    left = MAX_STEPS + STEPS_PER_CORNER * len(corners_C)
    # Polygons of one size are an array without gaps; a million corners at once bound the memory.
    for size in np.unique(sizes_P[sizes_P > 2]):
        alike = np.flatnonzero(sizes_P == size)
        for some in np.array_split(alike, max(1, len(alike) * int(size) // 1_000_000)):
            polygons = corners_C[starts_P[some, None] + np.arange(size)]
            places = firsts_P[some, None] + np.arange(size - 2)
            if size == 3:
                faces_F3[places[:, 0]] = polygons
            else:
                faces_F3[places], left = _triangles_of_equal(vertices_V3, polygons, left)
    return faces_F3


def strip_triangles(sequence_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles (F, 3) of strips: each corner makes one with the two before it, every other one turned round.

    RESTART begins the next strip.
    """
    place = np.arange(len(sequence_N))
    # Where the strip of each corner begins: one behind the last RESTART. A triangle ends at every corner with two
    # before it in its own strip; every other one is wound the other way round.
    begin = np.maximum.accumulate(np.where(sequence_N == RESTART, place + 1, 0))
    within = place - begin
    ends = place[(within >= 2) & (sequence_N != RESTART)]
    odd = within[ends] % 2 == 1
    first, second = np.where(odd, ends - 1, ends - 2), np.where(odd, ends - 2, ends - 1)
    return sequence_N[np.stack([first, second, ends], axis=1)]


def fan_triangles(sequence_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles (N - 2, 3) of a fan about its first corner."""
    first = np.repeat(sequence_N[:1], max(len(sequence_N) - 2, 0))
    return np.stack([first, sequence_N[1:-1][: len(first)], sequence_N[2:]], axis=1)


def _triangles_of_equal(
    vertices_V3: NDArray[np.float64], polygons_PN: NDArray[np.int64], left: int
) -> tuple[NDArray[np.int64], int]:
    """Triangles (P, N - 2, 3) of polygons of N > 3 corners each, and how many steps of cutting are left."""
    # Most polygons are a fan: found for all at once.
    corners_PN3 = vertices_V3[polygons_PN]
    with np.errstate(all="ignore"):  # NaN and infinity make a fan, and are refused with the mesh
        plane_PN2, normal_P3 = _in_own_plane(corners_PN3)
        start_P = _corner_that_sees_all(plane_PN2)
    start_P[~np.isfinite(normal_P3).all(axis=1) | ~normal_P3.any(axis=1)] = 0  # no plane: any fan is as good
    count = polygons_PN.shape[1]
    turned_PN = np.take_along_axis(polygons_PN, (np.maximum(start_P, 0)[:, None] + np.arange(count)) % count, axis=1)
    first = np.broadcast_to(turned_PN[:, :1], (len(turned_PN), count - 2))
    triangles = np.stack([first, turned_PN[:, 1:-1], turned_PN[:, 2:]], axis=2)
    # The others are cut one by one, some at a time, so that crossing edges are noticed before they take minutes.
    concave = np.flatnonzero(start_P < 0)
    if len(concave) and count > MAX_CUT_CORNERS:
        raise PolygonLimitError(f"a concave polygon of {count:,} corners (limit {MAX_CUT_CORNERS:,}): export triangles")
    steps = count * min(16 * count, count + 2000)
    for some in np.array_split(concave, 1 + len(concave) * steps * 20 // MAX_STEPS):
        places_S = np.array([_cut(plane_PN2[place]) for place in some], dtype=np.int64).reshape(-1, count - 2, 3)
        rows = some[:, None, None]
        triangles[some] = polygons_PN[rows, places_S]
        enclosed = np.abs(_doubled_area(plane_PN2[some]))
        crosses = np.abs(_doubled_area(plane_PN2[rows, places_S])).sum(axis=1) > enclosed * (1 + CROSSING)
        left -= steps * int(crosses.sum())
        if left < 0:
            raise PolygonLimitError(f"polygons of {count:,} corners whose edges cross: repair the mesh")
    return triangles, left


def _in_own_plane(corners_PN3: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (P, N, 2) in the best-fit plane of each polygon, size 1, seen from the front; and unit normals (P, 3).

    The normal is Newell's, the mean of all projected areas; 0 where the corners lie on a line.
    """
    # Newell's sum loses digits far from the origin and for tiny polygons: it is taken from the first corner, in units
    # of the largest extent.
    moved = corners_PN3 - corners_PN3[:, :1]
    moved = moved / np.abs(moved).max(axis=(1, 2), keepdims=True)
    normal = np.cross(moved, np.roll(moved, -1, axis=1)).sum(axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > FLAT, normal / length, 0)
    # The axis that the normal leans to least gives the first direction: exact for planes along the axes.
    least = np.eye(3)[np.abs(normal).argmin(axis=1)]
    second = np.cross(normal, least)
    second = second / np.linalg.norm(second, axis=1, keepdims=True)
    first = np.cross(second, normal)
    return np.stack([(moved * first[:, None]).sum(axis=2), (moved * second[:, None]).sum(axis=2)], axis=2), normal


def _corner_that_sees_all(plane_PN2: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first corner (P,) whose fan has only triangles of positive area, or of equal corners; -1 without one."""
    count = plane_PN2.shape[1]
    start_P = np.full(len(plane_PN2), -1)
    for start in range(min(count, 64)):  # enough for what CAD writes; the others are cut
        open_ones = np.flatnonzero(start_P < 0)
        if not len(open_ones):
            break
        turned = np.roll(plane_PN2[open_ones], -start, axis=1)
        # Every triangle of the fan from this corner must turn the same way as the polygon, which has positive area in
        # its own plane.
        edges = turned[:, 1:] - turned[:, :1]
        area = edges[:, :-1, 0] * edges[:, 1:, 1] - edges[:, :-1, 1] * edges[:, 1:, 0]
        at_start: NDArray[np.bool_] = (edges == 0).all(axis=2)
        equal = at_start[:, 1:] | at_start[:, :-1] | (edges[:, 1:] == edges[:, :-1]).all(axis=2)  # as in "f 1 2 3 3"
        start_P[open_ones[((area > FLAT) | equal).all(axis=1)]] = start
    return start_P


def _cut(plane_N2: NDArray[np.float64]) -> NDArray[np.int64]:
    """Triangles (N - 2, 3) of one concave polygon; where its edges cross, of what comes nearest to it."""
    count = len(plane_N2)
    ring = np.array([count], dtype=np.uint32)
    triangles = mapbox_earcut.triangulate_float64(np.ascontiguousarray(plane_N2), ring).reshape(-1, 3)
    whole = _with_left_out_corners(triangles.astype(np.int64), count)
    # Edges that cross have no triangulation, but the fan that every program shows.
    return whole if len(whole) == count - 2 else fan_triangles(np.arange(count))


def _doubled_area(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the signed areas (...) that rings (..., N, 2) enclose."""
    x, y = rings[..., 0], rings[..., 1]
    return (x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1)).sum(axis=-1)


def _with_left_out_corners(triangles_F3: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Split each triangle along whose edge corners of the polygon were left out, so that all have a triangle."""
    if len(triangles_F3) == count - 2 or not len(triangles_F3):
        return triangles_F3
    kept = np.unique(triangles_F3)
    # Along the ring of the corners that triangles use, two that are no neighbours in the polygon had others between
    # them.
    following = dict(zip(kept.tolist(), np.roll(kept, -1).tolist(), strict=True))
    whole: list[list[int]] = []
    unsplit = triangles_F3.tolist()
    while unsplit:
        triangle = unsplit.pop()
        for a, b, c in (triangle, [*triangle[1:], triangle[0]], [triangle[2], *triangle[:2]]):
            if following.get(a) == b and (b - a) % count > 1:  # corners between the two were left out
                chain = [(a + step) % count for step in range((b - a) % count + 1)]
                unsplit += [[one, other, c] for one, other in itertools.pairwise(chain)]
                break
        else:
            whole.append(triangle)
    return np.array(whole, dtype=np.int64)
