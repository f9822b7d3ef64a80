"""The JSON of a .glb or .gltf file before anything is built: what it holds, how much it unpacks to, and whether
a part of the shape needs what is not read.

Views may overlap, accessors need no data, primitives may share them, and nodes may show one mesh any number of times: a
file of kilobytes can be any number of triangles.

Read here, with gltf_buffers.py and gltf_scene.py, because no library reads shapes right: trimesh 5.2 takes normalised
integers for metres, and leaves out instances, morph targets, skins, hidden nodes, sparse accessors, fans and compressed
parts without a word; pygltflib 1.16 reads the JSON alone; the others have no package for Python that is kept. Format:
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.
"""

import struct
from collections.abc import Mapping
from typing import Any

from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError
from isofield.runtime.json_files import parse_json

GLB_MAGIC, JSON_CHUNK, BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MOST = 50_000_000  # numbers that any file may declare
PER_BYTE = 16  # and more for each of its bytes
NUMBERS_OF_A_VIEW = 4  # bytes of a view count as so many fewer numbers
DRACO, INSTANCES = "KHR_draco_mesh_compression", "EXT_mesh_gpu_instancing"
VISIBILITY = "KHR_node_visibility"
WITHOUT = "npx @gltf-transform/cli copy FILE OUT.glb writes it without compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression", "MESHOPT_compression")
# Extensions that a file may require: those that are read, those refused where a part carries them, and those that
# change how a shape looks and not where it is.
GEOMETRY = ("KHR_mesh_quantization", "KHR_accessor_float64", "EXT_mesh_primitive_restart")
READ = (DRACO, INSTANCES, VISIBILITY, *GEOMETRY, *MESHOPT)
LOOKS = ("material", "texture", "light", "image", "xmp", "animation", "camera", "audio", "technique", "webgl")
Tree = Mapping[str, Any]


def open_gltf(data: bytes) -> tuple[Tree, bytes | None]:
    """The JSON, and the binary chunk of a .glb file. DamagedMeshError for what is no glTF 2.0."""
    # A .gltf is JSON alone, a .glb a container of JSON and numbers: its own bytes say which.
    chunks: dict[bytes, bytes] = {JSON_CHUNK: data}
    if data[:4] == GLB_MAGIC:
        if data[4:8] == b"\1\0\0\0":
            raise RefusedMeshError("glTF 1.0 is not read: convert it to 2.0")
        chunks = _chunks(data)
    try:
        tree = parse_json(chunks[JSON_CHUNK])
    except ValueError:
        raise DamagedMeshError("its JSON is cut off or none") from None
    if not isinstance(tree, Mapping):
        raise DamagedMeshError("its JSON is no object")
    asset = tree.get("asset")
    version = str(asset.get("version", "2.0") if isinstance(asset, Mapping) else "2.0")
    if not version.startswith("2"):
        raise RefusedMeshError(f"glTF {version[:20]} is not read: convert it to 2.0")
    return tree, chunks.get(BINARY_CHUNK)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind; the first one is JSON."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data) and len(chunks) < 2:
        length, kind = struct.unpack_from("<I4s", data, at)
        if not chunks and kind != JSON_CHUNK:
            break
        if at + 8 + length > len(data):
            raise DamagedMeshError(f"cut off: a chunk of {length:,} bytes, {len(data) - at - 8:,} are there")
        chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
        if data[at + 4 : at + 8] != BINARY_CHUNK:  # some do not count the bytes that fill up to four
            at += -at % 4
    if JSON_CHUNK not in chunks:
        raise DamagedMeshError("no JSON at its start")
    return chunks


def refuse_unsound(tree: Tree, size: int) -> None:
    """RefusedMeshError where more is declared than `size` bytes can hold, or an extension is required that is not read.

    `size`: of the file and its buffers.
    """
    required = tree.get("extensionsRequired")
    names = [str(name)[:80] for name in required] if isinstance(required, list) else []
    unread = [name for name in names if name not in READ and not any(word in name.lower() for word in LOOKS)]
    if unread:
        raise RefusedMeshError(f"needs {', '.join(unread[:3])}, which is not read: export it without")
    limit, declared = MOST + PER_BYTE * size, _declared(tree)
    if declared > limit:
        raise RefusedMeshError(f"declares {declared:,} numbers in {size:,} bytes (limit {limit:,})")


def objects(tree: Tree, key: str) -> list[Tree]:
    """The list of objects under a key, empty where there is none."""
    value = tree.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise DamagedMeshError(f"{key} is no list of objects")
    return value


def extensions(one: Tree) -> Tree:
    value = one.get("extensions", {})
    if not isinstance(value, Mapping):
        raise DamagedMeshError("extensions are no object")
    return value


def number_of(one: Tree, key: str, *, below: int, default: int | None = None) -> int:
    """A whole number from 0, for example the number of an accessor among `below`."""
    number = one.get(key, default)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < below:
        raise DamagedMeshError(f"{key} is {str(number)[:40]}, expected a number from 0 to {below - 1}")
    return number


def _declared(tree: Tree) -> int:
    """Numbers in views, accessors, all primitives, and all primitives of all nodes and their instances."""
    views = sum(_size(view, "byteLength") for view in objects(tree, "bufferViews"))
    accessors = [_size(one, "count") * COLUMNS.get(str(one.get("type")), 1) for one in objects(tree, "accessors")]
    meshes = [_of_mesh(mesh, accessors) for mesh in objects(tree, "meshes")]
    shown = 0
    for node in objects(tree, "nodes"):
        number = node.get("mesh")
        if isinstance(number, int) and 0 <= number < len(meshes):
            shown += meshes[number] * max(1, _instances(node, accessors))
    return views // NUMBERS_OF_A_VIEW + sum(accessors) + sum(meshes) + shown


def _instances(node: Tree, accessors: list[int]) -> int:
    instancing = extensions(node).get(INSTANCES)
    attributes = instancing.get("attributes") if isinstance(instancing, Mapping) else None
    numbers = list(attributes.values()) if isinstance(attributes, Mapping) else []
    return max((accessors[one] for one in numbers if isinstance(one, int) and 0 <= one < len(accessors)), default=1)


def _of_mesh(mesh: Tree, accessors: list[int]) -> int:
    total = 0
    for primitive in objects(mesh, "primitives"):
        groups = [primitive.get("attributes"), *objects(primitive, "targets")]
        used = [number for group in groups if isinstance(group, Mapping) for number in group.values()]
        for number in [*used, primitive.get("indices")]:
            if isinstance(number, int) and 0 <= number < len(accessors):
                total += accessors[number]
    return total


def _size(one: Tree, key: str) -> int:
    number = one.get(key, 0)
    if not isinstance(number, int) or number < 0:
        raise DamagedMeshError(f"{key} is {str(number)[:40]}")
    return number
