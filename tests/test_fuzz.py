"""A few damages of every kind of file; `python -m tests.fuzz --cases 1000` tries more."""

import pytest

from tests.fuzz import KINDS, fuzz

GROUPS = [KINDS[start::4] for start in range(4)]


@pytest.mark.parametrize("kinds", GROUPS, ids=lambda kinds: "+".join(kinds))
def test_damaged_files_are_read_or_refused_with_a_reason(kinds: list[str]):
    assert fuzz(kinds, cases=12, seed=1) == []
