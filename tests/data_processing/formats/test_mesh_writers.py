"""The same solids by independent writers, read by ours and by other libraries: equal shapes, whoever wrote them."""

import io

import meshio
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.formats.point_clouds import PointCloud, read_cloud, write_cloud
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight
from tests.data_processing.gltf_files import GltfFile
from tests.data_processing.solids import area, ball, box, joined, turned, volume

SOLIDS = {
    "box": (box((1, 2, 3), (2, 4, 6)), 6, 22),
    "turned_box": (turned(box((1, 2, 3), (2, 4, 6))), 6, 22),
    "two": (joined(box((0, 0, 0), (1, 1, 1)), box((2, 0, 0), (3, 2, 1))), 3, 16),
    "ball": (ball(2.0, subdivisions=3), 32 / 3 * np.pi, 16 * np.pi),
}


def by_trimesh(path, mesh, **options):
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path, **options)


def by_meshio(path, mesh, **options):
    meshio.write(path, meshio.Mesh(mesh.vertices, [("triangle", mesh.faces)]), **options)


def by_point_cloud_utils(path, mesh):
    pcu = pytest.importorskip("point_cloud_utils")
    pcu.save_mesh_vf(str(path), mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))


def by_plyfile(path, mesh, **options):
    vertices = np.array(list(map(tuple, mesh.vertices)), dtype=[(axis, "f8") for axis in "xyz"])
    faces = np.empty(len(mesh.faces), dtype=[("vertex_index", "O")])
    faces["vertex_index"] = list(mesh.faces.astype("i4"))
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, **options).write(path)


def by_our_test(path, mesh):
    """The little writer of test_gltf.py, and the shortest text of the others."""
    file = GltfFile()
    file.accessor(mesh.vertices, "f4")
    file.accessor(mesh.faces.ravel(), "u4")
    meshes = [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}]
    path.write_bytes(file.glb(nodes=[{"mesh": 0}], meshes=meshes))


WRITERS = {
    "ours.ply": write_mesh,
    "trimesh.ply": by_trimesh,
    "trimesh_ascii.ply": lambda path, mesh: by_trimesh(path, mesh, encoding="ascii"),
    "meshio.ply": by_meshio,
    "meshio_ascii.ply": lambda path, mesh: by_meshio(path, mesh, binary=False),
    "plyfile_big.ply": lambda path, mesh: by_plyfile(path, mesh, byte_order=">"),
    "plyfile_ascii.ply": lambda path, mesh: by_plyfile(path, mesh, text=True),
    "pcu.ply": by_point_cloud_utils,
    "ours.obj": write_mesh,
    "trimesh.obj": by_trimesh,
    "meshio.obj": by_meshio,
    "ours.stl": write_mesh,
    "trimesh.stl": by_trimesh,
    "trimesh_ascii.stl": lambda path, mesh: by_trimesh(path, mesh, file_type="stl_ascii"),
    "meshio.stl": lambda path, mesh: by_meshio(path, mesh, binary=True),
    "meshio_ascii.stl": by_meshio,
    "ours.off": write_mesh,
    "trimesh.off": by_trimesh,
    "meshio.off": by_meshio,
    "ours.glb": write_mesh,
    "trimesh.glb": by_trimesh,
    "our_test.glb": by_our_test,
    "trimesh.gltf": by_trimesh,
}


@pytest.mark.parametrize("solid", SOLIDS)
@pytest.mark.parametrize("name", WRITERS)
def test_the_same_solid_by_every_writer(tmp_path, name, solid):
    mesh, its_volume, its_area = SOLIDS[solid]
    WRITERS[name](tmp_path / name, mesh)
    again = read_mesh(tmp_path / name)
    assert len(again.faces) == len(mesh.faces) and is_watertight(again)
    assert volume(again) == pytest.approx(its_volume, rel=0.01) and area(again) == pytest.approx(its_area, rel=0.01)
    assert volume(again) == pytest.approx(volume(mesh), rel=1e-5)
    np.testing.assert_allclose(again.bounds(), mesh.bounds(), rtol=1e-6, atol=1e-6)


def by_other_readers(path):
    """The corners (F, 3, 3) of all triangles as other libraries read them."""
    if path.suffix == ".ply":
        data = PlyData.read(path)
        vertices = np.stack([data["vertex"][axis] for axis in "xyz"], axis=1)
        (name,) = data["face"].data.dtype.names
        yield vertices[np.stack(list(data["face"][name]))]
    elif path.suffix in (".obj", ".off"):
        found = meshio.read(path)
        yield found.points[found.cells_dict["triangle"]]
    other = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type=path.suffix[1:], process=False).to_geometry()
    assert isinstance(other, trimesh.Trimesh)
    yield other.vertices[other.faces]


@st.composite
def soups(draw):
    """Triangles anywhere, of any size, far from the origin or near it."""
    count = draw(st.integers(3, 12))
    scale = 10.0 ** draw(st.integers(-6, 6))
    number = st.floats(-1, 1, width=32)
    vertices = np.array(draw(st.lists(st.tuples(number, number, number), min_size=count, max_size=count, unique=True)))
    corners = st.permutations(range(count)).map(lambda order: order[:3])
    faces = np.array(draw(st.lists(corners, min_size=1, max_size=10)), dtype=np.int64)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    faces = faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-3]
    return TriangleMesh(vertices * scale, faces)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".off", ".glb"])
@given(mesh=soups())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_meshes_by_ours_and_read_by_others(tmp_path_factory, suffix, mesh):
    if not len(mesh.faces):
        return
    path = tmp_path_factory.mktemp("soup") / f"a{suffix}"
    write_mesh(path, mesh)
    corners, size = mesh.triangles(), np.abs(mesh.vertices).max()
    np.testing.assert_allclose(read_mesh(path).triangles(), corners, rtol=0, atol=size * 2e-7)
    for others in by_other_readers(path):
        np.testing.assert_allclose(others, corners, rtol=0, atol=size * 2e-7)


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("ours") and "pcu" not in name])
@given(mesh=soups())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_random_meshes_by_others_and_read_by_ours(tmp_path_factory, name, mesh):
    mesh = TriangleMesh(mesh.vertices / np.abs(mesh.vertices).max(), mesh.faces)  # trimesh writes eight decimals
    if not len(mesh.faces):
        return
    path = tmp_path_factory.mktemp("soup") / name
    WRITERS[name](path, mesh)
    np.testing.assert_allclose(read_mesh(path).triangles(), mesh.triangles(), rtol=0, atol=2e-6)


OFFSET = np.array([431234.5, 5512345.25, 287.75])


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off", ".glb"])
@pytest.mark.parametrize("offset", [OFFSET, OFFSET * 1e3, -OFFSET])
def test_a_mesh_far_from_the_origin_keeps_its_place_and_its_corners(tmp_path, suffix, offset):
    near = ball(0.5, subdivisions=4)
    far = TriangleMesh(near.vertices + offset, near.faces)
    write_mesh(tmp_path / f"a{suffix}", far)
    again = read_mesh(tmp_path / f"a{suffix}")
    assert len(np.unique(again.vertices, axis=0)) == len(near.vertices)
    np.testing.assert_allclose(again.triangles(), far.triangles(), rtol=0, atol=2e-6)
    for others in by_other_readers(tmp_path / f"a{suffix}"):
        np.testing.assert_allclose(others, far.triangles(), rtol=0, atol=2e-6)


def test_a_cloud_far_from_the_origin_keeps_its_points(tmp_path):
    """The input beside a mesh is in the frame of the input file as well."""
    points = ball(0.5, subdivisions=3).vertices
    write_cloud(tmp_path / "a.ply", PointCloud(points + OFFSET))
    again = read_cloud(tmp_path / "a.ply")
    np.testing.assert_allclose(again.points_N3 - OFFSET, points, rtol=0, atol=2e-6)


def test_an_stl_far_from_the_origin_is_refused_where_corners_would_move(tmp_path):
    near = ball(0.5, subdivisions=2)
    write_mesh(tmp_path / "near.stl", TriangleMesh(near.vertices + 50, near.faces))
    with pytest.raises(ValueError, match=r"far\.stl: .*0\.\d+ of the size.*\.ply"):
        write_mesh(tmp_path / "far.stl", TriangleMesh(near.vertices + OFFSET, near.faces))
    assert [path.name for path in tmp_path.iterdir()] == ["near.stl"]


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".off", ".glb"])
@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_tiny_and_huge_meshes_keep_their_shape(tmp_path, suffix, size):
    """A fixed number of decimals in a text flattens what is measured in micrometres and written in metres."""
    mesh = ball(size, subdivisions=3)
    write_mesh(tmp_path / f"a{suffix}", mesh)
    np.testing.assert_allclose(
        read_mesh(tmp_path / f"a{suffix}").triangles(), mesh.triangles(), rtol=0, atol=size * 1e-6
    )


def test_ply_files_are_those_of_trimesh_to_the_byte(tmp_path):
    """Written without loading it: what other versions of ours wrote stays equal."""
    for name, (mesh, _, _) in SOLIDS.items():
        write_mesh(tmp_path / f"{name}.ply", mesh)
        plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
        assert (tmp_path / f"{name}.ply").read_bytes() == plain.export(file_type="ply", vertex_normal=False), name
