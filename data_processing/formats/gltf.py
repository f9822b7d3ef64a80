"""What is asked of the JSON of a .glb or .gltf file before anything is built: how much it unpacks to, and whether the
library that reads it leaves out a part of the shape.

Views may overlap, accessors need no data, primitives may share them, and nodes may show one mesh any number of times: a
file of kilobytes can be any number of triangles.
"""

import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any

from isofield.runtime.json_files import parse_json

GLB_MAGIC, JSON_CHUNK = b"glTF", b"JSON"
COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MOST = 50_000_000  # numbers that any file may declare
PER_BYTE = 16  # and more for each of its bytes
NUMBERS_OF_A_VIEW = 4  # bytes of a view count as so many fewer numbers
FAN = 6
NOT_READ = ("draco", "meshopt", "instancing")  # in names of extensions that change a shape


def refuse_unsound(data: bytes, *, beside: int = 0) -> None:
    """ValueError where a shape would be read in part, or more is declared than the file and `beside` bytes can hold.

    `beside`: of its buffers.
    """
    tree = _tree(data)
    _refuse_not_read(tree)
    limit = MOST + PER_BYTE * (len(data) + beside)
    declared = _declared(tree)
    if declared > limit:
        raise ValueError(f"declares {declared:,} numbers in {len(data) + beside:,} bytes (limit {limit:,})")


def _tree(data: bytes) -> Mapping[str, Any]:
    text = data
    if data[:4] == GLB_MAGIC:
        if len(data) < 20 or data[16:20] != JSON_CHUNK:
            raise ValueError("no JSON at its start")
        (length,) = struct.unpack_from("<I", data, 12)
        text = data[20 : 20 + length]
    tree = parse_json(text)
    if not isinstance(tree, Mapping):
        raise ValueError("its JSON is no object")
    return tree


def _refuse_not_read(tree: Mapping[str, Any]) -> None:
    """Parts that the library skips, or reads as something else, without a word."""
    if any("sparse" in accessor for accessor in _list(tree, "accessors")):
        raise ValueError("sparse accessors are not read: export it without")
    if any(one.get("mode") == FAN for mesh in _list(tree, "meshes") for one in _list(mesh, "primitives")):
        raise ValueError("fans of triangles are not read: export it as single triangles")
    named = tree.get("extensionsRequired", [])
    unread = [str(name)[:80] for name in named if any(part in str(name).lower() for part in NOT_READ)] if named else []
    if unread:
        raise ValueError(f"needs {', '.join(unread[:3])}, which is not read: export it without")


def _declared(tree: Mapping[str, Any]) -> int:
    """Numbers in views, accessors, all primitives, and all primitives of all nodes."""
    views = sum(_count(view, "byteLength") for view in _list(tree, "bufferViews"))
    accessors = [_count(one, "count") * COLUMNS.get(str(one.get("type")), 1) for one in _list(tree, "accessors")]
    meshes = [_of_mesh(mesh, accessors) for mesh in _list(tree, "meshes")]
    nodes, shown = _list(tree, "nodes"), 0
    parents = Counter(str(child) for one in (*nodes, *_list(tree, "scenes")) for child in _children(one))
    for place, node in enumerate(nodes):
        number = node.get("mesh")
        if isinstance(number, int) and 0 <= number < len(meshes):
            shown += meshes[number] * max(1, parents[str(place)])
    return views // NUMBERS_OF_A_VIEW + sum(accessors) + sum(meshes) + shown


def _of_mesh(mesh: Mapping[str, Any], accessors: list[int]) -> int:
    total = 0
    for primitive in _list(mesh, "primitives"):
        attributes = primitive.get("attributes")
        used = list(attributes.values()) if isinstance(attributes, Mapping) else []
        for number in [*used, primitive.get("indices")]:
            if isinstance(number, int) and 0 <= number < len(accessors):
                total += accessors[number]
    return total


def _list(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = tree.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(one, Mapping) for one in entries):
        raise ValueError(f"{key} is no list of objects")
    return entries


def _children(one: Mapping[str, Any]) -> list[Any]:
    """Of a node, or the roots of a scene."""
    children = one.get("children", one.get("nodes", []))
    return children if isinstance(children, list) else []


def _count(one: Mapping[str, Any], key: str) -> int:
    number = one.get(key, 0)
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"{key} is {str(number)[:40]}")
    return number
