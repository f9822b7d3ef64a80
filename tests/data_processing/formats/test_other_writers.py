"""One concave prism as programs of others wrote it, two or more of them for each format: the same solid, every time.

`tests/data/strangers/other_writers`: Open3D 0.20, VTK 9.7, MeshLab 2025.07 (pymeshlab) and pygltflib 1.16. The prism is
an L of 3 x 4, arms 1 wide, 2 high, with its corner at (10, 20, 0): volume 12, area 40, 20 triangles.
"""

from collections import Counter

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
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
