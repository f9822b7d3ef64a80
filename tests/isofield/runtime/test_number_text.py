"""Numbers for people."""

import math

import pytest

from isofield.runtime.number_text import short


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, "-"),
        (0.0, 4, "0"),
        (0.0123456, 4, "0.01235"),
        (-1234.5678, 4, "-1235"),
        (9999.9, 4, "10000"),
        (123456.7, 4, "123457"),
        (2.5e7, 4, "2.5e+07"),
        (0.98765, 3, "0.988"),
        (1234.5678, 3, "1235"),
        (math.inf, 3, "inf"),
        (math.nan, 4, "nan"),
    ],
)
def test_numbers_for_people(value: float | None, digits: int, text: str):
    assert short(value, digits=digits) == text
