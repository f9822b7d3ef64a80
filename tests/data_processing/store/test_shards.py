"""Shards: what goes in comes out, the same rows make the same bytes, and nothing unsound is read."""

import os
import time

import h5py
import numpy as np
import pytest

from data_processing.store.bits import pack_bits, unpack_array
from data_processing.store.shards import Layout, ShapeRecord, Shard, write_shard

LAYOUT = Layout()
SETTINGS = {"seed": 0, "normalisation": {"by": "longest_edge"}}


def random_row(seed):
    generator = np.random.default_rng(seed)
    fields = LAYOUT.fields().items()
    return {key: generator.integers(0, 255, shape, dtype=np.uint8).astype(dtype) for key, (shape, dtype) in fields}


def record(name, status="done"):
    return ShapeRecord(name, name.partition("/")[0], f"{name}.ply", 10, status, mixed_cells={16: 3})


@pytest.fixture
def shard_file(tmp_path):
    records = [record("chair/a"), record("chair/b", "failed"), record("table/c")]
    write_shard(tmp_path / "0.h5", [random_row(1), random_row(2)], records, layout=LAYOUT, settings=SETTINGS)
    return tmp_path / "0.h5"


def test_rows_and_records_come_back(shard_file):
    with Shard(shard_file, LAYOUT) as shard:
        shard.verify()
        assert shard.done_names == ["chair/a", "table/c"] and shard.settings == SETTINGS
        assert shard.records[1].status == "failed" and shard.records[0].mixed_cells == {16: 3}
        for number, seed in enumerate((1, 2)):
            for key, values in random_row(seed).items():
                np.testing.assert_array_equal(shard.row(number)[key], values)


def test_bits_are_packed_first_voxel_highest():
    voxels = np.zeros((2, 3, 4), np.uint8)
    voxels[0, 0, 0] = voxels[0, 2, 1] = voxels[1, 0, 3] = 1
    packed = pack_bits(voxels)
    assert packed.tolist() == [0b10000000, 0b01000001, 0]
    np.testing.assert_array_equal(unpack_array(packed, (2, 3, 4)), voxels)


def test_same_rows_make_the_same_bytes_later(shard_file, tmp_path):
    time.sleep(1.1)  # HDF5's own time stamps count seconds
    records = [record("chair/a"), record("chair/b", "failed"), record("table/c")]
    write_shard(tmp_path / "1.h5", [random_row(1), random_row(2)], records, layout=LAYOUT, settings=SETTINGS)
    assert (tmp_path / "1.h5").read_bytes() == shard_file.read_bytes()


def test_a_shard_of_failures_only(tmp_path):
    write_shard(tmp_path / "0.h5", [], [record("a/b", "failed")], layout=LAYOUT, settings={})
    with Shard(tmp_path / "0.h5", LAYOUT) as shard:
        shard.verify()
        assert shard.done_names == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_cut_files_are_refused(shard_file, share):
    data = shard_file.read_bytes()
    shard_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"0\.h5.*(cut|damaged|expected an HDF5 file)"):
        Shard(shard_file, LAYOUT)


def test_a_row_that_is_not_there_and_a_file_cut_while_open(shard_file):
    with Shard(shard_file, LAYOUT) as shard:
        for row in (-1, 2):
            with pytest.raises(ValueError, match=rf"0\.h5.*row {row} of 2"):
                shard.row(row)
        os.truncate(shard_file, shard_file.stat().st_size // 2)
        with pytest.raises(ValueError, match=r"0\.h5"):
            shard.row(1)


def test_a_changed_byte_is_found(shard_file):
    with h5py.File(shard_file, "r+") as file:
        file["points_32"][1, 7, 2] ^= 1
    with Shard(shard_file, LAYOUT) as shard, pytest.raises(ValueError, match="digest"):
        shard.verify()


def replaced(file, key, values, **options):
    with h5py.File(file, "r+") as opened:
        del opened[key]
        opened.create_dataset(key, data=values, **options)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 512), np.uint8), {}, r"\(2, 32768\), .*\(2, 512\)"),
        (np.zeros((2, 32768), np.int16), {}, "uint8, .*int16"),
        (np.zeros((2, 32768), np.uint8), {"compression": "gzip"}, "chunks"),
    ],
)
def test_other_shapes_types_and_storage_are_refused(shard_file, values, options, message):
    replaced(shard_file, "voxels", values, **options)
    with pytest.raises(ValueError, match=message):
        Shard(shard_file, LAYOUT)


def test_links_and_missing_keys_are_refused(shard_file, tmp_path):
    other = tmp_path / "secret.h5"
    other.write_bytes(shard_file.read_bytes())
    with h5py.File(shard_file, "r+") as file:
        del file["voxels"]
    with pytest.raises(ValueError, match=r"'voxels'.*header, points_16"):
        Shard(shard_file, LAYOUT)
    for link in (h5py.ExternalLink(str(other), "voxels"), h5py.SoftLink("/points_16")):
        with h5py.File(shard_file, "r+") as file:
            file.pop("voxels", None)
            file["voxels"] = link
        with pytest.raises(ValueError, match=r"voxels.* link"):
            Shard(shard_file, LAYOUT)
    with h5py.File(shard_file, "r+") as file:
        del file["voxels"]
        file.create_dataset("voxels", (2, 32768), np.uint8, external=[(str(tmp_path / "raw"), 0, 2 * 32768)])
    with pytest.raises(ValueError, match=r"voxels.*another file"):
        Shard(shard_file, LAYOUT)
