"""A folder prepared: the same bytes whatever the workers and ranks; failures are listed; nothing is done twice."""

import csv
import json
import multiprocessing
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path, PosixPath

import numpy as np
import pytest

import data_processing.preparation.job
from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.preparation.config import DataConfig, NormalisationConfig, content_settings
from data_processing.preparation.job import PreparationJob, prepare_folder
from data_processing.preparation.report import Timings
from data_processing.preparation.sources import list_sources
from data_processing.preparation.workers import DIED
from data_processing.store.shape_set import StoredShapes, open_shapes
from data_processing.store.shards import Shard, write_shard
from data_processing.store.splits import SplitConfig, SplitLists, SplitRatios
from isofield.runtime.commandline import DONE, SOME_FAILED
from isofield.runtime.config import to_plain
from isofield.runtime.locks import hold_lock
from tests.conftest import ROOT
from tests.data_processing.box_folders import contents, write_boxes


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_boxes(tmp_path_factory.mktemp("raw"))


def config_for(raw, output, **options):
    return DataConfig(**({"name": "boxes", "input": raw, "output": output, "workers": 1, "shard_size": 2} | options))


@pytest.fixture(scope="module")
def reference(raw, tmp_path_factory):
    """Five boxes in three shards, prepared without disturbance."""
    output = tmp_path_factory.mktemp("reference") / "boxes"
    assert prepare_folder(config_for(raw, output)) == DONE
    return output


def same_as(reference, output):
    """Shards and reports are equal; the settings may name another output."""
    there, here = contents(reference), contents(output)
    assert there.keys() == here.keys()
    for name in there:
        if name != "dataset.json":
            assert there[name] == here[name], name
    there, here = (json.loads(data["dataset.json"]) for data in (there, here))
    there.pop("settings"), here.pop("settings")
    assert there == here


def report_rows(output):
    return {row["name"]: row for row in csv.DictReader((output / "report.csv").read_text().splitlines())}


def timed(output):
    return [row["name"] for row in csv.DictReader((output / "timings.csv").read_text().splitlines())]


def marks(output):
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in (output / "shards").iterdir()}


def test_a_prepared_folder_opens(reference, raw):
    shapes = open_shapes(reference)
    assert shapes.names == [f"chair/{i:02d}" for i in range(3)] + ["table/00", "table/01"]
    assert {split: shapes.indices(split).tolist() for split in shapes.splits} == {"train": [0, 1, 3], "test": [2, 4]}
    for index in range(5):
        packed, grid = shapes.packed_row(index), shapes.voxels(index)
        values = np.unpackbits(packed["values_64"])
        np.testing.assert_array_equal(grid[tuple((packed["points_64"] // 4).T)], values)
        centre = np.mean(read_mesh(raw / f"{shapes.names[index]}.ply").bounds(), axis=0)
        np.testing.assert_allclose(shapes.to_world(index)[:3, 3], centre)
        assert shapes.source(index) == raw / f"{shapes.names[index]}.ply" and shapes.inside_method(index) == "scan"
    assert sorted(p.name for p in reference.iterdir()) == [  # no lock stays
        "dataset.json",
        "job.json",
        "preparation.yaml",
        "report.csv",
        "report.json",
        "shards",
        "timings.csv",
    ]


def test_two_workers_make_the_same_bytes(reference, raw, tmp_path):
    assert prepare_folder(config_for(raw, tmp_path / "boxes", workers=2)) == DONE
    same_as(reference, tmp_path / "boxes")


def test_ranks_one_after_the_other_make_the_same_bytes(reference, raw, tmp_path):
    output = tmp_path / "boxes"
    assert prepare_folder(config_for(raw, output), rank=1, world=2) == DONE
    assert not (output / "dataset.json").exists()
    with pytest.raises(ValueError, match=r"\b2 of 5\b"):
        open_shapes(output)
    assert prepare_folder(config_for(raw, output), rank=0, world=2) == DONE
    same_as(reference, output)


def test_ranks_that_wait_leave_the_index_to_the_first(raw, tmp_path):
    """It has nothing to do, and all shards are there: the other rank's is an old one, with a shape that failed."""
    output, file = tmp_path / "boxes", tmp_path / "raw" / "table" / "01.ply"
    shutil.copytree(raw, tmp_path / "raw")
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    config = replace(config_for(tmp_path / "raw", output), shard_size=3)
    assert prepare_folder(config) == SOME_FAILED
    file.write_bytes(whole)

    def other() -> None:
        assert prepare_folder(config, rank=1, world=2, wait=lambda: None) == DONE
        assert not (output / "dataset.json").exists()

    assert prepare_folder(config, rank=0, world=2, wait=other) == DONE
    assert len(open_shapes(output).names) == 5 and not open_shapes(output).failed
    with pytest.raises(OSError, match=r"it vanished: .*00001\.h5"):
        prepare_folder(config, rank=0, world=2, wait=(output / "shards" / "00001.h5").unlink)


def test_running_again_does_nothing_and_damage_is_repaired(reference, raw, tmp_path, capsys):
    output = tmp_path / "boxes"
    prepare_folder(config_for(raw, output))
    before = marks(output)
    assert prepare_folder(config_for(raw, output)) == DONE
    assert marks(output) == before and len(timed(output)) == 5
    shard = output / "shards/00001.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert prepare_folder(config_for(raw, output)) == DONE
    assert "made again" in capsys.readouterr().out
    same_as(reference, output)
    assert [name for name, mark in marks(output).items() if mark != before[name]] == ["00001.h5"]
    assert timed(output)[5:] == ["chair/02", "table/00"]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert prepare_folder(config_for(raw, output)) == DONE
    same_as(reference, output)


def test_stopped_between_packing_and_tidying_up(raw, tmp_path):
    config = config_for(raw, tmp_path / "boxes")
    prepare_folder(config)
    before = marks(tmp_path / "boxes")
    job = PreparationJob(config, list_sources(raw).sources, content_settings(to_plain(config)))
    with Shard(job.shard_file(1)) as shard:
        write_shard(job.part_file(3), [shard.row(1)], [shard.records[1]], layout=job.layout, settings=job.settings)
    assert prepare_folder(config) == DONE
    assert marks(tmp_path / "boxes") == before and not job.part_file(3).exists() and len(timed(tmp_path / "boxes")) == 5


def test_a_file_that_changed_is_done_again(tmp_path):
    raw, output = write_boxes(tmp_path / "raw", chairs=2, tables=0), tmp_path / "boxes"
    prepare_folder(config_for(raw, output))
    same_size = (raw / "chair/00.ply").read_bytes()
    assert len(same_size) == (raw / "chair/01.ply").stat().st_size
    (raw / "chair/01.ply").write_bytes(same_size)
    (raw / "chair/00.ply").touch()  # newer, but the same
    assert prepare_folder(config_for(raw, output)) == DONE
    assert timed(output) == ["chair/00", "chair/01", "chair/01"]


def test_failures_are_listed_and_the_others_done(tmp_path):
    raw, output = write_boxes(tmp_path / "raw", chairs=2, tables=1, bad=True), tmp_path / "boxes"
    config = config_for(raw, output, shard_size=3)
    assert prepare_folder(config) == SOME_FAILED
    rows, shapes = report_rows(output), open_shapes(output)
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {"chair/cut", "table/empty"}
    assert rows["chair/cut"]["reason"].startswith("chair/cut.ply: corrupt") and rows["chair/00"]["reason"] == ""
    assert shapes.names == ["chair/00", "chair/01", "table/00"]
    assert [(shape.name, shape.split) for shape in shapes.failed] == [("chair/cut", "test"), ("table/empty", "test")]
    assert {split: shapes.indices(split).tolist() for split in shapes.splits} == {"train": [0, 2], "test": [1]}
    assert prepare_folder(config) == SOME_FAILED
    assert len(timed(output)) == 5  # remembered
    (raw / "chair/cut.ply").write_bytes((raw / "chair/00.ply").read_bytes())
    assert prepare_folder(config) == SOME_FAILED  # the other one still
    assert open_shapes(output).names == ["chair/00", "chair/01", "chair/cut", "table/00"] and len(timed(output)) == 6
    assert prepare_folder(replace(config, retry_failed=True)) == SOME_FAILED
    assert timed(output)[6:] == ["table/empty"]


def test_all_failed_is_an_error_with_the_first_reason(tmp_path):
    raw, output = write_boxes(tmp_path / "raw", chairs=1, tables=1, bad=True), tmp_path / "boxes"
    for good in ("chair/00.ply", "table/00.ply"):
        (raw / good).unlink()
    with pytest.raises(ValueError, match=r"\b2 .*chair/cut\.ply: "):
        prepare_folder(config_for(raw, output))
    assert len(report_rows(output)) == 2
    with pytest.raises(ValueError, match=r"boxes .* 2 .*report\.csv"):
        open_shapes(output)


def test_a_damaged_list_of_the_job_is_an_error_with_a_way_out(reference, raw, tmp_path):
    """Nothing is made anew, and no shard of other settings thrown away, because nobody can read which they were."""
    output = tmp_path / "boxes"
    shutil.copytree(reference, output)
    before, job = marks(output), output / "job.json"
    job.write_bytes(job.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"job\.json:"):
        prepare_folder(config_for(raw, output))
    job.unlink()
    assert prepare_folder(config_for(raw, output)) == DONE and marks(output) == before


@pytest.mark.parametrize("names", [None, 7, [{}], ["x", ["y"]]])
def test_a_list_of_the_job_that_is_not_ours_is_an_error(raw, tmp_path, names):
    output = tmp_path / "boxes"
    output.mkdir()
    config = config_for(raw, output)
    job = PreparationJob(config, list_sources(raw).sources, content_settings(to_plain(config)))
    settings = {**job.settings, "input": str(raw.resolve()), "shard_size": config.shard_size, "schema": 1}
    (output / "job.json").write_text(json.dumps({"settings": settings, "names": names, "command": "x" * 10_000}))
    with pytest.raises(ValueError, match=r"raw.*boxes.*5 \(chair/00.*--set output="):
        prepare_folder(config)
    with pytest.raises(ValueError, match=r"\b0 of") as told:
        open_shapes(output)
    assert len(str(told.value)) < 4000


def test_timings_that_are_not_ours_are_gone_on_with(tmp_path):
    for content in (b"x" * 200_000, b"\xff\x00\n", b'"a\n', b""):
        (tmp_path / "timings.csv").write_bytes(content)
        with Timings(tmp_path, 0):
            pass


@pytest.mark.slow
def test_parts_that_vanish_are_one_clear_error(raw, tmp_path, monkeypatch):
    output = tmp_path / "boxes"

    def tidy_too_much(job, state):
        for file in (output / "parts").glob("*.h5"):
            file.unlink()
        return pack(job, state)

    with monkeypatch.context() as patch, pytest.raises(OSError, match=str(tmp_path / "boxes")):
        pack = data_processing.preparation.job._pack
        patch.setattr("data_processing.preparation.job._pack", tidy_too_much)
        prepare_folder(config_for(raw, output))
    assert prepare_folder(config_for(raw, output)) == DONE


def test_other_settings_or_shapes_are_refused(reference, raw, tmp_path):
    before = contents(reference)
    with pytest.raises(ValueError, match=r"normalisation\.length: 0\.9 .*0\.8.*seed: 0 .*\b1\b"):
        prepare_folder(config_for(raw, reference, normalisation=NormalisationConfig("longest_edge", 0.8), seed=1))
    with pytest.raises(ValueError, match=r"\b0 .*\b2 \(table/00, table/01\)"):
        prepare_folder(config_for(raw, reference, categories=("chair",)))
    assert contents(reference) == before


def test_one_object_in_two_forms_is_made_once_the_layout_says_that_these_are_shapes(tmp_path):
    """The same command again, with the setting that the reason names; and the other way round."""
    raw, output = write_boxes(tmp_path / "raw"), tmp_path / "boxes"
    shutil.copy(raw / "chair/00.ply", raw / "chair/00_raw.ply")
    for layout, failed in (
        ("auto", {"chair/00", "chair/00_raw"}),
        ("folders", set()),
        ("auto", {"chair/00", "chair/00_raw"}),
    ):
        status = prepare_folder(config_for(raw, output, layout=layout))
        rows = report_rows(output)
        assert {name for name, row in rows.items() if row["status"] == "failed"} == failed
        assert status == (SOME_FAILED if failed else DONE) and not set(StoredShapes(output).names) & failed
        made = marks(output), timed(output)
        prepare_folder(config_for(raw, output, layout=layout, retry_failed=True))
        assert (marks(output), timed(output)) == made


def test_splits_may_change_without_making_shapes_again(raw, tmp_path):
    output = tmp_path / "boxes"
    prepare_folder(config_for(raw, output))
    before = marks(output)
    (tmp_path / "train.txt").write_text("table/00\nchair/00\n")
    splits = SplitConfig(rule="lists", lists=SplitLists(train=tmp_path / "train.txt"))
    assert prepare_folder(config_for(raw, output, splits=splits)) == DONE
    assert open_shapes(output).indices("train").tolist() == [0, 3] and marks(output) == before


TABLE = "file,licence,author\nchair/01.ply,CC0-1.0,Someone\n"


@pytest.mark.parametrize(
    "text", [TABLE, "\ufeff" + TABLE.replace(",", ";"), TABLE.replace("/", "\\").replace("file", " File")]
)
def test_licences_go_with_the_shapes(raw, tmp_path, capsys, text):
    (tmp_path / "credits.csv").write_text(text, encoding="utf-8")
    prepare_folder(config_for(raw, tmp_path / "boxes", licences=tmp_path / "credits.csv"))
    assert StoredShapes(tmp_path / "boxes").index.licences == ["", "CC0-1.0", "", "", ""]
    assert report_rows(tmp_path / "boxes")["chair/01"]["author"] == "Someone"
    assert re.search(r"4 of 5 .*credits\.csv.*'chair/00\.ply'", capsys.readouterr().out)
    (tmp_path / "credits.csv").write_text("file,license\n")
    with pytest.raises(ValueError, match=r"licences: .*credits\.csv .*file,licence,author"):
        prepare_folder(config_for(raw, tmp_path / "other", licences=tmp_path / "credits.csv"))


def test_two_preparations_at_once_are_refused(raw, tmp_path):
    (tmp_path / "boxes").mkdir()
    with (
        hold_lock(tmp_path / "boxes/.lock-0", what="test"),
        pytest.raises(ValueError, match=r"boxes: .*preparation"),
    ):
        prepare_folder(config_for(raw, tmp_path / "boxes"))


class Deadly(PosixPath):
    """An input folder where reading some files ends the worker process, as a crash inside a library would."""

    def __truediv__(self, key):
        file = super().__truediv__(key)
        if multiprocessing.parent_process() is not None:
            flag = Path(f"{file}.crashed")
            if "always" in str(key) or ("once" in str(key) and not flag.exists()):
                flag.touch()
                os._exit(11)
        return Path(file)


@pytest.mark.parametrize(("name", "status"), [("once", DONE), ("always", SOME_FAILED)])
def test_a_worker_that_dies_costs_one_shape_not_the_job(tmp_path, name, status):
    raw = write_boxes(tmp_path / "raw", chairs=3, tables=0)
    (raw / f"chair/{name}.ply").write_bytes((raw / "chair/00.ply").read_bytes())
    assert prepare_folder(config_for(Deadly(raw), tmp_path / "boxes", workers=2)) == status
    assert (raw / f"chair/{name}.ply.crashed").exists()
    reasons = {row["name"]: row["reason"] for row in report_rows(tmp_path / "boxes").values()}
    assert [shape for shape, reason in reasons.items() if DIED in reason] == ([f"chair/{name}"] if status else [])


def test_no_content_is_in_two_splits_whatever_its_names_and_formats(tmp_path, capsys):
    """A copy in test, as another file of another format and place in space, takes the shape out of train."""
    raw, output = write_boxes(tmp_path / "raw", chairs=3, tables=1), tmp_path / "boxes"
    mesh = read_mesh(raw / "chair/00.ply")
    (raw / "chair/01.ply").rename(raw / "chair/03.ply")
    (raw / "chair/02.ply").rename(raw / "chair/01.ply")
    write_mesh(raw / "chair/09.obj", mesh.transform(np.diag([2.0, 2.0, 2.0, 1.0])))
    write_mesh(raw / "chair/10.stl", mesh)
    assert prepare_folder(config_for(raw, output)) == DONE
    rows, shapes = report_rows(output), open_shapes(output)
    assert rows["chair/00"]["copy_of"] == "chair/10" and rows["chair/00"]["split"] == ""
    splits = {split: [shapes.names[i] for i in shapes.indices(split)] for split in shapes.splits}
    contents = {split: {shapes.voxels(i).tobytes() for i in shapes.indices(split)} for split in splits}
    assert not contents["train"] & contents["test"]
    assert "chair/10" in splits["test"] and "chair/00" not in splits["train"]
    told = capsys.readouterr().out
    assert (
        "2 shapes are in no split: another split has the same content" in told
        and "copy: chair/00 is chair/10 of test" in told
    )


def test_a_data_set_without_a_test_split_says_so(tmp_path, capsys):
    raw = write_boxes(tmp_path / "raw", chairs=1, tables=1)
    assert prepare_folder(config_for(raw, tmp_path / "boxes")) == DONE
    assert "no test split: each category has one shape" in capsys.readouterr().out


def test_where_nothing_trains_it_says_how_to_divide_and_keeps_what_is_made(tmp_path, capsys):
    raw, output = write_boxes(tmp_path / "raw", chairs=2), tmp_path / "boxes"
    shares = {"train": 0, "val": 0.5, "test": 0.5}
    assert prepare_folder(config_for(raw, output, splits=SplitConfig("ratios", SplitRatios(**shares)))) == DONE
    told = capsys.readouterr().out.splitlines()[-1]
    assert "no shape is in the split train" in told and "isofield train" not in told
    words = re.search(r"--set ([^;]*);", told)[1].split()
    changed = {key: value for key, _, value in (word.partition("=") for word in words)}
    assert sorted(changed) == [f"splits.ratios.{split}" for split in ("test", "train", "val")]
    shards = {file: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}
    ratios = {key.rpartition(".")[2]: float(value) for key, value in changed.items()}
    assert prepare_folder(config_for(raw, output, splits=SplitConfig("ratios", SplitRatios(**ratios)))) == DONE
    assert "next: isofield train" in capsys.readouterr().out
    assert shards and shards == {file: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}


def test_the_first_ten_that_failed_are_named(tmp_path, capsys):
    raw = write_boxes(tmp_path / "raw", chairs=1, tables=0)
    for number in range(12):
        (raw / f"chair/bad{number:02}.ply").write_bytes(b"ply")
    assert prepare_folder(config_for(raw, tmp_path / "boxes", shard_size=16)) == SOME_FAILED
    told = capsys.readouterr().out
    assert told.count("failed: chair/bad") == 10 and "... and 2 more, see" in told


def test_shapenet_as_it_is_unpacked_is_one_shape_for_each_object(tmp_path, capsys):
    output = tmp_path / "case"
    assert prepare_folder(config_for(ROOT / "tests/data/strangers/shapenet_v2_folders/input", output)) == DONE
    shapes = open_shapes(output)
    assert len(shapes) == 6 and set(shapes.categories) == {"02691156"} and shapes.names[0] == "02691156/1a04e3ea"
    assert {split: len(shapes.indices(split)) for split in shapes.splits} == {"train": 4, "test": 2}
    contents = [{shapes.voxels(i).tobytes() for i in shapes.indices(split)} for split in ("train", "test")]
    assert not contents[0] & contents[1]
    assert "6 objects have several files: model_normalized.obj taken" in capsys.readouterr().out
