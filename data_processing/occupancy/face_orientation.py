"""Faces of a mesh turned so that neighbours agree, and which of them then close a part: each edge walked both ways.

Where two faces meet there is one way to make them agree. Where more meet, pairs of one sheet agree with each other, and
other sheets take turns around the edge: inside, outside, inside. That leaves a part nothing but its two ways round,
which mesh_parts.py decides. Faces that are there again are left out. A part with one side only (a Moebius strip, a
Klein bottle) cannot be made to agree: it stays as it is, among the open ones.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.connected import close_pairs, connected_pieces
from data_processing.geometry.triangle_mesh import EdgePairs, TriangleMesh, edge_kernels, face_crosses, is_watertight

SAME_PLACE = 1e-6  # of the longest side: vertices that rounding has put apart (the pole of a sphere, float32 of a STL)
SAME_ANGLE = 1e-6  # radians: faces around an edge that lie on each other

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class OrientedFaces:
    """Rows of a mesh's faces that count, each with its part, and whether it is turned against the file."""

    row_K: Integers  # of the mesh
    turned_K: NDArray[np.bool_]
    part_K: Integers  # 0, 1, ...
    closed_K: NDArray[np.bool_]  # every edge of the part is walked both ways equally often
    one_sided: int  # faces in parts that have one side only
    manifold: bool  # no edge of a closed part has more than two faces


def snap_vertices(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with vertices that are almost in one place put into one, so that seams close; a closed mesh as it is."""
    if len(mesh.faces) == 0 or is_watertight(mesh) or mesh.is_manifold:
        return mesh
    used = np.unique(mesh.faces)
    lower, upper = mesh.bounds()
    # Adding 0.0 makes -0.0 to 0.0: both are one place. Pairs within reach are chained into groups, so that a whole pole
    # of a sphere becomes one vertex, that of the group's first place.
    places, which = np.unique(mesh.vertices[used] + 0.0, axis=0, return_inverse=True)
    pairs = close_pairs(places, SAME_PLACE * float((upper - lower).max()))
    if len(pairs[0]) == 0:
        return mesh
    group = connected_pieces(*pairs, len(places))
    _, first = np.unique(group, return_index=True)
    vertices = mesh.vertices.copy()
    vertices[used] = places[first[group]][which.reshape(-1)]
    return TriangleMesh(vertices, mesh.faces)


def orient_faces(mesh: TriangleMesh) -> OrientedFaces:
    """Make faces that meet agree. Every part keeps the orientation that most of its area has in the file."""
    count = len(mesh.faces)
    if mesh.edge_pairs is not None and mesh.edge_pairs.manifold and (oriented := _orient_pairs(mesh, mesh.edge_pairs)):
        return oriented
    # Most meshes are sound, and then there is nothing to turn: only the parts are asked for.
    if is_watertight(mesh):
        parts, label = _label(mesh.merged_faces)
        if parts > 1:
            label = _Edges(mesh.merged_faces, np.zeros(count, dtype=np.int64)).label_sheets()
        closed = np.ones(count, dtype=bool)
        return OrientedFaces(np.arange(count), np.zeros(count, dtype=bool), label, closed, 0, True)
    # Faces without area or there twice are no neighbours. An object of the file that is closed stands for itself:
    # where two of them touch, the faces of one are no neighbours of the other's.
    _, object_F = _label(mesh.faces)
    row_K, space_K = _separate_objects(mesh.merged_faces, object_F)
    faces_K3 = mesh.merged_faces[row_K]
    edges = _Edges(faces_K3, space_K)
    part_K, turned_K, one_sided_K = _agree(edges, edges.links(mesh.triangles()[row_K]), len(row_K))
    # What closes as it was modelled is left as it is, also where links would turn it: sheets on sheets, for example.
    part_K, turned_K = _keep_balanced(edges, part_K, turned_K)
    one_sided_K &= ~edges.balanced_parts(part_K, turned_K)[part_K]
    turned_K = _take_majority(mesh.triangles()[row_K], part_K, turned_K)
    closed_K = edges.balanced_parts(part_K, turned_K)[part_K]
    manifold = bool((edges.degrees()[closed_K[edges.face_H]] == 2).all())
    return OrientedFaces(row_K, turned_K, part_K, closed_K, int(one_sided_K.sum()), manifold)


def _orient_pairs(mesh: TriangleMesh, pairs: EdgePairs) -> OrientedFaces | None:
    """The same for a mesh whose edges all have two faces, in few passes. None for one-sided sheets, doubled faces."""
    kernels, faces_F3 = edge_kernels(), np.ascontiguousarray(mesh.faces, dtype=np.int64)
    assert kernels is not None  # they made the pairs
    sheet_F, turned_F, plain = kernels.flood_faces(faces_F3, pairs.first_V, pairs.partner_H, pairs.watertight)
    if not plain:
        return None
    if not pairs.watertight:
        total_S, turned_S = kernels.turned_areas(mesh.vertices, faces_F3, sheet_F, turned_F).T
        turned_F ^= (turned_S > total_S / 2)[sheet_F]
    # Sheets that hang together at vertices alone stay one part of a sound mesh, if there is nothing beside them.
    elif sheet_F.any() and kernels.count_pieces(faces_F3, pairs.first_V, sheet_F) == 1:
        sheet_F[:] = 0
    return OrientedFaces(np.arange(len(faces_F3)), turned_F, sheet_F, np.ones(len(faces_F3), dtype=bool), 0, True)


def _label(faces_F3: Integers) -> tuple[int, Integers]:
    """How many pieces joined at vertices there are, and which (F,) each face belongs to."""
    count = int(faces_F3.max(initial=-1)) + 1
    piece_V = connected_pieces(faces_F3[:, [0, 1]].ravel(), faces_F3[:, [1, 2]].ravel(), count)
    pieces, label_F = np.unique(piece_V[faces_F3[:, 0]], return_inverse=True)
    return len(pieces), label_F.astype(np.int64)


def _separate_objects(faces_F3: Integers, object_F: Integers) -> tuple[Integers, Integers]:
    """Rows (K,) of faces that count, and the space (K,) within which each of them has its neighbours.

    Objects that are closed by themselves have a space of their own; all the others share space 0.
    """
    a, b, c = faces_F3.T
    # A face with a repeated corner has no area and no side: its edges would only pretend to be shared.
    row = np.flatnonzero((a != b) & (b != c) & (c != a))
    row = row[_without_copies(faces_F3[row], object_F[row])]
    odd = np.zeros(int(object_F.max(initial=0)) + 1, dtype=bool)
    edges = _Edges(faces_F3[row], object_F[row])
    # An edge with an odd number of faces cannot be balanced: such an object is not closed by itself, and may close with
    # others.
    odd[object_F[row][edges.face_H[edges.degrees() % 2 == 1]]] = True
    space_K = np.where(odd[object_F[row]], 0, object_F[row] + 1)
    shared = np.flatnonzero(space_K == 0)
    keep = np.ones(len(row), dtype=bool)
    keep[shared] = _without_copies(faces_F3[row[shared]], space_K[shared])
    return row[keep], space_K[keep]


def _without_copies(faces_K3: Integers, space_K: Integers) -> NDArray[np.bool_]:
    """Which faces (K,) to keep: of those with the same corners one, or none where two solids touch.

    A wall between two solids is there twice. With one copy its rim would have three faces, with none it has two.
    """
    corners_K4 = np.concatenate([np.sort(faces_K3, axis=1), space_K[:, None]], axis=1)
    _, first, which, copies = np.unique(corners_K4, axis=0, return_index=True, return_inverse=True, return_counts=True)
    keep = np.zeros(len(faces_K3), dtype=bool)
    keep[first] = True
    twice = np.flatnonzero(keep & (copies[which.reshape(-1)] % 2 == 0))
    if len(twice) == 0:
        return keep
    # Candidates in connected groups; a group goes if that makes every edge of its rim even.
    single = np.flatnonzero(keep)
    edges = _Edges(faces_K3[single], space_K[single])
    # Three faces and more, an odd number of them: that is what a wall too many leaves at its rim.
    odd_H, number = (edges.degrees() % 2 == 1) & (edges.degrees() > 2), np.full(len(faces_K3), -1)
    number[single] = np.arange(len(single))
    candidate = np.zeros(len(single), dtype=bool)
    candidate[number[twice]] = True
    among_H = candidate[edges.face_H]
    count_E = np.bincount(edges.edge_H[among_H], minlength=edges.count)
    rim_H = among_H & (count_E[edges.edge_H] % 2 == 1)
    ends = edges.face_H[among_H], len(single) + edges.edge_H[among_H]
    group = connected_pieces(*ends, len(single) + edges.count)
    groups = int(group.max()) + 1
    has_rim, spoilt = np.zeros(groups, dtype=bool), np.zeros(groups, dtype=bool)
    has_rim[group[edges.face_H[rim_H]]] = True
    spoilt[group[edges.face_H[rim_H & ~odd_H]]] = True
    # Without a rim a group is a closed shell, or a part of one: taking it away would mend nothing.
    gone = candidate & (has_rim & ~spoilt)[group[: len(single)]]
    keep[single[gone]] = False
    return keep


class _Edges:
    """Edges of faces (K, 3) within their spaces, as half edges (3 K) that are sorted by edge."""

    def __init__(self, faces_K3: Integers, space_K: Integers) -> None:
        start, end = faces_K3.reshape(-1), np.roll(faces_K3, -1, axis=1).reshape(-1)
        low, high = np.minimum(start, end), np.maximum(start, end)
        face = np.repeat(np.arange(len(faces_K3)), 3)
        # One key is sorted in half the time of three, where it fits.
        width = int(high.max(initial=0)) + 1
        if width**2 * (int(space_K.max(initial=0)) + 1) < 1 << 62:
            order = np.argsort((space_K[face] * width + low) * width + high, kind="stable")
        else:
            order = np.lexsort((high, low, space_K[face]))
        low, high, space = low[order], high[order], space_K[face][order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1]) | (space[1:] != space[:-1])
        self.edge_H = np.cumsum(new) - 1
        self.count = int(new.sum())
        self.face_H, self.side_H = face[order], (np.tile(np.arange(3), len(faces_K3)))[order]
        self.forward_H = start[order] == low  # whether the face walks from the lower vertex to the higher
        self.begin_E = np.flatnonzero(new)

    def degrees(self) -> Integers:
        """Of each half edge: how many faces its edge has."""
        return np.bincount(self.edge_H, minlength=self.count)[self.edge_H]

    def balanced_parts(self, part_K: Integers, turned_K: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each part whether its faces walk every edge both ways equally often."""
        # Walks along an edge count +1 and -1; where every edge of a part sums to 0, the part is closed.
        part_H = part_K[self.face_H]
        walk_H = np.where(self.forward_H ^ turned_K[self.face_H], 1, -1)
        order = np.lexsort((part_H, self.edge_H))
        part, edge, walk = part_H[order], self.edge_H[order], walk_H[order]
        begin = np.flatnonzero(np.r_[True, (part[1:] != part[:-1]) | (edge[1:] != edge[:-1])][: len(part)])
        balanced = np.ones(int(part_K.max(initial=-1)) + 1, dtype=bool)
        if len(begin):
            balanced[part[begin[np.add.reduceat(walk, begin) != 0]]] = False
        return balanced

    def label_sheets(self) -> Integers:
        """The sheet of each face: pieces joined at edges of two faces."""
        first = self._pairs()
        count = int(self.face_H.max(initial=-1)) + 1
        return connected_pieces(self.face_H[first], self.face_H[first + 1], count)

    def links(self, corners_K33: NDArray[np.float64]) -> tuple[Integers, Integers]:
        """Half edges (L,) and (L,) whose faces have to walk their edge in opposite directions."""
        first = self._pairs()
        one, other = [first], [first + 1]
        sheet_H = self.label_sheets()[self.face_H]
        many = np.flatnonzero(self.degrees() > 2)
        many = many[np.lexsort((sheet_H[many], self.edge_H[many]))]
        # Two faces of one sheet belong together: so solids that touch along an edge stay apart.
        key = self.edge_H[many] * (int(sheet_H.max(initial=0)) + 1) + sheet_H[many]
        _, begin, size = np.unique(key, return_index=True, return_counts=True)
        one.append(many[begin[size == 2]])
        other.append(many[begin[size == 2] + 1])
        # Of the rest, two at an edge are neighbours as well. An odd number leaves the edge open, whatever is paired.
        rest = many[np.repeat(size != 2, size)]
        left_E = np.bincount(self.edge_H[rest], minlength=self.count)
        two = rest[left_E[self.edge_H[rest]] == 2]
        one.append(two[0::2])
        other.append(two[1::2])
        around = rest[(left_E[self.edge_H[rest]] > 2) & (left_E[self.edge_H[rest]] % 2 == 0)]
        for halves in np.split(around, np.flatnonzero(np.diff(self.edge_H[around])) + 1):
            pairs = self._pair_around(halves, corners_K33)
            one.append(pairs[:, 0])
            other.append(pairs[:, 1])
        return np.concatenate(one), np.concatenate(other)

    def _pairs(self) -> Integers:
        """The first half edge of each edge of two faces."""
        return self.begin_E[np.bincount(self.edge_H, minlength=self.count) == 2]

    def _pair_around(self, halves: Integers, corners_K33: NDArray[np.float64]) -> Integers:
        """Pairs (P, 2) of neighbouring half edges around one edge."""
        if len(halves) == 0:
            return np.empty((0, 2), dtype=np.int64)
        angle = self._angles(halves, corners_K33)
        pairs: list[tuple[int, int]] = []
        stack: list[int] = []
        # Two that lie on each other cancel, whichever of them is above; the others take turns around the edge.
        for at in np.argsort(angle, kind="stable"):
            if stack and angle[at] - angle[stack[-1]] < SAME_ANGLE:
                pairs.append((stack.pop(), at))
            else:
                stack.append(at)
        if len(stack) > 1 and angle[stack[0]] + 2 * np.pi - angle[stack[-1]] < SAME_ANGLE:
            pairs.append((stack.pop(), stack.pop(0)))
        pairs += list(itertools.pairwise(stack))
        return halves[np.array(pairs, dtype=np.int64).reshape(-1, 2)]

    def _angles(self, halves: Integers, corners_K33: NDArray[np.float64]) -> NDArray[np.float64]:
        """Angles of the faces of half edges of one edge around it, from 0 to 2 pi."""
        corners, side = corners_K33[self.face_H[halves]], self.side_H[halves]
        rows = np.arange(len(halves))
        start, end, apex = corners[rows, side], corners[rows, (side + 1) % 3], corners[rows, (side + 2) % 3]
        low = start[0] if self.forward_H[halves[0]] else end[0]
        axis = (end[0] if self.forward_H[halves[0]] else start[0]) - low
        axis /= max(float(np.linalg.norm(axis)), 1e-300)
        across = apex - low
        across -= (across @ axis)[:, None] * axis
        across /= np.linalg.norm(across, axis=1).clip(min=1e-300)[:, None]
        second = np.cross(axis, across[0])
        return np.arctan2(across @ second, across @ across[0]) % (2 * np.pi)


def _agree(edges: _Edges, links: tuple[Integers, Integers], count: int) -> tuple[Integers, NDArray, NDArray]:
    """Part, whether it is to be turned, and whether its part has one side only, of each face (K,).

    Each face is two nodes of a graph: as it is, and turned. Linked nodes agree. Where both nodes of a face are joined,
    going round has turned it over.
    """
    one, other = links
    first, second = edges.face_H[one], edges.face_H[other]
    against = edges.forward_H[one] == edges.forward_H[other]  # walk the same way: one of them is to be turned
    ends = np.where(against, count + second, second), np.where(against, second, count + second)
    label = connected_pieces(np.r_[first, count + first], np.r_[ends[0], ends[1]], 2 * count)
    as_is, turned = label[:count], label[count:]
    _, part_K = np.unique(np.minimum(as_is, turned), return_inverse=True)
    return part_K.reshape(-1).astype(np.int64), turned < as_is, as_is == turned


def _keep_balanced(edges: _Edges, part_K: Integers, turned_K: NDArray[np.bool_]) -> tuple[Integers, NDArray[np.bool_]]:
    """Pieces joined at edges that are balanced as they are stay so: one part each, unless their parts are closed."""
    count = len(part_K)
    piece_K = connected_pieces(edges.face_H, count + edges.edge_H, count + edges.count)[:count]
    as_is = np.zeros(count, dtype=bool)
    balanced = edges.balanced_parts(piece_K, as_is)[piece_K]
    split_K = edges.balanced_parts(part_K, as_is)[part_K]
    whole = np.ones(int(piece_K.max(initial=-1)) + 1, dtype=bool)  # whether each part of a piece is closed as it is
    whole[piece_K[~split_K]] = False
    merged = balanced & ~whole[piece_K]
    label = np.where(merged, int(part_K.max(initial=0)) + 1 + piece_K, part_K)
    _, label = np.unique(label, return_inverse=True)
    return label.reshape(-1).astype(np.int64), np.where(balanced, False, turned_K)


def _take_majority(
    corners_K33: NDArray[np.float64], part_K: Integers, turned_K: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Turn whole parts so that less than half of their area is turned against the file."""
    area_K = np.linalg.norm(face_crosses(corners_K33), axis=1)
    total = np.bincount(part_K, area_K)
    return turned_K ^ (np.bincount(part_K, area_K * turned_K) > total / 2)[part_K]
