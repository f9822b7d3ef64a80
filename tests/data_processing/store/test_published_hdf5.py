"""The published IM-NET files open as they are, and files that are not like them say why."""

import h5py
import numpy as np
import pytest

from data_processing.preparation.config import config_of
from data_processing.store.bits import unpack_array
from data_processing.store.shape_set import open_shapes
from tests.golden import FOLDER

LEVELS = {16: 4096, 32: 4096, 64: 16384}


def arrays(rows, seed):
    generator = np.random.default_rng(seed)
    data = {"voxels": generator.integers(0, 2, (rows, 64, 64, 64, 1), dtype=np.uint8)}
    for level, points in LEVELS.items():
        data[f"points_{level}"] = generator.integers(0, 256, (rows, points, 3), dtype=np.uint8)
        data[f"values_{level}"] = generator.integers(0, 2, (rows, points, 1), dtype=np.uint8)
    return data


def write(path, data, **options):
    with h5py.File(path, "w") as file:
        for key, values in data.items():
            file.create_dataset(key, data=values, **options)


@pytest.fixture
def pair(tmp_path):
    write(tmp_path / "all_train.hdf5", arrays(5, 0), compression="gzip")  # as published: chunked over rows
    write(tmp_path / "all_test.hdf5", arrays(2, 1))
    (tmp_path / "all_train.txt").write_text("".join(f"0269{i // 3}/shape{i}\n" for i in range(5)))
    (tmp_path / "all_test.txt").write_text("02690/other\nplain\n")
    return tmp_path / "all"


def test_rows_are_those_of_the_files(pair):
    shapes = open_shapes(pair)
    assert len(shapes) == 7 and shapes.categories == ["02690"] * 3 + ["02691"] * 2 + ["02690", "all"]
    assert shapes.indices("train").tolist() == [0, 1, 2, 3, 4] and shapes.indices("test").tolist() == [5, 6]
    whole = {key: np.concatenate([values, arrays(2, 1)[key]]) for key, values in arrays(5, 0).items()}
    for index in (0, 6, 3, 4):
        packed = shapes.packed_row(index)
        np.testing.assert_array_equal(shapes.voxels(index), whole["voxels"][index, ..., 0])
        for level, points in LEVELS.items():
            np.testing.assert_array_equal(packed[f"points_{level}"], whole[f"points_{level}"][index])
            values = unpack_array(packed[f"values_{level}"], (points,))
            np.testing.assert_array_equal(values, whole[f"values_{level}"][index, :, 0])
    np.testing.assert_array_equal(shapes.to_world(6), np.eye(4))
    assert shapes.source(0) is None and shapes.inside_method(0) == "published"


def test_any_of_the_paths_opens_the_pair(pair):
    for path in (pair, pair.with_name("all_train.hdf5"), pair.with_name("all_test.hdf5"), pair.parent):
        assert len(open_shapes(path)) == 7


def test_lists_may_be_missing_but_not_wrong(pair):
    pair.with_name("all_train.txt").unlink()
    assert open_shapes(pair).names[:2] == ["train/000000", "train/000001"]
    pair.with_name("all_train.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"all_train\.txt: 1.*all_train\.hdf5.*5"):
        open_shapes(pair)
    pair.with_name("all_train.txt").write_text("02690/other\nb\nc\nd\ne\n")
    with pytest.raises(ValueError, match="'02690/other'"):
        open_shapes(pair)


def test_one_of_the_two_files_is_enough(pair):
    pair.with_name("all_test.hdf5").unlink()
    shapes = open_shapes(pair)
    assert len(shapes) == 5
    with pytest.raises(ValueError, match=r"'test'.*train \(5\)"):
        shapes.indices("test")


def test_a_file_cut_in_half(pair):
    file = pair.with_name("all_test.hdf5")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"all_test\.hdf5 .*cut off"):
        open_shapes(pair)


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("points_64", None, r"'points_64' .*points_16, points_32, values_16"),
        ("values_32", np.zeros((2, 4096, 1), np.float32), "'values_32': .*uint8, .*float32"),
        ("voxels", np.zeros((2, 32, 32, 32, 1), np.uint8), r"\(any, 64, 64, 64, 1\), .*\(2, 32"),
        ("values_16", np.zeros((3, 4096, 1), np.uint8), "different numbers of rows"),
    ],
)
def test_files_of_another_kind(pair, key, values, message):
    data = arrays(2, 1)
    del data[key]
    write(pair.with_name("all_test.hdf5"), data if values is None else data | {key: values})
    with pytest.raises(ValueError, match=message):
        open_shapes(pair)


@pytest.mark.parametrize("key", ["voxels", "values_16"])
def test_values_other_than_0_and_1(pair, key):
    data = arrays(2, 1)
    data[key].reshape(2, -1)[1, 77] = 255
    write(pair.with_name("all_test.hdf5"), data)
    shapes = open_shapes(pair)
    assert shapes.packed_row(5)["voxels"].any()
    with pytest.raises(ValueError, match=f"'{key}' .*row 1 .*255"):
        shapes.packed_row(6)


def test_damaged_chunks_are_an_error(pair):
    file = pair.with_name("all_train.hdf5")
    with h5py.File(file, "r") as opened:
        info = opened["voxels"].id.get_chunk_info(0)
    data = bytearray(file.read_bytes())
    data[info.byte_offset : info.byte_offset + info.size] = b"\xff" * info.size
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="'voxels'"):
        open_shapes(pair).packed_row(0)


def test_a_users_own_mesh_is_scaled_as_the_published_shapes_are(pair):
    """Their diagonal is 1: the real published chair measures a little more in voxels, which round up."""
    normalisation = config_of(open_shapes(pair).settings).normalisation
    assert (normalisation.by, normalisation.length) == ("diagonal", 1.0)
    packed = np.load(FOLDER / "imnet_gather_chair2.npz")["carved"]
    occupied = np.argwhere(np.unpackbits(packed).reshape(256, 256, 256))
    diagonal = np.linalg.norm((np.ptp(occupied, axis=0) + 1) / 256)
    assert 1.0 <= diagonal < 1.0 + 2 * np.sqrt(3) * 4 / 256  # pooled to 64^3 somewhere on its way
