"""Reading of good and bad mesh files, closedness, surface samples."""

import json
import struct

import numpy as np
import pytest
import trimesh

from data_processing.formats.mesh_files import MESH_SUFFIXES, read_mesh, write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from isofield.runtime.seeds import numpy_generator
from tests.data_processing.solids import box, joined, turned_inside_out
from tests.plain_ways import closed_faces


def volume(mesh):
    a, b, c = mesh.triangles().transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".off", ".glb"])
def test_written_mesh_reads_back(tmp_path, suffix):
    mesh = box((0.1, -0.2, 0.3), (0.4, 0.3, 0.35))
    path = tmp_path / f"box{suffix}"
    write_mesh(path, mesh)
    again = read_mesh(path)
    corners = [np.sort(item.triangles().reshape(-1, 3), axis=0) for item in (again, mesh)]
    assert np.allclose(corners[0], corners[1], atol=1e-6)
    assert volume(again) == pytest.approx(0.3 * 0.5 * 0.05, rel=1e-5)
    assert is_watertight(again)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_faces_of_an_obj_may_count_back_and_change_their_material(tmp_path):
    """Negative numbers count from the last vertex so far, not from the last of the file."""
    first, second = "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "v 0 0 5\nv 1 0 5\nv 0 1 5\nvt 0 0\n"
    (tmp_path / "a.obj").write_text(
        f"{first}usemtl red\nf -3 -2 -1\n{second}usemtl blue\nf -3/-1 -2/-1 -1/1 # -1\nusemtl red\nf 1 \\\n2 6\n"
    )
    expected = [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 5], [1, 0, 5], [0, 1, 5]], [[0, 0, 0], [1, 0, 0], [0, 1, 5]]]
    assert read_mesh(tmp_path / "a.obj").triangles().tolist() == expected


def test_upper_case_suffix_reads(tmp_path):
    write_mesh(tmp_path / "box.ply", box((0, 0, 0), (1, 2, 3)))
    (tmp_path / "box.ply").rename(tmp_path / "BOX.PLY")
    assert len(read_mesh(tmp_path / "BOX.PLY").faces) == 12


def test_other_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.txt.*\.ply"):
        write_mesh(tmp_path / "box.txt", box((0, 0, 0), (1, 1, 1)))
    (tmp_path / "a.txt").write_text("v 0 0 0")
    with pytest.raises(ValueError, match=r"a\.txt.*\.ply.*\.txt"):
        read_mesh(tmp_path / "a.txt")
    assert ".ply" in MESH_SUFFIXES and ".xyz" not in MESH_SUFFIXES


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.ply"):
        read_mesh(tmp_path / "no.ply")


def test_scene_is_merged_with_its_transforms(tmp_path):
    scene = trimesh.Scene()
    part = trimesh.creation.box((1, 1, 1))
    shift, mirror = np.eye(4), np.diag([-1.0, 1, 1, 1])
    shift[:3, 3] = 5, 0, 0
    mirror[0, 3] = -5
    scene.add_geometry(part, node_name="a", geom_name="box", transform=shift)
    scene.graph.update(frame_to="b", frame_from=scene.graph.base_frame, matrix=mirror, geometry="box")
    (tmp_path / "scene.glb").write_bytes(scene.export(file_type="glb"))
    mesh = read_mesh(tmp_path / "scene.glb")
    assert len(mesh.faces) == 24
    assert np.allclose(mesh.bounds(), [[-5.5, -0.5, -0.5], [5.5, 0.5, 0.5]])
    assert volume(mesh) == pytest.approx(2)  # the mirrored part still looks outwards


def test_degenerate_faces_are_dropped(tmp_path):
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [1, 0, 0]]
    faces = [[0, 1, 2], [0, 0, 1], [1, 4, 2], [0, 1, 3]]  # whole, repeated, equal positions, collinear
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    assert len(read_mesh(tmp_path / "a.obj").faces) == 1


def _ply(vertices, faces):
    head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    head += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    body = [" ".join(map(str, v)) for v in vertices] + [" ".join(map(str, [len(f), *f])) for f in faces]
    return head + "\n".join(body) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ply", "", "empty"),
        ("a.ply", "ply\nnonsense", "corrupt"),
        ("a.ply", _ply([(0, 0, 0), (1, 0, 0), (0, 1, 0)], []), "no triangles"),
        ("a.ply", _ply([(0, 0, 0), ("nan", 0, 0), (0, 1, 0)], [(0, 1, 2)]), "NaN"),
        ("a.ply", _ply([(0, 0, 0), ("inf", 0, 0), (0, 1, 0)], [(0, 1, 2)]), "NaN or infinite"),
        ("a.ply", _ply([(2, 2, 2)] * 3, [(0, 1, 2)]), "zero size"),
        ("a.ply", _ply([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 9)]), "corrupt"),
        ("a.obj", "v 0 0 0\nv 1 0 0\n", "corrupt|no triangles"),
        ("a.off", "OFF\n3 1 0\n0 0", "corrupt"),
        ("a.stl", "\0" * 50, "corrupt|no triangles"),
        ("a.glb", "glTF----", "corrupt"),
        ("a.gltf", "{}", "corrupt|no triangles"),
        ("a.gltf", "[1, 2", "corrupt"),
    ],
)
def test_bad_file_is_one_clear_error(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_mesh(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".glb", ".off", ".ascii.ply"])
def test_truncated_file_never_reads_as_whole(tmp_path, suffix):
    ball = trimesh.creation.icosphere(subdivisions=2)
    options = {"encoding": "ascii"} if "ascii" in suffix else {}
    data = ball.export(file_type=suffix.split(".")[-1], **options)
    data = data.encode() if isinstance(data, str) else data
    path = tmp_path / f"cut{suffix}"
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=r"cut\."):
            read_mesh(path)


def test_declared_sizes_beyond_the_file_are_refused(tmp_path):
    path = tmp_path / "a.stl"
    path.write_bytes(b"\0" * 80 + struct.pack("<I", 4_000_000_000) + b"\0" * 100)
    with pytest.raises(ValueError, match=r"a\.stl"):
        read_mesh(path)
    path = tmp_path / "a.ply"
    path.write_text(_ply([(0, 0, 0)] * 3, [(0, 1, 2)]).replace("vertex 3", "vertex 90000000000"))
    with pytest.raises(ValueError, match=r"a\.ply"):
        read_mesh(path)


def test_gltf_opens_nothing_outside_its_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    tree = trimesh.Scene(trimesh.creation.box()).export(file_type="gltf")
    for name, data in tree.items():
        (inner / name).write_bytes(data)
    model = inner / "model.gltf"
    assert len(read_mesh(model).faces) == 12
    document = json.loads(model.read_text())
    for buffer in document["buffers"]:
        (inner / buffer["uri"]).rename(tmp_path / buffer["uri"])
        buffer["uri"] = f"../{buffer['uri']}"
    model.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"model\.gltf.*\.\./gltf_buffer_\d\.bin"):
        read_mesh(model)


def test_material_files_are_not_opened(tmp_path):
    secret = tmp_path / "secret.mtl"
    secret.write_text("newmtl a\nmap_Kd secret.png\n")
    secret.chmod(0)
    (tmp_path / "a.obj").write_text("mtllib secret.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\n")
    assert len(read_mesh(tmp_path / "a.obj").faces) == 1


def test_watertight_after_merging_equal_vertices():
    whole = box((0, 0, 0), (1, 2, 3))
    split = TriangleMesh(whole.triangles().reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert is_watertight(split) and is_watertight(turned_inside_out(split))
    assert not is_watertight(TriangleMesh(split.vertices, split.faces[1:]))  # a hole
    one_flipped = split.faces.copy()
    one_flipped[0] = one_flipped[0, ::-1]
    assert not is_watertight(TriangleMesh(split.vertices, one_flipped))
    assert not is_watertight(TriangleMesh(split.vertices, np.concatenate([split.faces] * 2)))  # doubled
    assert not is_watertight(joined(whole, box((1, 2, 0), (2, 3, 3))))  # share an edge: four faces


def test_closed_parts_are_told_from_open_ones():
    whole = box((0, 0, 0), (1, 2, 3))
    opened = TriangleMesh(whole.vertices + 5, whole.faces[2:])
    edge_sharing = box((1, 2, 0), (2, 3, 3))
    mesh = joined(whole, opened, edge_sharing)
    assert closed_faces(mesh).tolist() == [True] * 12 + [False] * 10 + [True] * 12


def test_mirroring_keeps_the_outside_outside():
    mirrored = box((0, 0, 0), (1, 2, 3)).transform(np.diag([1.0, -1, 1, 1]))
    assert volume(mirrored) == pytest.approx(6)


def test_samples_are_uniform_over_the_area():
    mesh = box((0, 0, 0), (1, 2, 3))
    points, normals = sample_surface(mesh, 44_000, numpy_generator("samples"))
    on_face = np.isclose(points, 0) | np.isclose(points, [1, 2, 3])
    assert on_face.any(1).all()
    share = (np.abs(normals) > 0.5).mean(0)  # areas 12, 6, 4 of 22
    assert np.allclose(share, [6 / 11, 3 / 11, 2 / 11], atol=0.01)
    assert np.allclose(points.mean(0), [0.5, 1, 1.5], atol=0.03)
    outward = ((points - [0.5, 1, 1.5]) * normals).sum(1)
    assert (outward > 0).all()
