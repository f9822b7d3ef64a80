"""The choice between the methods, on meshes whose inside is known, and grid against points."""

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.occupancy.inside_outside import InsideConfig, inside_points, occupancy_grid
from tests.data_processing.solids import ball, box, centres, joined, quad, turned, turned_inside_out, without_faces

LOW, HIGH = np.array([-0.31, -0.22, -0.13]), np.array([0.24, 0.15, 0.35])
BLOCK = box(LOW, HIGH)
TRUTH = ((centres(32) > LOW) & (centres(32) < HIGH)).all(1)
DEFAULT = InsideConfig()
FILL = InsideConfig(cavities="fill", lookup_resolution=96)


def occupied(mesh, resolution=32, settings=DEFAULT):
    result = occupancy_grid(mesh, resolution, settings, device="cpu")
    assert result.grid_RRR.dtype == torch.uint8 and result.grid_RRR.shape == (resolution,) * 3
    return result, result.grid_RRR.numpy().reshape(-1).astype(bool)


def split(mesh):
    """No two faces share a vertex."""
    return TriangleMesh(mesh.triangles().reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))


@pytest.mark.parametrize("mesh", [BLOCK, turned_inside_out(BLOCK), split(BLOCK)])
def test_closed_box_is_scanned(mesh):
    result, inside = occupied(mesh)
    assert (result.method, result.quality) == ("scan", "ok")
    assert np.array_equal(inside, TRUTH)


def test_doubled_faces_of_one_orientation():
    _, inside = occupied(joined(BLOCK, BLOCK))
    assert np.array_equal(inside, TRUTH)


@pytest.mark.parametrize("mixed", ["doubled", "every other", "half"])
def test_closed_box_is_scanned_whatever_the_orientation_of_its_faces(mixed):
    whole = split(BLOCK)
    faces = whole.faces.copy()
    if mixed == "doubled":
        faces = np.concatenate([faces, faces[:, ::-1]])
    else:
        chosen = slice(None, None, 2) if mixed == "every other" else slice(6)
        faces[chosen] = faces[chosen, ::-1]
    result, inside = occupied(TriangleMesh(whole.vertices, faces))
    assert (result.method, result.quality) == ("scan", "ok")
    assert np.array_equal(inside, TRUTH)


def test_sheets_that_cancel_fall_back_to_the_flood():
    """Each side twice, triangulated both ways, one copy inside out: no number, but the flood encloses it."""
    whole = split(BLOCK)
    corners = whole.triangles()
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    quads = corners[np.lexsort(np.sign(normals.round(9)).T)].reshape(6, 2, 3, 3)
    other = []
    for first, second in quads:
        corners = np.unique(np.concatenate([first, second]), axis=0)
        shared = [c for c in corners if (first == c).all(1).any() and (second == c).all(1).any()]
        tips = [c for c in corners if not any((c == s).all() for s in shared)]
        for end in shared:
            corner = np.stack([tips[0], tips[1], end])
            normal = np.cross(first[1] - first[0], first[2] - first[0])
            inwards = np.cross(corner[1] - corner[0], corner[2] - corner[0]) @ normal < 0
            other.append(corner if inwards else corner[::-1])
    corners = np.concatenate([whole.triangles(), np.stack(other)])
    mesh = TriangleMesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))
    result, inside = occupied(mesh)
    assert result.method == "shell-flood" and result.quality.startswith("suspect")
    assert np.array_equal(inside, TRUTH)


@pytest.mark.parametrize("flip", [False, True])
def test_overlapping_parts_are_their_union(flip):
    second = box((0.0, -0.4, -0.2), (0.4, 0.1, 0.2))
    mesh = joined(BLOCK, second)
    _, inside = occupied(turned_inside_out(mesh) if flip else mesh)
    other = ((centres(32) > [0, -0.4, -0.2]) & (centres(32) < [0.4, 0.1, 0.2])).all(1)
    assert np.array_equal(inside, TRUTH | other)


def test_cavity_is_kept_or_filled():
    hollow = joined(ball(0.4, subdivisions=4), turned_inside_out(ball(0.25, subdivisions=4)))
    radius = np.linalg.norm(centres(48), axis=1)
    clear = (np.abs(radius - 0.4) > 2e-3) & (np.abs(radius - 0.25) > 2e-3)
    _, kept = occupied(hollow, 48)
    _, full = occupied(hollow, 48, FILL)
    assert np.array_equal(kept[clear], ((radius < 0.4) & (radius > 0.25))[clear])
    assert np.array_equal(full[clear], (radius < 0.4)[clear])
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = (np.abs(radius - 0.4) > 5e-3) & (np.abs(radius - 0.25) > 5e-3)
    assert np.array_equal(inside_points(hollow, points)[clear], ((radius < 0.4) & (radius > 0.25))[clear])
    clear = np.abs(radius - 0.4) > 5e-3  # also beside the wall of the cavity
    assert np.array_equal(inside_points(hollow, points, FILL)[clear], (radius < 0.4)[clear])


def test_box_missing_a_face_is_a_soup_with_an_inside():
    result, inside = occupied(without_faces(BLOCK, 2))
    assert result.method == "winding" and result.quality.startswith("suspect")  # the flood leaks
    assert inside[TRUTH].mean() > 0.9 and inside[~TRUTH].mean() < 0.02


def test_closed_part_beside_an_open_one():
    mesh = joined(BLOCK, quad((-0.4, -0.4, -0.4), (0.4, -0.4, -0.4), (0.4, -0.3, -0.4), (-0.4, -0.3, -0.4)))
    result, inside = occupied(mesh)
    assert result.method == "winding" and result.quality == "ok"
    sheet = inside & ~TRUTH
    assert inside[TRUTH].all() and (centres(32)[sheet][:, 2] < -0.37).all()
    assert sheet.sum() == pytest.approx(0.8 * 0.1 * 32**2, rel=0.3)


@pytest.mark.parametrize("resolution", [32, 96])
def test_thin_closed_sheet_and_single_quad_do_not_vanish(resolution):
    sheet = box((-0.4, -0.3, 0.011), (0.4, 0.3, 0.012))
    result, inside = occupied(sheet, resolution)
    assert result.method == "scan" and result.quality.startswith("suspect")
    assert inside.sum() == pytest.approx(0.48 * resolution**2, rel=0.15)
    flat = quad((-0.4, -0.3, 0.011), (0.4, -0.3, 0.011), (0.4, 0.3, 0.011), (-0.4, 0.3, 0.011))
    result, inside = occupied(flat, resolution)
    assert result.method == "shell-thick" and result.quality.startswith("suspect")
    assert inside.sum() == pytest.approx(0.48 * resolution**2, rel=0.15)
    assert occupied(sheet, resolution, InsideConfig(thin="drop"))[1].sum() == 0


def test_points_of_a_sheet_follow_its_voxels():
    flat = quad((-40, -30, 1), (40, -30, 1), (40, 30, 1), (-40, 30, 1))
    points = np.array([[0, 0, 1.0], [30, 20, 1.01], [0, 0, 3], [0, 0, -3], [50, 0, 1]])
    assert inside_points(flat, points).tolist() == [True, True, False, False, False]


def test_points_agree_with_the_box_in_any_frame():
    to_world = np.diag([70.0, 70, 70, 1])
    to_world[:3, 3] = 1000, -500, 20
    mesh = turned(BLOCK).transform(to_world)
    local = np.random.default_rng(1).uniform(-0.5, 0.5, (200_000, 3))
    rotation = np.linalg.lstsq(BLOCK.vertices, turned(BLOCK).vertices, rcond=None)[0]
    points = (local @ rotation) * 70 + to_world[:3, 3]
    expected = ((local > LOW) & (local < HIGH)).all(1)
    assert np.array_equal(inside_points(mesh, points), expected)
    assert np.array_equal(inside_points(turned_inside_out(mesh), points), expected)


@pytest.mark.parametrize("name", ["chair/BlendSwap_CC_0_114_Chair.ply", "table/Scopia_39_Table.ply"])
def test_points_at_voxel_centres_equal_the_grid_on_real_meshes(examples, name):
    mesh = read_mesh(examples / name)
    lower, upper = mesh.bounds()
    scale = np.eye(4) / (upper - lower).max() * 0.9
    scale[:3, 3] = -(lower + upper) / 2 * scale[0, 0]
    scale[3, 3] = 1
    mesh = mesh.transform(scale)
    result, inside = occupied(mesh, 64, InsideConfig(thin="drop"))
    by_points = inside_points(mesh, centres(64), method=result.method)
    assert (by_points != inside).sum() <= 3 and inside.sum() > 1000


def test_forced_methods():
    assert occupied(BLOCK, settings=InsideConfig(method="winding"))[1].sum() == TRUTH.sum()
    forced, inside = occupied(BLOCK, settings=InsideConfig(method="shell"))
    assert forced.method == "shell-flood" and np.array_equal(inside, TRUTH)
    with pytest.raises(ValueError, match="scan: 10 of 10 faces"):
        occupied(without_faces(BLOCK, 2), settings=InsideConfig(method="scan"))
    with pytest.raises(ValueError, match=r"'rays': .*auto, scan, winding"):
        inside_points(BLOCK, np.zeros((1, 3)), method="rays")


def test_bad_settings_and_meshes_beyond_the_cube_are_refused():
    with pytest.raises(ValueError, match=r"lookup_resolution: .*\b8 .*1024.*\b0\b"):
        InsideConfig(lookup_resolution=0)
    with pytest.raises(ValueError, match="fallback_volume"):
        InsideConfig(fallback_volume=2)
    with pytest.raises(ValueError, match=r"\[-1\. +0\. +0\.\].*-0\.5\.\.0\.5"):
        occupancy_grid(box((-1, 0, 0), (0, 1, 1)), 16, InsideConfig(), device="cpu")


def test_same_grid_whatever_the_number_of_threads(examples):
    mesh = read_mesh(examples / "chair" / "BlendSwap_CC_0_79_Chair.ply")
    lower, upper = mesh.bounds()
    to_cube = np.eye(4) / (upper - lower).max() * 0.9
    to_cube[:3, 3] = -(lower + upper) / 2 * to_cube[0, 0]
    to_cube[3, 3] = 1
    threads = torch.get_num_threads()
    try:
        grids = []
        for count in (1, 2):
            torch.set_num_threads(count)
            grids.append(occupied(mesh.transform(to_cube), 48)[1])
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*grids)
