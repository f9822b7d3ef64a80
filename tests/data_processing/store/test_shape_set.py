"""Opening a data set: what was stored comes back, and an unfinished or damaged one says what to do."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from data_processing.store.bits import pack_bits
from data_processing.store.shape_set import DatasetIndex, OpenShards, ShardEntry, StoredShapes, open_shapes
from data_processing.store.shards import SCHEMA, Layout, ShapeRecord, write_shard
from isofield.runtime.config import to_plain

LAYOUT = Layout()


def row_of(seed):
    generator = np.random.default_rng(seed)
    row = {"voxels": pack_bits(generator.integers(0, 2, (64, 64, 64), dtype=np.uint8))}
    for level, points in LAYOUT.level_points.items():
        row[f"points_{level}"] = generator.integers(0, 256, (points, 3), dtype=np.uint8)
        row[f"values_{level}"] = pack_bits(generator.integers(0, 2, points, dtype=np.uint8))
    return row | {"to_world": generator.normal(size=(4, 4))}


@pytest.fixture
def folder(tmp_path):
    """Five shapes in two shards; the third input failed."""
    names = ["chair/a", "chair/b", "chair/x", "table/a", "table/b", "table/c"]
    records = [
        ShapeRecord(name, name[:5], f"{name}.ply", 1, "failed" if name == "chair/x" else "done") for name in names
    ]
    path = tmp_path / "five"
    write_shard(path / "shards/00000.h5", [row_of(0), row_of(1)], records[:3], layout=LAYOUT, settings={})
    write_shard(path / "shards/00001.h5", [row_of(2), row_of(3), row_of(4)], records[3:], layout=LAYOUT, settings={})
    done = [record for record in records if record.status == "done"]
    (tmp_path / "raw/chair").mkdir(parents=True)
    (tmp_path / "raw/chair/b.ply").write_text("here")
    index = DatasetIndex(
        schema=SCHEMA,
        name="five",
        settings={"name": "five", "input": "raw"},
        input_folder=str(tmp_path / "raw"),
        layout=LAYOUT,
        shards=[ShardEntry("00000.h5", 2), ShardEntry("00001.h5", 3)],
        names=[record.name for record in done],
        categories=[record.category for record in done],
        sources=[record.source for record in done],
        methods=["scan", "winding", "scan", "scan", "shell-flood"],
        qualities=["ok", "ok", "suspect: agree on 12%", "ok", "ok"],
        licences=[""] * 5,
        splits={"train": [0, 2, 3], "test": [1, 4]},
    )
    write_index(path, index)
    return path


def write_index(path, index):
    (path / "dataset.json").write_text(json.dumps(to_plain(index)))


def test_every_row_comes_back_under_its_number(folder):
    shapes = open_shapes(folder)
    assert len(shapes) == 5 and shapes.names[4] == "table/c" and shapes.voxel_resolution == 64
    assert shapes.level_points == {16: 4096, 32: 4096, 64: 16384}
    for index in (4, 0, 3, 1, 2):
        row = row_of(index)
        packed = shapes.packed_row(index)
        assert set(packed) == set(row) - {"to_world"}
        for key, values in packed.items():
            np.testing.assert_array_equal(values, row[key])
        np.testing.assert_array_equal(shapes.to_world(index), row["to_world"])
        np.testing.assert_array_equal(pack_bits(shapes.voxels(index)), row["voxels"])
    assert set(shapes.packed_row(1, ["voxels", "points_32"])) == {"voxels", "points_32"}
    assert shapes.inside_method(4) == "shell-flood"
    assert shapes.indices("test").tolist() == [1, 4]


def test_sources_are_found_where_they_still_are(folder, tmp_path):
    shapes = open_shapes(folder)
    assert shapes.source(1) == tmp_path / "raw/chair/b.ply" and shapes.source(0) is None


def test_unknown_split_and_index(folder):
    shapes = open_shapes(folder)
    with pytest.raises(ValueError, match=r"'val'.*train \(3\), test \(2\)"):
        shapes.indices("val")
    for index in (5, -1):
        with pytest.raises(IndexError, match=r"\b5\b"):
            shapes.packed_row(index)


def test_an_open_set_can_be_copied(folder):
    shapes = open_shapes(folder)
    first = shapes.voxels(0)
    np.testing.assert_array_equal(copy.deepcopy(shapes).voxels(0), first)


def test_few_shards_stay_open(folder, monkeypatch):
    monkeypatch.setattr("data_processing.store.shape_set.MAX_OPEN_SHARDS", 1)
    shapes = StoredShapes(folder)
    for index in (0, 4, 1, 3, 0):
        np.testing.assert_array_equal(shapes.voxels(index), StoredShapes(folder).voxels(index))
    assert isinstance(shapes._shards, OpenShards) and len(shapes._shards._open) == 1


def test_a_cut_shard_is_named_and_the_others_still_read(folder):
    file = folder / "shards/00000.h5"
    file.write_bytes(file.read_bytes()[:-1000])
    shapes = open_shapes(folder)
    with pytest.raises(ValueError, match=r"00000\.h5"):
        shapes.packed_row(1)
    assert shapes.packed_row(2)["voxels"].any()


def test_a_shard_of_another_set_is_refused(folder):
    (folder / "shards/00000.h5").write_bytes((folder / "shards/00001.h5").read_bytes())
    with pytest.raises(ValueError, match=r"expected shape|is not 'chair/a'"):
        open_shapes(folder).packed_row(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["only/one"]}, "5 rows .*1 names"),
        ({"schema": 99}, "schema 1, .*99"),
        ({"shards": [ShardEntry("../../00000.h5", 2), ShardEntry("00001.h5", 3)]}, "00000.h5"),
        ({"splits": {"train": [0, 5]}}, r"0\.\.4"),
        ({"names": ["../a", "b", "c", "d", "e"]}, "../a"),
    ],
)
def test_an_index_that_does_not_hang_together_is_refused(folder, change, message):
    write_index(folder, replace(StoredShapes(folder).index, **change))
    with pytest.raises(ValueError, match=message):
        open_shapes(folder)


def test_a_cut_index_is_refused(folder):
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"dataset\.json"):
        open_shapes(folder)


def test_an_unfinished_set_says_how_far_it_is(folder):
    (folder / "dataset.json").unlink()
    (folder / "job.json").write_text(json.dumps({"names": ["n"] * 9, "command": "python -m data_processing X"}))
    with pytest.raises(ValueError, match=r"6 of 9 shapes.*python -m data_processing X"):
        open_shapes(folder)


def test_nothing_there_names_the_neighbours(folder):
    with pytest.raises(FileNotFoundError, match=r"fife.* five"):
        open_shapes(folder.with_name("fife"))
