"""Noise of clouds: noticed and measured where it is, not where parts are thin; taken out, and little else moved."""

import numpy as np
import pytest
import trimesh

from data_processing.geometry.noisy_points import estimated_noise, without_noise

COUNT = 3000


def points_of(mesh: trimesh.Trimesh) -> np.ndarray:
    return np.asarray(trimesh.sample.sample_surface(mesh, COUNT, seed=0)[0])


SHAPES = {
    "sphere": lambda: trimesh.creation.icosphere(subdivisions=4, radius=0.45),
    "box": lambda: trimesh.creation.box((0.9, 0.6, 0.4)),
    "thin board": lambda: trimesh.creation.box((0.9, 0.6, 0.012)),
    "thin ring": lambda: trimesh.creation.torus(0.4, 0.02, major_sections=96),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_points_have_none(shape: str):
    """Two sides of a board are no noise, and neither is a bend."""
    assert estimated_noise(points_of(SHAPES[shape]())) == 0


@pytest.mark.parametrize("share", [0.005, 0.01, 0.015])
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_noise_is_measured_in_any_unit_and_place(share: float, unit: float):
    points = points_of(SHAPES["box"]())
    points += np.random.default_rng(0).normal(0, share * 0.9, points.shape)
    assert estimated_noise(points * unit + 7 * unit) == pytest.approx(share * 0.9 * unit, rel=0.25)


def test_what_cannot_be_told_is_left_alone():
    noisy = points_of(SHAPES["box"]()) + np.random.default_rng(0).normal(0, 0.01, (COUNT, 3))
    assert estimated_noise(noisy) > 0
    assert estimated_noise(noisy[:1900]) == 0  # too sparse
    assert estimated_noise(np.tile(noisy[:300], (10, 1))) == 0  # each ten times
    assert estimated_noise(np.zeros((COUNT, 3))) == 0
    assert estimated_noise(noisy * [1, 1, 0]) == 0  # a picture of it


@pytest.mark.parametrize(("count", "share"), [(COUNT, 0.01), (10 * COUNT, 0.01), (COUNT, 0.005)])
def test_points_come_nearer_to_the_surface(count: int, share: float):
    """Of many points more neighbours are taken, so that noise wider than their distance goes too."""
    random = np.random.default_rng(0)
    on_sphere = random.normal(size=(count, 3))
    on_sphere *= 0.45 / np.linalg.norm(on_sphere, axis=1, keepdims=True)
    noisy = on_sphere + random.normal(0, share * 0.9, on_sphere.shape)
    moved = without_noise(noisy, estimated_noise(noisy))
    before, after = (np.linalg.norm(cloud, axis=1) - 0.45 for cloud in (noisy, moved))
    assert np.sqrt((after**2).mean()) < 0.55 * np.sqrt((before**2).mean())
    assert abs(after.mean()) < 0.2 * share  # not shrunk
    assert np.linalg.norm(moved - noisy, axis=1).max() < 6 * share


def test_the_same_points_in_another_order_move_alike():
    noisy = points_of(SHAPES["sphere"]()) + np.random.default_rng(0).normal(0, 0.01, (COUNT, 3))
    order = np.random.default_rng(1).permutation(COUNT)
    assert np.allclose(without_noise(noisy[order], 0.01), without_noise(noisy, 0.01)[order], atol=1e-9)
