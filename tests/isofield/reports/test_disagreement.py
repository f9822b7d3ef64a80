"""Two masks in colours: what is extra is positive on either surface, what is missing negative."""

import numpy as np
import pytest

from isofield.reports.disagreement import colour_limit, signed_colours, signed_surfaces
from tests.isofield.outliers.organs import ellipsoid

WHOLE = ellipsoid((14.0, 11.0, 9.0), 40)
FRAME = np.diag([2.0, 2.0, 2.0, 1.0])


def with_knob() -> np.ndarray:
    places = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1)
    return WHOLE | (((places - [33, 20, 20]) ** 2).sum(axis=-1) < 30)


@pytest.mark.parametrize("extra", [True, False])
def test_a_knob_is_extra_or_missing_on_both_surfaces(extra: bool):
    knob = with_knob()
    mask, reference = (knob, WHOLE) if extra else (WHOLE, knob)
    surfaces = signed_surfaces(mask, reference, FRAME)
    sign = 1 if extra else -1
    for surface in surfaces:
        far = surface.mesh.vertices[:, 0] < 50
        np.testing.assert_allclose(surface.distance_V[far], 0, atol=0.2)
        assert (sign * surface.distance_V[~far]).max() > 4 and (sign * surface.distance_V).min() > -0.5
    assert 4 < colour_limit(*surfaces) < 15


def test_without_the_other_side_all_is_extra_or_missing():
    nothing = np.zeros_like(WHOLE)
    extra, none = signed_surfaces(WHOLE, nothing, FRAME)
    assert (extra.distance_V > 15).all() and not len(none.mesh.faces)
    none, missing = signed_surfaces(nothing, WHOLE, FRAME)
    assert (missing.distance_V < -15).all() and not len(none.mesh.faces)
    assert colour_limit(*signed_surfaces(nothing, nothing, FRAME)) == 2


def test_colours_of_the_ends_and_the_middle():
    np.testing.assert_array_equal(
        signed_colours(np.array([0.0, 9.0, -9.0]), 4.0), [[205] * 3, [60, 60, 222], [214, 110, 40]]
    )
