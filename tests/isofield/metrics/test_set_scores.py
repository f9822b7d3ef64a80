"""Formulas of set against set: by hand, by brute force, against scipy."""

import itertools
import re

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from isofield.metrics.set_distances import Bounded
from isofield.metrics.set_scores import (
    SetDistances,
    choose_equal_sizes,
    divergence,
    jensen_shannon,
    nearest,
    nearest_neighbour_accuracy,
    scores,
)
from isofield.runtime import seeds


def matrices(samples, references):
    """Distances of points on a line or in a space, exact."""
    s, r = (np.asarray(points, dtype=float).reshape(len(points), -1) for points in (samples, references))

    def between(a, b):
        return Bounded.exact(np.linalg.norm(a[:, None] - b[None], axis=2))

    return SetDistances(between(s, r), between(s, s), between(r, r))


def gaussians(shift, *, count=300):
    draw = seeds.numpy_generator(4, "gaussians")
    return matrices(draw.normal(size=(count, 3)), draw.normal(size=(count, 3)) + shift)


def test_coverage_and_matching_distances_by_hand():
    """Samples 0, 1, 9 and references 0.4, 4, 8: nearest references 0.4, 0.4, 8; nearest samples 0, 1, 9."""
    row = scores(matrices([0, 1, 9], [0.4, 4, 8]), seed=0)
    assert row["cov"] == pytest.approx(2 / 3)
    assert row["mmd"] == pytest.approx((0.4 + 3 + 1) / 3)
    assert row["mmd_of_samples"] == pytest.approx((0.4 + 0.6 + 1) / 3)
    assert row["mmd_lower_bound"] == row["mmd"]
    assert row["largest_error"] == row["undecided"] == row["tied"] == 0


@pytest.mark.parametrize("sizes", [(7, 7), (12, 5), (4, 9), (1, 1), (1, 6)])
def test_scores_agree_with_loops(sizes):
    draw = seeds.numpy_generator(1, "loops", *sizes)
    shapes_s, shapes_r = draw.random((sizes[0], 3)), draw.random((sizes[1], 3))
    distance = [[float(np.linalg.norm(s - r)) for r in shapes_r] for s in shapes_s]
    covered = {min(range(sizes[1]), key=row.__getitem__) for row in distance}
    in_s, in_r = choose_equal_sizes(*sizes, seed=3)
    both = [("s", i) for i in in_s] + [("r", i) for i in in_r]
    points = {("s", i): shapes_s[i] for i in in_s} | {("r", i): shapes_r[i] for i in in_r}
    right = 0
    for one in both:
        others = [other for other in both if other != one]
        right += min(others, key=lambda other: np.linalg.norm(points[other] - points[one]))[0] == one[0]
    whole = matrices(shapes_s, shapes_r)
    thin = matrices(shapes_s[in_s], shapes_r[in_r])
    row = scores(SetDistances(whole.between_SR, thin.samples_KK, thin.references_KK), seed=3)
    assert row["cov"] == pytest.approx(len(covered) / sizes[1])
    assert row["mmd"] == pytest.approx(np.mean([min(column) for column in zip(*distance, strict=True)]))
    assert row["mmd_of_samples"] == pytest.approx(np.mean([min(line) for line in distance]))
    assert row["1nna"] == pytest.approx(right / len(both))
    assert row["1nna_size"] == min(sizes)


def test_equal_sets_cover_all_and_count_as_copies():
    """Every shape's nearest is its twin in the other set: 0, not 0.5."""
    row = scores(matrices([1, 2, 4, 8], [1, 2, 4, 8]), seed=0)
    assert (row["cov"], row["mmd"], row["1nna"], row["1nna_tied"]) == (1, 0, 0, 0)


def test_duplicates_share_the_vote_whatever_their_order():
    """Each shape twice in both sets: one twin on the own side, two on the other, all at distance 0."""
    for samples in itertools.islice(itertools.permutations([1, 1, 5, 5]), 0, 24, 5):
        row = scores(matrices(samples, [5, 1, 5, 1]), seed=0)
        assert row["1nna"] == pytest.approx(1 / 3)
        assert row["1nna_tied"] == 8
        assert row["tied"] == 4
        assert row["cov"] == 0.5  # of the twins the first one counts


def test_disjoint_sets_are_told_apart():
    row = scores(matrices([0, 1, 2], [100, 110, 120]), seed=0)
    assert row["1nna"] == row["1nna_of_samples"] == row["1nna_of_references"] == 1
    assert row["cov"] == pytest.approx(1 / 3)
    assert row["mmd"] == pytest.approx(108)


def test_a_collapsed_generator_shows_on_the_side_of_the_samples():
    """Samples in one spot among spread references: samples are recognised, references hardly."""
    draw = seeds.numpy_generator(8, "collapsed")
    row = scores(matrices(draw.normal(size=(200, 2)) * 0.01, draw.normal(size=(200, 2))), seed=0)
    assert row["1nna_of_samples"] > 0.95
    assert row["1nna_of_references"] > 0.9
    assert row["cov"] < 0.05


def test_two_draws_of_one_gaussian_cannot_be_told_apart_and_shifted_ones_can():
    assert scores(gaussians(0.0), seed=0)["1nna"] == pytest.approx(0.5, abs=0.06)  # two standard deviations
    assert scores(gaussians(1.0), seed=0)["1nna"] > 0.65
    assert scores(gaussians(6.0), seed=0)["1nna"] > 0.99


def test_the_larger_set_is_thinned_by_the_seed():
    in_s, in_r = choose_equal_sizes(20, 6, seed=1)
    assert in_r.tolist() == list(range(6))
    assert len(set(in_s.tolist())) == 6
    assert in_s.tolist() == sorted(in_s.tolist()) == choose_equal_sizes(20, 6, seed=1)[0].tolist()
    assert in_s.tolist() != choose_equal_sizes(20, 6, seed=2)[0].tolist()
    assert choose_equal_sizes(6, 20, seed=1)[0].tolist() == list(range(6))


def test_accuracy_refuses_sets_of_two_sizes():
    distances = matrices([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="1-NNA"):
        nearest_neighbour_accuracy(distances.between_SR, distances.samples_KK, distances.references_KK)


def test_without_distances_within_the_sets_there_is_no_accuracy():
    row = scores(SetDistances(matrices([1, 2], [3]).between_SR), seed=0)
    assert "1nna" not in row
    assert row["cov"] == 1


def test_bounds_say_which_decisions_could_be_others():
    """The first sample's winner is at most 2, the other at least 1.9; the second's 2 and 2.5 do not overlap."""
    between = Bounded(np.array([[2.0, 2.2], [2.7, 2.0]]), np.array([[1.8, 1.9], [2.5, 1.9]]))
    within = Bounded(np.array([[0, 1.85], [1.85, 0]]), np.array([[0, 1.8], [1.8, 0]]))
    row = scores(SetDistances(between, within, within), seed=0)
    assert row["undecided"] == 1
    assert row["largest_error"] == pytest.approx(0.3)
    assert row["mmd_lower_bound"] == pytest.approx((1.8 + 1.9) / 2)
    assert row["1nna"] == 1
    assert row["1nna_undecided"] == 2  # the first of each set: at most 1.85 at home, at least 1.8 on the other side


def test_nearest_references_by_name():
    assert nearest(matrices([0, 7], [1, 9]).between_SR, ("x", "y")) == [("x", 1.0), ("y", 2.0)]


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros(3), np.array([[np.nan]]), np.array([[-1.0]])])
def test_a_matrix_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=rf"{re.escape(str(bad.shape))} float64"):
        Bounded.exact(bad)


def test_divergence_agrees_with_scipy():
    draw = seeds.numpy_generator(2, "histograms")
    first, second = draw.integers(0, 5, size=400), draw.integers(0, 9, size=400)
    assert divergence(first, second) == pytest.approx(jensenshannon(first, second, base=2) ** 2, rel=1e-12)
    assert divergence(first, 7 * first) == 0
    assert divergence(np.array([3, 0]), np.array([0, 1])) == 1


def test_divergence_of_all_but_equal_histograms_is_a_number():
    """Where scipy's own root is NaN: rounding leaves a sum of -1e-17."""
    draw, undefined = seeds.numpy_generator(3, "all but equal"), 0
    for _ in range(3000):
        first = draw.integers(0, 10**7, size=200)
        second = first.copy()
        second[draw.integers(200)] += 1
        with np.errstate(invalid="ignore"):
            undefined += np.isnan(jensenshannon(first, 3 * second, base=2))
        assert 0 <= divergence(first, 3 * second) < 1e-12
    assert undefined


def test_the_grid_in_the_ball_is_the_published_one():
    points = seeds.numpy_generator(3, "cloud").random((2, 50, 3)) - 0.5
    assert jensen_shannon(points, points, resolution=28, side=1.0, ball=True)["nodes"] == 10_144
    assert jensen_shannon(points, points, resolution=28, side=1.0, ball=False)["nodes"] == 28**3


@pytest.mark.parametrize("ball", [True, False])
def test_points_count_at_their_nearest_node(ball):
    """Against all distances to all nodes; some points lie outside and go to the border. Sets of two sizes."""
    draw = seeds.numpy_generator(5, "nodes")
    first, second = draw.normal(size=(3, 40, 3)) * 0.8, draw.normal(size=(2, 40, 3)) * 0.5 + [0.3, 0, 0]
    axis = np.linspace(-1, 1, 5)
    nodes = np.array([node for node in itertools.product(axis, axis, axis) if not ball or np.linalg.norm(node) <= 1])
    counts = []
    for clouds in (first, second):
        nearest = np.linalg.norm(clouds.reshape(-1, 1, 3) - nodes, axis=2).argmin(axis=1)
        counts.append(np.bincount(nearest, minlength=len(nodes)))
    row = jensen_shannon(first, second, resolution=5, side=2.0, ball=ball)
    assert row["jsd"] == pytest.approx(jensenshannon(*counts, base=2) ** 2)
    size = np.linalg.norm(first, axis=2) if ball else abs(first).max(axis=2)
    assert row["outside_of_samples"] == pytest.approx((size > 1).mean()) != row["outside_of_references"]
