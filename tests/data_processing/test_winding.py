"""The coarse-to-fine winding number against the full evaluation."""

import os
import subprocess
import sys

import numpy as np
import pytest

from data_processing.meshes import read_mesh
from data_processing.scan import UNKNOWN
from data_processing.winding import winding_grid, winding_numbers, winding_points
from tests.data_processing.solids import ball, box, centres, quad, turned, without_faces

SOUPS = [
    "chair/BlendSwap_CC_0_86_Armchair.ply",
    "chair/BlendSwap_CC_0_79_Chair.ply",
    "table/Scopia_39_Table.ply",
]


def corners_in_cube(mesh):
    lower, upper = mesh.bounds()
    return (mesh.triangles() - (lower + upper) / 2) / (upper - lower).max() * 0.9


@pytest.mark.parametrize("name", SOUPS)
def test_coarse_to_fine_equals_full_evaluation_on_real_soups(examples, name):
    corners = corners_in_cube(read_mesh(examples / name))
    full = np.rint(winding_numbers(corners, centres(64))).reshape(64, 64, 64)
    assert (winding_grid(corners, 64) != full).sum() <= 3


@pytest.mark.parametrize(
    "mesh",
    [
        turned(without_faces(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)), 2)),
        without_faces(ball(0.4, subdivisions=3), 300),
        quad((-0.4, -0.3, 0.05), (0.4, -0.3, 0.05), (0.4, 0.3, 0.05), (-0.4, 0.3, 0.05)),
    ],
)
@pytest.mark.parametrize("resolution", [64, 70])
def test_coarse_to_fine_equals_full_evaluation_on_open_solids(mesh, resolution):
    corners = mesh.triangles()
    full = np.rint(winding_numbers(corners, centres(resolution))).reshape((resolution,) * 3)
    assert (winding_grid(corners, resolution) != full).sum() <= 3


def test_thin_part_between_coarse_centres_is_found():
    """A rod far thinner than the coarsest cells: found by the cells that it touches."""
    rod = without_faces(box((-0.4, 0.002, 0.002), (0.4, 0.0145, 0.0145)), 2)
    number = winding_grid(rod.triangles(), 128)
    assert (number != 0).sum() >= 0.7 * 0.8 * 128 * 4


def test_box_missing_a_face_keeps_its_inside():
    mesh = without_faces(box((-0.3, -0.2, -0.1), (0.2, 0.3, 0.3)), 2)
    number = winding_grid(mesh.triangles(), 32).reshape(-1)
    inside = ((centres(32) > [-0.15, -0.1, 0]) & (centres(32) < [0.1, 0.2, 0.2])).all(1)
    outside = ((centres(32) < [-0.4, -0.3, -0.2]) | (centres(32) > [0.3, 0.4, 0.4])).any(1)
    assert (number[inside] == 1).all() and (number[outside] == 0).all()


def test_many_points_equal_direct_evaluation():
    corners = without_faces(ball(3.0, (10, 0, 0), subdivisions=4), 400).triangles()
    points = np.random.default_rng(0).uniform((6, -4, -4), (14, 4, 4), (150_000, 3))
    direct = np.rint(winding_numbers(corners, points))
    assert (winding_points(corners, points) != direct).mean() < 2e-5
    assert (direct != 0).sum() > 10_000


def test_unknown_cells_are_those_near_the_surface():
    corners = without_faces(ball(0.4, subdivisions=4), 20).triangles()
    number = winding_grid(corners, 64, keep_unknown=True).reshape(-1)
    distance = np.abs(np.linalg.norm(centres(64), axis=1) - 0.4)
    assert (number[distance < 0.003] == UNKNOWN).all()
    assert (number == UNKNOWN).mean() < 0.15


def test_nothing_open_is_nowhere_inside():
    nothing = np.zeros((0, 3, 3))
    assert winding_numbers(nothing, centres(4)).tolist() == [0] * 64
    assert winding_grid(nothing, 64).sum() == 0


def test_same_result_for_one_thread_and_two():
    code = (
        "import hashlib, torch\n"
        "from data_processing.winding import winding_grid\n"
        "from tests.data_processing.solids import ball, without_faces\n"
        "grid = winding_grid(without_faces(ball(0.4, subdivisions=4), 300).triangles(), 64)\n"
        "print(hashlib.sha256(grid.tobytes()).hexdigest())"
    )
    digests = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "IGL_NUM_THREADS": threads}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        digests.append(result.stdout)
    assert digests[0] == digests[1]
