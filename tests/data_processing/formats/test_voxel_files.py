"""From a voxel file of any format to the cube and back to where the shape was; and files that cannot be meant."""

import io
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.formats.voxel_files import (
    VOXEL_SUFFIXES,
    GridConfig,
    VoxelGrid,
    read_voxels,
    to_cube,
    voxel_suffix,
)
from data_processing.geometry.coordinates import transform_points
from tests.data_processing.voxel_files import (
    box,
    corners,
    ellipsoid,
    hsp_blocks,
    occupied_corners,
    write_binvox,
    write_hsp,
)

SHAPE, LOWER, UPPER = (40, 24, 31), (3, 9, 20), (14, 12, 27)
BOX = box(SHAPE, LOWER, UPPER)
OBLIQUE = np.array(
    [[-0.7 * 0.96, -0.9 * 0.28, 0, 30], [0.7 * 0.28, -0.9 * 0.96, 0, -20], [0, 0, 2.5, 7], [0, 0, 0, 1.0]]
)


def _corners_in(frame: np.ndarray) -> np.ndarray:
    return transform_points(corners(np.array(LOWER) - 0.5, np.array(UPPER) - 0.5), frame)


def _write_npy(folder: Path) -> tuple[Path, np.ndarray]:
    np.save(folder / "box.npy", BOX.astype(bool))
    return folder / "box.npy", _cube_corners()


def _write_npz(folder: Path) -> tuple[Path, np.ndarray]:
    np.savez_compressed(folder / "box.npz", name=np.array("box"), voxels=BOX[None, ..., None].astype(np.float32))
    return folder / "box.npz", _cube_corners()


def _cube_corners() -> np.ndarray:
    """The longest axis (40) fills [-0.5, 0.5]; the others are centred."""
    return (corners(LOWER, UPPER) - np.array(SHAPE) / 2) / 40


def _write_binvox(folder: Path) -> tuple[Path, np.ndarray]:
    write_binvox(folder / "box.binvox", BOX, translate=(5.0, -2.0, 1.0), scale=80.0)
    return folder / "box.binvox", corners(LOWER, UPPER) * 2.0 + [5.0, -2.0, 1.0]


def _write_nifti(folder: Path, affine: np.ndarray, suffix: str) -> tuple[Path, np.ndarray]:
    nibabel.save(nibabel.Nifti1Image(BOX, affine), folder / f"box{suffix}")
    return folder / f"box{suffix}", _corners_in(affine)


def _write_mat(folder: Path) -> tuple[Path, np.ndarray]:
    """In HSP's own axes (x, y, z) are (k, j, i) with i turned round."""
    write_hsp(folder / "box.mat", *hsp_blocks(box((256, 256, 256), (16, 32, 128), (96, 48, 176))))
    return folder / "box.mat", corners((128, 32, 256 - 96), (176, 48, 256 - 16)) / 256 - 0.5


FILES = {
    "npy": _write_npy,
    "npz": _write_npz,
    "binvox": _write_binvox,
    "mat": _write_mat,
    "oblique, flipped and anisotropic nii.gz": lambda folder: _write_nifti(folder, OBLIQUE, ".nii.gz"),
    "flipped nii": lambda folder: _write_nifti(folder, np.diag([-2.0, 1.0, -0.5, 1]), ".nii"),
}


@pytest.mark.parametrize("by", ["longest_edge", "diagonal", "none"])
@pytest.mark.parametrize("name", FILES)
def test_a_box_comes_back_to_where_the_file_had_it(tmp_path, name, by):
    path, expected = FILES[name](tmp_path)
    cube, to_world = to_cube(read_voxels(path), 128, by=by, length=0.9)
    assert cube.shape == (128, 128, 128) and cube.dtype == np.uint8 and cube.flags.c_contiguous
    found = transform_points((occupied_corners(cube) + 0.5) / 128 - 0.5, to_world)
    voxel = np.linalg.norm(to_world[:3, :3], axis=0).max() / 128
    distance = np.linalg.norm(found[:, None] - expected[None], axis=2)
    assert sorted(distance.argmin(axis=1)) == list(range(8)), "each corner has its own nearest one"
    assert distance.min(axis=1).max() < np.sqrt(3) * voxel


@pytest.mark.parametrize(("by", "length"), [("longest_edge", 0.75), ("diagonal", 1.0)])
def test_anisotropic_spacing_is_measured_in_world_units(by, length):
    """Sides of 11 x 3 x 7 voxels of 1 x 1 x 4 mm: 11, 3 and 28 mm."""
    grid = VoxelGrid(BOX, np.diag([1.0, 1.0, 4.0, 1.0]))
    cube, to_world = to_cube(grid, 256, by=by, length=length)
    found = np.ptp(np.argwhere(cube), axis=0) + 1
    sides = np.array([11, 3, 28])
    size = 28 if by == "longest_edge" else np.linalg.norm(sides)
    np.testing.assert_allclose(found, sides / size * length * 256, atol=1)
    np.testing.assert_allclose(to_world[:3, :3], np.eye(3) * size / length)
    np.testing.assert_allclose(to_world[:3, 3], [8, 10, 4 * 23], err_msg="the middle of the box is the cube's")


def test_64_repeats_each_voxel_and_256_passes_bit_for_bit():
    noise = (np.random.default_rng(0).random((64, 64, 64)) < 0.1).astype(np.uint8)
    frame = np.diag([1 / 64, 1 / 64, 1 / 64, 1.0])
    frame[:3, 3] = 0.5 / 64 - 0.5
    fine, to_world = to_cube(VoxelGrid(noise, frame), 256, by="none", length=1.0)
    np.testing.assert_array_equal(fine, noise.repeat(4, 0).repeat(4, 1).repeat(4, 2))
    np.testing.assert_array_equal(to_world, np.eye(4))
    frame = np.diag([1 / 256, 1 / 256, 1 / 256, 1.0])
    frame[:3, 3] = 0.5 / 256 - 0.5
    same, to_world = to_cube(VoxelGrid(fine, frame), 256, by="none", length=1.0)
    np.testing.assert_array_equal(same, fine)
    np.testing.assert_array_equal(to_world, np.eye(4))


@pytest.mark.parametrize("size", [63, 64, 65, 100, 128, 130, 333])
def test_a_plate_one_voxel_thick_never_vanishes(size):
    """Every occupied voxel leaves a trace at its place, whether voxels of the cube are smaller or larger."""
    for place in (0, size // 3, size - 1):
        plate = box((size, 7, 5), (place, 0, 0), (place + 1, 7, 5))
        cube, to_world = to_cube(VoxelGrid(plate, np.eye(4)), 64, by="none", length=1.0)
        centre = transform_points((np.argwhere(cube) + 0.5) / 64 - 0.5, to_world)[:, 0]
        assert len(centre) and np.abs(centre - place).max() <= 0.5 + size / 128


def test_shrinking_by_a_whole_factor_is_max_pooling():
    noise = (np.random.default_rng(0).random((96, 96, 96)) < 0.02).astype(np.uint8)
    cube, _ = to_cube(VoxelGrid(noise, np.eye(4)), 32, by="none", length=1.0)
    np.testing.assert_array_equal(cube, noise.reshape(32, 3, 32, 3, 32, 3).max(axis=(1, 3, 5)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64, ">i2", ">f4"])
def test_any_real_dtype_and_memory_order_is_read(tmp_path, dtype):
    np.save(tmp_path / "box.npy", np.asfortranarray(BOX.astype(dtype)))
    grid = read_voxels(tmp_path / "box.npy")
    np.testing.assert_array_equal(grid.occupancy, BOX)
    assert grid.occupancy.dtype == np.uint8 and grid.occupancy.flags.c_contiguous


def test_threshold_decides_over_values_that_are_not_0_or_1(tmp_path):
    values = np.random.default_rng(0).random(SHAPE)
    np.save(tmp_path / "field.npy", values)
    np.testing.assert_array_equal(
        read_voxels(tmp_path / "field.npy", GridConfig(threshold=0.8)).occupancy, values > 0.8
    )
    np.save(tmp_path / "labels.npy", BOX.astype(int) * 7 - 3)
    np.testing.assert_array_equal(read_voxels(tmp_path / "labels.npy", GridConfig(threshold=3.5)).occupancy, BOX)


def test_key_chooses_between_arrays_of_an_npz(tmp_path):
    np.savez(tmp_path / "two.npz", a=1 - BOX, b=BOX, c=np.zeros(3))
    np.testing.assert_array_equal(read_voxels(tmp_path / "two.npz", GridConfig(voxel_key="b")).occupancy, BOX)
    with pytest.raises(ValueError, match=r"two\.npz: expected one 3D array, got 2.*a \(40, 24, 31\), b"):
        read_voxels(tmp_path / "two.npz")
    with pytest.raises(ValueError, match=r"no array is called 'voxels'; the file holds a"):
        read_voxels(tmp_path / "two.npz", GridConfig(voxel_key="voxels"))
    with pytest.raises(ValueError, match=r"two\.npz\[c\.npy\]: expected one 3D grid"):
        read_voxels(tmp_path / "two.npz", GridConfig(voxel_key="c"))


def test_suffixes_are_known_whatever_their_case(tmp_path):
    assert voxel_suffix("a/b.NII.GZ") == ".nii.gz" and voxel_suffix("x.y.Npy") == ".npy"
    assert voxel_suffix("a.gz") == ".gz" and ".gz" not in VOXEL_SUFFIXES
    np.save(tmp_path / "BOX.npy", BOX)
    (tmp_path / "BOX.npy").rename(tmp_path / "BOX.NPY")
    np.testing.assert_array_equal(read_voxels(tmp_path / "BOX.NPY").occupancy, BOX)


def _nan() -> np.ndarray:
    return np.where(BOX, np.nan, 0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(SHAPE), "threshold 0.5"),
        (np.full(SHAPE, 0.4), "0.4 to 0.4"),
        (_nan(), "231 NaN"),
        (np.ones((4, 4)), r"3D .*\(4, 4\)"),
        (np.ones((2, 4, 4, 4)), r"\(2, 4, 4, 4\)"),
        (np.ones((0, 4, 4)), "voxels along every axis"),
        (np.ones((4, 4, 4), dtype=complex), "complex128"),
        (np.full((4, 4, 4), "x"), "expected booleans, integers or real numbers"),
        (np.full((4, 4, 4), None), "object"),
        (np.zeros((4, 4, 4), dtype=[("a", "u1")]), "expected booleans, integers or real numbers"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_cannot_be_meant_are_refused_by_name(tmp_path, values, message, suffix):
    path = tmp_path / f"bad{suffix}"
    if suffix == ".npy":
        np.save(path, values, allow_pickle=True)
    else:
        np.savez(path, voxels=values, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"bad\{suffix}.*" + message):
        read_voxels(path, GridConfig(voxel_key=None if suffix == ".npy" else "voxels"))


def _npy_header(shape: tuple[int, ...], data: bytes = b"\x01") -> bytes:
    handle = io.BytesIO()
    np.lib.format.write_array_header_1_0(handle, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    return handle.getvalue() + data


@pytest.mark.parametrize(
    ("shape", "message"), [((1024, 1024, 1024), "declares .* bytes"), ((1025, 1024, 1024), "the limit is")]
)
def test_declared_sizes_are_checked_before_anything_is_allocated(tmp_path, shape, message):
    (tmp_path / "lie.npy").write_bytes(_npy_header(shape))
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("voxels.npy", _npy_header(shape))
    for name in ("lie.npy", "lie.npz"):
        with pytest.raises(ValueError, match=rf"{name}.*{message}"):
            read_voxels(tmp_path / name, GridConfig(voxel_key="voxels"))


@pytest.mark.parametrize("name", FILES)
def test_overwritten_bytes_never_end_in_anything_but_a_grid_or_a_clear_refusal(tmp_path, name):
    path, _ = FILES[name](tmp_path)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(25):
        broken = bytearray(content)
        for place in random.integers(0, min(len(broken), 600), size=random.integers(1, 8)):
            broken[place] = random.integers(256)
        path.write_bytes(broken[: random.integers(1, len(broken) + 1)])
        try:
            grid = read_voxels(path)
        except ValueError as error:
            assert path.name in str(error)
        else:
            assert grid.occupancy.ndim == 3 and grid.occupancy.any()


@pytest.mark.parametrize("suffix", sorted(VOXEL_SUFFIXES))
@pytest.mark.parametrize("content", [b"", b"not a voxel file\n" * 50], ids=["empty", "text"])
def test_files_of_another_kind_are_refused_by_name(tmp_path, suffix, content):
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\{suffix}"):
        read_voxels(tmp_path / f"bad{suffix}")


def test_missing_files_and_unknown_suffixes_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        read_voxels(tmp_path / "none.npy")
    (tmp_path / "shape.vox").write_bytes(b"VOX ")
    with pytest.raises(ValueError, match=r"shape\.vox:.*\(\.binvox, \.mat.*'\.vox'"):
        read_voxels(tmp_path / "shape.vox")


VOLUME = 4 / 3 * np.pi * 0.3 * 0.2 * 0.25
FIELDS = {
    "sdf": (ellipsoid(48), GridConfig(values="sdf")),
    "voxel units": (ellipsoid(48) * 48, GridConfig(values="sdf")),
    "inside above": (-ellipsoid(48), GridConfig(values="sdf", inside_sign="positive")),
    "tsdf": (np.clip(ellipsoid(48) / 0.05, -1, 1), GridConfig(values="tsdf")),
    "tsdf, unseen is infinite": (np.where(ellipsoid(48) > 0.1, np.inf, ellipsoid(48)), GridConfig(values="tsdf")),
    "tsdf from 0 to 1": (np.clip(ellipsoid(48) / 0.1 + 0.5, 0, 1), GridConfig(values="tsdf", iso_level=0.5)),
    "whole numbers": (np.rint(ellipsoid(48) * 2000).astype(np.int16), GridConfig(values="tsdf")),
}
TOLD_APART = [name for name in FIELDS if name != "tsdf from 0 to 1"]  # mostly 1: nobody can tell it from occupancy


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_signed_distances_are_the_shape_when_they_are_called_so(tmp_path, name, suffix):
    values, config = FIELDS[name]
    path = tmp_path / f"grid{suffix}"
    np.save(path, values) if suffix == ".npy" else np.savez_compressed(path, grid=values, loc=np.zeros(3))
    grid = read_voxels(path, config)
    clear = np.abs(ellipsoid(48)) > 1e-3  # where whole numbers and 32 bits decide nothing
    np.testing.assert_array_equal((grid.occupancy > 0)[clear], (ellipsoid(48) < 0)[clear])
    cube, to_world = to_cube(grid, 128, by="none", length=1.0)
    assert cube.mean() == pytest.approx(VOLUME, rel=5e-3)
    middle = (np.argwhere(cube).mean(axis=0) + 0.5) / 128 - 0.5
    np.testing.assert_allclose(middle, [0.02, -0.05, 0.03], atol=1e-3)
    np.testing.assert_array_equal(to_world, np.eye(4))


@pytest.mark.parametrize("name", TOLD_APART)
def test_signed_distances_are_no_occupancy(tmp_path, name):
    np.save(tmp_path / "grid.npy", FIELDS[name][0])
    with pytest.raises(ValueError, match=r"grid\.npy: values from .* no occupancy: .*--set values=sdf .*threshold="):
        read_voxels(tmp_path / "grid.npy")


@pytest.mark.parametrize("other", ["distances without a sign", "intensities", "a network's logits"])
def test_other_fields_are_no_occupancy(tmp_path, other):
    random = np.random.default_rng(0).normal(size=(16, 16, 16))
    fields = {"intensities": np.rint(random * 500).astype(np.int16), "a network's logits": random * 5}
    np.save(tmp_path / "grid.npy", fields.get(other, np.abs(ellipsoid(16))))
    with pytest.raises(ValueError, match=r"grid\.npy: values from .* are no occupancy"):
        read_voxels(tmp_path / "grid.npy")


def test_the_wrong_side_is_named(tmp_path):
    np.save(tmp_path / "grid.npy", ellipsoid(24))
    with pytest.raises(ValueError, match=r"the corners of the grid are above iso_level 0.*--set inside_sign=negative"):
        read_voxels(tmp_path / "grid.npy", GridConfig(values="sdf", inside_sign="positive"))
    with pytest.raises(ValueError, match=r"no voxel is below iso_level -3 .*--set inside_sign=positive"):
        read_voxels(tmp_path / "grid.npy", GridConfig(values="sdf", iso_level=-3))
    np.save(tmp_path / "solid.npy", (ellipsoid(24) < 0).astype(np.uint8))
    with pytest.raises(ValueError, match=r"no voxel is below iso_level 0 .*--set values=occupancy"):
        read_voxels(tmp_path / "solid.npy", GridConfig(values="sdf"))
    nibabel.save(nibabel.Nifti1Image(ellipsoid(24), np.eye(4)), tmp_path / "grid.nii")
    with pytest.raises(ValueError, match=r"grid\.nii: sdf is read from \.npy and \.npz"):
        read_voxels(tmp_path / "grid.nii", GridConfig(values="sdf"))


MASKS = ["bool", "uint8", "255", "labels", "float32", "float16", "noisy", "probabilities", "soft edges"]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(MASKS),
    sizes=st.tuples(*[st.integers(2, 9)] * 3),
)
def test_masks_of_every_kind_stay_occupancy(tmp_path_factory, seed, kind, sizes):
    """What is occupancy is never taken for a field: rounding, sure probabilities and labels are forgiven."""
    random = np.random.default_rng(seed)
    solid = random.random(sizes) < 0.4
    # Many values that are inside at all corners are refused by name (`test_other_fields_are_no_occupancy`).
    solid[0, 0, 0], solid[-1, -1, -1] = True, False
    soft = np.where(random.random(sizes) < 0.3, 0.5 + (solid - 0.5) * random.uniform(0.1, 0.9), solid)  # edges
    sure = np.where(solid, 1 - random.random(sizes) * 0.015, random.random(sizes) * 0.015)
    values = {
        "bool": solid,
        "uint8": solid.astype(np.uint8),
        "255": solid.astype(np.uint8) * 255,
        "labels": solid * random.integers(1, 30, sizes),
        "float32": solid.astype(np.float32),
        "float16": solid.astype(np.float16),
        "noisy": solid + random.normal(size=sizes) * 1e-6,
        "probabilities": sure,
        "soft edges": soft if (soft != solid).sum() * 2 < solid.size else solid,
    }[kind]
    path = tmp_path_factory.getbasetemp() / "mask.npy"
    np.save(path, values)
    np.testing.assert_array_equal(read_voxels(path).occupancy, solid)


@pytest.mark.parametrize("kind", ["share", "byte"])
def test_distances_stored_from_nought_to_one_are_no_occupancy(tmp_path, kind):
    """They are lowest inside: as occupancy they would be the shape turned inside out."""
    steps = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    distance = np.linalg.norm(steps, axis=0) - 0.6
    share = np.clip(distance / 0.2, -1, 1) / 2 + 0.5
    np.save(tmp_path / "tsdf.npy", share if kind == "share" else np.rint(share * 254 + 1).astype(np.uint8))
    with pytest.raises(ValueError, match=r"tsdf\.npy: .*--set values=tsdf iso_level=VALUE .*such as (0\.5|128)\)"):
        read_voxels(tmp_path / "tsdf.npy")
    with pytest.raises(ValueError, match=r"no voxel is below iso_level 0 .*--set iso_level=VALUE"):
        read_voxels(tmp_path / "tsdf.npy", GridConfig(values="tsdf"))
    grid = read_voxels(tmp_path / "tsdf.npy", GridConfig(values="tsdf", iso_level=0.5 if kind == "share" else 128))
    np.testing.assert_array_equal(grid.occupancy, distance < 0)
    full = np.ones((8, 8, 8), np.uint8)  # a cube that fills its grid is a shape
    np.save(tmp_path / "full.npy", full)
    assert read_voxels(tmp_path / "full.npy").occupancy.all()
