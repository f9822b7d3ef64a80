"""Vertices come closer to the level, at a stated cost, and nothing folds."""

import numpy as np
import pytest
import torch

from data_processing.geometry.triangle_mesh import is_watertight
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import axis_centres
from isofield.extraction.refinement import refine_vertices
from tests.benchmarks import fields
from tests.plain_ways import mesh_of_grid

VOXEL = 1 / 40
CENTRE, RADIUS = (0.03, -0.02, 0.05), 0.3


def bent(points_N3):
    """Between steep and flat around the level 0.5: linear interpolation of samples misses."""
    d = fields.torus(CENTRE, RADIUS, 0.12, slope=20.0, clamped=False)(points_N3) - 0.5
    return torch.sigmoid(d**3 + 2 * d)


def wild(points_N3):
    """A sphere under ripples finer than the grid: full Newton moves point anywhere."""
    sphere = fields.sphere(CENTRE, RADIUS, slope=20.0, clamped=False)(points_N3)
    return sphere + torch.sin(170 * points_N3).sum(1)


def meshed(field):
    mesh = extract(field, iso_level=0.5, resolution=40, batch_points=1 << 16, device="cpu").mesh
    return mesh, torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)


def unit_normals(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)


def errors(field, vertices):
    return (field(vertices.float()) - 0.5).abs()


@pytest.mark.parametrize(("steps", "factor"), [(1, 10), (2, 300), (3, 5000)])
def test_vertices_come_closer_to_the_level(steps, factor):
    _, vertices, faces = meshed(bent)
    refined = refine_vertices(vertices, faces, bent, 0.5, steps, VOXEL / 2)
    before, after = errors(bent, vertices), errors(bent, refined.vertices_V3)
    assert after.mean() < before.mean() / factor
    assert (after <= before + 1e-6).all()
    assert refined.evaluations == (2 * steps + 1) * len(vertices)  # the published offsets take 79 a vertex


def test_as_close_as_the_published_offsets_with_fewer_evaluations():
    """26 offsets in three rounds, as published, around each vertex the best so far."""
    _, vertices, faces = meshed(bent)
    published, size = vertices.float(), VOXEL / 6
    offsets = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    for _ in range(3):
        candidates = published[:, None] + size * offsets
        pick = errors(bent, candidates.view(-1, 3)).view(len(published), 27).argmin(1)
        published, size = candidates[torch.arange(len(published)), pick], size / 2
    ours = refine_vertices(vertices, faces, bent, 0.5, 2, VOXEL / 2)
    assert errors(bent, ours.vertices_V3).mean() < errors(bent, published).mean()
    assert ours.evaluations < 79 * len(vertices) / 15


@pytest.mark.parametrize("max_move", [VOXEL / 2, 3 * VOXEL])
@pytest.mark.parametrize("field", [bent, wild])
def test_no_triangle_turns_over(field, max_move):
    mesh, vertices, faces = meshed(field)
    moved = refine_vertices(vertices, faces, field, 0.5, 4, max_move).vertices_V3
    cosine = (unit_normals(vertices, faces) * unit_normals(moved, faces)).sum(1)
    assert cosine.min() >= 0.25 - 1e-9  # tilted by less than 76 degrees
    assert is_watertight(type(mesh)(moved.numpy(), mesh.faces))
    assert (moved - vertices).norm(dim=1).max() <= max_move * (1 + 1e-9)
    assert (moved != vertices).any(1).float().mean() > 0.5
    assert (errors(field, moved) <= errors(field, vertices)).all()


def test_fixed_vertices_stay():
    _, vertices, faces = meshed(bent)
    fixed = vertices[:, 0] > 0
    moved = refine_vertices(vertices, faces, bent, 0.5, 2, VOXEL, fixed=fixed).vertices_V3
    assert torch.equal(moved[fixed], vertices[fixed])
    assert (moved[~fixed] != vertices[~fixed]).any()


def test_batches_are_bounded_and_change_nothing():
    _, vertices, faces = meshed(bent)
    field = fields.Counting(bent)
    small = refine_vertices(vertices, faces, field, 0.5, 2, VOXEL, batch_points=400)
    assert max(len(batch) for batch in field.batches) <= 400
    large = refine_vertices(vertices, faces, bent, 0.5, 2, VOXEL)
    np.testing.assert_allclose(small.vertices_V3, large.vertices_V3, atol=1e-7)


def test_plateaus_leave_vertices_where_they_are():
    """A field of zeros and ones has no gradient to follow."""
    axes = [axis_centres((20, 20, 20), axis, "cpu") for axis in range(3)]
    step = fields.sphere(CENTRE, RADIUS, slope=1e6)
    mesh = mesh_of_grid(step(torch.cartesian_prod(*axes)).view(20, 20, 20), iso_level=0.5)
    vertices = torch.from_numpy(mesh.vertices)
    moved = refine_vertices(vertices, torch.from_numpy(mesh.faces), step, 0.5, 2, VOXEL).vertices_V3
    assert torch.isfinite(moved).all()


def test_bad_settings_and_fields_are_refused():
    _, vertices, faces = meshed(bent)
    with pytest.raises(ValueError, match=r"\b0 steps"):
        refine_vertices(vertices, faces, bent, 0.5, 0, VOXEL)
    with pytest.raises(ValueError, match=r"1 steps .* 0\.0"):
        refine_vertices(vertices, faces, bent, 0.5, 1, 0.0)
    with pytest.raises(ValueError, match="no_grad"):
        refine_vertices(vertices, faces, torch.no_grad()(bent), 0.5, 1, VOXEL)
    with pytest.raises(ValueError, match=r"NaN.* \d+ of \d+"):
        refine_vertices(vertices, faces, lambda points: bent(points) + torch.nan, 0.5, 1, VOXEL)
