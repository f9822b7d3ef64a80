"""Meshes with known insides, shared by the tests of the geometry files."""

import numpy as np
import trimesh

from data_processing.geometry.triangle_mesh import TriangleMesh


def box(lower, upper):
    """A closed box between two corners, faces outwards."""
    lower, upper = np.asarray(lower, float), np.asarray(upper, float)
    shape = trimesh.creation.box(bounds=np.stack([lower, upper]))
    return TriangleMesh(np.array(shape.vertices), np.array(shape.faces, dtype=np.int64))


def ball(radius, centre=(0.0, 0.0, 0.0), subdivisions=5):
    """A closed ball of 20 * 4^subdivisions faces."""
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return TriangleMesh(np.array(shape.vertices) + centre, np.array(shape.faces, dtype=np.int64))


def quad(*corners):
    """A single polygon of four corners."""
    return TriangleMesh(np.array(corners, dtype=float), np.array([[0, 1, 2], [0, 2, 3]]))


def joined(*meshes):
    """All faces in one mesh."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]
    return TriangleMesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def volume(mesh):
    """Signed: negative where the faces look inwards."""
    a, b, c = (mesh.triangles() - mesh.vertices[mesh.faces[0, 0]]).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def area(mesh):
    a, b, c = mesh.triangles().transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def turned_inside_out(mesh):
    return TriangleMesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def without_faces(mesh, count):
    """The mesh with its first faces missing."""
    return TriangleMesh(mesh.vertices, mesh.faces[count:])


def turned(mesh, seed=0):
    """The mesh turned about the origin, so that nothing lies along the axes."""
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.sign(np.linalg.det(axes))
    return mesh.transform(matrix)


def centres(resolution):
    """Voxel centres (R^3, 3) in C order."""
    return (np.indices((resolution,) * 3).reshape(3, -1).T + 0.5) / resolution - 0.5
