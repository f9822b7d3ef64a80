"""IoU and Chamfer distance of a validation: against boxes whose numbers are known, and without moving any generator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.training.shape_scores import ScoredShapes, ShapeScore, means


@pytest.fixture
def shapes(boxes: Path) -> ShapeSet:
    return open_shapes(boxes)


def box_of(shapes: ShapeSet, index: int, shift: int = 0) -> TriangleMesh:
    """The stored box of a shape, moved along x by so many voxels; in the cube."""
    where = np.argwhere(shapes.voxels(index))
    size = len(shapes.voxels(index))
    low, high = where.min(axis=0) / size - 0.5, (where.max(axis=0) + 1) / size - 0.5
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    faces = [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]  # fmt: skip
    return TriangleMesh(low + corners * (high - low) + [shift / size, 0, 0], np.array(faces))


def test_the_stored_box_itself_is_perfect(shapes: ShapeSet):
    score = ScoredShapes(shapes, seed=0).score(box_of(shapes, 0), 0)
    assert score is not None and score.iou == 1.0
    assert score.chamfer is not None and score.chamfer < 0.02  # two sets of 2,048 points of one surface


def test_a_moved_box_has_the_overlap_that_can_be_counted(shapes: ShapeSet):
    occupancy = shapes.voxels(0) > 0
    length = int(np.ptp(np.argwhere(occupancy)[:, 0])) + 1
    score = ScoredShapes(shapes, seed=0).score(box_of(shapes, 0, shift=2), 0)
    assert score is not None and score.iou == pytest.approx((length - 2) / (length + 2))
    still = ScoredShapes(shapes, seed=0).score(box_of(shapes, 0), 0)
    assert still is not None and score.chamfer is not None and still.chamfer is not None
    assert still.chamfer < score.chamfer < 2 / len(occupancy) + still.chamfer


def test_the_same_every_time_and_no_generator_moves(shapes: ShapeSet):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (ScoredShapes(shapes, seed=3).score(box_of(shapes, 1), 1) for _ in range(2))
    assert one == two
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_without_a_surface_nothing_is_hidden_in_the_means(shapes: ShapeSet):
    empty = ScoredShapes(shapes, seed=0).score(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), 0)
    assert empty == ShapeScore(0.0, None)
    assert means([empty, ShapeScore(0.5, 0.1)]) == {"iou": 0.25, "chamfer": 0.1, "without_surface": 1}
    assert means([empty]) == {"iou": 0.0, "without_surface": 1} and means([]) == {}
