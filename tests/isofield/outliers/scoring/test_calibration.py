"""Conformal p-values against the formula, their guarantee on exchangeable draws, and the files of a run."""

import json
import math

import numpy as np
import pytest

from isofield.metrics.conformal import conformal_p, is_flagged, scores_needed
from isofield.outliers.benchmark.ranking import binomial_interval
from isofield.outliers.scoring.calibration import (
    Calibration,
    hash_of_masks,
    load_calibration,
    save_calibration,
)
from isofield.run_dir import RunDir


def calibration(scores, model_hash="abc"):
    return Calibration(np.sort(np.array(scores, float)), np.sort(np.array(scores, float)), model_hash, "data")


def test_p_is_the_share_at_least_as_strange_with_itself():
    scores = np.array([1.0, 2.0, 2.0, 5.0])
    assert conformal_p(scores, 0.0) == 1.0
    assert conformal_p(scores, 2.0) == (1 + 3) / 5
    assert conformal_p(scores, 2.5) == (1 + 1) / 5
    assert conformal_p(scores, float("inf")) == 1 / 5


@pytest.mark.parametrize(("fpr", "count"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.5, 1), (1 / 3, 2), (0.3, 3)])
def test_so_many_masks_are_needed(fpr, count):
    assert scores_needed(fpr) == count
    assert not is_flagged(conformal_p(np.zeros(count - 1), 1.0), fpr)
    assert is_flagged(conformal_p(np.zeros(count), 1.0), fpr)
    assert calibration(np.zeros(count - 1)).missing(fpr) == 1
    assert calibration(np.zeros(count)).missing(fpr) == 0


@pytest.mark.parametrize("fpr", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_is_between_0_and_1(fpr):
    with pytest.raises(ValueError, match=f"{fpr}"):
        scores_needed(fpr)


@pytest.mark.parametrize("n", [18, 19, 20, 39, 57, 100])
def test_the_threshold_parts_what_is_flagged(n):
    one = calibration(np.random.default_rng(n).normal(size=n))
    limit = one.threshold(0.05)
    if n < 19:
        assert limit is None
        return
    for score in [*one.scores, *(one.scores + 1e-6), 9.0, -9.0]:
        assert is_flagged(one.p_value(score), 0.05) == (score > limit)


def test_the_rate_holds_on_exchangeable_draws():
    """Clean scores of any distribution: over many splits the flags of new ones are binomial at most at 0.05."""
    random, hits, total = np.random.default_rng(0), 0, 0
    for _ in range(400):
        scores = random.standard_t(2, size=59)
        flags = [is_flagged(conformal_p(scores[:39], score), 0.05) for score in scores[39:]]
        hits, total = hits + sum(flags), total + len(flags)
    # Draws of one split share their calibration: the spread is that of 400 splits, not of 8000 draws.
    assert 0.05 - 0.008 < hits / total < 0.05 + 0.008


@pytest.mark.parametrize(("count", "rate"), [(0, 0.05), (1, 0.05), (20, 0.05), (45, 0.05), (100, 0.3), (333, 0.9)])
def test_beyond_a_binomial_interval_lies_little(count, rate):
    """The chances summed up here, as they were before scipy was asked."""
    hits = range(count + 1)
    below = np.cumsum([math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in hits])
    assert binomial_interval(count, rate) == (np.searchsorted(below, 0.025), np.searchsorted(below, 0.975))


def test_files_come_back(tmp_path):
    run, one = RunDir(tmp_path), calibration([3.0, 1.0, float("inf")])
    save_calibration(run, one, {"a": np.arange(3), "names": np.array(["x", "y"])})
    back, arrays = load_calibration(run, model_hash="abc")
    np.testing.assert_array_equal(back.scores, [1, 3, np.inf])
    assert (back.model_hash, back.data_hash, back.n) == ("abc", "data", 3)
    np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    assert json.loads(run.calibration_file.read_text())["quantiles"]["0.5"] == 3.0


def test_a_stale_calibration_is_refused(tmp_path):
    run = RunDir(tmp_path)
    save_calibration(run, calibration([1.0]), {"a": np.arange(3)})
    with pytest.raises(ValueError, match=r"calibration\.json.*--calibrate"):
        load_calibration(run, model_hash="new")


def test_what_is_not_there_or_damaged_is_said(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(FileNotFoundError, match="--calibrate"):
        load_calibration(run, model_hash="abc")
    save_calibration(run, calibration([1.0]), {"a": np.arange(3)})
    image = run.judge_file.read_bytes()
    run.judge_file.write_bytes(image[:-20])
    with pytest.raises(ValueError, match=run.judge_file.name):
        load_calibration(run, model_hash="abc")
    save_calibration(run, calibration([1.0]), {"a": np.arange(4)})
    run.judge_file.write_bytes(image)
    with pytest.raises(ValueError, match=f"{run.judge_file.name} .*{run.calibration_file.name}"):
        load_calibration(run, model_hash="abc")
    run.calibration_file.write_text('{"format": 2}')
    with pytest.raises(ValueError, match=run.calibration_file.name):
        load_calibration(run, model_hash="abc")


def test_no_pickle_is_read(tmp_path):
    run = RunDir(tmp_path)
    save_calibration(run, calibration([1.0]), {"a": np.arange(3)})
    with open(run.judge_file, "wb") as file:
        np.savez(file, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match=run.judge_file.name):
        load_calibration(run, model_hash="abc")


def test_the_hash_sees_names_and_cells():
    mask = np.zeros((4, 4, 4), bool)
    other = mask.copy()
    other[1, 2, 3] = True
    hashes = {hash_of_masks(["a"], [mask]), hash_of_masks(["b"], [mask]), hash_of_masks(["a"], [other])}
    assert len(hashes) == 3
