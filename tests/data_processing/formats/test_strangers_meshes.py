"""Mesh files out of public bug reports: each read right, or refused by a reason that is true."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from tests.conftest import ROOT
from tests.data_processing.solids import area, volume

STRANGERS = ROOT / "tests" / "data" / "strangers"
BOXES = [
    *(f"binary_ply_mixed_polygons/{name}.ply" for name in ("quads_and_triangles", "the_same_in_ascii")),
    "binary_ply_mixed_polygons/texcoord_of_some_faces.ply",
    *(f"binary_stl_length/{name}.stl" for name in ("one_byte_more", "no_endsolid")),
    *(f"obj_not_utf8/{name}.obj" for name in ("comment_in_latin1", "utf16")),
    *(f"obj_tabs/{name}.obj" for name in ("tabs", "tab_after_one_v", "tab_after_two_f", "comments_behind")),
    *(f"ply_two_corner_faces/{name}.ply" for name in ("edges_with_colour", "two_degenerate_faces")),
]
REFUSED = {
    "binary_stl_length/count_zero.stl": "declares 0 triangles, holds 12",
    "binary_stl_length/cut_off.stl": "no endfacet: cut off",
    "glb_instances_not_required/draco.glb": "its KHR_draco_mesh_compression data",
}


def same_shapes(names):
    return [read_mesh(STRANGERS / name) for name in names]


@pytest.mark.parametrize("name", BOXES)
def test_the_box(name):
    mesh = read_mesh(STRANGERS / name)
    assert len(mesh.faces) == 12 and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(6) and area(mesh) == pytest.approx(22)
    np.testing.assert_allclose(mesh.bounds()[1] - mesh.bounds()[0], [1, 2, 3])


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    with pytest.raises(ValueError, match=rf"{name}.*{REFUSED[name]}"):
        read_mesh(STRANGERS / name)


def test_triangle_strips():
    """One strip of two triangles over one side of the box."""
    mesh = read_mesh(STRANGERS / "ply_two_corner_faces" / "triangle_strips.ply")
    assert mesh.faces.tolist() == [[0, 3, 1], [1, 3, 2]] and area(mesh) == pytest.approx(2)


def test_a_polygon_covers_what_its_triangles_cover():
    polygons, triangles = same_shapes(["concave_polygon_obj/u_ngon.obj", "concave_polygon_obj/u_tri.obj"])
    for mesh in (polygons, triangles):
        assert area(mesh) == pytest.approx(76) and volume(mesh) == pytest.approx(24) and is_watertight(mesh)
    assert len(polygons.faces) == len(triangles.faces)


def test_quantised_parts_stay_where_they_are():
    plain, quantised = same_shapes(["glb_normalised_positions/plain.glb", "glb_normalised_positions/quantised.glb"])
    np.testing.assert_allclose(quantised.bounds(), plain.bounds(), atol=1e-4)
    assert volume(quantised) == pytest.approx(volume(plain), rel=1e-4) and len(quantised.faces) == len(plain.faces)


@pytest.mark.parametrize("name", ["instances", "instances_required"])
def test_instances_are_there_whether_required_or_used(name):
    mesh = read_mesh(STRANGERS / "glb_instances_not_required" / f"{name}.glb")
    np.testing.assert_allclose(mesh.bounds(), [[0, 0, 0], [11, 2, 3]])
    assert volume(mesh) == pytest.approx(18)


def test_a_file_in_map_coordinates_is_the_one_at_the_origin():
    near, far = same_shapes(["far_from_origin/near.obj", "far_from_origin/utm.obj"])
    np.testing.assert_allclose(far.vertices - [431234.5, 5512345.25, 287.75], near.vertices, atol=1e-9)
    assert far.faces.tolist() == near.faces.tolist()
