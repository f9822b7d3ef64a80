"""A small writer of .glb files, for tests: any accessors, nodes and extensions."""

import json
import struct

import numpy as np

KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class GltfFile:
    """Accessors are added one by one; the rest of the JSON is given as it is."""

    def __init__(self):
        self.data, self.views, self.accessors = b"", [], []

    def view(self, content, **changes):
        self.data += bytes(-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)} | changes)
        self.data += content
        return len(self.views) - 1

    def accessor(self, values, kind, *, stride=0, **changes):
        """The number of an accessor that holds (N, C) or (N,) values."""
        rows = np.asarray(values).reshape(len(values), -1)
        packed = rows.astype(np.dtype(kind).newbyteorder("<"))
        content = packed.tobytes()
        if stride:
            content = b"".join(row.tobytes().ljust(stride, b"\xee") for row in packed)
        view = self.view(content, **({"byteStride": stride} if stride else {}))
        head = {"bufferView": view, "componentType": KINDS[kind], "count": len(rows), "type": TYPES[rows.shape[1]]}
        self.accessors.append(head | changes)
        return len(self.accessors) - 1

    def tree(self, **parts):
        buffers = [{"byteLength": len(self.data)}]
        base = {"asset": {"version": "2.0"}, "buffers": buffers, "bufferViews": self.views, "accessors": self.accessors}
        return base | {"scenes": [{"nodes": [0]}], "scene": 0} | parts

    def glb(self, **parts):
        text = json.dumps(self.tree(**parts)).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + bytes(-len(self.data) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
        return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks
