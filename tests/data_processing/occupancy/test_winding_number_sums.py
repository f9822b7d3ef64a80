"""The number of open surfaces by tensors: the sum over all faces, place by place, and what the kernels make of it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.occupancy.inside_outside import InsideConfig, InsideTest, occupancy_grid
from data_processing.occupancy.outer_surface import OuterSurface
from data_processing.occupancy.winding_number import boundary_edges, winding_grid
from data_processing.occupancy.winding_number_sums import sum_at_points, sum_on_grid
from isofield.runtime.compiled import PRICES, sparing_kernels
from tests.data_processing.occupancy.test_winding_number import random_soup, summed
from tests.data_processing.solids import box, centres


def boundary_of(corners):
    return boundary_edges(TriangleMesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)))


def sheets(_):
    """Two level sheets between voxel centres: their edges lie straight above centres all along."""
    x0, y0, x1, y1 = (np.array([3, 4, 10, 12]) + 0.5) / 16 - 0.5
    square = np.array([[[x0, y0, 0], [x1, y0, 0], [x1, y1, 0]], [[x0, y0, 0], [x1, y1, 0], [x0, y1, 0]]])
    return np.concatenate([square, square[:, ::-1] - [0, 0, 0.125]])


def over_a_solid(_):
    """A box without a lid above a closed one: straight below its rim walls, floor and the other's sides are crossed."""
    above, below = box((-0.21, -0.17, 0.12), (0.23, 0.19, 0.31)), box((-0.41, -0.37, -0.33), (0.4, 0.43, -0.1))
    lid = (above.triangles()[:, :, 2] == 0.31).all(1)
    return np.concatenate([above.triangles()[~lid], below.triangles()])


def everywhere(generator):
    """Faces in every cell of the coarsest grid: none of them is settled before it is divided."""
    middles = generator.uniform(-0.49, 0.49, (900, 1, 3))
    return np.clip(middles + generator.normal(0, 0.1, (900, 3, 3)), -0.49, 0.49)


@pytest.mark.parametrize(("soup", "size"), [(random_soup, 16), (sheets, 16), (over_a_solid, 32), (everywhere, 16)])
def test_the_grid_is_the_rounded_sum_over_faces(soup, size):
    corners = soup(np.random.default_rng(3))
    number = sum_on_grid(corners, boundary_of(corners), size)
    expected = summed(corners, centres(size))
    sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-6
    assert sure.mean() > 0.9 and number.dtype == np.int16 and len(np.unique(number)) > 1
    np.testing.assert_array_equal(number.reshape(-1)[sure], np.rint(expected)[sure])


@pytest.mark.parametrize("soup", [random_soup, sheets])
def test_points_have_the_sum_over_faces(soup):
    generator = np.random.default_rng(4)
    corners = soup(generator)
    below = corners[-1:].reshape(-1, 3) - [0, 0, 0.05]  # straight below ends of edges, off the surface
    points = np.concatenate([generator.uniform(-0.5, 0.5, (200, 3)), below])
    points = points[np.abs(points).max(axis=1) < 0.5]
    found = sum_at_points(corners, boundary_of(corners), points)
    np.testing.assert_allclose(found, summed(corners, points), rtol=0, atol=1e-9)


def test_walls_along_z_alone_have_a_number_too():
    """The sides of a box without floor and lid: no ray along z meets a face."""
    x, y = np.array([[-0.2, -0.2], [0.2, -0.2], [0.2, 0.2], [-0.2, 0.2]]).T
    low, high = (np.stack([x, y, np.full(4, z)], axis=1) for z in (-0.3, 0.3))
    following = np.roll(np.arange(4), -1)
    corners = np.concatenate(
        [np.stack([low, low[following], high[following]], axis=1), np.stack([low, high[following], high], axis=1)]
    )
    points = np.array([[0.0, 0.0, 0.0], [0.1, 0.05, 0.2], [0.4, 0.1, 0.0], [0.0, 0.0, 0.45]])
    found = sum_at_points(corners, boundary_of(corners), points)
    np.testing.assert_allclose(found, summed(corners, points), rtol=0, atol=1e-9)
    assert 0.5 < found[0] < 1 and abs(found[2]) < 0.1


def test_solids_of_real_soups_do_not_depend_on_the_way(examples):
    mesh = read_mesh(examples / "table/Scopia_34_Coffee_table.ply")
    mesh = mesh.transform(np.linalg.inv(normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)))
    with sparing_kernels():
        spared = occupancy_grid(TriangleMesh(mesh.vertices, mesh.faces), 64, InsideConfig(), device="cpu")
    by_kernels = occupancy_grid(mesh, 64, InsideConfig(), device="cpu")
    assert spared.method == by_kernels.method == "winding" and spared.quality == by_kernels.quality
    np.testing.assert_array_equal(spared.grid_RRR.numpy(), by_kernels.grid_RRR.numpy())
    corners = mesh.triangles()
    boundary = boundary_of(corners)
    np.testing.assert_array_equal(sum_on_grid(corners, boundary, 48), winding_grid(corners, 48, boundary_E23=boundary))


def test_outer_samples_of_an_open_box_do_not_depend_on_the_way():
    """A box without a lid that holds a closed one: the walls of that are inner ones."""
    outer, inner = box((-0.4, -0.3, -0.2), (0.3, 0.2, 0.35)), box((-0.3, -0.2, -0.1), (0.1, 0.1, 0.0))
    lid = (outer.triangles()[:, :, 2] == 0.35).all(1)
    corners = np.concatenate([outer.triangles()[~lid], inner.triangles()])
    mesh = TriangleMesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))
    settings = InsideConfig(surface="outer", cavities="fill", lookup_resolution=64)
    with sparing_kernels():
        spared = OuterSurface(mesh, InsideTest(mesh, settings)).sample(3000, np.random.default_rng(5))
    by_kernels = OuterSurface(mesh, InsideTest(mesh, settings)).sample(3000, np.random.default_rng(5))
    np.testing.assert_array_equal(spared, by_kernels)
    assert not np.array_equal(spared[0], sample_surface(mesh, 3000, np.random.default_rng(5))[0])


def test_the_first_shape_of_a_process_compiles_nothing(examples, tmp_path):
    """An empty folder of kernels, one open mesh and its points: numba is not even loaded. Later ones load it."""
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface\n"
        "from data_processing.formats.mesh_files import read_mesh\n"
        "from data_processing.occupancy.inside_outside import InsideConfig, InsideTest, occupancy_grid\n"
        "from data_processing.occupancy.outer_surface import OuterSurface\n"
        "from isofield.runtime import compiled\n"
        "mesh = read_mesh(Path(sys.argv[1]))\n"
        "mesh = TriangleMesh((mesh.vertices - mesh.vertices.mean(axis=0)) / 1000 / np.ptp(mesh.vertices), mesh.faces)\n"
        "with compiled.sparing_kernels():\n"
        "    occupancy_grid(mesh, 32, InsideConfig(), device='cpu')\n"
        "    sample_surface(mesh, 32_768, np.random.default_rng(0))\n"
        "    settings = InsideConfig(surface='outer', cavities='fill', lookup_resolution=64)\n"
        "    OuterSurface(mesh, InsideTest(mesh, settings)).sample(500, np.random.default_rng(0))\n"
        "    print('numba' in sys.modules)\n"
        "    print([compiled.is_spared(name, 100.0) for name in compiled.PRICES])\n"
        "    print([compiled.is_spared(name, 0.0) for name in compiled.PRICES])\n"
        "print([compiled.is_spared(name, 0.0) for name in compiled.PRICES])\n"
    )
    file = str(examples / "table/Scopia_39_Table.ply")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    spared = [str([value] * len(PRICES)) for value in (False, True, False)]
    assert done.stdout.split("\n")[:4] == ["False", *spared]


def test_points_far_from_a_small_open_part_have_the_sum_over_faces():
    """Whole numbers of a lattice have an end: places many sides away, level with the faces and diagonally below."""
    corners = sheets(None)[1:] * 1.7
    generator = np.random.default_rng(8)
    places = generator.standard_normal((600, 3)) * generator.choice([40.0, 1e3, 1e5], (600, 1))
    places[:200, 1:] = generator.uniform(-0.5, 0.5, (200, 2))
    found = sum_at_points(corners, boundary_of(corners), places)
    np.testing.assert_allclose(found, summed(corners, places), rtol=0, atol=1e-9)
