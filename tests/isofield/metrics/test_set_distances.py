"""Matrices of distances: kernels against plain sums in float64, threads, both ways of computing."""

import numpy as np
import pytest
import torch

from isofield.metrics import cloud_distance, cloud_distance_kernels
from isofield.metrics.set_distances import Solver
from isofield.runtime import seeds

CPU = torch.device("cpu")


def clouds(count, points, name="clouds"):
    """Boxes of three different sides, somewhere."""
    draw = seeds.numpy_generator(6, name)
    return (draw.random((count, points, 3)) - 0.3) * [0.5, 0.8, 1.1] + draw.random((count, 1, 3)) * 0.2


def plain_chamfer(x_N3, y_M3):
    squared = ((x_N3[:, None] - y_M3[None]) ** 2).sum(axis=2)
    return squared.min(axis=1).mean() + squared.min(axis=0).mean()


@pytest.mark.parametrize("counts", [(64, 64), (97, 33), (1, 5), (50, 129), (2, 1)])
def test_chamfer_agrees_with_all_pairs_in_double_precision(counts):
    """Also of odd and of different numbers of points, by both implementations."""
    x, y = clouds(2, counts[0], "x").astype(np.float32), clouds(3, counts[1], "y").astype(np.float32)
    pairs = np.array([(s, r) for s in range(2) for r in range(3)])
    expected = [plain_chamfer(x[s].astype(float), y[r].astype(float)) for s, r in pairs]
    found = np.zeros(len(pairs))
    x_S3N, y_R3N = (np.ascontiguousarray(cloud.transpose(0, 2, 1)) for cloud in (x, y))
    cloud_distance_kernels.chamfer_of_pairs(x_S3N, y_R3N, pairs, found)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    plain = cloud_distance.chamfer_of_pairs(torch.from_numpy(x[pairs[:, 0]]), torch.from_numpy(y[pairs[:, 1]]))
    np.testing.assert_allclose(plain.numpy(), expected, rtol=1e-6)


def test_near_clouds_keep_their_digits():
    """Shifted by 1e-4: 2e-8, which the expanded form in float32 cannot tell from 0."""
    x = clouds(1, 200)
    found = Solver("chamfer", progress=False).between(x, x + np.array([0, 1e-4, 0]), what="").distance_SR
    np.testing.assert_allclose(found, 2e-8, rtol=2e-3)  # float32 coordinates: 6e-8 of 1e-4


def test_far_from_the_origin_nothing_is_lost():
    x, y = clouds(3, 100, "x"), clouds(2, 100, "y")
    solver = Solver("chamfer", progress=False)
    near = solver.between(x, y, what="").distance_SR
    np.testing.assert_allclose(solver.between(x + 1000, y + 1000, what="").distance_SR, near, rtol=1e-5)


@pytest.mark.parametrize("kind", ["chamfer", "emd"])
def test_within_a_set_each_pair_is_computed_once(kind):
    x = clouds(6, 40)
    solver = Solver(kind, progress=False)
    within, between = solver.within(x, what=""), solver.between(x, x, what="")
    off_diagonal = ~np.eye(6, dtype=bool)
    for matrix in (within.distance_SR, within.lower_SR):
        assert (matrix.diagonal() == 0).all()
        assert (matrix == matrix.T).all()
        assert (matrix[off_diagonal] > 0).all()
    upper = np.triu_indices(6, 1)
    np.testing.assert_array_equal(within.distance_SR[upper], between.distance_SR[upper])


def test_rows_are_the_first_set_and_columns_the_second():
    x, y = clouds(3, 30, "x"), clouds(2, 30, "y")
    expected = [[plain_chamfer(a, b) for b in y] for a in x]
    found = Solver("chamfer", progress=False).between(x, y, what="")
    np.testing.assert_allclose(found.distance_SR, expected, rtol=1e-5)
    assert found.lower_SR.shape == (3, 2)
    assert found.largest_error == 0


@pytest.mark.parametrize("kind", ["chamfer", "emd"])
def test_the_same_matrix_whatever_the_threads(kind):
    x, y = clouds(20, 24, "x"), clouds(31, 24, "y")  # more pairs than one thread takes at once
    one, three = (Solver(kind, workers=workers, progress=False).between(x, y, what="") for workers in (1, 3))
    np.testing.assert_array_equal(one.distance_SR, three.distance_SR)
    np.testing.assert_array_equal(one.lower_SR, three.lower_SR)


@pytest.mark.parametrize("kind", ["chamfer", "emd"])
def test_the_way_through_a_device_finds_the_same(kind, monkeypatch):
    """With room for a few pairs at a time, the last part smaller."""
    x, y = clouds(4, 32, "x").astype(np.float32), clouds(3, 32, "y").astype(np.float32)
    monkeypatch.setattr("isofield.metrics.set_distances.DEVICE_BYTES", 5 * 4 * 32 * 32)
    monkeypatch.setattr("isofield.metrics.set_distances.free_memory", lambda device: 5 * 8 * 4 * 32 * 32)
    solver = Solver(kind, tolerance=1e-3, progress=False)
    pairs = np.stack(np.divmod(np.arange(12), 3), axis=1)
    parts = list(solver._on_device(x, y, pairs))
    assert [len(part) for part in parts] == [5, 5, 2]
    expected = solver.between(x, y, what="")
    np.testing.assert_allclose(np.concatenate(parts)[:, 1], expected.distance_SR.ravel(), rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["chamfer", "emd"])
def test_a_gpu_finds_the_same(kind):
    x, y = clouds(4, 500, "x"), clouds(3, 500, "y")
    cpu, gpu = (
        Solver(kind, tolerance=1e-3, device=torch.device(name), progress=False).between(x, y, what="")
        for name in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.distance_SR, cpu.distance_SR, rtol=1e-6 if kind == "chamfer" else 1e-3)
    assert (gpu.lower_SR <= cpu.distance_SR * (1 + 1e-6)).all()
