"""Points near the surface: their noise, and labels that are exact where they are stored, for meshes, voxels, masks."""

import functools

import numpy as np
import pytest
import torch
from scipy import stats

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.coordinates import from_fixed
from data_processing.occupancy.inside_outside import InsideConfig
from data_processing.preparation.boundary_points import boundary_row
from data_processing.preparation.config import DataConfig, NormalisationConfig
from data_processing.preparation.contents import BoundaryConfig
from data_processing.preparation.shape import read_shape
from tests.data_processing.solids import ball, box, joined, quad, turned_inside_out

LOWER, UPPER = np.array([-0.45, -0.3, -0.1]), np.array([0.45, 0.2, 0.35])
SETTINGS = BoundaryConfig(sigmas=(0.1, 0.01), points=20_000)


def shape_of(mesh, folder, **options):
    write_mesh(folder / "one.ply", mesh)
    as_it_is = NormalisationConfig("none")
    return read_shape(folder / "one.ply", DataConfig(name="set", input=folder, normalisation=as_it_is, **options))


def stored(row):
    points = from_fixed(torch.from_numpy(row["boundary_points"]), torch.float64).numpy()
    return points, np.unpackbits(row["boundary_values"]).astype(bool)


def in_box(points):
    return ((points > LOWER) & (points < UPPER)).all(1)


@pytest.mark.parametrize("flip", [False, True])
def test_labels_are_exact_at_the_stored_points_of_a_box(tmp_path, flip):
    mesh = turned_inside_out(box(LOWER, UPPER)) if flip else box(LOWER, UPPER)
    row = boundary_row(shape_of(mesh, tmp_path), SETTINGS, seed=0, name="a/b")
    points, values = stored(row)
    assert row["boundary_points"].shape == (40_000, 3) and row["boundary_points"].dtype == np.int16
    np.testing.assert_array_equal(values, in_box(points))
    assert 0.2 < values.mean() < 0.8


def test_the_noise_is_gaussian_around_the_surface(tmp_path):
    """Far from its edges the distance to a large face is the noise itself."""
    settings = BoundaryConfig(sigmas=(0.02, 0.005), points=40_000)
    points, _ = stored(boundary_row(shape_of(box(LOWER, UPPER), tmp_path), settings, seed=0, name="a/b"))
    for sigma, part in zip(settings.sigmas, np.split(points, 2), strict=True):
        over_face = (np.abs(part[:, :2] - [0, -0.05]) < [0.3, 0.1]).all(1) & (part[:, 2] > 0.2)
        height = part[over_face, 2] - UPPER[2]
        assert len(height) > 2000 and stats.kstest(height, "norm", (0, sigma)).pvalue > 1e-3
        assert abs(height.std() / sigma - 1) < 0.05


def test_each_sigma_draws_by_seed_and_name_alone(tmp_path):
    shape = shape_of(box(LOWER, UPPER), tmp_path)
    draw = functools.partial(boundary_row, shape, seed=0, name="a/b")
    both, fine = draw(SETTINGS), draw(BoundaryConfig(sigmas=(0.01,), points=20_000))
    np.testing.assert_array_equal(both["boundary_points"][20_000:], fine["boundary_points"])
    np.testing.assert_array_equal(both["boundary_values"][2500:], fine["boundary_values"])
    for other in (boundary_row(shape, SETTINGS, seed=1, name="a/b"), boundary_row(shape, SETTINGS, seed=0, name="a/c")):
        assert not np.array_equal(other["boundary_points"], both["boundary_points"])


def test_far_noise_stays_within_the_range(tmp_path):
    settings = BoundaryConfig(sigmas=(0.5,), points=8000)
    points, values = stored(boundary_row(shape_of(box(LOWER, UPPER), tmp_path), settings, seed=0, name="a/b"))
    assert np.abs(points).max() < 1 and (np.abs(points) > 0.9999).any()
    np.testing.assert_array_equal(values, in_box(points))


def test_a_sheet_is_as_thick_as_its_voxels(tmp_path):
    """What the grid keeps of parts thinner than a voxel, points know too; unless it is to be dropped."""
    sheet = quad(*([x, 0.3011, z] for x, z in ((-0.4, 0), (0.4, 0), (0.4, 0.3), (-0.4, 0.3))))
    mesh = joined(box(LOWER, UPPER - [0, 0, 0.3]), sheet)
    on_sheet = np.array([[0.1, 0.3011, 0.1], [0.1, 0.33, 0.1]])
    for thin, expected in (("keep", [True, False]), ("drop", [False, False])):
        shape = shape_of(mesh, tmp_path, inside=InsideConfig(thin=thin))
        assert shape.inside(on_sheet).tolist() == expected
        i, j, k = ((on_sheet[0] + 0.5) * 256).astype(int)
        assert bool(shape.grid_RRR[i, j, k]) == expected[0]


def test_points_of_a_voxel_file_follow_its_voxels(tmp_path):
    grid = np.zeros((256, 256, 256), np.uint8)
    grid[30:200, 60:90, 100:230] = 1
    np.save(tmp_path / "one.npy", grid)
    config = DataConfig(name="set", input=tmp_path, normalisation=NormalisationConfig("none"))
    points, values = stored(boundary_row(read_shape(tmp_path / "one.npy", config), SETTINGS, seed=0, name="a/b"))
    lower, upper = np.array([30, 60, 100]) / 256 - 0.5, np.array([200, 90, 230]) / 256 - 0.5
    np.testing.assert_array_equal(values, ((points >= lower) & (points < upper)).all(1))
    fine = points[20_000:]
    distance = np.linalg.norm(np.maximum(np.maximum(lower - fine, fine - upper), 0), axis=1)
    assert distance.max() < 0.06  # near that very box


def test_shares_of_a_ball(tmp_path):
    """Half of thin noise is inside, up to curvature."""
    values = stored(boundary_row(shape_of(ball(0.4), tmp_path), SETTINGS, seed=0, name="a/b"))[1][20_000:]
    assert abs(values.mean() - 0.5) < 0.03
