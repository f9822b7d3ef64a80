"""A band around the surface against the field asked everywhere."""

import numpy as np
import pytest
import torch

from isofield.extraction.surface_band import SATURATED, values_near_surface
from tests.plain_ways import grid_centres

LEVEL = 0.5


def ellipsoid(points_N3: torch.Tensor) -> torch.Tensor:
    """Off the centre, with three different axes; about 1 at the middle."""
    places = (points_N3 - torch.tensor([0.05, -0.1, 0.0])) / torch.tensor([0.4, 0.3, 0.2])
    return 1.5 - places.norm(dim=1)


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_the_band_holds_the_surface_and_the_rest_its_sign(halvings):
    coarse, size = 32 >> halvings, 32
    asked = np.ones((coarse,) * 3, dtype=bool)
    values = values_near_surface(ellipsoid, asked, halvings=halvings, iso_level=LEVEL, device="cpu")
    dense = ellipsoid(grid_centres(size)).view((size,) * 3).numpy()
    np.testing.assert_array_equal(values > LEVEL, dense > LEVEL)
    near = np.abs(values - LEVEL) < SATURATED - 1
    np.testing.assert_allclose(values[near], dense[near], atol=1e-6)
    assert near.all() == (halvings == 0) and near.mean() > 0.1
    assert near[np.abs(dense - LEVEL) < 1 / size].all()


def test_cells_that_are_not_asked_are_outside():
    asked = np.zeros((8, 8, 8), dtype=bool)
    assert (values_near_surface(ellipsoid, asked, halvings=2, iso_level=LEVEL, device="cpu") == LEVEL - SATURATED).all()
    asked[:4] = True
    values = values_near_surface(ellipsoid, asked, halvings=1, iso_level=LEVEL, device="cpu")
    assert (values[:8] > LEVEL).any() and not (values[10:] > LEVEL).any()


def test_the_border_of_the_cube_is_no_surface():
    """A cube that is inside throughout: after the first level nothing is asked."""
    sizes = []

    def full(points_N3: torch.Tensor) -> torch.Tensor:
        sizes.append(len(points_N3))
        return torch.ones(len(points_N3))

    values = values_near_surface(full, np.ones((8, 8, 8), dtype=bool), halvings=2, iso_level=LEVEL, device="cpu")
    assert (values == LEVEL + SATURATED).all() and sum(sizes) == 8**3


def test_a_field_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite at 512 of 512"):
        values_near_surface(
            lambda points_N3: points_N3[:, 0] * torch.nan,
            np.ones((8, 8, 8), dtype=bool),
            halvings=1,
            iso_level=LEVEL,
            device="cpu",
        )
