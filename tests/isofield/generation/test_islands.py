"""Pieces that no shown point is near: left out and told, whole pieces alone, and never all of a mesh."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from data_processing.formats.nifti import ScanGrid
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from data_processing.loading.network_inputs import InputConfig
from isofield.generation.islands import drops_islands, without_islands
from isofield.generation.surfaces import Coded, GenerationConfig, surface_of
from isofield.runtime.seeds import numpy_generator
from tests.data_processing.solids import box, joined
from tests.isofield.ready_runs import Echo, EchoConfig

BODY = box(np.array([-0.3, -0.2, -0.1]), np.array([0.1, 0.2, 0.2]))
FAR = box(np.array([0.35, 0.3, 0.3]), np.array([0.37, 0.32, 0.32]))
NEAR = box(np.array([0.12, 0.0, 0.0]), np.array([0.14, 0.02, 0.02]))


def points_of(mesh: TriangleMesh, count: int) -> np.ndarray:
    return sample_surface(mesh, count, numpy_generator("islands"))[0]


def test_a_far_piece_goes_and_a_near_one_stays():
    mesh, note = without_islands(joined(FAR, BODY, NEAR), points_of(BODY, 3000))
    expected = joined(BODY, NEAR)
    np.testing.assert_array_equal(mesh.triangles(), expected.triangles())
    assert is_watertight(mesh)
    assert note == "left out 1 piece of the surface (33.3% of the faces) that no shown point is near"


@pytest.mark.parametrize("mesh", [BODY, joined(BODY, NEAR)])
def test_a_mesh_whose_pieces_all_have_points_is_the_same(mesh: TriangleMesh):
    found, note = without_islands(mesh, points_of(mesh, 500))
    assert found is mesh and note == ""


def test_where_no_piece_has_a_point_all_stay():
    mesh = joined(FAR, NEAR)
    found, note = without_islands(mesh, points_of(box(np.full(3, -0.5), np.full(3, -0.4)), 200))
    assert found is mesh and note == ""


def test_how_near_is_follows_the_spacing_of_a_sparse_cloud():
    """A gap of 0.12: far for 20,000 points, near for forty."""
    apart = box(np.array([0.22, 0.0, 0.0]), np.array([0.24, 0.02, 0.02]))
    assert without_islands(joined(BODY, apart), points_of(BODY, 20_000))[1]
    assert not without_islands(joined(BODY, apart), points_of(BODY, 40))[1]


def test_of_half_a_surface_nothing_is_left_out():
    assert drops_islands(InputConfig("points", 64))
    assert not drops_islands(InputConfig("points", 64, crop=(0.2, 0.5)))
    assert not drops_islands(InputConfig("scan", 64)) and not drops_islands(InputConfig("solid", 64))


def test_generation_leaves_islands_out_and_says_so_unless_they_are_to_be_kept():
    """The repeating model's field is two boxes, of which points were shown of one."""
    cells = torch.zeros(1, 32, 32, 32)
    cells[0, 4:16, 6:20, 8:18] = 1
    cells[0, 26:29, 26:29, 26:29] = 1
    shown = points_of(box(np.array([4, 6, 8]) / 32 - 0.5, np.array([16, 20, 18]) / 32 - 0.5), 1000)
    settings = GenerationConfig("", 64, 32, 0, ".ply", 0.5, islands="drop")
    make = functools.partial(surface_of, Echo(EchoConfig()), name="", batch_points=1 << 16, device=torch.device("cpu"))
    surface = make(Coded(cells, points_N3=shown), settings)
    assert surface.note.startswith("left out 1 piece of the surface") and surface.mesh.bounds()[1].max() < 0.2
    # Of a scan, whose mask comes out of the field, the mesh shows what the mask shows.
    of_scan = Coded(cells, scan=ScanGrid((8, 8, 8), np.eye(4)), points_N3=shown)
    for given, kept in ((Coded(cells, points_N3=shown), None), (Coded(cells), "drop"), (of_scan, "drop")):
        surface = make(given, dataclasses.replace(settings, islands=kept))
        assert surface.note == "" and surface.mesh.bounds()[1].max() > 0.35
    # Meshes of earlier versions, in whose settings there is nothing of it, stand.
    assert "islands" not in dataclasses.replace(settings, islands=None).made_with()
