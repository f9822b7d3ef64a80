"""glTF: what a viewer shows of a file is what is read, or the part that is not read is named."""

import base64
import contextlib
import json
import struct
import sys

import DracoPy
import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from tests.conftest import ROOT
from tests.data_processing.gltf_files import GltfFile
from tests.data_processing.mesh_texts import CORNERS, STRIP, TRIANGLES
from tests.data_processing.solids import area, volume

POINTS, INDICES = np.array(CORNERS, float), np.array(TRIANGLES).ravel()


def box_file(**changes):
    """The box 1 x 2 x 3 as accessors 0 and 1, and its primitive."""
    file = GltfFile()
    file.accessor(POINTS, "f4")
    file.accessor(INDICES, "u2")
    return file, {"attributes": {"POSITION": 0}, "indices": 1} | changes


def read(tmp_path, file, *, nodes=({"mesh": 0},), primitives=(), mesh=None, **parts):
    meshes = parts.pop("meshes", [{"primitives": list(primitives)} | (mesh or {})])
    (tmp_path / "a.glb").write_bytes(file.glb(nodes=list(nodes), meshes=meshes, **parts))
    return read_mesh(tmp_path / "a.glb")


def is_the_box(mesh, *, scale=1.0, count=1):
    assert len(mesh.faces) == 12 * count and is_watertight(mesh)
    assert volume(mesh) == pytest.approx(6 * count * scale**3, rel=1e-3)
    assert area(mesh) == pytest.approx(22 * count * scale**2, rel=1e-3)
    return True


def test_the_plain_box(tmp_path):
    file, primitive = box_file()
    assert is_the_box(read(tmp_path, file, primitives=[primitive]))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2"])
@pytest.mark.parametrize("normalised", [True, False])
def test_quantised_positions(tmp_path, kind, normalised):
    """`normalized` integers stand for shares of the largest one, others for themselves."""
    most, file = np.iinfo(kind).max, GltfFile()
    steps = np.round(POINTS / 3 * most) if normalised else POINTS * 10
    file.accessor(steps, kind, stride=4 if kind[1] == "1" else 8, normalized=normalised)
    file.accessor(INDICES, "u1")
    scale = 3.0 if normalised else 0.1
    nodes = [{"mesh": 0, "scale": [scale] * 3}, {"mesh": 0, "scale": [scale] * 3, "translation": [5, 0, 0]}]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    mesh = read(tmp_path, file, nodes=nodes, primitives=[primitive], scenes=[{"nodes": [0, 1]}])
    error = 0.03 if normalised and kind[1] == "1" else 1e-3
    assert len(mesh.faces) == 24 and volume(mesh) == pytest.approx(12, rel=error)
    np.testing.assert_allclose(mesh.bounds(), [[0, 0, 0], [6, 2, 3]], atol=error)


def test_the_most_negative_integer_stands_for_minus_one(tmp_path):
    file = GltfFile()
    file.accessor([[-128, 0, 0], [-127, 127, 0], [127, 0, 0]], "i1", stride=4, normalized=True)
    mesh = read(tmp_path, file, primitives=[{"attributes": {"POSITION": 0}}])
    assert mesh.vertices[:, 0].tolist() == [-1, -1, 1]


INSTANCES = "EXT_mesh_gpu_instancing"


@pytest.mark.parametrize("declared", [{}, {"extensionsUsed": [INSTANCES]}, {"extensionsRequired": [INSTANCES]}])
def test_instances(tmp_path, declared):
    file, primitive = box_file()
    attributes = {
        "TRANSLATION": file.accessor([[0, 0, 0], [5, 0, 0], [9, 0, 0]], "f4"),
        "ROTATION": file.accessor([[0, 0, 0, 127], [0, 0, 127, 0], [0, 0, 0, 127]], "i1", normalized=True),
        "SCALE": file.accessor([[1, 1, 1], [1, 1, 1], [-1, 1, 1]], "f4"),
    }
    node = {"mesh": 0, "translation": [100, 0, 0], "extensions": {INSTANCES: {"attributes": attributes}}}
    mesh = read(tmp_path, file, nodes=[node], primitives=[primitive], **declared)
    assert is_the_box(mesh, count=3)  # the mirrored one looks outwards as well
    parts = mesh.triangles().reshape(3, -1, 3)
    np.testing.assert_allclose(parts.min(axis=1), [[100, 0, 0], [104, -2, 0], [108, 0, 0]], atol=1e-6)


def test_instances_of_different_numbers_are_refused(tmp_path):
    file, primitive = box_file()
    attributes = {"TRANSLATION": file.accessor([[0, 0, 0]] * 2, "f4"), "SCALE": file.accessor([[1, 1, 1]] * 3, "f4")}
    node = {"mesh": 0, "extensions": {INSTANCES: {"attributes": attributes}}}
    with pytest.raises(ValueError, match=rf"a\.glb.*{INSTANCES}.*length"):
        read(tmp_path, file, nodes=[node], primitives=[primitive])


@pytest.mark.parametrize(
    ("of_mesh", "of_node", "height"), [(None, None, 3), ([0.5, 0], None, 4.5), ([0.5, 0], [1, 1], 8), ([0], None, 3)]
)
def test_morph_targets(tmp_path, of_mesh, of_node, height):
    """Weights of the node come before those of the mesh; without any, the mesh is as it is."""
    file, primitive = box_file()
    up = POINTS * [0, 0, 1]
    first = file.accessor(up, "f4")
    second = file.accessor(np.sign(up) * 127, "i1", stride=4, normalized=True)
    file.accessors[second]["bufferView"] = file.view(
        b"".join(bytes([0, 0, 127 if z else 0, 0]) for _, _, z in CORNERS), byteStride=4
    )
    primitive["targets"] = [{"POSITION": first}, {"POSITION": second, "NORMAL": first}]
    node = {"mesh": 0} | ({"weights": of_node} if of_node else {})
    mesh = read(tmp_path, file, nodes=[node], primitives=[primitive], mesh={"weights": of_mesh} if of_mesh else {})
    if of_node:
        assert mesh.bounds()[1][2] == pytest.approx(3 + 3 + 1)
    else:
        assert mesh.bounds()[1][2] == pytest.approx(height)


def test_sparse_accessors(tmp_path):
    """Some corners of the box are moved; another accessor has no other numbers at all."""
    file, primitive = box_file()
    rows, values = file.view(bytes([6, 7])), file.view(np.array([[1, 2, 4], [0, 2, 4]], "<f4").tobytes())
    sparse = {"count": 2, "indices": {"bufferView": rows, "componentType": 5121}, "values": {"bufferView": values}}
    file.accessors[0]["sparse"] = sparse
    assert volume(read(tmp_path, file, primitives=[primitive])) == pytest.approx(7)
    everything = file.view(bytes(range(8)))
    where = {"bufferView": everything, "componentType": 5121}
    sparse = {"count": 8, "indices": where, "values": {"bufferView": file.accessors[0].pop("bufferView")}}
    file.accessors[0]["sparse"] = sparse
    assert is_the_box(read(tmp_path, file, primitives=[primitive]))


def test_strips_fans_and_no_indices(tmp_path):
    file = GltfFile()
    positions, primitives = file.accessor(POINTS, "f4"), []
    strips: list[list[int]] = []
    strip: list[int] = []
    for number in [*STRIP, -1]:
        strips, strip = ([*strips, strip], []) if number < 0 else (strips, [*strip, number])
    for strip in strips[1:]:
        where = file.accessor(strip, "u2")
        primitives.append({"attributes": {"POSITION": positions}, "indices": where, "mode": 5})
    fan = file.accessor([0, 3, 2, 1], "u1")
    primitives.append({"attributes": {"POSITION": positions}, "indices": fan, "mode": 6})
    assert is_the_box(read(tmp_path, file, primitives=primitives))
    file.accessor(POINTS[INDICES], "f4")
    assert is_the_box(read(tmp_path, file, primitives=[{"attributes": {"POSITION": len(file.accessors) - 1}}]))


def test_points_and_lines_have_no_surface(tmp_path):
    file, primitive = box_file()
    others = [primitive | {"mode": mode} for mode in range(4)]
    assert is_the_box(read(tmp_path, file, primitives=[*others, primitive]))
    with pytest.raises(ValueError, match=r"a\.glb.*no triangles"):
        read(tmp_path, file, primitives=others)


def test_nodes_are_placed_by_all_that_hang_above_them(tmp_path):
    file, primitive = box_file()
    half = np.sqrt(0.5)
    nodes = [
        {"children": [1], "translation": [10, 0, 0], "rotation": [0, 0, half, half]},  # x goes to y
        {"children": [2], "scale": [-2, 2, 2]},
        {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]},
    ]
    mesh = read(tmp_path, file, nodes=nodes, primitives=[primitive])
    assert is_the_box(mesh, scale=2)  # mirrored, and still looking outwards
    np.testing.assert_allclose(mesh.bounds(), [[6, -4, 0], [10, -2, 6]], atol=1e-6)


@pytest.mark.parametrize(("parts", "count"), [({"scene": 1}, 2), ({}, 1), ({"scenes": []}, 3)])
def test_the_default_scene_is_read(tmp_path, parts, count):
    """The one that the file names, else the first, else all nodes."""
    file, primitive = box_file()
    nodes = [{"mesh": 0, "translation": [9 * number, 0, 0]} for number in range(3)]
    tree = {"scenes": [{"nodes": [0]}, {"nodes": [1, 2]}], "scene": 0} | parts
    assert is_the_box(read(tmp_path, file, nodes=nodes, primitives=[primitive], **tree), count=count)


def test_hidden_nodes_are_not_shown_nor_what_hangs_below_them(tmp_path):
    file, primitive = box_file()
    hidden, shown = ({"extensions": {"KHR_node_visibility": {"visible": visible}}} for visible in (False, True))
    nodes = [
        {"mesh": 0, "children": [1, 3]} | shown,
        {"mesh": 0, "children": [2]} | hidden,
        {"mesh": 0} | shown,
        {"mesh": 0, "translation": [5, 0, 0]},
    ]
    assert is_the_box(read(tmp_path, file, nodes=nodes, primitives=[primitive]), count=2)


def skinned(file, primitive, *, weights="f4", sets=1):
    """The upper four corners follow a joint that stands 1 higher than in the bind pose, the lower four another."""
    upper = POINTS[:, 2] > 0
    joints = np.stack([upper, np.zeros(8), np.zeros(8), np.zeros(8)], axis=1)
    shares = np.tile([2.0 if weights == "f4" else 255, 0, 0, 0], (8, 1))  # of 1, when all are divided by their sum
    primitive["attributes"] |= {
        "JOINTS_0": file.accessor(joints, "u1"),
        "WEIGHTS_0": file.accessor(shares, weights, **({} if weights == "f4" else {"normalized": True})),
    }
    inverse = np.stack([np.eye(4), np.eye(4)])
    inverse[:, 3, :3] = [[0, 0, 0], [0, 0, -3]]  # column by column
    skin = {"joints": [2, 3], "inverseBindMatrices": file.accessor(inverse.reshape(2, 16), "f4")}
    nodes = [
        {"children": [1, 2]},
        {"mesh": 0, "skin": 0, "translation": [100, 0, 0], "scale": [7, 7, 7]},  # does not count
        {"translation": [0, 0, 0], "children": [3]},
        {"translation": [0, 0, 4]},
    ]
    return {"nodes": nodes, "skins": [skin], "primitives": [primitive]}


@pytest.mark.parametrize("weights", ["f4", "u1"])
def test_a_skin_is_shown_as_its_joints_stand(tmp_path, weights):
    file, primitive = box_file()
    mesh = read(tmp_path, file, **skinned(file, primitive, weights=weights))
    np.testing.assert_allclose(mesh.bounds(), [[0, 0, 0], [1, 2, 4]], atol=1e-6)
    assert volume(mesh) == pytest.approx(8)


def test_a_skin_under_a_mirroring_root_looks_outwards(tmp_path):
    file, primitive = box_file()
    parts = skinned(file, primitive)
    parts["nodes"][0]["scale"] = [-1, 1, 1]
    assert volume(read(tmp_path, file, **parts)) == pytest.approx(8)


def test_a_skin_without_weights_is_refused(tmp_path):
    file, primitive = box_file()
    parts = skinned(file, primitive)
    del primitive["attributes"]["WEIGHTS_0"]
    with pytest.raises(ValueError, match=r"a\.glb.*skin.*weights"):
        read(tmp_path, file, **parts)


DRACO, MESHOPT = "KHR_draco_mesh_compression", "EXT_meshopt_compression"


COMPRESSED = ROOT / "tests" / "data" / "gltf_compressed"


@pytest.mark.parametrize("way", ["edgebreaker", "sequential"])
def test_draco_of_another_writer_as_its_own_reader_unpacks_it(way):
    """Two spheres, one mirrored, and a box; the plain file is what glTF-Transform makes of the first."""
    packed, plain = read_mesh(COMPRESSED / f"draco_{way}.glb"), read_mesh(COMPRESSED / "plain_draco_edgebreaker.glb")
    assert len(packed.faces) == len(plain.faces) == 2 * 320 + 12
    np.testing.assert_array_equal(packed.bounds(), plain.bounds())
    assert volume(packed) == pytest.approx(volume(plain), rel=1e-12) and area(packed) == pytest.approx(area(plain))
    assert is_watertight(packed)
    middles = [np.unique(mesh.triangles().mean(axis=1).round(6), axis=0) for mesh in (packed, plain)]
    np.testing.assert_allclose(middles[0], middles[1], atol=2e-6)


def packed_box(**options):
    """The box as a Draco stream, and accessors without data of their own."""
    file, data = GltfFile(), DracoPy.encode(POINTS.astype("f4"), INDICES.reshape(-1, 3), **options)
    for values, kind in ((POINTS, "f4"), (INDICES, "u2")):
        file.accessor(values, kind)
        del file.accessors[-1]["bufferView"]
    file.accessor(np.frombuffer(data, "u1")[:, None], "u1")
    packed = {"bufferView": len(file.views) - 1, "attributes": {"POSITION": 0}}
    return file, {"attributes": {"POSITION": 0}, "indices": 1, "extensions": {DRACO: packed}}


@pytest.mark.parametrize("declared", [{}, {"extensionsUsed": [DRACO]}, {"extensionsRequired": [DRACO]}])
def test_draco_is_unpacked_wherever_a_part_carries_it(tmp_path, declared):
    file, primitive = packed_box()
    assert is_the_box(read(tmp_path, file, primitives=[primitive], **declared))


def test_draco_with_plain_numbers_beside_it_and_in_hidden_nodes(tmp_path):
    file, primitive = box_file()
    broken = primitive | {"extensions": {DRACO: {"bufferView": 0, "attributes": {"POSITION": 0}}}}
    assert is_the_box(read(tmp_path, file, primitives=[broken], extensionsUsed=[DRACO]))  # all is there plainly
    hidden = {"mesh": 1, "extensions": {"KHR_node_visibility": {"visible": False}}}
    meshes = [{"primitives": [primitive]}, {"primitives": [broken]}]
    assert is_the_box(read(tmp_path, file, nodes=[{"mesh": 0}, hidden], meshes=meshes, extensionsRequired=[DRACO]))


def test_draco_that_holds_more_than_its_accessors_say(tmp_path):
    for number, count in ((0, 5), (1, 9)):
        file, primitive = packed_box()
        file.accessors[number]["count"] = count
        with pytest.raises(ValueError, match=rf"a\.glb.*{DRACO} data declare 12 faces"):
            read(tmp_path, file, primitives=[primitive])


def test_draco_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    file, primitive = packed_box()
    with pytest.raises(ValueError, match=rf"a\.glb: needs {DRACO}.*isofield\[draco\].*gltf-transform"):
        read(tmp_path, file, primitives=[primitive])


def test_damaged_draco_is_an_error_of_its_file(tmp_path):
    file, primitive = packed_box()
    generator, data = (
        np.random.default_rng(0),
        bytearray(file.glb(nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}])),
    )
    start = data.index(b"DRACO")
    for _ in range(300):
        damaged = data.copy()
        damaged[start + generator.integers(len(data) - start)] = generator.integers(256)
        (tmp_path / "a.glb").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            read_mesh(tmp_path / "a.glb")


def test_meshopt_of_another_writer_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"needs EXT_meshopt_compression.*npx @gltf-transform/cli copy"):
        read_mesh(COMPRESSED / "meshopt_filter.glb")


@pytest.mark.parametrize("name", [MESHOPT, "KHR_meshopt_compression"])
def test_meshopt_is_refused_by_name_where_nothing_else_is_there(tmp_path, name):
    file, primitive = box_file()
    file.views[0]["extensions"] = {name: {"buffer": 0, "byteLength": 9, "byteStride": 12, "count": 8}}
    assert is_the_box(read(tmp_path, file, primitives=[primitive], extensionsUsed=[name]))
    with pytest.raises(ValueError, match=rf"a\.glb: needs {name}"):
        read(tmp_path, file, primitives=[primitive], extensionsRequired=[name])
    file.views[0] |= {"buffer": 1, "byteOffset": 0}
    buffers = [{"byteLength": len(file.data)}, {"byteLength": 96, "extensions": {name: {"fallback": True}}}]
    with pytest.raises(ValueError, match=rf"a\.glb: needs {name}"):
        read(tmp_path, file, primitives=[primitive], buffers=buffers)


def test_what_else_a_file_requires_is_read_if_it_only_changes_the_looks(tmp_path):
    file, primitive = box_file()
    looks = ["KHR_materials_unlit", "KHR_texture_transform", "EXT_texture_webp", "KHR_mesh_quantization"]
    assert is_the_box(read(tmp_path, file, primitives=[primitive], extensionsRequired=looks))
    with pytest.raises(ValueError, match=r"a\.glb: needs VENDOR_geometry_clipmap"):
        read(tmp_path, file, primitives=[primitive], extensionsRequired=["VENDOR_geometry_clipmap"])


@pytest.mark.parametrize("spaces", [b"", b" ", b"   "])
def test_chunks_whose_length_does_not_count_the_bytes_that_fill_it_up(tmp_path, spaces):
    file, primitive = box_file()
    tree = file.tree(nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}])
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4) + spaces
    filled = text + b" " * (-len(text) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + filled + struct.pack("<I4s", len(file.data), b"BIN\0") + file.data
    )
    (tmp_path / "a.glb").write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
    assert is_the_box(read_mesh(tmp_path / "a.glb"))


@pytest.mark.parametrize("version", ["1.0", "3.0"])
def test_other_versions_are_refused(tmp_path, version):
    file, primitive = box_file()
    with pytest.raises(ValueError, match=rf"a\.glb: glTF {version}"):
        read(tmp_path, file, primitives=[primitive], asset={"version": version})


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("my box.bin", "my%20box.bin"),
        ("my box.bin", "my box.bin"),
        ("100%.bin", "100%.bin"),
        ("M\u00f6bel.bin", "M%C3%B6bel.bin"),
        ("sub/box.buffer", "sub/box.buffer"),
        ("sub/box.bin", "./sub/../sub/box.bin"),
    ],
)
@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
def test_buffers_beside_the_file(tmp_path, name, uri, suffix):
    file, primitive = box_file()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(file.data)
    buffers = [{"byteLength": len(file.data), "uri": uri}]
    tree = file.tree(nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}], buffers=buffers)
    (tmp_path / f"a{suffix}").write_text(json.dumps(tree))
    assert is_the_box(read_mesh(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("kind", ["base64", "BASE64", "percent"])
def test_buffers_in_the_text(tmp_path, kind):
    file, primitive = box_file()
    coded = base64.b64encode(file.data).decode()
    uri = f"data:application/octet-stream;{kind},{coded}"
    if kind == "percent":
        uri = "data:application/gltf-buffer," + "".join(f"%{byte:02X}" for byte in file.data)
    tree = file.tree(nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}], buffers=[{"uri": uri}])
    (tmp_path / "a.gltf").write_bytes(b"\xef\xbb\xbf" + json.dumps(tree).encode())
    assert is_the_box(read_mesh(tmp_path / "a.gltf"))


def test_a_buffer_that_is_not_there_is_named(tmp_path):
    file, primitive = box_file()
    tree = file.tree(nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}], buffers=[{"uri": "box.bin"}])
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=r"a\.gltf: refers to 'box\.bin'.*put it there"):
        read_mesh(tmp_path / "a.gltf")
