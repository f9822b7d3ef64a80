"""HSP blocks: the published assembly and flip, both kinds of .mat, and files that cannot be meant."""

import struct
import zlib

import numpy as np
import pytest
import scipy.io

from data_processing.formats.hsp_matlab import read_hsp
from tests.data_processing.voxel_files import box, hsp_blocks, write_hsp, write_hsp_hdf5
from tests.hostile import refusal

SIZE_OF_VARIABLE = 4152  # of 4,096 bytes with tags, flags, shape and name
STORED = box((256, 256, 256), (10, 40, 100), (30, 90, 203))  # in HSP's own axes


@pytest.fixture(scope="module")
def blocks_and_index():
    return hsp_blocks(STORED)


@pytest.mark.parametrize("write", [write_hsp, write_hsp_hdf5])
def test_box_lands_where_the_published_flip_puts_it(tmp_path, blocks_and_index, write):
    write(tmp_path / "shape.mat", *blocks_and_index)
    grid = read_hsp(tmp_path / "shape.mat")
    # flip(transpose(stored, (2, 1, 0)), 2): (i, j, k) holds stored[k', j, i] with k' = 255 - k.
    expected = box((256, 256, 256), (100, 40, 256 - 30), (203, 90, 256 - 10))
    np.testing.assert_array_equal(grid.occupancy, expected)
    assert grid.occupancy.flags.c_contiguous
    np.testing.assert_allclose(np.diag(grid.index_to_world), [1 / 256, 1 / 256, 1 / 256, 1])


def test_index_0_is_an_empty_block(tmp_path):
    index = np.zeros((16, 16, 16), dtype=np.uint8)
    index[3, 4, 5] = 1
    write_hsp(tmp_path / "one.mat", np.ones((1, 16, 16, 16), dtype=np.uint8), index)
    occupied = np.argwhere(read_hsp(tmp_path / "one.mat").occupancy)
    np.testing.assert_array_equal(occupied.min(axis=0), [80, 64, 256 - 64])
    np.testing.assert_array_equal(occupied.max(axis=0), [95, 79, 255 - 48])


def _full(count=2):
    return np.ones((count, 16, 16, 16), dtype=np.uint8)


def _index(value=1, dtype=np.float64):
    return np.full((16, 16, 16), value, dtype=dtype)


def _counted_from_0():
    index = _index(1)
    index[0] = 0
    return index


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"b": _full()}, "'b' and 'bi'"),
        ({"voxels": _full()}, r"\['voxels'\]"),
        ({"b": _full()[0], "bi": _index()}, "'b' of shape"),
        ({"b": _full(), "bi": np.ones((8, 8, 8))}, "'bi' of shape"),
        ({"b": _full(), "bi": _index(3)}, "1 to 2 .*'bi', .*3 to 3"),
        ({"b": _full(), "bi": _index(-1)}, "1 to 2"),
        ({"b": _full(), "bi": _index(1.5)}, "1 to 2"),
        ({"b": _full(), "bi": _index(np.nan)}, "1 to 2"),
        ({"b": _full(), "bi": _counted_from_0()}, "2 blocks from 0"),
        ({"b": _full() * 0, "bi": _index()}, "no voxel is above"),
        ({"b": np.concatenate([_full(1), _full(1) * 0]), "bi": _index(2)}, "no voxel is occupied"),
        ({"b": _full() * 1j, "bi": _index()}, "expected booleans, integers or real numbers"),
    ],
)
def test_wrong_content_is_refused_by_name(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "bad.mat", content)
    with pytest.raises(ValueError, match="bad.mat.*" + message):
        read_hsp(tmp_path / "bad.mat")


@pytest.mark.parametrize("write", [write_hsp, write_hsp_hdf5])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.95])
def test_cut_off_files_are_refused_by_name(tmp_path, blocks_and_index, write, part):
    path = tmp_path / "cut.mat"
    write(path, *blocks_and_index)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"cut\.mat"):
        read_hsp(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("number", [200, 0xFFFFFFFF])
def test_tags_that_are_none_are_refused_before_the_library_follows_them(tmp_path, packed, number):
    """Types that scipy would look up beyond its table, and lengths that it would ask memory for."""
    blocks, index = np.ones((1, 16, 16, 16), np.uint8), np.ones((16, 16, 16), np.uint8)
    folder = tmp_path / "inside"
    folder.mkdir()
    scipy.io.savemat(folder / "x.mat", {"b": blocks, "bi": index}, do_compression=False)
    whole, refused = (folder / "x.mat").read_bytes(), 0
    assert read_hsp(folder / "x.mat").occupancy.all()
    for place in range(128, 200, 4):  # the tags, flags, shape and name of the first variable
        content = whole[:place] + struct.pack("<I", number) + whole[place + 4 :]
        (folder / "x.mat").write_bytes(compressed(content) if packed else content)
        try:
            refused += bool(refusal(read_hsp, folder / "x.mat"))
        except AssertionError as error:
            assert "x.mat was read" in str(error), error  # flags that nobody looks at
    assert refused >= 12


def compressed(content: bytes) -> bytes:
    """A MATLAB 5 file with each variable packed."""
    parts, place = [content[:128]], 128
    while place < len(content):
        end = place + 8 + SIZE_OF_VARIABLE
        packed = zlib.compress(content[place:end])
        parts.append(struct.pack("<II", 15, len(packed)) + packed)
        place = end
    return b"".join(parts)
