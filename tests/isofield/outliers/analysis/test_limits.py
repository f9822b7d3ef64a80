"""Limits of the user's own, at their edge: grids are stored as float32."""

import numpy as np
import pytest

from isofield.outliers.analysis.limits import describe_excess, limit_of


@pytest.mark.parametrize("words", ["hd95>0.8", "nsd<0.8", "dice<0.8"])
def test_a_value_equal_to_its_limit_but_for_rounding_is_not_beyond_it(words):
    limit = limit_of(words)
    for value in (0.8, float(np.float32(0.8)), 0.8 - 1e-9, 0.8 + 1e-9):
        assert not limit.exceeded_by(value)
    worse = 0.8001 if words.startswith("hd95") else 0.7999
    assert describe_excess([limit], {limit.metric: worse}) != []
