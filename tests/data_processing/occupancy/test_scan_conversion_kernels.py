"""The compiled point test against the one of tensors: every number equal, on real soups and where rounding bites."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from data_processing.occupancy import scan_conversion
from data_processing.occupancy.scan_conversion import POINT_CELLS, PointFrame, scan_points
from data_processing.occupancy.surface_voxels import touched_cells
from tests.data_processing.solids import ball, box, joined, turned, turned_inside_out

kernels = scan_conversion.compiled_kernels()
pytestmark = pytest.mark.skipif(kernels is None, reason="numba is not installed")


def both(triangles, points):
    """The numbers by kernels, after comparing them with those by tensors."""
    frame = PointFrame(triangles, POINT_CELLS)
    compiled = scan_conversion._scan_by_kernels(kernels, frame, triangles, points)
    plain = scan_conversion._scan_by_tensors(frame, triangles, points, "cpu")
    assert compiled.dtype == plain.dtype == np.int16
    assert np.array_equal(compiled, plain)
    return compiled


def points_about(triangles, count=30_000):
    """Uniform points of a wider box, and points around, exactly on, and exactly above faces, edges and corners."""
    rng = np.random.default_rng(0)
    lower, upper = triangles.min((0, 1)), triangles.max((0, 1))
    size = (upper - lower).max()
    uniform = rng.uniform(lower - 0.1 * size, upper + 0.1 * size, (count, 3))
    chosen = triangles[rng.integers(0, len(triangles), count // 4)]
    share = rng.dirichlet([1, 1, 1], len(chosen))
    on_faces, on_edges, corners = np.einsum("nk,nkd->nd", share, chosen), chosen[:, :2].mean(1), chosen[:, 0]
    above = corners + [[0, 0, size / 7]] * len(corners)
    near = [on_faces + rng.normal(size=on_faces.shape) * size * scale for scale in (1e-2, 1e-5, 1e-9)]
    mixed = np.stack([corners[:, 0], chosen[:, 1, 1], chosen[:, 2, 2]], axis=1)
    return np.concatenate([uniform, on_faces, on_edges, corners, above, mixed, *near])


def with_apex(triangles):
    """Each face as a tetrahedron with one apex: closed whatever the faces were; inner sides lie on one another."""
    apex = np.broadcast_to(triangles.mean((0, 1)) + 0.01, (len(triangles), 3))
    a, b, c = triangles.transpose(1, 0, 2)
    sides = [np.stack(item, axis=1) for item in ((b, a, apex), (c, b, apex), (a, c, apex))]
    return np.concatenate([triangles, *sides])


@pytest.mark.parametrize(
    "name",
    [
        "chair/BlendSwap_CC_0_114_Chair.ply",
        "chair/Scopia_6_Chair.ply",
        "table/Scopia_386_Rattan_table.ply",
        "chair/BlendSwap_CC_0_86_Armchair.ply",
        "table/KatorLegaz_73_Desk.ply",
    ],
)
def test_equal_on_real_meshes_and_on_real_soups_closed_by_an_apex(examples, name):
    mesh = read_mesh(examples / name)
    triangles = mesh.triangles() if is_watertight(mesh) else with_apex(mesh.triangles()[::20])
    number = both(triangles, points_about(triangles, 10_000))
    assert 0.01 < (number != 0).mean() < 0.99


def lattice_box():
    """Faces, edges and corners on integers, so that many points tie exactly."""
    return joined(box((0, 0, 0), (4, 3, 8)), box((2, 1, 8), (4, 3, 9)), turned_inside_out(box((1, 1, 1), (2, 2, 2))))


@pytest.mark.parametrize(
    "mesh",
    [
        lattice_box(),
        joined(turned(ball(0.3, (0.1, 0, 0))), turned(ball(0.3, (0.1, 0, 0)))),
        joined(*[box((0, 0, 0), (1, 2, 3))] * 5),
        turned(box((0, 0, 0), (1e-3, 1, 1e-3))),
    ],
    ids=["ties", "doubled", "five times", "needle"],
)
@pytest.mark.parametrize("scale, shift", [(1, 0), (1e-25, 0), (1e25, 0), (1, 1e6)])
def test_equal_where_points_lie_on_the_surface(mesh, scale, shift):
    triangles = mesh.triangles() * scale + shift
    number = both(triangles, points_about(triangles, 4000))
    assert (number != 0).any() and (number == 0).any()


def test_points_on_the_lattice_of_a_box_follow_the_half_open_rule():
    grid = np.stack(np.meshgrid(*[np.arange(-1, 10.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    number = both(box((0, 0, 0), (4, 3, 8)).triangles(), grid)
    assert np.array_equal(number == 1, ((grid >= 0) & (grid < [4, 3, 8])).all(1))


def test_degenerate_and_doubled_faces_change_nothing():
    solid = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3))).triangles()
    rng = np.random.default_rng(1)
    point, edge = rng.uniform(-0.1, 0.1, (40, 1, 3)).repeat(3, axis=1), rng.uniform(-0.1, 0.1, (40, 2, 3))[:, [0, 1, 1]]
    pair = rng.uniform(-0.1, 0.1, (40, 3, 3))
    points = points_about(solid, 8000)
    number = both(np.concatenate([solid, point, edge, pair, pair[:, ::-1]]), points)
    assert np.array_equal(number, both(solid, points))


def test_far_points_and_points_without_a_place_are_outside():
    triangles = ball(2.0, (5, 5, 5), subdivisions=3).triangles()
    points = np.array([[1e300, 5, 5], [-np.inf, 0, 0], [5, 5, np.nan], [5, 5, 1e9], [5, 5, -1e9], [5, 5, 5]])
    assert scan_points(triangles, points, device="cpu").tolist() == [0, 0, 0, 0, 0, 1]


def test_nothing_gives_nothing():
    triangles = ball(1.0, subdivisions=2).triangles()
    assert scan_points(triangles, np.zeros((0, 3)), device="cpu").shape == (0,)
    assert scan_points(np.zeros((0, 3, 3)), np.zeros((4, 3)), device="cpu").tolist() == [0] * 4


def test_every_layout_and_precision_of_points():
    triangles = ball(1.0, subdivisions=3).triangles()
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (5000, 3)).astype(np.float32)
    expected = scan_points(triangles, points.astype(np.float64), device="cpu")
    assert np.array_equal(scan_points(triangles, points, device="cpu"), expected)
    assert np.array_equal(scan_points(triangles[::-1], np.asfortranarray(points), device="cpu"), expected)


def test_large_faces_do_not_fill_the_memory():
    """Faces that each lie over much of the box: the columns get wider."""
    solid = joined(*[turned(box((-1, -1, -1), (1, 1, 1)), seed=k) for k in range(12)]).triangles()
    corners = kernels.to_lattice(solid, np.zeros(3), 4.0)
    assert kernels.count_in_columns(corners, 6) > 16 * len(solid)
    points = np.random.default_rng(0).uniform(-1.7, 1.7, (1000, 3))
    assert both(solid, points).max() == 12


@pytest.mark.parametrize("seed", range(3))
def test_no_touched_cell_is_missed(seed):
    """Against the exact test of tensors, for faces of all sizes; beyond it only a few cells are marked."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-4, -0.5, (400, 1, 1))
    triangles = rng.uniform(-0.3, 0.3, (400, 1, 3)) + rng.uniform(-0.3, 0.3, (400, 3, 3)) * size
    triangles[::7, :, seed] = triangles[::7, :1, seed]  # along an axis
    triangles[::50] = np.round(triangles[::50] * 32) / 32  # on the sides of cells
    exact = touched_cells(torch.from_numpy(triangles), 32).numpy()
    marked = kernels.known_cells(kernels.to_lattice(triangles, np.zeros(3), 1.0), 5) == scan_conversion.UNKNOWN
    assert not (exact & ~marked).any()
    assert marked.sum() <= 1.3 * exact.sum()


def test_without_numba_the_tensors_serve():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from data_processing.occupancy import scan_conversion\n"
        "from tests.data_processing.solids import box\n"
        "assert scan_conversion.compiled_kernels() is None\n"
        "points = np.array([[.5, .5, .5], [2, 2, 2]])\n"
        "print(scan_conversion.scan_points(box((0, 0, 0), (1, 1, 1)).triangles(), points, device='cpu').tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "[1, 0]"
