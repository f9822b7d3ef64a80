"""What hangs together: nodes of a graph by its edges, points by their distance, cells by their faces.

In numpy alone: these are asked of every mesh, and the sparse graphs, trees and filters of scipy take a quarter of a
second to load, as much as all that is asked of a small mesh (tests/benchmarks/LOG.md). Answers equal scipy's.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def connected_pieces(first_E: NDArray[np.integer], second_E: NDArray[np.integer], count: int) -> Integers:
    """The piece (count,) of each node 0..count-1 of a graph with edges between first_E and second_E.

    Pieces are numbered from 0 by their lowest nodes. The hooking and pointer jumping of Shiloach and Vishkin (An O(log
    n) parallel connectivity algorithm, 1982), each round over all edges whose ends are still apart.
    """
    root = np.arange(count)
    one, other = np.asarray(first_E, dtype=np.int64), np.asarray(second_E, dtype=np.int64)
    while len(one):
        one, other = root[one], root[other]
        low, high = np.minimum(one, other), np.maximum(one, other)
        apart = low < high
        one, other = low[apart], high[apart]
        np.minimum.at(root, other, one)  # roots hang below lower ones alone: no circles
        while True:
            above = root[root]
            if np.array_equal(above, root):
                break
            root = above
    # Roots are the lowest nodes of their pieces.
    number = np.cumsum(root == np.arange(count)) - 1
    return number[root]


def close_pairs(points_N3: NDArray[np.float64], distance: float) -> tuple[Integers, Integers]:
    """Numbers (P,) and (P,) of points no farther from each other than `distance`; a pair may be there more than once.

    Coordinates from the lowest one may be 10^6 distances at most.
    """
    if not 0 < distance < np.inf:  # of a surface of no extent; no two points of it lie apart
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    # Cells twice as wide as the distance: two close points share one in a grid that is shifted by half a cell along
    # some of the axes.
    place_N3 = (points_N3 - points_N3.min(axis=0, initial=np.inf)) / (2 * distance)
    found = [np.empty((2, 0), dtype=np.int64)]
    for shift in itertools.product((0.0, 0.5), repeat=3):
        x, y, z = np.floor(place_N3 + shift).astype(np.int64).T
        key_N = (x << 42) + (y << 21) + z
        order = np.argsort(key_N, kind="stable")
        begin = np.flatnonzero(np.diff(key_N[order], prepend=-1))
        length = np.diff(begin, append=len(order))
        begin, length = begin[length > 1], length[length > 1]
        # Each point of a cell with each of those behind it.
        member = np.repeat(begin, length) + _counted(length)
        behind = np.repeat(begin + length, length) - member - 1
        pair = np.repeat(member, behind), np.repeat(member, behind) + 1 + _counted(behind)
        ends = np.stack([order[pair[0]], order[pair[1]]])
        apart_P3 = points_N3[ends[0]] - points_N3[ends[1]]
        found.append(ends[:, (apart_P3**2).sum(axis=1) <= distance * distance])
    first, second = np.concatenate(found, axis=1)
    return first, second


def have_close(points_N3: NDArray[np.floating], others_M3: NDArray[np.floating], distance: float) -> NDArray[np.bool_]:
    """Which points (N, 3) have one of the others (M, 3), at least one, nearer than `distance`: (N,).

    Coordinates from the lowest one may be 10^6 distances at most.
    """
    points, others = np.asarray(points_N3, dtype=np.float64), np.asarray(others_M3, dtype=np.float64)
    lowest_3 = np.minimum(others.min(axis=0), points.min(axis=0, initial=np.inf)) - 2 * distance
    # Cells as wide as the distance: close points lie in neighbouring ones, three of which in a row are one run of keys.
    x, y, z = np.floor((others - lowest_3) / distance).astype(np.int64).T
    key_M = (x << 42) + (y << 21) + z
    order = np.argsort(key_M, kind="stable")
    key_M, others = key_M[order], others[order]
    x, y, z = np.floor((points - lowest_3) / distance).astype(np.int64).T
    close_N = np.zeros(len(points), dtype=bool)
    for dx, dy in itertools.product((0, -1, 1), repeat=2):
        rest = np.flatnonzero(~close_N)
        first = ((x[rest] + dx) << 42) + ((y[rest] + dy) << 21) + z[rest] - 1
        begin = np.searchsorted(key_M, first)
        length = np.searchsorted(key_M, first + 2, side="right") - begin
        asked, other = np.repeat(rest, length), np.repeat(begin, length) + _counted(length)
        near = ((points[asked] - others[other]) ** 2).sum(axis=1) < distance * distance
        close_N[asked[near]] = True
    return close_N


def reached_from_corner(passable_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Passable cells that a path over faces joins to the first one, which is passable: bool, of the same shape."""
    # Runs of passable cells along the last axis are the nodes, and where two of them begin to lie beside each other
    # there is an edge.
    begins = passable_XYZ.copy()
    begins[..., 1:] &= ~passable_XYZ[..., :-1]
    run_XYZ = np.cumsum(begins, dtype=np.int32).reshape(passable_XYZ.shape) - 1
    ends = []
    for axis in (0, 1):
        low, high = (np.moveaxis(passable_XYZ, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        beside = low & high
        beside[..., 1:] &= ~(low & high)[..., :-1]
        runs = np.moveaxis(run_XYZ, axis, 0)
        ends.append((runs[:-1][beside], runs[1:][beside]))
    first, second = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    reached_R = connected_pieces(first, second, int(run_XYZ[-1, -1, -1]) + 1) == 0  # the first run is the corner's
    return passable_XYZ & reached_R[run_XYZ]


def _counted(lengths: Integers) -> Integers:
    """0, 1, ... for each length."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
