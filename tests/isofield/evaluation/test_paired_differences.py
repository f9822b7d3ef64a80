"""Paired differences: against a t interval of normal differences, and by hand."""

import numpy as np
import pytest
from scipy import stats

from isofield.evaluation.paired_differences import bootstrap_interval, paired_differences

LOWER = frozenset({"chamfer"})


def rows(values) -> dict:
    return {name: {"chamfer": value, "iou": value} for name, value in values.items()}


def test_wins_ties_and_what_is_left_out_by_hand():
    first = rows({"a": 1.0, "b": 2.0, "c": 3.0, "d": float("inf"), "e": float("inf"), "f": None, "only": 1.0})
    second = rows({"a": 2.0, "b": 2.0, "c": 1.0, "d": 5.0, "e": float("inf"), "f": 1.0})
    chamfer, iou = paired_differences(first, second, ["chamfer", "iou"], lower=LOWER, seed=0)
    # Of a distance less is better: a is won, b and e are equal, c and d are lost; of an IoU it is the other way.
    assert (chamfer.wins, chamfer.ties, chamfer.losses) == (1, 2, 2)
    assert (iou.wins, iou.ties, iou.losses) == (2, 2, 1)
    assert chamfer.n == 3 and chamfer.mean == pytest.approx((-1 + 0 + 2) / 3)
    assert chamfer.left_out == 4  # d, e are infinite, f has no number, one shape only the first has


def test_the_interval_of_many_normal_differences_is_that_of_students_t():
    values = np.random.default_rng(0).normal(0.3, 2.0, size=2000)
    interval = bootstrap_interval(values, seed=0)
    expected = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval == pytest.approx(expected, abs=0.01)


def test_the_interval_depends_on_the_seed_and_covers_only_what_there_is():
    values = np.arange(8.0)
    assert bootstrap_interval(values, seed=0) == bootstrap_interval(values, seed=0)
    assert bootstrap_interval(values, seed=0) != bootstrap_interval(np.arange(8.0) ** 1.5, seed=0)
    assert bootstrap_interval(np.full(5, 2.0), seed=1) == (2.0, 2.0)
    assert bootstrap_interval(values[:1], seed=0) is None
    # Of four draws, three or more are the one in 5 % of resamples, all four in 0.4 %.
    assert bootstrap_interval(np.array([0.0, 0.0, 0.0, 1.0]), seed=0) == (0.0, 0.75)


def test_pieces_make_no_difference_to_what_is_drawn(monkeypatch):
    values = np.random.default_rng(1).normal(size=50)
    whole = bootstrap_interval(values, seed=3)
    monkeypatch.setattr("isofield.evaluation.paired_differences.BLOCK", 50 * 7)
    assert bootstrap_interval(values, seed=3) == whole


def test_clear_is_what_leaves_zero_out():
    first, second = rows({"a": 1.0, "b": 2.0, "c": 3.0}), rows({"a": 2.0, "b": 3.5, "c": 4.0})
    (one,) = paired_differences(first, second, ["chamfer"], lower=LOWER, seed=0)
    (none,) = paired_differences(first, first, ["chamfer"], lower=LOWER, seed=0)
    assert one.is_clear and not none.is_clear
    (alone,) = paired_differences(rows({"a": 1.0}), rows({"b": 1.0}), ["chamfer"], lower=LOWER, seed=0)
    assert (alone.n, alone.mean, alone.interval, alone.left_out) == (0, None, None, 2)
