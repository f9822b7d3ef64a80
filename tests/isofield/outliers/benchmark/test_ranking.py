"""AUROC and average precision against plain loops, intervals that hold what they should."""

import numpy as np
import pytest

from isofield.outliers.benchmark.ranking import average_precision, mean_auroc, mean_over_patients
from tests.plain_ways import auroc


def test_auroc_counts_pairs():
    assert auroc(np.array([3.0, 1.0]), np.array([1.0, 2.0])) == (1 + 1 + 0.5 + 0) / 4
    assert np.isnan(auroc(np.array([]), np.array([1.0])))


def test_mean_auroc_is_that_of_its_families():
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 2)
    clean = random.normal(size=40)
    families = [(random.normal(1, 1, 40), patients), (random.normal(2, 1, 40), patients)]
    estimate = mean_auroc(families, (clean, patients), key="a")
    assert estimate.value == pytest.approx(np.mean([auroc(scores, clean) for scores, _ in families]))
    assert estimate.low < estimate.value < estimate.high
    assert estimate == mean_auroc(families, (clean, patients), key="a")


def test_the_bootstrap_draws_patients_not_masks():
    """The same masks owned by fewer patients leave the mean where it was and the interval wider."""
    random = np.random.default_rng(0)
    level = random.normal(size=8)
    few = np.repeat(np.arange(8), 8)
    clean, corrupted = level[few], level[few] + 0.8
    many = np.arange(64)
    narrow, wide = (mean_auroc([(corrupted, p)], (clean, p), key="b") for p in (many, few))
    assert narrow.value == wide.value
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    means = [mean_over_patients(clean, p, key="c") for p in (many, few)]
    assert means[1].high - means[1].low > 1.5 * (means[0].high - means[0].low)


def test_average_precision_by_hand():
    wrong = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), wrong) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 1.0, 1.0, 1.0]), wrong) == pytest.approx(0.5)  # ties: chance
    assert np.isnan(average_precision(np.ones(4), np.zeros(4, bool)))


def test_ties_do_not_depend_on_their_order():
    random = np.random.default_rng(0)
    strength, wrong = random.integers(0, 4, 200).astype(float), random.random(200) < 0.3
    order = random.permutation(200)
    assert average_precision(strength, wrong) == pytest.approx(average_precision(strength[order], wrong[order]))
