"""The shape that a viewer shows of a glTF file: nodes of its scene, their meshes, instances, morph targets and skins.

Nodes that are hidden, points and lines show nothing. A skin is shown as its joints stand in the file; animations are
not played.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.gltf import (
    DRACO,
    INSTANCES,
    VISIBILITY,
    Tree,
    extensions,
    number_of,
    objects,
    open_gltf,
    refuse_unsound,
)
from data_processing.formats.gltf_buffers import Accessors
from data_processing.formats.gltf_draco import unpack
from data_processing.formats.mesh_errors import DamagedMeshError
from data_processing.formats.part_names import refuse_same_object
from data_processing.geometry.polygons import RESTART, fan_triangles, strip_triangles
from data_processing.geometry.triangle_mesh import TriangleMesh

TRIANGLES, STRIP, FAN = 4, 5, 6
BLOCK = 1 << 16  # vertices that are moved by their joints at once


def read_gltf(data: bytes, folder: Path) -> list[TriangleMesh]:
    """The parts of the default scene in its frame. Buffers may lie in `folder`, beside the file.

    RefusedMeshError for what is not read (compression, extensions that are required), DamagedMeshError for the rest.
    """
    tree, binary = open_gltf(data)
    accessors = Accessors(tree, binary, folder)
    refuse_unsound(tree, len(data) + accessors.bytes_beside())
    return list(_Scene(tree, accessors).parts())


class _Scene:
    def __init__(self, tree: Tree, accessors: Accessors) -> None:
        self.accessors = accessors
        self.nodes, self.meshes, self.skins = (objects(tree, key) for key in ("nodes", "meshes", "skins"))
        self.to_parent = [_to_parent(node) for node in self.nodes]
        self.parent = self._parents()
        self.order = self._parents_first()
        self.to_world: dict[int, NDArray[np.float64]] = {}
        for number in self.order:
            above = self.to_world[self.parent[number]] if number in self.parent else np.eye(4)
            self.to_world[number] = above @ self.to_parent[number]
        self.shown = self._shown(tree)
        refuse_same_object(str(self.nodes[number].get("name", "")) for number in sorted(self.shown))

    def parts(self) -> Iterator[TriangleMesh]:
        """One for each mesh that a node shows, in the order of the nodes from the root."""
        for number in self.order:
            node = self.nodes[number]
            if number not in self.shown or "mesh" not in node:
                continue
            mesh = self.meshes[number_of(node, "mesh", below=len(self.meshes))]
            matrices_N44 = self.to_world[number] @ self._instances(node)
            weights = _plain_numbers(node.get("weights", mesh.get("weights", [])), "weights")
            for primitive in objects(mesh, "primitives"):
                part = self._primitive(primitive, node, weights)
                if part is not None:
                    yield part if "skin" in node else _placed(part, matrices_N44)

    def _parents(self) -> dict[int, int]:
        """The node above each; a node below two is no tree."""
        parent: dict[int, int] = {}
        for number, node in enumerate(self.nodes):
            for child in _numbers_of(node, "children", below=len(self.nodes)):
                if child in parent:
                    raise DamagedMeshError(f"node {child} hangs below two nodes")
                parent[child] = number
        return parent

    def _parents_first(self) -> list[int]:
        """All nodes, none before the one above it."""
        order = [number for number in range(len(self.nodes)) if number not in self.parent]
        for number in order:  # it grows on the way
            order += _numbers_of(self.nodes[number], "children", below=len(self.nodes))
        if len(order) < len(self.nodes):
            raise DamagedMeshError("its nodes hang in a circle")
        return order

    def _shown(self, tree: Tree) -> set[int]:
        """Nodes of the default scene, or of the first one, or all; without those hidden, and what hangs below them."""
        scenes = objects(tree, "scenes")
        roots = {number for number in self.order if number not in self.parent}
        if scenes:
            scene = scenes[number_of(tree, "scene", below=len(scenes), default=0)]
            roots = set(_numbers_of(scene, "nodes", below=len(self.nodes)))
        shown: set[int] = set()
        for number in self.order:
            # Parents come first, so that a hidden node hides all below it.
            visibility = extensions(self.nodes[number]).get(VISIBILITY)
            hidden = isinstance(visibility, Mapping) and visibility.get("visible") is False
            if (number in roots or self.parent.get(number) in shown) and not hidden:
                shown.add(number)
        return shown

    def _instances(self, node: Tree) -> NDArray[np.float64]:
        """Matrices (N, 4, 4) of the copies of a node's mesh, within the node."""
        instancing = extensions(node).get(INSTANCES)
        if instancing is None:
            return np.eye(4)[None]
        attributes = instancing.get("attributes") if isinstance(instancing, Mapping) else None
        if not isinstance(attributes, Mapping):
            raise DamagedMeshError(f"{INSTANCES} without attributes")
        # Any of the three may be left out: then it moves, turns or scales nothing.
        types = {"TRANSLATION": "VEC3", "ROTATION": "VEC4", "SCALE": "VEC3"}
        columns = {
            name: self.accessors.numbers(attributes[name], columns=kind)
            for name, kind in types.items()
            if name in attributes
        }
        if len({len(column) for column in columns.values()}) > 1:
            raise DamagedMeshError(f"{INSTANCES}: its attributes differ in length")
        count = len(next(iter(columns.values()))) if columns else 1
        default = {"TRANSLATION": [0.0] * 3, "ROTATION": [0.0, 0, 0, 1], "SCALE": [1.0] * 3}
        rows = {name: columns.get(name, np.tile(default[name], (count, 1))).astype(np.float64) for name in types}
        return _composed(rows["TRANSLATION"], rows["ROTATION"], rows["SCALE"])

    def _primitive(self, primitive: Tree, node: Tree, weights: list[float]) -> TriangleMesh | None:
        """Its triangles in the frame of the node, or of the scene where the node has a skin."""
        attributes = primitive.get("attributes")
        mode = primitive.get("mode", TRIANGLES)
        if not isinstance(attributes, Mapping) or mode not in range(FAN + 1):
            raise DamagedMeshError(f"a primitive without attributes, or of mode {str(mode)[:20]}")
        # Points and lines bound nothing.
        if mode < TRIANGLES:
            return None
        if "POSITION" not in attributes:
            return None
        if DRACO in extensions(primitive) and not self._has_plain_numbers(primitive, attributes):
            unpack(primitive, extensions(primitive)[DRACO], self.accessors)
            mode = TRIANGLES  # strips come out as triangles too
        vertices = self.accessors.numbers(attributes["POSITION"], columns="VEC3").astype(np.float64)
        faces = self._faces(primitive, mode, len(vertices))
        if not len(faces):
            return None
        vertices = self._morphed(vertices, primitive, weights)
        if "skin" in node:
            return self._skinned(TriangleMesh(vertices, faces), attributes, node)
        return TriangleMesh(vertices, faces)

    def _has_plain_numbers(self, primitive: Tree, attributes: Tree) -> bool:
        """Whether a compressed primitive has all its numbers plainly as well, for readers that cannot unpack it."""
        if DRACO in self.accessors.required:
            return False
        needed = [attributes["POSITION"], primitive.get("indices")]
        return all(isinstance(one, int) and self.accessors.has_data(one) for one in needed if one is not None)

    def _faces(self, primitive: Tree, mode: int, vertices: int) -> NDArray[np.int64]:
        if "indices" in primitive:
            raw = self.accessors.numbers(primitive["indices"], columns="SCALAR")[:, 0]
            if raw.dtype.kind != "u":
                raise DamagedMeshError("indices that are not unsigned integers")
            sequence = raw.astype(np.int64)
            if mode == STRIP:
                # The largest index of its type is no vertex: the next strip begins there.
                sequence[raw == np.iinfo(raw.dtype).max] = RESTART
        else:
            sequence = np.arange(vertices, dtype=np.int64)
        if len(sequence) and sequence.max() >= vertices:
            raise DamagedMeshError(f"a face refers to vertex {sequence.max()} of {vertices}")
        if mode == TRIANGLES:  # graphics cards draw no triangle of one or two corners at the end
            return sequence[: len(sequence) // 3 * 3].reshape(-1, 3)
        return strip_triangles(sequence) if mode == STRIP else fan_triangles(sequence)

    def _morphed(self, vertices: NDArray[np.float64], primitive: Tree, weights: list[float]) -> NDArray[np.float64]:
        for target, weight in zip(objects(primitive, "targets"), weights, strict=False):
            if weight and "POSITION" in target:
                moves = self.accessors.numbers(target["POSITION"], columns="VEC3")
                if moves.shape != vertices.shape:
                    raise DamagedMeshError(f"a morph target of {len(moves)} vertices for {len(vertices)}")
                vertices = vertices + weight * moves
        return vertices

    def _skinned(self, mesh: TriangleMesh, attributes: Tree, node: Tree) -> TriangleMesh:
        """Each vertex is moved by the weighted mean of its joints; the place of the node itself does not count."""
        skin = self.skins[number_of(node, "skin", below=len(self.skins))]
        joints = _numbers_of(skin, "joints", below=len(self.nodes))
        matrices = np.stack([self.to_world[joint] for joint in joints]) if joints else np.empty((0, 4, 4))
        if "inverseBindMatrices" in skin:
            inverse = self.accessors.numbers(skin["inverseBindMatrices"], columns="MAT4")
            if len(inverse) < len(joints):
                raise DamagedMeshError(f"a skin of {len(joints)} joints and {len(inverse)} inverse matrices")
            # First from the place where the skin was bound into the joint's frame, then with the joint into the world.
            # The file has matrices column by column.
            matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
        # Four joints a set; models with more joints a vertex have several sets.
        sets = [place for place in range(16) if f"JOINTS_{place}" in attributes and f"WEIGHTS_{place}" in attributes]
        if not sets:
            raise DamagedMeshError("a mesh with a skin, but without joints and weights")
        read = self.accessors.numbers
        joint_VK = np.hstack([read(attributes[f"JOINTS_{place}"], columns="VEC4") for place in sets]).astype(np.int64)
        weight_VK = np.hstack([read(attributes[f"WEIGHTS_{place}"], columns="VEC4") for place in sets])
        if len(joint_VK) != len(mesh.vertices) or (len(joint_VK) and not 0 <= joint_VK.max() < len(joints)):
            raise DamagedMeshError(f"joints of {len(joint_VK)} vertices, up to {joint_VK.max()} of {len(joints)}")
        moved = _moved_by_joints(mesh.vertices, matrices, joint_VK, weight_VK)
        # Where every joint mirrors, faces would look inwards; where only some do, there is no right way.
        mirrored = np.linalg.det(matrices[np.unique(joint_VK[weight_VK > 0])][:, :3, :3]) < 0
        flips = len(mirrored) > 0 and mirrored.all()
        return TriangleMesh(moved, np.ascontiguousarray(mesh.faces[:, ::-1]) if flips else mesh.faces)


def _moved_by_joints(
    vertices_V3: NDArray[np.float64],
    matrices_J44: NDArray[np.float64],
    joint_VK: NDArray[np.int64],
    weight_VK: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weights become shares of 1; a vertex without any stays with its first joint, as in viewers."""
    total = weight_VK.sum(axis=1, keepdims=True)
    first = np.eye(1, weight_VK.shape[1])
    share_VK = np.where(total > 0, weight_VK / np.where(total > 0, total, 1), first)
    moved = np.empty_like(vertices_V3)
    for start in range(0, len(moved), BLOCK):
        some = slice(start, start + BLOCK)
        # Linear blend skinning: one matrix a vertex, the mean of its joints' by their shares.
        blended = np.einsum("vk,vkij->vij", share_VK[some], matrices_J44[joint_VK[some], :3])
        moved[some] = np.einsum("vij,vj->vi", blended[:, :, :3], vertices_V3[some]) + blended[:, :, 3]
    return moved


def _to_parent(node: Tree) -> NDArray[np.float64]:
    """The matrix (4, 4) of a node, given as a whole or as translation, rotation and scale."""
    if "matrix" in node:
        return _vector(node, "matrix", [0.0] * 16).reshape(4, 4).T
    rows = [_vector(node, "translation", [0.0] * 3), _vector(node, "rotation", [0.0, 0, 0, 1])]
    return _composed(*(row[None] for row in (*rows, _vector(node, "scale", [1.0] * 3))))[0]


def _composed(
    translation_N3: NDArray[np.float64], rotation_N4: NDArray[np.float64], scale_N3: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matrices (N, 4, 4): a scale, then the rotation of a quaternion (x, y, z, w) of any length, then a translation."""
    # A quaternion without length turns nothing.
    length_N1 = np.linalg.norm(rotation_N4, axis=1, keepdims=True)
    unit_N4 = np.where(length_N1 > 0, rotation_N4 / np.where(length_N1 > 0, length_N1, 1), [0.0, 0, 0, 1])
    x, y, z, w = unit_N4.T
    matrices = np.zeros((len(unit_N4), 4, 4))
    matrices[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    matrices[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    matrices[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    matrices[:, :3, :3] *= scale_N3[:, None]
    matrices[:, :3, 3] = translation_N3
    matrices[:, 3, 3] = 1
    return matrices


def _placed(mesh: TriangleMesh, matrices_N44: NDArray[np.float64]) -> TriangleMesh:
    """The mesh at each of some places, in one; mirrored copies still look outwards."""
    if len(matrices_N44) == 1:
        return mesh.transform(matrices_N44[0])
    vertices_NV3 = np.einsum("nij,vj->nvi", matrices_N44[:, :3, :3], mesh.vertices) + matrices_N44[:, None, :3, 3]
    # Each copy has vertices of its own, behind those of the copies before.
    faces_NF3 = mesh.faces + np.arange(len(matrices_N44))[:, None, None] * len(mesh.vertices)
    mirrored = np.linalg.det(matrices_N44[:, :3, :3]) < 0
    faces_NF3[mirrored] = faces_NF3[mirrored][:, :, ::-1]
    return TriangleMesh(vertices_NV3.reshape(-1, 3), faces_NF3.reshape(-1, 3))


def _vector(node: Tree, key: str, default: list[float]) -> NDArray[np.float64]:
    values = _plain_numbers(node.get(key, default), key)
    if len(values) != len(default):
        raise DamagedMeshError(f"{key} of a node has {len(values)} numbers, expected {len(default)}")
    return np.array(values, dtype=np.float64)


def _plain_numbers(values: object, key: str) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) for value in values):
        raise DamagedMeshError(f"{key} is no list of numbers")
    return [float(value) for value in values]


def _numbers_of(one: Tree, key: str, *, below: int) -> list[int]:
    values = one.get(key, [])
    if not isinstance(values, list):
        raise DamagedMeshError(f"{key} is no list")
    return [number_of({key: value}, key, below=below) for value in values]
