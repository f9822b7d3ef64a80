"""Surfaces of cells lie where the cells do, in their frame; distances have the right sign and size."""

import numpy as np
import pytest

from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.mask_surface import distance_outside, is_inside, isotropic_cells, smooth_surface
from data_processing.geometry.triangle_mesh import is_watertight
from tests.isofield.outliers.organs import ellipsoid

FRAME = np.array([[0, 0, 3.0, 10], [-2.0, 0, 0, 20], [0, 2.5, 0, -7], [0, 0, 0, 1]])  # turned, mirrored, scaled


def block(shape: tuple[int, int, int], lower: tuple[int, int, int], upper: tuple[int, int, int]) -> np.ndarray:
    """Cells from lower to upper, that one without."""
    cells = np.zeros(shape, dtype=bool)
    cells[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = True
    return cells


def test_a_surface_lies_around_its_cells_in_the_world():
    cells = block((40, 30, 20), (5, 9, 0), (25, 19, 9))  # reaches the border of the array
    surface = smooth_surface(cells, FRAME)
    assert is_watertight(surface)
    corners = np.array([[4.5, 8.5, -0.5], [24.5, 18.5, 8.5]]) @ FRAME[:3, :3].T + FRAME[:3, 3]
    np.testing.assert_allclose(np.stack(surface.bounds()), np.sort(corners, axis=0), atol=1e-5)
    a, b, c = surface.triangles().transpose(1, 0, 2)
    volume = np.einsum("fc,fc->f", a, np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(cells.sum() * 15, rel=0.1)  # positive: faces look outside although it is mirrored


def test_no_cells_have_no_surface():
    assert not len(smooth_surface(np.zeros((4, 5, 6), dtype=bool), np.eye(4)).faces)


def test_distances_of_a_larger_ellipsoid_are_the_gap_and_of_itself_nothing():
    edge, size = 0.5, 48
    frame = np.diag([edge, edge, edge, 1.0])
    inner, outer = (smooth_surface(ellipsoid((r, r, r), size), frame) for r in (12.0, 16.0))
    around = is_inside(ellipsoid((12.0,) * 3, size), outer.vertices, frame)
    assert not around.any()
    gap = distance_outside(outer.vertices, inner, around, edge=edge)
    np.testing.assert_allclose(gap, 4 * edge, atol=0.3 * edge)
    within = is_inside(ellipsoid((16.0,) * 3, size), inner.vertices, frame)
    np.testing.assert_allclose(distance_outside(inner.vertices, outer, within, edge=edge), -4 * edge, atol=0.4 * edge)
    np.testing.assert_allclose(distance_outside(inner.vertices, inner, within, edge=edge), 0, atol=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.3, 0.6, 1.0), (2.0, 2.0, 2.0)])
def test_cells_of_equal_edges_fill_the_same_place(spacing: tuple[float, float, float]):
    mask = block((50, 40, 12), (10, 4, 3), (30, 34, 9)).astype(np.uint8)
    frame = FRAME @ np.diag([*spacing, 1.0])
    frame[:3, :3] = np.diag(spacing)  # the axes of the world, another origin
    (cells, empty), to_world = isotropic_cells([mask, mask * 0], frame, most=32)
    edges = np.linalg.norm(to_world[:3, :3], axis=0)
    assert edges.max() / edges.min() < 1.2 and max(cells.shape) <= 32 and not empty.any()
    before, after = (np.argwhere(one > 0) for one in (mask, cells))
    for places, matrix, wide in ((before, frame, np.array(spacing)), (after, to_world, edges)):
        lower = matrix[:3, :3] @ places.min(axis=0) + matrix[:3, 3] - wide / 2
        upper = matrix[:3, :3] @ places.max(axis=0) + matrix[:3, 3] + wide / 2
        if matrix is frame:
            wanted = lower, upper
        np.testing.assert_allclose(lower, wanted[0], atol=edges.max())
        np.testing.assert_allclose(upper, wanted[1], atol=edges.max())
    assert cells.sum() * edges.prod() == pytest.approx(mask.sum() * np.prod(spacing), rel=0.15)


def test_coarse_cells_of_a_box_with_a_rest_lie_where_its_voxels_lay():
    mask = np.zeros((20, 20, 241), dtype=np.uint8)
    mask[3:15, 3:15, 204:240] = 1
    (cells,), to_world = isotropic_cells([mask], np.eye(4), most=80)
    assert max(cells.shape) <= 80
    middle = transform_points(np.argwhere(cells).mean(axis=0, keepdims=True), to_world)[0]
    np.testing.assert_allclose(middle, np.argwhere(mask).mean(axis=0), atol=0.5)
