"""One concave prism as programs of others wrote it, two or more of them for each format: the same solid, every time.

The prism is an L of 3 x 4, arms 1 wide, 2 high, with its corner at (10, 20, 0): volume 12, area 40, 20 triangles.
`tests/data/strangers/other_writers`: Open3D 0.20, VTK 9.7, MeshLab 2025.07 (pymeshlab) and pygltflib 1.16.
`tests/data/strangers/blender`: Blender 5.0 (bpy), whose .glb and .obj have y up; `linked_mirror` shows the prism at
height 5 beside its mirror image, a copy with a scale of -1.
"""

from collections import Counter

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from data_processing.occupancy.inside_outside import inside_points
from tests.conftest import ROOT
from tests.data_processing.solids import area, volume

FILES = sorted((ROOT / "tests/data/strangers/other_writers").iterdir())
FORMATS = (".glb", ".gltf", ".obj", ".off", ".ply", ".stl")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_prism_of_every_program(file):
    mesh = read_mesh(file)
    assert len(mesh.faces) == 20 and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(12, rel=1e-6) and area(mesh) == pytest.approx(40, rel=1e-6)
    np.testing.assert_allclose(mesh.bounds(), [[10, 20, 0], [13, 24, 2]], atol=1e-5)
    # Only the L has nothing in the corner that its box has: half a unit behind the inner edge, no face and no vertex.
    assert not ((mesh.vertices[:, :2] > [11.5, 21.5]).all(axis=1)).any()


def test_each_format_has_two_programs_or_more():
    programs = Counter(suffix for _, suffix in {(file.stem.partition("_")[0], file.suffix) for file in FILES})
    assert all(programs[suffix] >= 2 for suffix in FORMATS) and set(programs) == set(FORMATS)


BLENDER = ROOT / "tests/data/strangers/blender"
UP = {"glb": "y", "obj": "y", "ply": "z", "stl": "z"}


@pytest.mark.parametrize("suffix", UP)
def test_the_prism_of_blender(suffix):
    mesh = read_mesh(BLENDER / f"plain.{suffix}")
    assert len(mesh.faces) == 20 and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(12, rel=1e-6) and area(mesh) == pytest.approx(40, rel=1e-6)
    np.testing.assert_allclose(upright(mesh.bounds(), suffix), [[10, 20, 0], [13, 24, 2]], atol=1e-5)


@pytest.mark.parametrize("suffix", UP)
def test_a_copy_mirrored_by_its_scale_is_as_solid_as_the_first(suffix):
    """In .ply Blender writes its faces inside out, in the others it turns them, in .glb the node mirrors."""
    mesh = read_mesh(BLENDER / f"linked_mirror.{suffix}")
    assert len(mesh.faces) == 40 and area(mesh) == pytest.approx(80, rel=1e-6)
    assert volume(mesh) == pytest.approx(0 if suffix == "ply" else 24, rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(upright(mesh.bounds(), suffix), [[-13, 20, 5], [13, 24, 7]], atol=1e-5)
    inside = np.array([[-10.5, 20.5, 6], [10.5, 20.5, 6], [-10.5, 23.5, 6], [12.5, 20.5, 6]])
    outside = np.array([[-12.5, 23.5, 6], [12, 22, 6], [0, 20.5, 6], [10.5, 20.5, 8]])
    points = np.concatenate([inside, outside])
    if UP[suffix] == "y":
        points = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
    assert inside_points(mesh, points).tolist() == [True] * 4 + [False] * 4


def test_draco_of_blender():
    pytest.importorskip("DracoPy", reason="the extra draco is not installed")
    mesh = read_mesh(BLENDER / "draco.glb")
    assert len(mesh.faces) == 20 and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(12, rel=2e-4)  # 14 bits a coordinate
    np.testing.assert_allclose(upright(mesh.bounds(), "glb"), [[10, 20, 0], [13, 24, 2]], atol=1e-3)


def upright(bounds, suffix):
    """Corners with z up."""
    bounds = np.array(bounds)
    if UP[suffix] == "z":
        return bounds
    turned = np.stack([bounds[:, 0], -bounds[:, 2], bounds[:, 1]], axis=1)
    return np.sort(turned, axis=0)
