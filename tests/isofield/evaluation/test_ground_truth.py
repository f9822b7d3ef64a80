"""Meshes, voxels and clouds answer the same questions about the same box; files that cannot be meant are refused."""

import io
import zipfile

import numpy as np
import pytest
import trimesh

from data_processing.formats.mesh_files import write_mesh
from data_processing.formats.voxel_files import GridConfig, VoxelGrid
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from data_processing.occupancy.inside_outside import InsideConfig
from data_processing.store.shape_set import open_shapes
from isofield.evaluation.ground_truth import TRUTH_SUFFIXES, CloudTruth, VoxelTruth, read_ground_truth, truth_of_shape
from isofield.evaluation.protocols import PROTOCOLS
from isofield.evaluation.rows import SampleCounts, compare
from isofield.runtime import seeds
from tests.conftest import ROOT
from tests.small_sets import box_corners

LOWER, UPPER = np.array([-0.25, 0.0, -0.5]), np.array([0.0, 0.375, 0.5])  # off centre, three sides; longest edge 1
PROBES = np.array([[-0.1, 0.2, 0.3], [-0.1, 0.2, -0.45], [0.1, 0.2, 0.3], [-0.1, -0.1, 0.3], [-0.1, 0.2, 0.6]])
INSIDE = [True, True, False, False, False]


def box() -> TriangleMesh:
    solid = trimesh.creation.box(bounds=np.stack([LOWER, UPPER]))
    return TriangleMesh(np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int64))


def box_voxels(resolution: int = 32) -> np.ndarray:
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    inside = [(axis > low) & (axis < high) for low, high in zip(LOWER, UPPER, strict=True)]
    return np.einsum("i,j,k->ijk", *[part.astype(np.uint8) for part in inside])


@pytest.fixture(params=["mesh", "voxels", "ply cloud", "npz cloud"])
def truth(request, tmp_path):
    """The box in four kinds of file."""
    path = (
        tmp_path
        / {"mesh": "box.ply", "voxels": "box.npy", "ply cloud": "box.ply", "npz cloud": "box.npz"}[request.param]
    )
    points, normals = sample_surface(box(), 5000, seeds.numpy_generator(0, "cloud"))
    if request.param == "mesh":
        write_mesh(path, box())
    elif request.param == "voxels":
        np.save(path, box_voxels())
    elif request.param == "npz cloud":
        np.savez(path, points=points.astype(np.float32), normals=normals.astype(np.float32))
    else:
        write_cloud(path, points, normals)
    return read_ground_truth(path)


def write_cloud(path, points, normals) -> None:
    """A binary PLY as the published surface files are: vertices with normals, no faces."""
    names = [*"xyz", "nx", "ny", "nz"][: 3 if normals is None else 6]
    rows = points if normals is None else np.hstack([points, normals])
    header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {len(points)}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    path.write_bytes(header.encode() + rows.astype("<f4").tobytes())


def test_every_kind_has_the_box_of_the_shape(truth):
    np.testing.assert_allclose(truth.bounds(), [LOWER, UPPER], atol=2e-3)


def test_every_kind_gives_samples_on_the_surface_with_outward_normals(truth):
    samples = truth.surface(2000, seeds.numpy_generator(0, "samples"))
    assert samples.points_N3.shape == samples.normals_N3.shape == (2000, 3)
    gap = np.minimum(np.abs(samples.points_N3 - LOWER), np.abs(samples.points_N3 - UPPER)).min(axis=1)
    assert gap.max() < 0.02
    # A step outwards leaves the box, for nearly all (corners of voxel surfaces are cut off).
    beyond = samples.points_N3 + 0.03 * samples.normals_N3
    assert ((beyond < LOWER) | (beyond > UPPER)).any(axis=1).mean() > 0.99


def test_inside_is_the_box_or_unknown(truth):
    inside = truth.inside(PROBES)
    assert inside is None if truth.kind == "points" else inside.tolist() == INSIDE


def test_inside_is_exact_to_the_faces_of_the_box(truth):
    """The faces lie between voxels, so voxels know the box exactly: half a voxel off would show."""
    points = seeds.numpy_generator(0, "probes").random((3000, 3)) - 0.5
    inside = truth.inside(points)
    if inside is not None:
        np.testing.assert_array_equal(inside, ((points > LOWER) & (points < UPPER)).all(axis=1))


def test_every_kind_can_be_shown(truth):
    lower, upper = truth.surface_to_show().bounds()
    np.testing.assert_allclose([lower, upper], [LOWER, UPPER], atol=0.02)


def test_the_surface_of_voxels_is_closed_and_in_the_frame_of_the_file():
    """Voxels of 2 x 3 x 4 mm, mirrored along x, somewhere: volume and middle are those of the box."""
    frame = np.diag([-2.0, 3.0, 4.0, 1.0])
    frame[:3, 3] = [100, 200, 300]
    occupancy = np.zeros((9, 8, 7), dtype=np.uint8)
    occupancy[2:6, 0:4, 3:7] = 1  # touches two borders
    truth = VoxelTruth(VoxelGrid(occupancy, frame))
    mesh = truth.surface_to_show()
    assert is_watertight(mesh)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(4 * 4 * 4 * 24, rel=0.1)
    np.testing.assert_allclose(np.mean(truth.bounds(), axis=0), [100 - 2 * 3.5, 200 + 3 * 1.5, 300 + 4 * 4.5])
    assert truth.inside(np.array([[100 - 2 * 2.0, 200.0, 312.0], [100 + 2 * 2.0, 200, 312]])).tolist() == [True, False]


def test_a_cloud_gives_what_it_has_and_never_more(tmp_path):
    points, normals = sample_surface(box(), 50, seeds.numpy_generator(0, "cloud"))
    write_cloud(tmp_path / "cloud.ply", points, normals)
    truth = read_ground_truth(tmp_path / "cloud.ply")
    assert len(truth.surface(1000, seeds.numpy_generator(0, "a")).points_N3) == 50
    chosen = truth.surface(20, seeds.numpy_generator(0, "a")).points_N3
    assert len(np.unique(chosen, axis=0)) == 20


def test_a_cloud_without_normals_is_taken(tmp_path):
    points, _ = sample_surface(box(), 50, seeds.numpy_generator(0, "cloud"))
    write_cloud(tmp_path / "cloud.ply", points, None)
    assert read_ground_truth(tmp_path / "cloud.ply").surface(9, seeds.numpy_generator(0, "a")).normals_N3 is None


def test_npz_voxels_are_not_a_cloud(tmp_path):
    np.savez(tmp_path / "grid.npz", voxels=box_voxels())
    assert read_ground_truth(tmp_path / "grid.npz").kind == "voxels"


def test_what_is_no_ground_truth_is_refused(tmp_path):
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(ValueError, match=r"'\.pdf' is no ground truth"):
        read_ground_truth(tmp_path / "a.pdf")
    with pytest.raises(FileNotFoundError, match=r"nothing\.ply does not exist"):
        read_ground_truth(tmp_path / "nothing.ply")
    assert {".ply", ".npz", ".nii.gz"} <= TRUTH_SUFFIXES


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.zeros((0, 3))}, "points"),
        ({"points": np.zeros((5, 2))}, "points"),
        ({"points": np.ones((5, 3))}, "one point"),
        ({"points": np.full((5, 3), np.nan)}, "NaN"),
        ({"points": np.eye(3), "normals": np.eye(4)[:, :3]}, "normal.* 3 points"),
        ({"points": np.array([["a"] * 3])}, "numbers"),
    ],
)
def test_clouds_that_cannot_be_meant_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "cloud.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_ground_truth(tmp_path / "cloud.npz")


def test_a_cloud_cut_in_half_is_refused(tmp_path):
    points, normals = sample_surface(box(), 500, seeds.numpy_generator(0, "cloud"))
    write_cloud(tmp_path / "cloud.ply", points, normals)
    np.savez(tmp_path / "cloud.npz", points=points)
    for path in (tmp_path / "cloud.ply", tmp_path / "cloud.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=path.name):
            read_ground_truth(path)


def test_a_size_that_is_only_declared_is_not_allocated(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
    with zipfile.ZipFile(tmp_path / "cloud.npz", "w") as archive:
        archive.writestr("points.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"cloud\.npz\[points\]: .*24,000,000,000,000 .*128"):
        read_ground_truth(tmp_path / "cloud.npz")


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "cloud.npz", points=np.array([[object()] * 3]))
    with pytest.raises(ValueError, match=r"cloud\.npz"):
        read_ground_truth(tmp_path / "cloud.npz")


def test_stored_solids_serve_where_no_voxels_are(prepared):
    shapes = open_shapes(prepared)
    lower, upper = box_corners(shapes.names[1].rpartition("/")[2])
    truth = truth_of_shape(shapes, 1, against="voxels")
    cell = np.linalg.norm(shapes.to_world(1)[:3, 0]) / max(shapes.layout.grids)
    assert isinstance(truth, VoxelTruth) and truth.grid.occupancy.shape == (32, 32, 32)
    within = cell * (1 / 2 + 1 / 16)  # half a cell, and half a voxel of the 256^3 it is made of
    assert np.abs(np.array(truth.bounds()) - np.array([lower, upper])).max() <= within


CASES = ROOT / "tests/data/strangers"


@pytest.mark.parametrize("file", ["cloud.csv", "cloud.pts", "semicolon.xyz"])
def test_text_clouds_are_ground_truth(file):
    truth = read_ground_truth(CASES / "text_clouds_with_headers" / file)
    assert truth.kind == "points" and len(truth.surface(1000, seeds.numpy_generator(0, "a")).points_N3) == 500


def test_points_without_depth_are_left_out_of_a_ground_truth_and_said():
    truth = read_ground_truth(CASES / "organised_cloud_with_nan/kinect.pcd")
    assert isinstance(truth, CloudTruth) and truth.note == "145 of 500 points without numbers left out"


def samples_of_a_box(path, resolution=24) -> None:
    axis = (np.arange(resolution) + 0.5) / resolution * 1.1 - 0.55
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    inside = ((points > LOWER) & (points < UPPER)).all(axis=1)
    np.savez(
        path, points=points.astype(np.float16), occupancies=np.packbits(inside), loc=np.zeros(3), scale=np.ones(())
    )


def test_occupancy_samples_give_iou_and_nothing_else(tmp_path):
    samples_of_a_box(tmp_path / "points.npz")
    truth = read_ground_truth(tmp_path / "points.npz")
    assert truth.kind == "samples"
    values = compare(box(), truth, PROTOCOLS["onet"], SampleCounts(), name="box", watertight=True)
    assert values.pop("iou") > 0.99 and all(np.isnan(value) for value in values.values())
    half = trimesh.creation.box(bounds=[LOWER, [0.0, 0.375, 0.0]])
    half = TriangleMesh(np.asarray(half.vertices, np.float64), np.asarray(half.faces, np.int64))
    assert compare(half, truth, PROTOCOLS["imnet"], SampleCounts(), name="b", watertight=True)["iou"] == pytest.approx(
        0.5, abs=0.05
    )
    with pytest.raises(ValueError, match=r"no surface: .*pointcloud\.npz"):
        truth.surface(10, seeds.numpy_generator(0, "a"))


def test_samples_beside_a_cloud_give_its_iou(tmp_path):
    points, normals = sample_surface(box(), 2000, seeds.numpy_generator(0, "cloud"))
    np.savez(tmp_path / "pointcloud.npz", points=points, normals=normals)
    samples_of_a_box(tmp_path / "points.npz")
    truth = read_ground_truth(tmp_path / "pointcloud.npz", samples=tmp_path / "points.npz")
    values = compare(box(), truth, PROTOCOLS["onet"], SampleCounts(points=2000), name="box", watertight=True)
    assert values["iou"] > 0.99 and values["chamfer"] < 0.2


def test_signed_distances_are_a_ground_truth_finer_than_their_voxels(tmp_path):
    """A sphere of radius 0.3 out of 24^3 distances: the surface lies between the centres, where they say."""
    axis = (np.arange(24) + 0.5) / 24 - 0.5
    distance = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1), axis=-1) - 0.3
    np.save(tmp_path / "sphere.npy", distance)
    with pytest.raises(ValueError, match=r"sphere\.npy: values from .* --set values=sdf"):
        read_ground_truth(tmp_path / "sphere.npy")
    truth = read_ground_truth(tmp_path / "sphere.npy", grid=GridConfig(values="sdf"))
    samples = truth.surface(2000, seeds.numpy_generator(0, "a"))
    assert np.abs(np.linalg.norm(samples.points_N3, axis=1) - 0.3).max() < 0.004  # a tenth of a voxel
    probes = seeds.numpy_generator(0, "b").random((5000, 3)) - 0.5
    radius = np.linalg.norm(probes, axis=1)
    clear = np.abs(radius - 0.3) > 0.004
    np.testing.assert_array_equal(truth.inside(probes)[clear], (radius < 0.3)[clear])


def test_of_a_mesh_the_surface_that_bounds_its_solid_is_sampled_where_the_data_say_so(tmp_path):
    """A block in the box: as modelled it is a part of the surface, and with surface=outer nobody is to reach it."""
    outer, inner = box(), trimesh.creation.box(bounds=np.stack([LOWER + 0.05, UPPER - 0.05]))
    vertices = np.concatenate([outer.vertices, np.asarray(inner.vertices)])
    faces = np.concatenate([outer.faces, np.asarray(inner.faces) + len(outer.vertices)])
    write_mesh(tmp_path / "both.ply", TriangleMesh(vertices, faces))
    on_inner = []
    for surface in ("all", "outer"):
        truth = read_ground_truth(tmp_path / "both.ply", settings=InsideConfig(surface=surface))
        assert truth.kind == {"all": "mesh", "outer": "outer surface of a mesh"}[surface]
        points = truth.surface(2000, seeds.numpy_generator(0, "samples")).points_N3
        on_inner.append(((points > LOWER + 0.04) & (points < UPPER - 0.04)).all(axis=1).sum())
    assert on_inner[0] > 500 and on_inner[1] == 0
