"""Mahalanobis distances by hand, shrinkage at its ends, left-out fits, tails."""

import numpy as np
import pytest

from isofield.metrics.mahalanobis import best_shrinkage, fit_mahalanobis, fit_tail, held_out


def test_mahalanobis_by_hand():
    """Without shrinkage the distance of two correlated numbers is that of the inverse covariance."""
    values = np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 3.0], [4.0, 4.0]])
    fitted = fit_mahalanobis(values, shrinkage=0.0)
    point = np.array([[3.0, 0.0]])
    away = point - values.mean(axis=0)
    expected = np.sqrt((away @ np.linalg.inv(np.cov(values.T)) @ away.T)[0, 0] / 2)
    assert fitted.distances(point)[0] == pytest.approx(expected)


def test_full_shrinkage_leaves_deviations_alone():
    values = np.random.default_rng(0).normal(size=(30, 3)) * [1, 2, 3]
    fitted = fit_mahalanobis(values, shrinkage=1.0)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    np.testing.assert_allclose(fitted.distances(values), np.sqrt((scaled**2).mean(axis=1)))


def test_shrinkage_is_strong_for_noise_and_weak_for_structure():
    random = np.random.default_rng(0)
    noise = random.normal(size=(20, 40))
    common = random.normal(size=(500, 1)) + 0.1 * random.normal(size=(500, 5))
    scaled = [(v - v.mean(0)) / v.std(0, ddof=1) for v in (noise, common)]
    assert best_shrinkage(scaled[0]) > 0.8
    assert best_shrinkage(scaled[1]) < 0.05


def test_along_changes_that_mean_nothing_deviations_count_less():
    """Of two numbers without correlation: one that a change moves by 3 deviations, and one that it does not."""
    values = np.random.default_rng(0).normal(size=(4000, 2)) * [1, 5]
    deviations = values.std(axis=0, ddof=1)
    changes = np.array([[3.0, 0.0], [-3.0, 0.0]]) * deviations
    fitted = fit_mahalanobis(values, shrinkage=1.0, nuisance_MD=changes)
    moved = values.mean(axis=0) + np.eye(2) * deviations
    np.testing.assert_allclose(fitted.distances(moved), np.sqrt([1 / (1 + 9) / 2, 1 / 2]))
    plain = fit_mahalanobis(values, shrinkage=1.0)
    none = fit_mahalanobis(values, shrinkage=1.0, nuisance_MD=np.empty((0, 2)))
    np.testing.assert_array_equal(none.inverse_DD, plain.inverse_DD)


def test_a_number_that_never_varies_does_no_harm():
    values = np.c_[np.random.default_rng(0).normal(size=(20, 2)), np.full(20, 7.0)]
    fitted = fit_mahalanobis(values)
    assert np.isfinite(fitted.distances(values + np.array([0, 0, 1]))).all()


def test_held_out_rows_are_not_fitted_on():
    values = np.arange(10.0)[:, None]
    seen = held_out(values, lambda others, rows: np.array([float((others == row).any()) for row in rows]))
    assert not seen.any()
    means = held_out(values, lambda others, rows: np.repeat(others.mean(), len(rows)), folds=10)
    np.testing.assert_allclose(means, (45 - values[:, 0]) / 9)


def test_a_tail_counts_deviations_above_the_median():
    scores = np.exp(np.random.default_rng(0).normal(2.0, 0.5, 20000))
    tail = fit_tail(scores)
    np.testing.assert_allclose(tail.strangeness(np.exp([2.0, 2.5, 3.0])), [0, 1, 2], atol=0.05)
