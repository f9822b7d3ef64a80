"""Pieces, tunnels and voids of solids that are known, and holes that the truth has not."""

import numpy as np
import pytest

from isofield.metrics.topology import Topology, new_tunnels, topology


def block(*size: int) -> np.ndarray:
    grid = np.zeros((12, 10, 9), dtype=bool)
    grid[tuple(slice(1, 1 + edge) for edge in size)] = True
    return grid


def test_solids_that_are_known():
    whole = block(9, 8, 5)
    assert topology(whole) == Topology(pieces=1, tunnels=0, voids=0)
    bored = whole.copy()
    bored[3:5, 2:4] = False  # through, along the last axis
    bored[7, 6] = False
    assert topology(bored) == Topology(1, 2, 0)
    hollow = whole.copy()
    hollow[4, 3, 3] = False
    assert topology(hollow) == Topology(1, 0, 1) and topology(hollow).euler == 2
    apart = whole.copy()
    apart[5] = False
    assert topology(apart) == Topology(2, 0, 0)
    assert topology(np.zeros((4, 4, 4))) == Topology(0, 0, 0)
    assert topology(np.ones((3, 4, 5))) == Topology(1, 0, 0)  # up to the border of the grid


def test_cells_that_share_a_corner_are_one_piece_and_air_passes_through_faces_alone():
    diagonal = np.zeros((4, 4, 4), dtype=bool)
    diagonal[1, 1, 1] = diagonal[2, 2, 2] = True
    assert topology(diagonal) == Topology(1, 0, 0)
    ring = np.zeros((4, 4, 3), dtype=bool)  # four cells about one, each touching the next along an edge
    ring[[0, 2, 1, 1], [1, 1, 0, 2], 1] = True
    assert topology(ring) == Topology(1, 1, 0)
    cross = np.ones((3, 3, 3), dtype=bool)
    cross[1, 1, 1] = cross[0, 0, 1] = False  # the middle is shut in though an edge away from it is air
    assert topology(cross) == Topology(1, 0, 1)


def test_euler_number_of_a_random_body_is_that_of_its_cells_listed_one_by_one():
    grid = np.random.default_rng(0).random((5, 6, 7)) < 0.3
    faces: set[tuple[int, ...]] = set()  # twice the middle of each cell, face, edge and corner
    for x, y, z in np.argwhere(grid):
        faces |= {(2 * x + i, 2 * y + j, 2 * z + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)}
    assert topology(grid).euler == sum((-1) ** sum(value % 2 == 0 for value in face) for face in faces)


def test_a_hole_that_the_truth_has_not():
    top = block(9, 8, 1)
    holed = top.copy()
    holed[4:6, 4:6] = False
    assert new_tunnels(holed, top) == 1 and new_tunnels(top, holed) == 0 and new_tunnels(holed, holed) == 0
    with pytest.raises(ValueError, match=r"\(12, 10, 9\) and \(3, 3, 3\)"):
        new_tunnels(top, np.ones((3, 3, 3)))
    with pytest.raises(ValueError, match="three axes"):
        topology(np.ones((3, 3)))
