"""One box in every layout that programs write, and what of a layout is refused."""

import struct

import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from tests.data_processing import mesh_texts
from tests.data_processing.mesh_texts import CORNERS, LIST, MIXED, TRIANGLES, facets, off_text, ply_binary, ply_text
from tests.data_processing.solids import area, volume

LAYOUTS = [
    (f"{name}.{kind}", data)
    for kind in ("ply", "obj", "stl", "off")
    for name, data in getattr(mesh_texts, kind.upper()).items()
]


@pytest.mark.parametrize(("name", "data"), LAYOUTS, ids=[name for name, _ in LAYOUTS])
def test_the_box(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    mesh = read_mesh(tmp_path / name)
    assert len(mesh.faces) == 12 and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(6) and area(mesh) == pytest.approx(22)
    lower, upper = mesh.bounds()
    assert lower.tolist() == [0, 0, 0] and upper.tolist() == [1, 2, 3]


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
SURFACE = "cstype bezier\ndeg 1 1\nsurf 0 1 0 1 1 2 3 4\n"
OPEN_STL = f"solid a\n{facets(TRIANGLES[:5])}"
ROW = struct.pack("<12fH", 0, 0, 0, *(n for v in TRIANGLES[0] for n in CORNERS[v]), 0)
REFUSED = {
    # Text of which a part is missing or is no number.
    "comma.obj": ("v 0,5 0 0\n" + TRIANGLE, "decimal comma.*0,5"),
    "two_numbers.obj": ("v 0 0\n" + TRIANGLE, "fewer than three"),
    "words.obj": (TRIANGLE + "f a b c\n", "no numbers of vertices.*'a'"),
    "fractions.obj": (TRIANGLE + "f 1.5 2 3\n", "no numbers of vertices.*1.5"),
    "beyond.obj": (TRIANGLE + "f 1 2 4\n", "vertex 4 of 3"),
    "zero.obj": (TRIANGLE + "f 0 1 2\n", "vertex 0 of 3"),
    "back.obj": (TRIANGLE + "f -1 -2 -4\n", "vertex -4 of 3"),
    "indefinite.obj": ("v 1.#QNAN 0 0\n" + TRIANGLE + "f 1 2 3\n", "NaN"),
    "indefinite_at_the_end.obj": ("v 0 0 -1.#IND\n" + TRIANGLE + "f 1 2 3\n", "NaN"),
    "surface.obj": (TRIANGLE + SURFACE, "surf"),
    "other_file.obj": (TRIANGLE + "call other.obj\nf 1 2 3\n", "call"),
    "no_end.stl": (OPEN_STL, "no endsolid.*after 5 triangles"),
    "cut.stl": (OPEN_STL[:-20], "no endfacet"),
    "quads.stl": (OPEN_STL.replace("endloop", "vertex 0 0 0\nendloop") + "endsolid", "three corners"),
    "more.off": (off_text() + b"4 0 1 2 3\n", "declares 8 vertices and 6 faces, holds 15 lines"),
    "fewer.off": (off_text()[:-10], "holds 13 lines"),
    "short_face.off": (off_text().replace(b"4 0 3 2 1", b"4 0 3 2"), "fewer corners"),
    "short_vertex.off": (off_text().replace(b"1 2 3\n", b"1 2\n"), "no three numbers"),
    "four.off": (off_text(head="4OFF\n8 {n} 0\n"), "4OFF"),
    "many.off": (off_text(head="nOFF\n3\n8 {n} 0\n"), "nOFF"),
    "binary.off": (b"OFF BINARY\n" + bytes(99), "binary OFF"),
    "fewer.ply": (ply_text(MIXED)[:-20], "8 of 10 rows of element face|too short"),
    "short_row.ply": (ply_text(MIXED).replace(b"4 0 3 2 1", b"4 0 3 2"), "element face.*too short"),
    "long_row.ply": (ply_text(MIXED).replace(b"4 0 3 2 1", b"4 0 3 2 1 5"), "element face.*too long"),
    "words.ply": (ply_text(MIXED).replace(b"1 2 3\n", b"1 x 3\n"), "element vertex"),
    "no_list.ply": (
        ply_text(TRIANGLES, lists=LIST.replace("vertex_indices", "corners")),
        "list vertex_indices.*corners",
    ),
    "no_z.ply": (ply_text(TRIANGLES, vertex="property float x\nproperty float y\nproperty float w\n"), "x, y"),
    "unknown_type.ply": (ply_text(TRIANGLES, lists=LIST.replace("int", "long")), "long"),
    "unknown_format.ply": (ply_text(TRIANGLES).replace(b"ascii", b"text"), "text"),
    "twice.ply": (ply_text(TRIANGLES, before="element face 0\n"), "twice"),
    "fraction.ply": (
        ply_text(TRIANGLES, lists=LIST.replace("int", "float")).replace(b"3 0 3 2", b"3 0.5 3 2"),
        "whole numbers",
    ),
    # Bytes.
    "cut.ply": (ply_binary(MIXED)[:-3], "cut off"),
    "cut_in_a_list.ply": (ply_binary(MIXED, count="i")[:-14], "cut off in row"),
    "large_index.ply": (ply_binary([*MIXED, (0, 1, 8)]), "vertex 8 of 8"),
    "count.stl": (mesh_texts.stl_binary(count=5), "declares 5 triangles, holds 12"),
    "zero.stl": (mesh_texts.stl_binary(count=0), "declares 0 triangles, holds 12"),
    "one_row_more.stl": (mesh_texts.stl_binary(tail=ROW), "declares 12 triangles, holds 13"),
    "one_row_and_a_byte_more.stl": (mesh_texts.stl_binary(tail=ROW + b"\n"), "declares 12 triangles, holds 13"),
    "too_many.stl": (mesh_texts.stl_binary(count=13), "declares 13 triangles, holds 12: cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named(tmp_path, name):
    data, reason = REFUSED[name]
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(ValueError, match=rf"{name}.*({reason})") as caught:
        read_mesh(tmp_path / name)
    assert "Error" not in str(caught.value)  # no words of a library


@pytest.mark.parametrize("tail", [bytes(50), bytes(700), b"signed " * 40, ROW[:49]])
def test_what_follows_the_last_triangle_of_an_stl_and_is_none_is_left_out(tmp_path, tail):
    (tmp_path / "a.stl").write_bytes(mesh_texts.stl_binary(tail=tail))
    assert len(read_mesh(tmp_path / "a.stl").faces) == 12


def test_a_text_in_blocks_is_the_text_as_a_whole(tmp_path, monkeypatch):
    """Large files are taken apart block by block: numbers that count back reach into blocks before."""
    for kind, names in (("obj", ["negative", "mixed", "texture"]), ("stl", ["ascii", "ascii_two_solids"])):
        monkeypatch.setattr(f"data_processing.formats.{kind}.BLOCK", 64)
        for name in names:
            test_the_box(tmp_path, f"{name}.{kind}", getattr(mesh_texts, kind.upper())[name])


def test_decimal_commas_and_two_files_in_one_are_named(tmp_path):
    (tmp_path / "a.obj").write_text("v 0,5 0,0 1,0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "a.stl").write_text(
        "solid x\nfacet normal 0 0 1\nouter loop\nvertex 0,5 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
        "endsolid x\n"
    )
    for name in ("a.obj", "a.stl"):
        with pytest.raises(ValueError, match=rf"{name}: its numbers have a decimal comma: export them with a point"):
            read_mesh(tmp_path / name)
    one = bytes(80) + (1).to_bytes(4, "little") + struct.pack("<12f", *range(12)) + b"\0\0"
    (tmp_path / "two.stl").write_bytes(one + one)
    with pytest.raises(ValueError, match=r"two\.stl: two binary STL files, one behind the other"):
        read_mesh(tmp_path / "two.stl")
