"""Parts of glTF files that KHR_draco_mesh_compression packs, unpacked with DracoPy (the decoder of Google), an extra.

What a packed part declares is held against its accessors before the library asks for memory. Extension:
https://github.com/KhronosGroup/glTF/blob/main/extensions/2.0/Khronos/KHR_draco_mesh_compression.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_processing.formats.gltf import DRACO, WITHOUT, Tree, number_of
from data_processing.formats.gltf_buffers import Accessors
from data_processing.formats.mesh_errors import DamagedMeshError, RefusedMeshError

MAGIC, MESH, SEQUENTIAL = b"DRACO", 1, 0
FIRST = 11  # bytes of the header: magic, version (2), kind, method, flags (2)
HAS_METADATA = 0x8000
OLDEST = (2, 2)  # the version of all that glTF allows
INSTALL = "pip install 'isofield[draco]'"


def unpack(primitive: Tree, packed: object, accessors: Accessors) -> None:
    """Make the numbers of a packed primitive those of its accessors.

    RefusedMeshError without the library, DamagedMeshError for what does not hold what it declares.
    """
    library = _library()
    if not isinstance(packed, Mapping) or not isinstance(packed.get("attributes"), Mapping):
        raise DamagedMeshError(f"{DRACO} without attributes")
    if "indices" not in primitive:
        raise DamagedMeshError(f"{DRACO} of a part without indices")
    data = bytes(accessors.view(packed))
    # Read from the accessors first: they say how much there may be, and cost nothing.
    corners, vertices = (
        number_of(accessors.of(number), "count", below=1 << 62)
        for number in (primitive["indices"], primitive["attributes"].get("POSITION"))
    )
    _refuse_more(data, corners // 3, vertices)
    try:
        mesh = library.decode(data)
        faces = np.asarray(mesh.faces, dtype=np.uint32).reshape(-1, 3)
        columns = {int(one["unique_id"]): np.asarray(one["data"]) for one in mesh.attributes}
    except Exception as error:  # of a damaged stream the library raises several kinds
        raise DamagedMeshError(f"its {DRACO} data cannot be unpacked") from error
    # From here on the part reads like one that was never packed.
    accessors.unpacked[primitive["indices"]] = faces.reshape(-1, 1)
    for name, number in primitive["attributes"].items():
        if name in packed["attributes"]:
            values = columns.get(packed["attributes"][name])
            if values is None:
                raise DamagedMeshError(f"its {DRACO} data lack {str(name)[:40]}")
            accessors.unpacked[number] = values.reshape(len(values), -1)


def _library() -> Any:
    try:
        import DracoPy
    except ImportError as error:
        raise RefusedMeshError(
            f"needs {DRACO}, which is read with DracoPy, not installed: {INSTALL}; or {WITHOUT}"
        ) from error
    return DracoPy


def _refuse_more(data: bytes, faces: int, vertices: int) -> None:
    """Refuse a stream that declares more than its accessors do; and what no writer of glTF makes."""
    if data[: len(MAGIC)] != MAGIC or len(data) < FIRST:
        raise DamagedMeshError(f"its {DRACO} data do not begin as such")
    version, kind, method, flags = tuple(data[5:7]), data[7], data[8], int.from_bytes(data[9:FIRST], "little")
    if kind != MESH or version < OLDEST or flags & HAS_METADATA:
        raise RefusedMeshError(f"{DRACO} of another kind (version {version}): {WITHOUT}")
    # Edgebreaker: a byte for the way of walking, vertices, faces; sequential: faces, vertices.
    first, at = _varint(data, FIRST if method == SEQUENTIAL else FIRST + 1)
    second, _ = _varint(data, at)
    declared = (first, second) if method == SEQUENTIAL else (second, first)
    if declared[0] > faces or declared[1] > vertices:
        raise DamagedMeshError(
            f"its {DRACO} data declare {declared[0]:,} faces and {declared[1]:,} vertices, its accessors {faces:,} "
            f"and {vertices:,}"
        )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value, shift = 0, 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at += 1
        if not data[at - 1] & 128:
            return value, at
        shift += 7
    raise DamagedMeshError(f"its {DRACO} data are cut off")
