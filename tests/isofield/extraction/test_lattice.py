"""A field at many points: in batches, without gradients, and nothing wrong passes."""

import pytest
import torch

from isofield.extraction.lattice import evaluate_field

WEIGHT = torch.nn.Parameter(torch.tensor([1.0, 2.0, 4.0]))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 20])
def test_many_points_are_asked_in_batches_in_order(count):
    points, sizes = torch.arange(3.0 * count).view(count, 3), []

    def field(points_N3):
        sizes.append(len(points_N3))
        return points_N3.double() @ WEIGHT.double()

    values = evaluate_field(field, points, batch_points=7)
    assert values.dtype == torch.float32 and not values.requires_grad
    assert torch.equal(values, points @ WEIGHT.detach())
    assert sum(sizes) == count and max(sizes, default=0) <= 7


def test_what_is_no_value_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite at 1 of 4 points"):
        evaluate_field(lambda points_N3: torch.tensor([0.0, 1.0, torch.nan, 0.0]), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"\(4, 1\) for 4 points: \(4,\)"):
        evaluate_field(lambda points_N3: points_N3[:, :1], torch.zeros(4, 3))
