"""Distances on the small grid, and components that span what they were fitted on."""

import numpy as np
import pytest

from isofield.outliers.scoring.shape_space import SdfGrid, fit_components, overlap, sdf_grid_of
from tests.isofield.outliers.organs import ellipsoid


def test_the_frame_follows_the_mask_and_counts_in_mm():
    """The same solid, moved, or sampled twice as finely: the same distances."""
    frame = SdfGrid(cell=2.0, cells=24)
    first = frame.distances(ellipsoid((8, 12, 6)), 1.0)
    moved = frame.distances(np.roll(ellipsoid((8, 12, 6)), (3, -4, 5), axis=(0, 1, 2)), 1.0)
    fine = frame.distances(ellipsoid((16, 24, 12), size=96), 0.5)
    np.testing.assert_allclose(first, moved, atol=0.05)  # nearer to the border of their array
    assert np.abs(first - fine).mean() < 0.1
    assert overlap(first, fine) > 0.98
    assert np.clip(0.5 - first, 0, 1).sum() * 8 == pytest.approx(4 / 3 * np.pi * 8 * 12 * 6, rel=0.1)


def test_the_grid_holds_the_largest():
    frame = sdf_grid_of([50.0, 100.0])
    assert frame.cell * frame.cells == pytest.approx(125)


def test_overlap_of_shapes():
    near, far = np.full(10, -2.0), np.full(10, 2.0)
    assert overlap(near, near) == 1
    assert overlap(near, far) == 0
    assert overlap(far, far) == 1


def test_components_span_what_they_were_fitted_on():
    random = np.random.default_rng(0)
    basis = random.normal(size=(3, 500))
    shapes = random.normal(size=(12, 3)) @ basis + random.normal(size=500)
    components = fit_components(shapes, 80)
    assert len(components.modes_MD) == 3
    np.testing.assert_allclose(components.modes_MD @ components.modes_MD.T, np.eye(3), atol=1e-5)
    other = random.normal(size=3) @ basis + components.mean_D
    np.testing.assert_allclose(components.project(other), other, atol=1e-4)
    np.testing.assert_allclose(
        np.sort(components.spread_M**2), np.sort(np.linalg.eigvalsh(np.cov(shapes.T)))[-3:], rtol=1e-4
    )


def test_no_more_components_than_asked_or_than_there_are():
    shapes = np.random.default_rng(0).normal(size=(6, 100))
    assert len(fit_components(shapes, 80).modes_MD) == 5
    assert len(fit_components(shapes, 2).modes_MD) == 2
