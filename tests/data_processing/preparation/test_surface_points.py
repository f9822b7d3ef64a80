"""Stored surface points: on the surface to the rounding of the store, uniform, and seen from where they should be."""

import numpy as np
import pytest
import torch
from scipy import stats

from data_processing.geometry.coordinates import from_fixed
from data_processing.preparation.contents import SurfaceConfig
from data_processing.preparation.cube_shape import CubeShape, voxels_at
from data_processing.preparation.surface_points import surface_row, view_positions
from tests.data_processing.solids import box

LOWER, UPPER = np.array([-0.4, -0.3, -0.1]), np.array([0.3, 0.2, 0.35])
NOTHING = torch.zeros(8, 8, 8, dtype=torch.uint8)


def shape():
    mesh = box(LOWER, UPPER)
    return CubeShape(NOTHING, np.eye(4), "scan", "ok", lambda: mesh, lambda points: voxels_at(NOTHING, points))


def row_of(**options):
    row = surface_row(shape(), SurfaceConfig(points=20_000, **options), seed=0, name="a/b")
    return from_fixed(torch.from_numpy(row["surface_points"]), torch.float64).numpy(), row.get("surface_visible")


def side_of(points):
    """Which face of the box each point lies on: 0..5, and how far off that and the next face it is: (N, 2)."""
    gaps = np.abs(np.concatenate([points - LOWER, points - UPPER], axis=1))
    return gaps.argmin(1), np.sort(gaps, axis=1)[:, :2]


def test_points_are_uniform_on_the_faces():
    points, _ = row_of()
    face, gap = side_of(points)
    assert gap[:, 0].max() <= 1 / 65536 + 1e-12
    sides = UPPER - LOWER
    areas = np.tile([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]], 2)
    assert stats.chisquare(np.bincount(face, minlength=6), areas / areas.sum() * len(points)).pvalue > 1e-3
    top = points[face == 5]
    assert stats.kstest((top[:, 0] - LOWER[0]) / sides[0], "uniform").pvalue > 1e-3


def test_bits_say_from_which_cameras_a_face_is_seen():
    options = {"views": 16, "elevation": 30.0, "distance": 1.5}
    points, bits = row_of(**options)
    visible = np.unpackbits(bits, axis=1).astype(bool)
    cameras = view_positions(SurfaceConfig(**options))
    face, gap = side_of(points)
    clear = gap[:, 1] > 1e-4  # rounding does not take the point to another face
    beyond = np.concatenate([cameras < LOWER, cameras > UPPER], axis=1)  # (V, 6): in front of the face's plane
    np.testing.assert_array_equal(visible[clear], beyond[:, face].T[clear])
    assert clear.mean() > 0.99


@pytest.mark.parametrize(("up", "front", "height"), [("y", [0, 0, 1], 1), ("z", [0, -1, 0], 2)])
def test_a_ring_starts_in_front_and_turns_to_x(up, front, height):
    settings = SurfaceConfig(views=8, elevation=0.0, distance=2.0, up=up)
    positions = view_positions(settings)
    np.testing.assert_allclose(positions[0], 2.0 * np.array(front), atol=1e-9)
    np.testing.assert_allclose(positions[2], [2.0, 0, 0], atol=1e-9)
    lifted = view_positions(SurfaceConfig(views=8, elevation=30.0, distance=2.0, up=up))
    np.testing.assert_allclose(lifted[:, height], 1.0)
    np.testing.assert_allclose(np.linalg.norm(lifted, axis=1), 2.0)


def test_a_sphere_of_cameras_looks_from_everywhere():
    positions = view_positions(SurfaceConfig(views=64, placement="sphere", distance=3.0))
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 3.0)
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.degrees(np.arccos((directions @ (positions / 3.0).T).max(1))).max() < 20
    np.testing.assert_allclose(positions.mean(0), 0, atol=0.05)


def test_no_bits_without_views():
    assert row_of()[1] is None
