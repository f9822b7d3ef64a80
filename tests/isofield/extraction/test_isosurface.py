"""Coarse to fine equals dense evaluation, at the stated cost and with the stated loss."""

import numpy as np
import pytest
import torch

from data_processing.geometry.triangle_mesh import is_watertight
from isofield.extraction.isosurface import extract, extract_dense
from isofield.extraction.lattice import axis_centres
from tests.benchmarks import fields
from tests.benchmarks.bench_extraction import dense_values, floor_points
from tests.plain_ways import mesh_of_grid

BATCH = 1 << 16
SHIFT = fields.SHIFTS[3]
BORDER = fields.boxes([((0.45, 0, 0.1), (0.2, 0.15, 0.3)), ((0.1, 0.02, 0.1), (0.3, 0.012, 0.012))])  # with a thin rod
CASES = {
    "chair": fields.chair(SHIFT),
    "thin rung": fields.chair(SHIFT, rung=True),
    "torus": fields.torus((0.03, -0.02, 0.11), 0.3, 0.09),
    "sphere cut by three faces": fields.sphere((0.25, -0.3, 0.35), 0.31),
    "box cut by a face": BORDER,
    "all inside": fields.sphere((0, 0, 0), 2.0),
    "two parts": fields.union(fields.sphere((-0.2, 0.1, 0), 0.15), fields.sphere((0.2, 0, 0.1), 0.1)),
}
PLATE: fields.Box = ((0.01, 104.5 / 128 - 0.5, 0), (0.2, 0.004, 0.1))  # one sample of 128 thick, between two of 32


def sparse(field, resolution, **options):
    return extract(field, iso_level=0.5, resolution=resolution, batch_points=BATCH, device="cpu", **options)


def dense(field, resolution, **options):
    return extract_dense(field, iso_level=0.5, resolution=resolution, batch_points=BATCH, device="cpu", **options)


def equal(a, b):
    return np.array_equal(a.mesh.vertices, b.mesh.vertices) and np.array_equal(a.mesh.faces, b.mesh.faces)


@pytest.mark.parametrize("resolution", [64, 100, (72, 130, 96)])
@pytest.mark.parametrize("name", CASES)
def test_equals_dense_evaluation_vertex_for_vertex(name, resolution):
    coarse_to_fine, everything = sparse(CASES[name], resolution), dense(CASES[name], resolution)
    assert equal(coarse_to_fine, everything)
    assert is_watertight(coarse_to_fine.mesh)
    assert coarse_to_fine.evaluations < everything.evaluations / 3


@pytest.mark.parametrize("resolution", [2, 3, 31, 33, (2, 90, 5)])
def test_equals_dense_evaluation_where_the_frame_is_most_of_the_grid(resolution):
    field = CASES["box cut by a face"]
    assert equal(sparse(field, resolution), dense(field, resolution))


@pytest.mark.parametrize("name", ["thin rung", "sphere cut by three faces"])
def test_equals_dense_evaluation_at_256_within_the_stated_work(name):
    values_XYZ = dense_values(CASES[name], 256)
    everything, result = mesh_of_grid(values_XYZ, iso_level=0.5), sparse(CASES[name], 256)
    np.testing.assert_array_equal(result.mesh.vertices, everything.vertices)
    np.testing.assert_array_equal(result.mesh.faces, everything.faces)
    assert result.evaluations <= 1.7 * floor_points(values_XYZ, iso_level=0.5)


@pytest.mark.parametrize(("frame", "stride"), [(1, 4), (8, 1), (8, 2), (17, 8), (33, 1), (64, 2), (80, 4), (500, 4)])
def test_any_frame_and_stride_that_see_the_shape_give_the_same_mesh(frame, stride):
    field = fields.sphere((0.05, -0.03, 0.02), 0.35)
    assert equal(sparse(field, 80, frame=frame, stride=stride), dense(field, 80))


@pytest.mark.parametrize(("resolution", "frame", "stride"), [((100, 64, 90), 32, 4), ((96, 70, 96), 8, 1), (40, 40, 4)])
def test_every_sample_is_evaluated_once_and_none_off_the_grid(resolution, frame, stride):
    field = fields.Counting(CASES["sphere cut by three faces"])
    result = sparse(field, resolution, frame=frame, stride=stride)
    points = field.points_N3
    assert len(points) == result.evaluations == len(points.unique(dim=0))
    assert max(len(batch) for batch in field.batches) <= BATCH
    for axis in range(3):
        assert torch.isin(points[:, axis], axis_centres(result.resolution, axis, "cpu")).all()


@pytest.mark.parametrize(("middle", "radius"), [(51, 0.5), (51, 2.5), (52, 1.9)])
def test_a_ball_that_holds_one_sample_of_the_frame_is_found(middle, radius):
    """At 100^3 a frame of 32 has samples 48, 51, 54 in its middle: intervals that do not halve evenly."""
    centre = (middle + 0.5) / 100 - 0.5
    field = fields.sphere((centre, centre, centre), radius / 100)
    result = sparse(field, 100)
    assert equal(result, dense(field, 100))
    assert len(result.mesh.faces) > 0


def test_the_mesh_does_not_depend_on_the_batches():
    field = CASES["thin rung"]
    small = extract(field, iso_level=0.5, resolution=64, batch_points=1000, device="cpu")
    assert equal(small, sparse(field, 64))


def test_a_detached_part_thinner_than_a_cell_of_the_frame_is_lost_and_a_larger_frame_finds_it():
    field, alone = fields.boxes([*fields.CHAIR_BOXES, PLATE]), fields.chair()
    assert equal(sparse(field, 128), dense(alone, 128))  # the documented loss
    assert not equal(dense(field, 128), dense(alone, 128))
    assert equal(sparse(field, 128, frame=128), dense(field, 128))


def test_a_thin_cavity_is_lost_and_a_larger_frame_finds_it():
    solid, hollow = fields.boxes([((0, 0, 0), (0.4, 0.4, 0.4))]), fields.boxes([PLATE])

    def field(points_N3):
        return torch.minimum(solid(points_N3), 1 - hollow(points_N3))

    assert equal(sparse(field, 128), dense(solid, 128))
    assert equal(sparse(field, 128, frame=128), dense(field, 128))
    assert len(dense(field, 128).mesh.faces) > len(dense(solid, 128).mesh.faces)


def test_the_mesh_lies_where_the_field_says():
    centre, half = (0.05, -0.1, 0.08), (0.3, 0.2, 0.1)
    field = fields.boxes([(centre, half)], slope=1.0, clamped=False)
    for resolution in (64, (96, 70, 50)):
        lower, upper = sparse(field, resolution).mesh.bounds()
        np.testing.assert_allclose(lower, np.subtract(centre, half), atol=1e-6)
        np.testing.assert_allclose(upper, np.add(centre, half), atol=1e-6)


def test_nothing_crosses_the_level():
    result = sparse(fields.sphere((3, 0, 0), 0.1), 64)
    assert result.mesh.vertices.shape == result.mesh.faces.shape == (0, 3)
    assert result.evaluations == 32**3
    assert result.resolution == (64, 64, 64)
    assert len(dense(fields.sphere((3, 0, 0), 0.1), 8).mesh.faces) == 0


@pytest.mark.parametrize("run", [sparse, dense])
def test_a_field_that_is_not_finite_is_refused_and_counted(run):
    def field(points_N3):
        return torch.where(points_N3[:, 0] < -0.48, torch.nan, fields.chair()(points_N3))

    with pytest.raises(ValueError, match=r"NaN.* \d+ of \d+"):
        run(field, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 1}, "resolution 1: "),
        ({"resolution": (8, 8)}, r"resolution \(8, 8\)"),
        ({"resolution": 8, "frame": 0}, "frame 0"),
        ({"resolution": 8, "stride": 0}, "stride 0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sparse(fields.chair(), **options)


def test_a_field_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4096, 3\)"):
        sparse(lambda points_N3: points_N3, 16)


def test_refinement_keeps_the_mesh_closed_and_the_caps_flat():
    ramp = fields.sphere((0.3, 0.02, -0.04), 0.35, slope=20.0, clamped=False)

    def field(points_N3):
        return torch.sigmoid(ramp(points_N3) ** 3 + ramp(points_N3) - 0.625)  # bent, so that straight lines miss

    plain, refined = sparse(field, 48), sparse(field, 48, refine_steps=2)
    caps = plain.mesh.vertices[:, 0] == 0.5
    assert caps.any()
    np.testing.assert_array_equal(refined.mesh.vertices[caps], plain.mesh.vertices[caps])
    np.testing.assert_array_equal(refined.mesh.faces, plain.mesh.faces)
    assert is_watertight(refined.mesh)
    assert refined.refinement_evaluations == 5 * len(plain.mesh.vertices)
    centre = (0.3, 0.02, -0.04)
    miss = [np.abs(np.linalg.norm(r.mesh.vertices[~caps] - centre, axis=1) - 0.35) for r in (plain, refined)]
    assert miss[1].mean() < miss[0].mean() / 50
