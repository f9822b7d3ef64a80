"""Levels of detail and collision shapes within one file: refused by name, and nothing else is."""

import pytest

from data_processing.formats.mesh_errors import RefusedMeshError
from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.part_names import MARKS, refuse_same_object
from tests.data_processing.gltf_files import GltfFile
from tests.data_processing.solids import box


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["chair_LOD0", "chair_LOD1"], r"levels of detail.*chair_LOD0, chair_LOD1"),
        (["a", "Chair.lod0.001", "chair.LOD2"], "levels of detail"),
        (["LOD_0", "LOD_1"], "levels of detail"),
        (["chair", "UCX_chair_01"], r"collisions \(UCX_chair_01\)"),
    ],
)
def test_the_same_object_again_is_refused(names, said):
    with pytest.raises(RefusedMeshError, match=said):
        refuse_same_object(names)
    assert any(mark in name for mark in MARKS for name in names)


def test_other_names_are_parts():
    refuse_same_object(["leg_LOD0", "seat_LOD0", "lodge_1", "lodge_2", "melodic2", "", ""])
    refuse_same_object(["UCX_chair_01", "table", "leg", "leg.001"])
    refuse_same_object([])


def test_in_files(tmp_path):
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in box((0, 0, 0), (1, 2, 3)).vertices)
    face = "f 1 2 3\nf 1 3 4\n"
    (tmp_path / "a.obj").write_text(f"{text}o chair_LOD0\n{face}g chair_LOD1\r\n{face}")
    solid, file = box((0, 0, 0), (1, 2, 3)), GltfFile()
    file.accessor(solid.vertices, "f4")
    file.accessor(solid.faces.ravel(), "u4")
    meshes = [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}]
    nodes = [{"children": [1, 2]}, {"mesh": 0, "name": "chair_LOD0"}, {"mesh": 0, "name": "chair_LOD1"}]
    (tmp_path / "a.glb").write_bytes(file.glb(nodes=nodes, meshes=meshes))
    for name in ("a.obj", "a.glb"):
        with pytest.raises(ValueError, match=rf"{name}: holds levels of detail.*chair_LOD1"):
            read_mesh(tmp_path / name)
    nodes[0]["children"] = [1]  # the other level hangs below no scene, as MSFT_lod has it
    (tmp_path / "b.glb").write_bytes(file.glb(nodes=nodes, meshes=meshes))
    assert len(read_mesh(tmp_path / "b.glb").faces) == 12
