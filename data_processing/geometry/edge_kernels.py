"""Which faces meet at which edges, on a CPU, compiled by numba: some passes over the half edges, none over pairs.

Half edge 3 f + k of a face f goes from its corner k to its corner (k + 1) % 3.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

Integers = NDArray[np.int64]

MIX = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio of 2^64: products spread over the upper bits
OPEN, FLIPPED, CLOSED, SLIVERS = 0, 1, 2, 3  # what pair_edges says of a mesh as a whole


@compile_exact
def merge_vertices(vertices_V3: NDArray[np.float64]) -> Integers:
    """The first vertex (V,) that lies exactly where each one lies. -0.0 and 0.0 are one place."""
    count, bits = len(vertices_V3), 4
    # At most half of the table is taken, so that a search ends after one or two looks.
    while 1 << bits < 2 * count:
        bits += 1
    table, first_V = np.full(1 << bits, -1, dtype=np.int64), np.empty(count, dtype=np.int64)
    numbers_V3 = (vertices_V3 + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    for v in range(count):
        a, b, c = numbers_V3[v, 0], numbers_V3[v, 1], numbers_V3[v, 2]
        mixed = (a * MIX ^ b) * MIX ^ (c >> np.uint64(7))
        mixed = (mixed ^ (mixed >> np.uint64(32))) * MIX
        # The upper bits depend on all the others. Two places that share an entry take the next free one.
        at = np.int64(mixed >> np.uint64(64 - bits))
        while table[at] >= 0:
            w = table[at]
            if numbers_V3[w, 0] == a and numbers_V3[w, 1] == b and numbers_V3[w, 2] == c:
                break
            at = (at + 1) & (len(table) - 1)
        if table[at] < 0:
            table[at] = v
        first_V[v] = table[at]
    return first_V


@compile_exact
def pair_edges(faces_F3: Integers, first_V: Integers) -> tuple[Integers, int]:
    """The half edge (3 F,) on the other side of each edge, and what that makes of the mesh.

    CLOSED: every edge has two faces, which walk it in opposite directions; FLIPPED: two faces each, but some walk it
    the same way; OPEN: an edge has another number of faces; SLIVERS: a face has one corner twice. Only the first two
    pair all half edges.
    """
    halves = 3 * len(faces_F3)
    low_H, high_H = np.empty(halves, dtype=np.int64), np.empty(halves, dtype=np.int64)
    begin_V, end_V = np.zeros(len(first_V) + 1, dtype=np.int64), np.zeros(len(first_V) + 1, dtype=np.int64)
    partner_H = np.full(halves, -1, dtype=np.int64)
    for face in range(len(faces_F3)):
        for k in range(3):
            a, b = first_V[faces_F3[face, k]], first_V[faces_F3[face, (k + 1) % 3]]
            if a == b:
                return partner_H, SLIVERS
            low, high = min(a, b), max(a, b)
            low_H[3 * face + k], high_H[3 * face + k] = low, high
            begin_V[low + 1] += 1
            end_V[high + 1] += 1
    for v in range(len(first_V)):
        begin_V[v + 1] += begin_V[v]
        end_V[v + 1] += end_V[v]
    # Sorted by the higher vertex, then by the lower one: half edges of one edge lie side by side.
    by_high_H, order_H = np.empty(halves, dtype=np.int64), np.empty(halves, dtype=np.int64)
    for half in range(halves):
        by_high_H[end_V[high_H[half]]] = half
        end_V[high_H[half]] += 1
    for at in range(halves):
        half = by_high_H[at]
        order_H[begin_V[low_H[half]]] = half
        begin_V[low_H[half]] += 1
    consistent = True
    for at in range(0, halves, 2):
        if at + 1 == halves:
            return partner_H, OPEN
        one, other = order_H[at], order_H[at + 1]
        if low_H[one] != low_H[other] or high_H[one] != high_H[other]:
            return partner_H, OPEN
        if at + 2 < halves and low_H[order_H[at + 2]] == low_H[one] and high_H[order_H[at + 2]] == high_H[one]:
            return partner_H, OPEN
        # A third half edge of the same edge was ruled out, so these two are partners. They are consistent when one
        # walks from the lower vertex and the other from the higher.
        partner_H[one], partner_H[other] = other, one
        consistent &= (first_V[faces_F3[one // 3, one % 3]] == low_H[one]) != (
            first_V[faces_F3[other // 3, other % 3]] == low_H[one]
        )
    return partner_H, CLOSED if consistent else FLIPPED


@compile_exact
def flood_faces(
    faces_F3: Integers, first_V: Integers, partner_H: Integers, consistent: bool
) -> tuple[Integers, NDArray[np.bool_], bool]:
    """Of each face its sheet (numbered by their lowest faces), and whether it is turned against the lowest one.

    Sheets are joined at edges; every half edge has a partner. The last value says whether all sheets have two sides
    and, unless `consistent`, no two faces the same three corners: only then do the others mean anything.
    """
    count = len(faces_F3)
    sheet_F, turned_F = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    stack, sheets = np.empty(count, dtype=np.int64), 0
    for seed in range(count):
        if sheet_F[seed] >= 0:
            continue
        # A sheet is flooded from its lowest face, which therefore is the one that counts as not turned.
        sheet_F[seed], stack[0], height = sheets, seed, 1
        while height:
            height -= 1
            face = stack[height]
            if not consistent and partner_H[3 * face] // 3 == partner_H[3 * face + 1] // 3:
                return sheet_F, turned_F, False
            for k in range(3):
                half = partner_H[3 * face + k]
                other = half // 3
                # Neighbours that walk their edge the same way: one of them is turned.
                same = first_V[faces_F3[other, half % 3]] == first_V[faces_F3[face, k]]
                if sheet_F[other] < 0:
                    sheet_F[other], turned_F[other], stack[height] = sheets, turned_F[face] != same, other
                    height += 1
                elif turned_F[other] != (turned_F[face] != same):
                    return sheet_F, turned_F, False
        sheets += 1
    return sheet_F, turned_F, True


@compile_exact
def turned_areas(
    vertices_V3: NDArray[np.float64], faces_F3: Integers, sheet_F: Integers, turned_F: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Twice the area of each sheet, and of its turned faces (S, 2), each face rounded and added as numpy would."""
    areas_S2 = np.zeros((sheet_F.max() + 1, 2))
    for face in range(len(faces_F3)):
        a, b, c = vertices_V3[faces_F3[face, 0]], vertices_V3[faces_F3[face, 1]], vertices_V3[faces_F3[face, 2]]
        ux, uy, uz, vx, vy, vz = b[0] - a[0], b[1] - a[1], b[2] - a[2], c[0] - a[0], c[1] - a[1], c[2] - a[2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        area = np.sqrt(x * x + y * y + z * z)
        areas_S2[sheet_F[face], 0] += area
        areas_S2[sheet_F[face], 1] += area * turned_F[face]
    return areas_S2


@compile_exact
def count_pieces(faces_F3: Integers, first_V: Integers, sheet_F: Integers) -> int:
    """How many pieces sheets make that are joined at vertices."""
    pieces = 0
    for face in range(len(sheet_F)):
        pieces = max(pieces, sheet_F[face] + 1)
    # Union-find over the sheets: the first sheet seen at a vertex, and every other one that comes there, are one piece.
    root_S, owner_V = np.arange(pieces), np.full(len(first_V), -1, dtype=np.int64)
    for face in range(len(sheet_F)):
        for k in range(3):
            v = first_V[faces_F3[face, k]]
            if owner_V[v] < 0:
                owner_V[v] = sheet_F[face]
            one, other = owner_V[v], sheet_F[face]
            # Paths are halved on the way up: the next search is shorter.
            while root_S[one] != one:
                root_S[one] = root_S[root_S[one]]
                one = root_S[one]
            while root_S[other] != other:
                root_S[other] = root_S[root_S[other]]
                other = root_S[other]
            if one != other:
                root_S[max(one, other)] = min(one, other)
                pieces -= 1
    return pieces
