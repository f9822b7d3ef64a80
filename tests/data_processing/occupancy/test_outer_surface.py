"""Samples of the surface that bounds a solid: none in it, uniform on what is left, all of a mesh that has no inside."""

import numpy as np
import pytest
from scipy import stats

from data_processing.geometry.triangle_mesh import sample_surface
from data_processing.occupancy import outer_surface
from data_processing.occupancy.inside_outside import InsideConfig, InsideTest
from data_processing.occupancy.outer_surface import OuterSurface
from isofield.runtime.seeds import numpy_generator
from tests.data_processing.solids import box, joined, quad, turned_inside_out

OUTER = InsideConfig(surface="outer", lookup_resolution=96)
FILLED = InsideConfig(surface="outer", cavities="fill", lookup_resolution=96)
LOW, HIGH = np.array([-0.4, -0.3, -0.1]), np.array([0.3, 0.2, 0.35])


def samples_of(mesh, settings=OUTER, count=6000):
    points, normals = OuterSurface(mesh, InsideTest(mesh, settings)).sample(count, numpy_generator("outer"))
    assert points.shape == normals.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-12)
    return points, normals


def test_of_parts_that_run_into_each_other_the_outside_is_left():
    """A bar through a block: what lies in the other one is gone, and the rest is uniform over the area that is left."""
    bar = box(np.array([-0.45, -0.1, 0.0]), np.array([0.45, 0.05, 0.15]))
    points, _ = samples_of(joined(box(LOW, HIGH), bar))
    slack = 1e-9
    in_block = ((points > LOW + slack) & (points < HIGH - slack)).all(1)
    in_bar = (
        (points > [-0.45 + slack, -0.1 + slack, slack]) & (points < [0.45 - slack, 0.05 - slack, 0.15 - slack])
    ).all(1)
    assert not in_block.any() and not in_bar.any()
    # The two ends of the bar beyond the block: four sides and a cap each; the block without the two holes.
    ends = 2 * 0.15 * 0.15 + 4 * 0.15 * (0.05 + 0.15)
    sides = HIGH - LOW
    block = 2 * (sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2]) - 2 * 0.15 * 0.15
    beyond = int(((points[:, 0] < LOW[0] - slack) | (points[:, 0] > HIGH[0] + slack)).sum())
    assert stats.binomtest(beyond, len(points), ends / (ends + block)).pvalue > 1e-3


def test_the_wall_of_a_void_is_inner_where_voids_are_filled():
    hollow = joined(box(LOW, HIGH), turned_inside_out(box(LOW + 0.1, HIGH - 0.1)))
    kept, _ = samples_of(hollow)
    filled, _ = samples_of(hollow, FILLED)
    on_wall = [(((points > LOW + 0.05) & (points < HIGH - 0.05)).all(1)).mean() for points in (kept, filled)]
    assert on_wall[0] > 0.1 and on_wall[1] == 0


@pytest.mark.parametrize("mesh", [box(LOW, HIGH), quad((0, 0, 0), (0.5, 0, 0), (0.5, 0.3, 0), (0, 0.3, 0))])
def test_a_plain_solid_and_a_sheet_are_outer_all_over(mesh):
    points, normals = samples_of(mesh, FILLED, count=500)
    assert OuterSurface(mesh, InsideTest(mesh, FILLED)).holds(points, normals).all()
    np.testing.assert_array_equal(points, sample_surface(mesh, 500, numpy_generator("outer"))[0])


def test_hardly_any_outer_surface_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """One shell in twenty, where one in five would have to be an outer one; one in a hundred as it is."""
    mesh = joined(*[box(LOW + step, HIGH - step) for step in (0, *np.linspace(0.02, 0.05, 20))])
    assert len(OuterSurface(mesh, InsideTest(mesh, OUTER)).sample(20, numpy_generator("outer"))[0]) == 20
    monkeypatch.setattr(outer_surface, "MOST", 5)
    with pytest.raises(ValueError, match=r"of \d+ samples of the surface bound the solid \(inside.surface=outer\)"):
        OuterSurface(mesh, InsideTest(mesh, OUTER)).sample(200, numpy_generator("outer"))
