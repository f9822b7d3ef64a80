"""Binvox: axis order, frame, and files that lie about their size."""

import numpy as np
import pytest

from data_processing.formats.binvox import read_binvox
from tests.data_processing.voxel_files import box, occupied_corners, write_binvox
from tests.golden import FOLDER

BOX = ((7, 9, 12), (1, 2, 5), (4, 4, 11))


def test_axes_come_out_as_x_y_z(tmp_path):
    grid = box(*BOX)
    write_binvox(tmp_path / "box.binvox", grid)
    read = read_binvox(tmp_path / "box.binvox").occupancy
    assert read.dtype == np.uint8 and read.flags.c_contiguous
    np.testing.assert_array_equal(read, grid)


def test_long_runs_and_noise_survive(tmp_path):
    grid = (np.random.default_rng(0).random((16, 17, 18)) < 0.5).astype(np.uint8)
    grid[:8] = 0  # runs beyond 255
    write_binvox(tmp_path / "noise.binvox", grid)
    np.testing.assert_array_equal(read_binvox(tmp_path / "noise.binvox").occupancy, grid)


def test_frame_is_translate_and_scale_over_the_longest_side(tmp_path):
    write_binvox(tmp_path / "box.binvox", box(*BOX), translate=(10.0, -3.0, 2.5), scale=6.0)
    grid = read_binvox(tmp_path / "box.binvox")
    world = occupied_corners(grid.occupancy) @ grid.index_to_world[:3, :3].T + grid.index_to_world[:3, 3]
    # A voxel is 6 / 12 = 0.5 wide; the grid's corner lies at `translate`.
    np.testing.assert_allclose(world.min(axis=0), [10 + 0.5, -3 + 1.0, 2.5 + 2.5])
    np.testing.assert_allclose(world.max(axis=0), [10 + 2.0, -3 + 2.0, 2.5 + 5.5])


def test_a_real_chair_stands_as_in_the_golden_voxels():
    packed = np.load(FOLDER / "imnet_toy_voxels64.npz")["voxels_packed"]
    solid = np.unpackbits(packed).reshape(64, 64, 64)
    chair = read_binvox(FOLDER / "chair_2.binvox").occupancy
    assert chair.sum() == 4329
    assert (solid >= chair).all(), "the golden chair is this one, made solid"
    assert not (solid >= chair.transpose(0, 2, 1)).all() and not (solid >= chair[::-1]).all()


def _header(dim="4 4 4", rest="translate 0 0 0\nscale 1\n", data=b"\x01\x40"):
    return f"#binvox 1\ndim {dim}\n{rest}data\n".encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'#binvox'"),
        (b"solid cube\n", "'#binvox'"),
        (b"#binvox 1\ndim 4 4 4\n", "'data'"),
        (_header(dim="4 4"), "'dim' .*3 "),
        (_header(dim="4 x 4"), "'dim' .*3 "),
        (_header(dim="4 4.5 4"), "'dim' .*4.5"),
        (_header(dim="0 4 4"), r"\(0, 4, 4\)"),
        (_header(dim="-4 -4 4"), r"\(-4, -4, 4\)"),
        (_header(dim="99999 99999 99999"), r"\(99999, 99999, 99999\)"),
        (_header(dim="1024 1024 1024"), "1073741824 .*64"),
        (_header(data=b"\x01\x3f"), " 63"),
        (_header(data=b"\x01\x40\x01"), "odd number of bytes"),
        (_header(data=b"\x02\x40"), "value 2"),
        (_header(data=b"\x00\x40"), "no voxel is above"),
        (_header(rest="scale 0\n"), "scale"),
        (_header(rest="scale inf\n"), "'scale' .*1 "),
        (_header(rest="translate 1 2\n"), "'translate' .*3 "),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "bad.binvox"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.binvox.*" + message):
        read_binvox(path)
