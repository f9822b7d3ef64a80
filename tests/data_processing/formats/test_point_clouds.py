"""Point clouds: every format gives the same points back, and what cannot be meant is refused with a reason."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.formats.occupancy_samples import read_samples
from data_processing.formats.pcd import read_pcd
from data_processing.formats.point_clouds import PointCloud, read_cloud, write_cloud
from tests.conftest import ROOT

RANDOM = np.random.default_rng(0)
POINTS = (RANDOM.uniform(-3, 5, (40, 3)) + np.array([100.0, -7.0, 0.5])).astype(np.float32)
NORMALS = RANDOM.normal(size=(40, 3)).astype(np.float32)
PCD = (
    "# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {size}\nTYPE {type}\nCOUNT {count}\n"
    "WIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA {data}\n"
)


def pcd(fields: str, size: str, kind: str, count: str, n: int, data: str) -> bytes:
    return PCD.format(fields=fields, size=size, type=kind, count=count, n=n, data=data).encode()


def ascii_rows(values: np.ndarray, between: str = " ") -> bytes:
    return "".join(between.join(repr(float(v)) for v in row) + "\n" for row in values).encode()


def write_npz(path: Path) -> None:
    np.savez(path, points=POINTS, normals=NORMALS)


def write_binary_pcd(path: Path) -> None:
    """With a colour before the points, padding, and a field of several values: as the Point Cloud Library writes."""
    dtype = np.dtype([("rgb", "<u4"), ("p", "<f4", 3), ("pad", "u1", 4), ("hist", "<f8", 2), ("n", "<f4", 3)])
    rows = np.zeros(len(POINTS), dtype)
    rows["p"], rows["n"], rows["rgb"], rows["hist"] = POINTS, NORMALS, 7, 1e9
    fields = "rgb x y z _ hist normal_x normal_y normal_z"
    header = pcd(fields, "4 4 4 4 1 8 4 4 4", "U F F F U F F F F", "1 1 1 1 4 2 1 1 1", len(POINTS), "binary")
    path.write_bytes(header + rows.tobytes())


WITH_NORMALS = {
    "a.npz": write_npz,
    "a.npy": lambda path: np.save(path, np.hstack([POINTS, NORMALS])),
    "a.xyz": lambda path: path.write_bytes(b"# x y z nx ny nz\n" + ascii_rows(np.hstack([POINTS, NORMALS]))),
    "binary.pcd": write_binary_pcd,
    "ascii.pcd": lambda path: path.write_bytes(
        pcd(
            "x y z normal_x normal_y normal_z",
            " ".join("4" * 6),
            " ".join("F" * 6),
            " ".join("1" * 6),
            len(POINTS),
            "ascii",
        )
        + ascii_rows(np.hstack([POINTS, NORMALS]))
    ),
    "a.ply": lambda path: write_cloud(path, PointCloud(POINTS.astype(float), NORMALS.astype(float))),
}
WITHOUT = {
    "b.ply": lambda path: trimesh.PointCloud(POINTS).export(path),
    "b.npy": lambda path: np.save(path, POINTS),
    "B.XYZ": lambda path: path.write_bytes(ascii_rows(POINTS, ", ")),
    "b.pcd": lambda path: path.write_bytes(pcd("x y z", "4 4 4", "F F F", "1 1 1", 40, "ascii") + ascii_rows(POINTS)),
    "b.npz": lambda path: np.savez(path, points=POINTS),
}


@pytest.mark.parametrize("name", [*WITH_NORMALS, *WITHOUT])
def test_every_format_gives_the_points_back(tmp_path: Path, name: str):
    file = tmp_path / name
    {**WITH_NORMALS, **WITHOUT}[name](file)
    cloud = read_cloud(file)
    assert cloud is not None and cloud.points_N3.dtype == np.float64
    assert np.array_equal(cloud.points_N3.astype(np.float32), POINTS)
    if name in WITH_NORMALS:
        assert np.array_equal(cloud.normals_N3.astype(np.float32), NORMALS)
    else:
        assert cloud.normals_N3 is None


def test_a_written_cloud_is_read_by_others(tmp_path: Path):
    write_cloud(tmp_path / "a.ply", PointCloud(POINTS.astype(float)))
    loaded: Any = trimesh.load(tmp_path / "a.ply")
    assert np.array_equal(np.asarray(loaded.vertices, np.float32), POINTS)
    with pytest.raises(ValueError, match=r"\.ply"):
        write_cloud(tmp_path / "a.xyz", PointCloud(POINTS.astype(float)))


def test_what_holds_no_cloud_is_left_to_other_readers(tmp_path: Path):
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "mesh.ply")
    np.save(tmp_path / "voxels.npy", np.ones((4, 5, 6), np.uint8))
    np.savez(tmp_path / "voxels.npz", voxels=np.ones((4, 5, 6), np.uint8))
    (tmp_path / "mesh.obj").write_text("v 0 0 0\n")
    for name in ("mesh.ply", "voxels.npy", "voxels.npz", "mesh.obj"):
        assert read_cloud(tmp_path / name) is None


def changed(index: tuple[int, int], value: float) -> np.ndarray:
    points = POINTS.astype(float)
    points[index] = value
    return points


BAD_ARRAYS = [
    (np.full((5, 3), np.nan), "all 5 points hold NaN or infinity"),
    (changed((0, 0), 1e200), r"coordinates up to 1e\+200"),
    (np.empty((0, 3)), r"got \(0, 3\)"),
    (POINTS[:1], "all 1 points are one point"),
    (np.repeat(POINTS[:1], 9, 0), "all 9 points are one point"),
    (POINTS[:, :2], r"expected numbers \(N, 3\), or \(N, 6\) with normals; got \(40, 2\)"),
    (np.hstack([POINTS, POINTS[:, :1]]), r"got \(40, 4\)"),
    (POINTS.astype(complex), "complex"),
]


@pytest.mark.parametrize(("values", "message"), BAD_ARRAYS)
def test_arrays_that_cannot_be_meant_are_refused(tmp_path: Path, values: np.ndarray, message: str):
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(tmp_path / "bad.npy")
    assert "bad.npy" in str(caught.value)


HEAD = pcd("x y z", "4 4 4", "F F F", "1 1 1", 40, "binary")
BAD_FILES = [
    ("a.xyz", b"", "the file is empty"),
    ("a.xyz", b"# nothing\n\n", "three numbers x y z, got '# nothing' in line 1"),
    ("a.xyz", b"1 2 3\n4 5\n", "line 2: expected 3 values as in line 1, got 2: '4 5'"),
    ("a.xyz", b"1 2 3\n4 5 x\n", "line 2: expected numbers x y z, got 'x' in column 3"),
    ("a.xyz", b"\xff\xfe\x00\x01\n", "three numbers x y z"),
    ("a.xyz", b"1 2\n3 4\n", "three numbers x y z, got '1 2' in line 1"),
    ("a.xyz", b"1 2 3\n", "all 1 points are one point"),
    ("a.xyz", b"1 2 nan\n1 2 3\n", "all 1 points are one point"),
    ("a.npy", b"\x93NUMPY\x01\x00", "cannot be read as .npy"),
    ("a.npy", b"", "the file is empty"),
    ("a.pcd", b"", "the file is empty"),
    ("a.pcd", b"\x00" * 5000, "not a .pcd file"),
    ("a.pcd", HEAD, "cut off: declares 40 points, holds 0"),
    ("a.pcd", HEAD + POINTS.tobytes()[:-1], "cut off: declares 40 points, holds 39"),
    ("a.pcd", HEAD.replace(b"POINTS 40", b"POINTS 999999999999999"), "cut off: declares 999999999999999"),
    ("a.pcd", HEAD.replace(b"POINTS 40", b"POINTS -4"), "number of points"),
    ("a.pcd", HEAD.replace(b"POINTS 40", b"POINTS many"), "makes no sense"),
    ("a.pcd", HEAD.replace(b"FIELDS x y z", b"FIELDS a b c"), "expected fields x y z"),
    ("a.pcd", HEAD.replace(b"FIELDS x y z", b"FIELDS x y"), "makes no sense"),
    ("a.pcd", HEAD.replace(b"TYPE F", b"TYPE O"), "makes no sense"),
    ("a.pcd", HEAD.replace(b"DATA binary", b"DATA zipped"), "DATA zipped: expected ascii, binary or binary_compressed"),
    ("a.pcd", HEAD.replace(b"DATA binary", b"DATA ascii") + b"1 2 3\n4 5 6\n", "declares 40 points of 3 values"),
    ("a.pcd", HEAD.replace(b"DATA binary", b"DATA ascii") + b"1 2 x\n", "not numbers"),
    ("a.pcd", HEAD.replace(b"POINTS 40", b"POINTS 0"), r"got \(0, 3\)"),
    ("a.npz", b"PK\x03\x04", "cannot be read as .npz"),
    ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "not a point cloud|got"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(tmp_path / name)
    assert name in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.xyz"):
        read_cloud(tmp_path / "none.xyz")


def test_no_code_of_a_file_is_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.save(tmp_path / "evil.npy", np.array([[Evil(), 1, 2]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"evil\.npy.*object"):
        read_cloud(tmp_path / "evil.npy")
    assert not (tmp_path / "executed").exists()


def test_normals_stay_across_the_surface_under_an_affine():
    """A plane's points and normal, sheared and mirrored: the normal still is at a right angle to the plane."""
    random = np.random.default_rng(1)
    along = random.normal(size=(2, 3))
    points = random.normal(size=(20, 2)) @ along
    matrix = np.eye(4)
    matrix[:3] = random.normal(size=(3, 4))
    moved = PointCloud(points, np.repeat(np.cross(*along)[None], 20, 0)).transform(matrix)
    edges = moved.points_N3[1:] - moved.points_N3[:1]
    assert np.abs(edges @ moved.normals_N3[0]).max() < 1e-9
    assert np.allclose(moved.points_N3, points @ matrix[:3, :3].T + matrix[:3, 3])


CASE = ROOT / "tests/data/strangers/organised_cloud_with_nan"


@pytest.mark.parametrize(("name", "left_out"), [("kinect.pcd", 145), ("nan.ply", 56), ("compressed.pcd", 0)])
def test_points_without_depth_are_left_out_and_counted(name: str, left_out: int):
    cloud = read_cloud(CASE / name)
    assert cloud is not None and len(cloud.points_N3) == 500 - left_out and cloud.left_out == left_out
    assert cloud.note == (f"{left_out} of 500 points without numbers left out" if left_out else "")
    whole = read_cloud(CASE / "compressed.pcd").points_N3
    assert {*map(tuple, cloud.points_N3.tolist())} <= {*map(tuple, whole.tolist())}


def packed_lzf(content: bytes) -> bytes:
    """A plain LZF packer: runs as they are, and a copy wherever four bytes were there before."""
    out, place, literal, seen = bytearray(), 0, bytearray(), dict[bytes, int]()

    def flush() -> None:
        for start in range(0, len(literal), 32):
            run = literal[start : start + 32]
            out.extend([len(run) - 1, *run])
        literal.clear()

    while place < len(content):
        start = seen.get(content[place : place + 4], -1)
        seen[content[place : place + 4]] = place
        if start < 0 or place - start > 8192 or place + 4 > len(content):
            literal.append(content[place])
            place += 1
            continue
        flush()
        length = 4
        while place + length < len(content) and length < 264 and content[start + length] == content[place + length]:
            length += 1
        back, coded = place - start - 1, length - 2
        out.extend([(min(coded, 7) << 5) | (back >> 8), *([coded - 7] if coded >= 7 else []), back & 255])
        place += length
    flush()
    return bytes(out)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 400),
    fields=st.permutations(["x", "y", "z", "rgb", "normal_x", "normal_y", "normal_z", "hist"]),
)
def test_packed_fields_come_back_whatever_their_order(tmp_path_factory, seed: int, count: int, fields: list[str]):
    random = np.random.default_rng(seed)
    columns = {name: (random.integers(-3, 4, count) / 4).astype("<f4") for name in fields}
    columns["x"][:2] = [0, 1]  # never one point
    columns["hist"] = np.tile(np.array([7, 8, 9], "<f4"), (count, 1))
    content = b"".join(columns[name].tobytes() for name in fields)
    packed = packed_lzf(content)
    counts = " ".join("3" if name == "hist" else "1" for name in fields)
    head = pcd(" ".join(fields), " ".join("4" * 8), " ".join("F" * 8), counts, count, "binary_compressed")
    file = tmp_path_factory.getbasetemp() / "packed.pcd"
    file.write_bytes(head + len(packed).to_bytes(4, "little") + len(content).to_bytes(4, "little") + packed)
    cloud = read_cloud(file)
    np.testing.assert_array_equal(cloud.points_N3, np.column_stack([columns[name] for name in "xyz"]))
    np.testing.assert_array_equal(cloud.normals_N3, np.column_stack([columns[f"normal_{axis}"] for axis in "xyz"]))
    assert [set(values) for name, values in read_pcd(file).items() if name.startswith("hist")] == [{7}, {8}, {9}]
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"packed\.pcd: (cut off|its packed points)"):
        read_cloud(file)


def test_samples_of_a_field_are_no_surface(tmp_path: Path):
    points = RANDOM.random((40, 3)).astype(np.float16)
    np.savez(tmp_path / "points.npz", points=points, occupancies=np.packbits(points[:, 0] > 0.5))
    with pytest.raises(ValueError, match=r"points\.npz: 'occupancies' beside points.*pointcloud\.npz"):
        read_cloud(tmp_path / "points.npz")
    samples = read_samples(tmp_path / "points.npz")
    np.testing.assert_array_equal(samples.inside_N, points[:, 0] > 0.5)
    np.testing.assert_array_equal(samples.points_N3, points.astype(float))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (np.zeros(40, np.uint8), "none of its 40 points is inside"),
        (np.full(40, 0.5), "of 0 and 1, got values from 0.5"),
        (np.ones(7, np.uint8), "for 40 points.*got 7 uint8"),
    ],
)
def test_samples_that_cannot_be_meant_are_refused(tmp_path: Path, flags: np.ndarray, said: str):
    np.savez(tmp_path / "points.npz", points=POINTS, occupancies=flags)
    with pytest.raises(ValueError, match=rf"points\.npz: .*{said}"):
        read_samples(tmp_path / "points.npz")


def test_a_cloud_of_half_floats_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    np.savez(tmp_path / "pointcloud.npz", points=POINTS.astype(np.float16), loc=np.zeros(3), scale=np.ones(()))
    assert read_cloud(tmp_path / "pointcloud.npz").points_N3.dtype == np.float64
    assert [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning] == []


@pytest.mark.parametrize(("types", "fields"), [("f f f", "FIELDS"), ("F F F", "COLUMNS")])
def test_pcd_headers_of_other_writers(tmp_path, types, fields):
    head = f"VERSION .7\n{fields} x y z\nSIZE 4 4 4\nTYPE {types}\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\n"
    (tmp_path / "a.pcd").write_text(head + "DATA ascii\n0 1 2\n3 4 5\n")
    assert read_cloud(tmp_path / "a.pcd").points_N3.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_points_at_nought_are_told(tmp_path):
    """Depth cameras write them where they saw nothing, batches of one length to fill up."""
    (tmp_path / "a.xyz").write_text("1 2 3\n4 5 6\n0 0 0\n" + "0 0 0\n")
    cloud = read_cloud(tmp_path / "a.xyz")
    assert len(cloud.points_N3) == 4 and "2 of 4 points are at 0 0 0 exactly" in cloud.note
    (tmp_path / "a.xyz").write_text("1 2 3\n0 0 0\n")
    assert read_cloud(tmp_path / "a.xyz").note == ""


def test_a_batch_of_one_cloud_is_a_cloud(tmp_path):
    np.save(tmp_path / "batch.npy", POINTS[None])
    cloud = read_cloud(tmp_path / "batch.npy")
    assert cloud is not None and np.array_equal(cloud.points_N3, POINTS)


@pytest.mark.parametrize("prefix", ["", "scalar_scal_"])  # as CloudCompare writes them again
def test_gaussian_splats_are_no_surface(tmp_path, prefix):
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1"]
    names = [name if name in "xyz" or name[0] == "n" else prefix + name for name in names]
    head = "".join(f"property float {name}\n" for name in names)
    rows = np.random.default_rng(0).random((5, len(names))).astype("<f4").tobytes()
    text = f"ply\nformat binary_little_endian 1.0\nelement vertex 5\n{head}end_header\n".encode()
    (tmp_path / "point_cloud.ply").write_bytes(text + rows)
    with pytest.raises(ValueError, match=r"point_cloud\.ply: it holds Gaussian splats"):
        read_cloud(tmp_path / "point_cloud.ply")


def ply_cloud(properties, rows, *, order="ascii", before="", behind=""):
    head = "".join(f"property {one}\n" for one in properties)
    count = 3
    return f"ply\nformat {order} 1.0\n{before}element vertex {count}\n{head}{behind}end_header\n".encode() + rows


THREE = [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.5)]
XYZ = ["float x", "float y", "float z"]
LISTS = b"".join(struct.pack(f"<fffB{n}i", *row, n, *[5] * n) for n, row in enumerate(THREE))
CLOUDS = {
    "a list at each point": ply_cloud(
        [*XYZ, "list uchar int view"], LISTS, order="binary_little_endian",
        behind="element face 0\nproperty list uchar int vertex_indices\n",
    ),
    "a list before them": ply_cloud(
        ["list uchar int view", *XYZ], b"0 1 2 3\n2 7 7 4 5 6\n1 7 7 8 9.5\n"
    ),
    "capitals": ply_cloud(["double X", "double Y", "double Z"], b"1 2 3\n4 5 6\n7 8 9.5\n"),
    "another element first": ply_cloud(
        XYZ, b"640 480\n1 2 3\n4 5 6\n7 8 9.5\n",
        before="element camera 1\nproperty int width\nproperty int height\n",
    ),
    "colours first, z first": ply_cloud(
        ["uchar red", "float z", "float y", "float x"], b"9 3 2 1\n9 6 5 4\n9 9.5 8 7\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", CLOUDS)
def test_ply_clouds_in_any_layout(tmp_path, layout):
    (tmp_path / "a.ply").write_bytes(CLOUDS[layout])
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.ply").points_N3, THREE)


def test_normals_of_ply_clouds_by_either_name(tmp_path):
    for names in (["nx", "ny", "nz"], ["normal_x", "normal_y", "normal_z"]):
        rows = b"1 2 3 0 0 1\n4 5 6 0 1 0\n7 8 9.5 1 0 0\n"
        (tmp_path / "a.ply").write_bytes(ply_cloud(XYZ + [f"float {name}" for name in names], rows))
        np.testing.assert_array_equal(read_cloud(tmp_path / "a.ply").normals_N3, np.eye(3)[::-1])


def test_rows_of_a_ply_cloud_that_are_broken_are_named(tmp_path):
    """As a program of depth cameras writes them: colours in a line of their own."""
    rows = b"1 2 3 \n9 9 9 \n4 5 6 \n9 9 9 \n7 8 9 \n9 9 9 \n"
    (tmp_path / "a.ply").write_bytes(ply_cloud([*XYZ, "uchar red", "uchar green", "uchar blue"], rows))
    with pytest.raises(ValueError, match=r"a\.ply: .*a row of element vertex that is too short: '1 2 3 '"):
        read_cloud(tmp_path / "a.ply")
