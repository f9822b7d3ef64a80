"""The baselines against numbers worked out by hand on small shapes."""

import numpy as np
import pytest

from isofield.metrics.mahalanobis import fit_tail
from isofield.outliers.benchmark.baselines import fit_baselines
from isofield.outliers.scoring.cube_masks import GRID, CubeMask
from isofield.outliers.scoring.features import shape_features
from isofield.outliers.scoring.scores import Measured, measure
from isofield.outliers.scoring.shape_space import SdfGrid, overlap
from tests.isofield.outliers.organs import ellipsoid

FRAME = SdfGrid(cell=2.0, cells=32)


def measured(radii: tuple[float, float, float]) -> Measured:
    """An ellipsoid in cells of 1 mm."""
    mask = CubeMask(ellipsoid(radii, size=GRID), np.diag([GRID, GRID, GRID, 1.0]))
    return measure(mask, FRAME, None)


@pytest.fixture(scope="module")
def training():
    random = np.random.default_rng(0)
    return [measured(tuple(np.array([16.0, 11.0, 8.0]) * random.uniform(0.9, 1.1, 3))) for _ in range(12)]


@pytest.fixture(scope="module")
def baselines(training):
    return fit_baselines(training)


def test_there_is_every_one_of_the_table(baselines, training):
    scores = baselines.scores(training[:2])
    names = "volume compactness mean_shape nearest_shape mahalanobis pca mahalanobis_pca"
    assert list(scores) == names.split()
    assert all(values.shape == (2,) for values in scores.values())


def test_volume_and_compactness_are_two_sided_z_scores(baselines, training):
    tested = [measured((16, 11, 8)), measured((20, 14, 10)), measured((12, 8, 6))]
    scores = baselines.scores(tested)
    for name in ("volume", "compactness"):
        known = np.array([one.numbers[f"shape_{name}"] for one in training])
        there = np.array([one.numbers[f"shape_{name}"] for one in tested])
        np.testing.assert_allclose(scores[name], np.abs(there - known.mean()) / known.std(ddof=1))
    assert scores["volume"][1] > 3 < scores["volume"][2]


def test_overlaps_with_the_mean_and_the_nearest_shape(baselines, training):
    tested = measured((18, 9, 8))
    scores = baselines.scores([tested, training[4]])
    mean = np.mean([one.distances_D for one in training], axis=0)
    assert scores["mean_shape"][0] == pytest.approx(1 - overlap(tested.distances_D, mean), abs=1e-6)
    nearest = max(overlap(tested.distances_D, one.distances_D) for one in training)
    assert scores["nearest_shape"][0] == pytest.approx(1 - nearest)
    assert scores["nearest_shape"][1] == 0


def test_components_rebuild_training_shapes_and_not_others(baselines, training):
    scores = baselines.scores([training[3], measured((9, 9, 20))])
    assert scores["pca"][0] < 1e-3
    assert scores["pca"][1] > 0.05


def test_the_sum_is_of_deviations_of_left_out_training_masks(baselines, training):
    scores = baselines.scores(training)
    first, second = (
        tail.strangeness(scores[name]) for tail, name in zip(baselines.tails, ("mahalanobis", "pca"), strict=True)
    )
    np.testing.assert_allclose(scores["mahalanobis_pca"], first + second)


def test_measured_shape_numbers_are_those_of_shape_features():
    one = measured((16, 11, 8))
    for name, value in shape_features(ellipsoid((16, 11, 8), size=40), 1.0).items():
        assert one.numbers[f"shape_{name}"] == pytest.approx(value, abs=1e-5), name
    assert fit_tail(np.ones(3)).spread > 0
