"""Light field distance: the published program's numbers, its definition by brute force, two implementations."""

import itertools

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from isofield.metrics.light_field import Descriptor, describe, distance_matrix
from isofield.metrics.light_field.distance import rows_plain
from isofield.metrics.light_field.tables import rotations
from tests.isofield.metrics.light_field.golden import Golden

# Shapes of examples/ and the distances of the published program between them.
PROGRAM = {
    "chair/BlendSwap_CC_0_93_Chair": [0, 6924, 7408, 4893, 8881],
    "chair/BlendSwap_CC_0_114_Chair": [6924, 0, 7262, 5608, 9863],
    "chair/BlendSwap_CC_0_65_Deck_chair": [7408, 7262, 0, 7564, 7949],
    "chair/BlendSwap_CC_0_125_Osaka_chair": [4893, 5608, 7564, 0, 9968],
    "table/BlendSwap_CC_0_134_Table": [8881, 9863, 7949, 9968, 0],
}


@pytest.fixture(scope="module")
def golden():
    return Golden()


def random_descriptors(count, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (count, 10, 10, 47), dtype=np.uint8)
    return [Descriptor(value) for value in values]


def test_distances_of_the_program_from_its_descriptors(golden):
    descriptors = [golden.descriptor(name) for name in golden.names]
    np.testing.assert_array_equal(distance_matrix(descriptors, descriptors, device="cpu"), golden.matrix)


def test_distances_of_the_program_from_its_meshes(golden, tmp_path):
    files = golden.mesh_files(tmp_path).values()
    descriptors = [describe(read_mesh(file), device="cpu") for file in files]
    ours = distance_matrix(descriptors, descriptors, device="cpu")
    difference = np.abs(ours - golden.matrix)
    assert difference.max() <= 3
    assert difference.mean() < 0.2
    np.testing.assert_array_equal(ours, ours.T)


def test_distances_of_the_program_between_shipped_meshes(examples):
    descriptors = [describe(read_mesh(examples / f"{name}.ply"), device="cpu") for name in PROGRAM]
    ours = distance_matrix(descriptors, descriptors, device="cpu")
    np.testing.assert_allclose(ours, list(PROGRAM.values()), rtol=0, atol=3)


def test_the_definition_by_brute_force():
    first, second = random_descriptors(2, seed=1)
    a, b = first.values.astype(int), second.values.astype(int)
    weights = np.array([1] * 35 + [2] * 10 + [2] + [1])
    least = min(
        (np.abs(a[i][rotation] - b[j]) * weights).sum()
        for i, j, rotation in itertools.product(range(10), range(10), rotations())
    )
    assert distance_matrix([first], [second], device="cpu")[0, 0] == least


def test_the_largest_distance_is_exact():
    black, white = (Descriptor(np.full((10, 10, 47), value, dtype=np.uint8)) for value in (0, 255))
    assert distance_matrix([black], [white], device="cpu")[0, 0] == 255 * 58 * 10
    assert next(rows_plain([black], [white], device="cpu"))[0] == 255 * 58 * 10


def test_compiled_and_plain_distances_are_equal():
    first, second = random_descriptors(2, seed=2), random_descriptors(5, seed=3)
    second[3] = first[1]
    plain = np.stack(list(rows_plain(first, second, device="cpu")))
    np.testing.assert_array_equal(distance_matrix(first, second, device="cpu"), plain)
    assert plain[1, 3] == 0


@pytest.mark.gpu
def test_a_gpu_gives_the_same_distances():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    first, second = random_descriptors(3, seed=2), random_descriptors(200, seed=3)
    on_cpu = distance_matrix(first, second, device="cpu")
    np.testing.assert_array_equal(distance_matrix(first, second, device="cuda"), on_cpu)


def test_distances_are_symmetric_and_zero_to_oneself():
    descriptors = random_descriptors(4, seed=4)
    matrix = distance_matrix(descriptors, descriptors, device="cpu")
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 0)
    assert (matrix + 100000 * np.eye(4) > 0).all()


def test_another_set_and_a_rotation_of_its_views_cost_nothing():
    first, other = random_descriptors(2, seed=5)
    for rotation in rotations()[::13]:
        values = other.values.copy()
        values[7] = first.values[2][rotation]
        assert distance_matrix([first], [Descriptor(values)], device="cpu")[0, 0] == 0


def test_a_permutation_that_is_no_rotation_costs_something():
    first, other = random_descriptors(2, seed=6)
    values = other.values.copy()
    values[0] = first.values[0][[1, 0, *range(2, 10)]]
    assert distance_matrix([first], [Descriptor(values)], device="cpu")[0, 0] > 0


@pytest.mark.parametrize(("number", "weight"), [(0, 1), (34, 1), (35, 2), (44, 2), (45, 2), (46, 1)])
def test_contour_and_circularity_count_twice(number, weight):
    """One number of one view moved by 3, in all sets alike, so that no other alignment is better."""
    values = np.broadcast_to(random_descriptors(1, seed=7)[0].values[:1], (10, 10, 47)).clip(0, 200).astype(np.uint8)
    moved = values.copy()
    moved[:, 4, number] += 3
    assert distance_matrix([Descriptor(values)], [Descriptor(moved)], device="cpu")[0, 0] == 3 * weight


def test_progress_counts_rows_and_nothing_is_no_error():
    told: list[int] = []
    descriptors = random_descriptors(3)
    matrix = distance_matrix(descriptors, descriptors[:2], device="cpu", progress=told.append)
    assert (matrix.shape, matrix.dtype, sum(told)) == ((3, 2), np.int64, 3)
    assert distance_matrix([], descriptors, device="cpu").shape == (0, 3)
    assert distance_matrix(descriptors, [], device="cpu").shape == (3, 0)
