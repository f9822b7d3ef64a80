"""Attacks on the readers of meshes, point clouds and pictures: no code, no file outside, no memory, no hang."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import read_picture
from data_processing.formats.point_clouds import read_cloud
from tests.hostile import SECRET, limited, refusal

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="<f4")
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype="<u4")


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.bin").write_bytes(CORNERS.tobytes() + FACES.tobytes())
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "secret.mtl").write_text(f"newmtl {SECRET}\nmap_Kd secret.png\n")
    return tmp_path / "inside"


DRACO = "KHR_draco_mesh_compression"
WITH_DRACO = {"extensions": {DRACO: {"bufferView": 0, "attributes": {"POSITION": 0}}}}
PACKED = {"attributes": {"POSITION": 0}, "indices": 1} | WITH_DRACO


def gltf(**changes: Any) -> dict[str, Any]:
    """A tetrahedron."""
    tree: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 96}],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 48}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    return tree | changes


def glb(tree: dict[str, Any], *, rest: bytes = CORNERS.tobytes() + FACES.tobytes()) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(rest), b"BIN\0") + rest
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def outside(uri: str) -> dict[str, Any]:
    return gltf(buffers=[{"uri": uri, "byteLength": 96}])


(TETRAHEDRON,) = gltf()["meshes"][0]["primitives"]
POSITIONS, INDICES = gltf()["accessors"]
BROAD = [POSITIONS | {"count": 1 << 20}, INDICES | {"count": 3 << 20}]  # of views of 16 MB
HOLLOW = [{"componentType": 5126, "count": 300_000_000, "type": "VEC3"}, INDICES]
LONG = {"buffer": 0, "byteLength": 1 << 24}
XYZ = b"property float x\nproperty float y\nproperty float z\n"
BINARY = b"ply\nformat binary_little_endian 1.0\nelement vertex %d\n" + XYZ
LISTS = b"element face %d\nproperty list %s int vertex_indices\nend_header\n"
MESHES: dict[str, bytes | Callable[[], bytes]] = {
    "counts.ply": BINARY % (1 << 40) + LISTS % (1 << 40, b"uchar") + CORNERS.tobytes(),
    "negative_count.ply": BINARY % -1 + LISTS % (-5, b"uchar") + CORNERS.tobytes(),
    "long_list.ply": BINARY % 4 + LISTS % (1, b"uint") + CORNERS.tobytes() + struct.pack("<I", 2**31) + bytes(64),
    "negative_list.ply": BINARY % 4 + LISTS % (1, b"int") + CORNERS.tobytes() + struct.pack("<i", -3) + bytes(64),
    "ascii_counts.ply": b"ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nelement face 99999999\n"
    b"property list uchar int vertex_indices\nend_header\n0 0 0\n3 0 1 2\n",
    "no_end.ply": b"ply\nformat ascii 1.0\nelement vertex 3\n" + b"property float x\n" * 1000,
    "out_of_range.ply": BINARY % 4 + LISTS % (1, b"uchar") + CORNERS.tobytes() + struct.pack("<B3i", 3, 0, 1, 99),
    "wraps.ply": BINARY % 4 + LISTS % (1, b"uchar") + CORNERS.tobytes() + struct.pack("<B3i", 3, 0, 1, -1),
    "counts.stl": bytes(80) + struct.pack("<I", 0xFFFFFFFF) + bytes(100),
    "counts.off": b"OFF\n99999999999 99999999999 0\n0 0 0\n",
    "negative.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n",
    "out_of_range.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9999999999\n",
    "negative.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -99\n",
    "zero.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 2 3\n",
    "up.glb": glb(outside("../secret.bin")),
    "passwd.glb": glb(outside("/etc/passwd")),
    "web.glb": glb(outside("http://127.0.0.1:9/secret.bin")),
    "up.gltf": json.dumps(outside("../secret.bin")).encode(),
    "absolute.gltf": json.dumps(outside("/etc/passwd")).encode(),
    "web.gltf": json.dumps(outside("http://127.0.0.1:9/secret.bin")).encode(),
    "link.gltf": json.dumps(outside("link.bin")).encode(),
    "pipe.gltf": json.dumps(outside("pipe")).encode(),
    "no_data.glb": glb(gltf(accessors=HOLLOW)),
    "count.glb": glb(gltf(accessors=[POSITIONS | {"count": 1 << 50}, INDICES])),
    "negative_count.glb": glb(gltf(accessors=[POSITIONS | {"count": -4}, INDICES])),
    "sparse.glb": glb(gltf(accessors=[POSITIONS | {"sparse": {"count": 1}}, INDICES])),
    "packed.glb": glb(gltf(extensionsRequired=[DRACO], meshes=[{"primitives": [PACKED]}])),
    "packed_more.glb": glb(
        gltf(extensionsRequired=[DRACO], meshes=[{"primitives": [PACKED]}]),
        rest=(b"DRACO\2\2\1\1\0\0\0" + b"\xff\xff\xff\x7f" * 2).ljust(96, b"\0"),  # 268 million of each
    ),
    "instances.glb": glb(
        gltf(
            accessors=[POSITIONS, INDICES, {"componentType": 5126, "count": 10_000_000, "type": "VEC3"}],
            nodes=[{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 2}}}}],
        )
    ),
    "sparse_rows.glb": glb(
        gltf(
            accessors=[
                POSITIONS
                | {
                    "sparse": {
                        "count": 1,
                        "indices": {"bufferView": 1, "byteOffset": 8, "componentType": 5121},
                        "values": {"bufferView": 0, "byteOffset": 44},
                    }
                },
                INDICES,
            ]
        )
    ),
    "two_parents.glb": glb(gltf(nodes=[{"children": [2]}, {"children": [2]}, {"mesh": 0}])),
    "joints.glb": glb(
        gltf(
            nodes=[{"mesh": 0, "skin": 0}],
            skins=[{"joints": [0]}],
            accessors=[POSITIONS, INDICES, {"bufferView": 1, "componentType": 5123, "count": 4, "type": "VEC4"}],
            meshes=[{"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 2, "WEIGHTS_0": 2}, "indices": 1}]}],
        )
    ),
    "overlapping.glb": lambda: glb(
        gltf(buffers=[{"byteLength": 1 << 24}], bufferViews=[LONG] * 2000), rest=bytes(1 << 24)
    ),
    "primitives.glb": lambda: glb(
        gltf(
            bufferViews=[LONG, LONG],
            accessors=BROAD,
            meshes=[{"primitives": [TETRAHEDRON] * 1000}],
        ),
        rest=bytes(1 << 24),
    ),
    "nodes.glb": lambda: glb(
        gltf(
            bufferViews=[LONG, LONG],
            accessors=BROAD,
            nodes=[{"mesh": 0}] * 10_000,
            scenes=[{"nodes": list(range(10_000))}],
        ),
        rest=bytes(1 << 24),
    ),
    "circle.glb": glb(gltf(nodes=[{"children": [1]}, {"children": [0]}])),
    "deep.glb": b"glTF" + struct.pack("<III4s", 2, 100_020, 100_000, b"JSON") + b"[" * 100_000,
    "lengths.glb": b"glTF" + struct.pack("<III4s", 2, 2**32 - 1, 2**32 - 1, b"JSON") + b"{}",
}


@pytest.mark.parametrize("name", MESHES)
def test_meshes(inside: Path, name: str):
    content = MESHES[name]
    (inside / "link.bin").symlink_to(inside.parent / "secret.bin")
    if name.startswith("pipe"):
        os.mkfifo(inside / "pipe")
    (inside / name).write_bytes(content() if callable(content) else content)
    refusal(read_mesh, inside / name)


def test_the_tetrahedron_that_the_attacks_change_is_read(inside: Path):
    (inside / "good.glb").write_bytes(glb(gltf()))
    data = base64.b64encode(CORNERS.tobytes() + FACES.tobytes()).decode()
    (inside / "good.gltf").write_text(json.dumps(outside(f"data:application/octet-stream;base64,{data}")))
    for name in ("good.glb", "good.gltf"):
        assert len(read_mesh(inside / name).faces) == 4


HOLE = 1 << 40  # bytes that a file has without having any


@pytest.mark.parametrize("name", ["hole.ply", "hole.obj", "beside.gltf"])
def test_files_that_are_mostly_a_hole(inside: Path, name: str):
    starts = {"gltf": json.dumps(outside("hole.bin")).encode(), ".ply": b"ply\n", ".obj": b"v 0 0 0\n"}
    (inside / name).write_bytes(starts[name[-4:]])
    hole = inside / ("hole.bin" if name.endswith("gltf") else name)
    hole.touch()
    os.truncate(hole, HOLE)
    assert "limit 2,147,483,648" in refusal(read_mesh, inside / name)


def levels(count: int) -> dict[str, Any]:
    """A node in a node in a node, each of which shows the tetrahedron, the first one larger."""
    nodes: list[dict[str, Any]] = [{"mesh": 0, "children": [number + 1]} for number in range(count - 1)]
    return gltf(nodes=[nodes[0] | {"scale": [2, 3, 5]}, *nodes[1:], {"mesh": 0, "translation": [1, 1, 1]}])


CORNER = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
LABORIOUS: dict[str, tuple[Callable[[], bytes], int]] = {
    "comments.off": (lambda: b"OFF\n" + b"# " * 1000 + b"\n+3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 1),
    "levels.glb": (lambda: glb(levels(5000)), 20_000),
    "materials.obj": (
        lambda: b"".join(
            CORNER + b"usemtl %d\nf %d %d %d\n" % (n, 3 * n + 1, 3 * n + 2, 3 * n + 3) for n in range(20_000)
        ),
        20_000,
    ),
    "again.gltf": (lambda: json.dumps(gltf(buffers=outside("some.bin")["buffers"] * 1000)).encode(), 4),
}


@pytest.mark.parametrize("name", LABORIOUS)
def test_small_files_that_ask_for_endless_work_are_read(inside: Path, name: str):
    content, faces = LABORIOUS[name]
    (inside / name).write_bytes(content())
    (inside / "some.bin").write_bytes(CORNERS.tobytes() + FACES.tobytes() + bytes(1 << 24))
    with limited():
        assert len(read_mesh(inside / name).faces) == faces


def test_nodes_in_nodes_are_where_all_their_transforms_take_them(inside: Path):
    (inside / "levels.glb").write_bytes(glb(levels(3)))
    corners = read_mesh(inside / "levels.glb").vertices.reshape(3, 4, 3)
    grown = CORNERS.astype(np.float64) * [2, 3, 5]
    expected = [grown.tolist(), grown.tolist(), (grown + np.array([2, 3, 5])).tolist()]
    np.testing.assert_allclose(sorted(corners.tolist()), sorted(expected))


CLOUD = b"ply\nformat ascii 1.0\n%selement vertex 2\n" + XYZ + b"end_header\n0 0 0\n1 2 3\n"
PCD = b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT %s\nWIDTH %d\nHEIGHT 1\nPOINTS %d\nDATA %s\n"
CLOUDS = {
    "counts.ply": CLOUD.replace(b"vertex 2", b"vertex 99999999999"),
    "binary.ply": (CLOUD % b"").replace(b"ascii", b"binary_little_endian").replace(b"vertex 2", b"vertex 9999999999"),
    "width.pcd": PCD % (b"1 1 1", 1 << 40, 1 << 40, b"binary") + bytes(24),
    "lines.pcd": PCD % (b"1 1 1", 1 << 26, 1 << 26, b"ascii") + b"0 0 0\n1 2 3\n",
    "columns.pcd": PCD % (b"1 1 9999999999", 2, 2, b"binary") + bytes(24),
    "many_columns.pcd": b"FIELDS x y z%s\nSIZE 4 4 4%s\nTYPE F F F%s\nCOUNT 1 1 1%s\nPOINTS 1\nDATA binary\n"
    % (b" a" * 800, b" 4" * 800, b" F" * 800, b" 9999" * 800),
    "more_lines.pcd": PCD % (b"1 1 1", 2, 2, b"ascii") + b"0 0 0\n1 2 3\n4 5 6\n",
    "levels.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 8999 + b"1",
    "words.xyz": b"0 0 0\n" + b"x" * (1 << 20),
    "numbers.xyz": b"0 0 0\n1 1 " + b"9" * (1 << 20),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds(inside: Path, name: str):
    (inside / name).write_bytes(CLOUDS[name] % b"" if b"%s" in CLOUDS[name] else CLOUDS[name])
    refusal(read_cloud, inside / name)


def test_a_mesh_whose_header_is_long_is_no_cloud(inside: Path):
    head = BINARY.replace(b"1.0\n", b"1.0\n" + b"comment x\n" * 10_000) % 4 + LISTS % (4, b"uchar")
    faces = b"".join(struct.pack("<B3I", 3, *face) for face in FACES.tolist())
    (inside / "long.ply").write_bytes(head + CORNERS.tobytes() + faces)
    assert read_cloud(inside / "long.ply") is None and len(read_mesh(inside / "long.ply").faces) == 4


def test_a_cloud_may_be_named_in_small_letters(inside: Path):
    points = np.arange(12, dtype="<f4").reshape(4, 3)
    for word in (b"DATA", b"data"):
        text = (PCD % (b"1 1 1", 4, 4, b"binary")).replace(b"DATA", word) + points.tobytes() + bytes(400)
        (inside / "a.pcd").write_bytes(text)
        cloud = read_cloud(inside / "a.pcd")
        assert cloud is not None and cloud.points_N3.tolist() == points.tolist()


@pytest.mark.parametrize("texture", ["../secret.png", "secret.fifo"])
def test_what_a_mesh_calls_its_texture_is_not_opened(inside: Path, texture: str, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    real = open

    def told(file: Any, *rest: Any, **options: Any) -> Any:
        opened.append(str(file))
        return real(file, *rest, **options)

    monkeypatch.setattr("builtins.open", told)
    (inside / "cloud.ply").write_bytes(CLOUD % f"comment TextureFile {texture}\n".encode())
    (inside / "mesh.obj").write_text("mtllib ../secret.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl x\nf 1 2 3\n")
    head = BINARY.replace(b"1.0\n", f"1.0\ncomment TextureFile {texture}\n".encode()) % 4 + LISTS % (1, b"uchar")
    (inside / "mesh.ply").write_bytes(head + CORNERS.tobytes() + struct.pack("<B3i", 3, 0, 1, 2))
    with limited():
        cloud = read_cloud(inside / "cloud.ply")
        assert cloud is not None and len(cloud.points_N3) == 2
        assert len(read_mesh(inside / "mesh.obj").faces) == len(read_mesh(inside / "mesh.ply").faces) == 1
    assert not [name for name in opened if "secret" in name]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def saved(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, kind, **options)
    return stream.getvalue()


def frames(kind: str, count: int) -> bytes:
    pictures = [Image.new("L", (64, 64), number % 255) for number in range(count)]
    return saved(kind, save_all=True, append_images=pictures)


def scans() -> bytes:
    """A progressive JPEG that goes over a large picture again and again."""
    stream = io.BytesIO()
    Image.new("L", (4000, 4000)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * 400 + data[-2:]


def tall_jpeg(width: int, height: int) -> bytes:
    data = bytearray(saved("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def directory_circle() -> bytes:
    data = bytearray(saved("TIFF"))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    return bytes(data)


def wide_tiff() -> bytes:
    """Of a size that the library has no memory for, however much there is."""
    data = bytearray(saved("TIFF", compression="tiff_deflate"))
    (first,) = struct.unpack_from("<I", data, 4)
    for number, length in enumerate((99_000_000, 1)):  # the first two entries are width and height
        struct.pack_into("<HII", data, first + 2 + 12 * number + 2, 4, 1, length)
    return bytes(data)


def huge_tag() -> bytes:
    data = bytearray(saved("TIFF"))
    (first,) = struct.unpack_from("<I", data, 4)
    struct.pack_into("<I", data, first + 2 + 4, 0xFFFFFFF0)
    return bytes(data)


PICTURES: dict[str, Callable[[], bytes]] = {
    "huge.png": lambda: png(100_000, 100_000),
    "wide.png": lambda: png(2**31 - 1, 2**31 - 1),
    "text.png": lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 25), 1))),
    "profile.png": lambda: png(64, 64, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 25), 1))),
    "frames.png": lambda: frames("PNG", 300),
    "frames.gif": lambda: frames("GIF", 500),
    "frames.webp": lambda: frames("WEBP", 300),
    "frames.tif": lambda: frames("TIFF", 300),
    "huge.gif": lambda: saved("GIF")[:6] + struct.pack("<HH", 65535, 65535) + saved("GIF")[10:],
    "huge.jpg": lambda: tall_jpeg(65500, 65500),
    "scans.jpg": scans,
    "huge.bmp": lambda: saved("BMP")[:18] + struct.pack("<ii", 100_000, 100_000) + saved("BMP")[26:],
    "tag.tif": huge_tag,
    "code.eps.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "vector.png": lambda: b"<svg><image href='file:///etc/passwd'/></svg>",
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(inside: Path, name: str):
    (inside / name).write_bytes(PICTURES[name]())
    refusal(read_picture, inside / name)


def test_pictures_that_the_library_has_no_memory_for(inside: Path):
    (inside / "wide.tif").write_bytes(wide_tiff())
    with limited(), pytest.raises(ValueError, match=r"wide\.tif"):
        read_picture(inside / "wide.tif")
    (inside / "hole.jpg").write_bytes(saved("JPEG"))
    os.truncate(inside / "hole.jpg", HOLE)
    assert "limit" in refusal(read_picture, inside / "hole.jpg")


def test_a_circle_of_pages_ends(inside: Path):
    (inside / "circle.tif").write_bytes(directory_circle())
    with limited():
        assert read_picture(inside / "circle.tif").shape == (64, 64, 4)


def test_what_stands_in_a_pictures_texts_is_not_told(inside: Path):
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", SECRET)
    Image.new("RGB", (9, 9)).save(inside / "good.png", pnginfo=info)
    assert read_picture(inside / "good.png").shape == (9, 9, 4)
