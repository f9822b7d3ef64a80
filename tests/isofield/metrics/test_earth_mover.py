"""Earth mover's distance: known matchings, and the proved bounds around the exact assignment."""

import numpy as np
import pytest
import torch

from isofield.metrics import earth_mover
from isofield.runtime import seeds

ROUNDING = 3e-6  # of float32 distances and prices, as a share of the largest distance


def on_cpu(x_N3, y_N3, tolerance):
    x_13N, y_13N = (np.ascontiguousarray(np.float32(cloud).T)[None] for cloud in (x_N3, y_N3))
    return earth_mover.auction_on_cpu(x_13N, y_13N, np.zeros((1, 2), dtype=np.int64), tolerance=tolerance)[0]


def on_device(x_N3, y_N3, tolerance):
    clouds = [torch.from_numpy(np.asarray(cloud, dtype=np.float32))[None] for cloud in (x_N3, y_N3)]
    return earth_mover.auction(*clouds, tolerance=tolerance)[0].numpy()


def box(count, name):
    return seeds.numpy_generator(7, name).random((count, 3)) * [0.3, 0.7, 1.0] - 0.2


def sphere(count):
    points = seeds.numpy_generator(7, "sphere").normal(size=(count, 3))
    return 0.5 * points / np.linalg.norm(points, axis=1, keepdims=True)


def spots(shares, count):
    """Points in spots of a line, near each other in a spot: as many as each share says."""
    places = np.repeat(np.arange(len(shares)), np.multiply(shares, count).astype(int))
    jitter = seeds.numpy_generator(7, "spots", str(shares)).random((count, 3)) * 1e-3
    return jitter + places[:, None] * np.array([1.0, 0, 0])


def lattice(count, step):
    """Points of a cubic lattice: most distances are tied."""
    side = round(count ** (1 / 3))
    return np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3) * step


CASES = {
    "box and sphere": (box(200, "a"), sphere(200)),
    "two draws of one box": (box(150, "a"), box(150, "b")),
    "not whole blocks": (box(65, "a"), sphere(65)),
    "two points": (box(2, "a"), box(2, "b")),
    "more here, fewer there": (spots((0.75, 0.25), 100), spots((0.25, 0.75), 100)),
    "ties": (lattice(125, 0.1), lattice(125, 0.15) + 0.02),
    "one spot": (np.zeros((40, 3)), box(40, "a")),
    "a far point": (np.vstack([box(99, "a"), [[50, 0, 0]]]), box(100, "b")),
}


@pytest.mark.parametrize("solve", [on_cpu, on_device])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tolerance", [0.05, 0.002])
def test_bounds_hold_the_exact_distance_and_are_as_near_as_promised(case, solve, tolerance):
    x, y = CASES[case]
    exact = earth_mover.exact_transport(x, y)
    slack = ROUNDING * np.linalg.norm(x[:, None] - y[None], axis=2).max()
    lower, reached = solve(x, y, tolerance)
    assert lower <= exact + slack
    assert reached >= exact - slack
    assert reached - lower <= tolerance * lower + slack
    assert reached <= exact * (1 + tolerance) + slack


@pytest.mark.parametrize("solve", [on_cpu, on_device])
def test_a_shift_costs_its_length(solve):
    x = box(128, "a")
    y = x[::-1] + np.array([0.03, 0.04, 0])
    lower, reached = solve(x, y, 0.001)
    assert lower == pytest.approx(0.05, rel=1.1e-3)
    assert reached == pytest.approx(0.05, rel=1.1e-3)
    assert earth_mover.exact_transport(x, y) == pytest.approx(0.05)


@pytest.mark.parametrize("solve", [on_cpu, on_device])
def test_equal_clouds_are_equal_but_for_the_last_epsilon(solve):
    x = box(100, "a")
    shuffled = x[seeds.numpy_generator(7, "order").permutation(100)]
    lower, reached = solve(x, shuffled, 0.01)
    assert 0 <= lower <= reached <= 2 * earth_mover.LAST_SHARE


@pytest.mark.parametrize("solve", [on_cpu, on_device])
def test_points_that_all_coincide_need_no_transport(solve):
    assert solve(np.ones((9, 3)), np.ones((9, 3)), 0.01).tolist() == [0, 0]


def test_many_pairs_at_once_are_as_good_as_each_alone():
    """Easy and hard pairs in one batch: those that are proved wait unchanged."""
    clouds = [box(64, "a"), sphere(64), box(64, "b"), np.zeros((64, 3)), box(64, "a") + 1e-3, np.zeros((64, 3))]
    x = torch.from_numpy(np.stack(clouds).astype(np.float32))
    y = x[[1, 2, 3, 3, 0, 5]]
    together = earth_mover.auction(x, y, tolerance=0.01).numpy()
    for row, a, b in zip(together, x.numpy(), y.numpy(), strict=True):
        np.testing.assert_allclose(row, on_device(a, b, 0.01), rtol=1e-6, atol=1e-7)


def test_the_matching_is_of_distances_not_of_squares():
    """One point far, one near: distances prefer 0>1 and 1>2 as much as 0>2 and 1>1, squares do not."""
    x, y = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[1.0, 0, 0], [2, 0, 0]])
    assert earth_mover.exact_transport(x, y) == 1
    assert on_cpu(x, y, 0.001)[1] == pytest.approx(1)
