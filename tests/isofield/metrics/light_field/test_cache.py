"""Cached descriptors: found again, never stale, damaged files are replaced, nothing is executed."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field import Descriptor, cache, descriptor_of_mesh
from tests.data_processing.solids import box

MESH = box([0, 0, 0], [1, 2, 3])
OTHER = Descriptor(np.full((10, 10, 47), 7, dtype=np.uint8))  # what no mesh here gives


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "box.ply"
    write_mesh(path, MESH)
    return path


def descriptor_of_file(path, folder):
    return descriptor_of_mesh(read_mesh(path), folder)


def only(folder):
    (kept,) = folder.iterdir()
    return kept


def plant(path):
    np.savez(path, values=OTHER.values)


def test_a_described_mesh_is_not_described_again(file, tmp_path):
    folder = tmp_path / "cache" / "deep"
    first = descriptor_of_file(file, folder)
    np.testing.assert_array_equal(first.values, descriptor_of_file(file, None).values)
    plant(only(folder))
    assert descriptor_of_file(file, folder).values[0, 0, 0] == 7
    copy = file.with_name("copy.ply")
    copy.write_bytes(file.read_bytes())
    assert descriptor_of_file(copy, folder).values[0, 0, 0] == 7


def test_a_changed_mesh_and_another_version_are_described(file, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    descriptor_of_file(file, folder)
    plant(only(folder))
    write_mesh(file, TriangleMesh(MESH.vertices * [1, 1, 2], MESH.faces[1:]))
    assert descriptor_of_file(file, folder).values[0, 0, 0] != 7
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert descriptor_of_mesh(MESH, folder).values[0, 0, 0] != 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        lambda path: path.write_bytes(path.read_bytes()[:200] + b"\xff" * 50 + path.read_bytes()[250:]),
        lambda path: np.savez(path, values=np.zeros((10, 10, 46), dtype=np.uint8)),
        lambda path: np.savez(path, values=np.zeros((10, 10, 47))),
        lambda path: np.savez(path, other=OTHER.values),
        lambda path: np.savez(path, values=np.array([{"code": "object"}], dtype=object)),
    ],
    ids=["empty", "text", "cut", "bytes changed", "shape", "type", "key", "objects"],
)
def test_a_damaged_cache_file_is_replaced(file, tmp_path, damage):
    folder = tmp_path / "cache"
    first = descriptor_of_file(file, folder)
    damage(only(folder))
    np.testing.assert_array_equal(descriptor_of_file(file, folder).values, first.values)
    with np.load(only(folder), allow_pickle=False) as content:
        np.testing.assert_array_equal(content["values"], first.values)


def test_vertices_and_faces_both_count(tmp_path):
    descriptor_of_mesh(MESH, tmp_path)
    descriptor_of_mesh(TriangleMesh(MESH.vertices, MESH.faces[:-1]), tmp_path)
    descriptor_of_mesh(TriangleMesh(MESH.vertices * 2, MESH.faces), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_bad_files_are_refused_and_leave_nothing(tmp_path):
    broken = tmp_path / "broken.ply"
    broken.write_bytes(b"ply\nformat ascii 1.0\n")
    with pytest.raises(ValueError, match=r"broken\.ply:"):
        descriptor_of_file(broken, tmp_path / "cache")
    with pytest.raises(FileNotFoundError):
        descriptor_of_file(tmp_path / "missing.ply", tmp_path / "cache")
    with pytest.raises(ValueError, match="faces"):
        descriptor_of_mesh(TriangleMesh(MESH.vertices, MESH.faces[:0]), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
