"""Jobs with other contents: the same bytes whatever the workers; older sets stay; labelled scans; partial shapes."""

import hashlib
import json

import h5py
import nibabel
import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.medical.structures import LabelConfig, StructureConfig
from data_processing.occupancy.inside_outside import inside_points
from data_processing.preparation.config import DataConfig, NormalisationConfig, content_settings
from data_processing.preparation.contents import BoundaryConfig, Contents, SurfaceConfig
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.shape import prepare_shape
from data_processing.preparation.sources import list_sources
from data_processing.store.shape_set import open_shapes
from data_processing.store.shards import Layout, Shard
from data_processing.store.splits import SplitConfig, SplitRatios
from isofield.runtime.commandline import DONE, SOME_FAILED
from isofield.runtime.config import to_plain
from tests.data_processing.box_folders import contents, write_boxes

IFNET = Contents(
    voxels=0,
    levels=False,
    grids=(32, 64),
    boundary=BoundaryConfig(points=800),
    surface=SurfaceConfig(points=256, views=8),
)
# Rows and settings of five boxes as the first version of the project made them.
ROWS_THEN = "72469460fa597981db52d97166c45091"
SETTINGS_THEN = {
    "kind": "auto",
    "normalisation": {"by": "longest_edge", "length": 0.9},
    "carve": False,
    "threshold": 0.5,
    "voxel_key": None,
    "resolution": 256,
    "seed": 0,
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_boxes(tmp_path_factory.mktemp("raw"))


def config_for(raw, output, **options):
    return DataConfig(**({"name": "boxes", "input": raw, "output": output, "workers": 1, "shard_size": 2} | options))


def test_rows_of_the_default_contents_are_what_they_always_were(raw):
    state = hashlib.blake2b(digest_size=16)
    for source in list_sources(raw).sources:
        row, _ = prepare_shape(source, config_for(raw, None))
        for key in sorted(row):
            state.update(key.encode() + row[key].tobytes())
    assert state.hexdigest() == ROWS_THEN
    settings = content_settings(to_plain(config_for(raw, None)))
    assert {key: value for key, value in settings.items() if key != "inside"} == SETTINGS_THEN


def test_contents_for_ifnet_are_the_same_bytes_whatever_the_workers(tmp_path):
    raw = write_boxes(tmp_path / "raw", chairs=2, tables=1)
    for workers in (1, 2):
        assert prepare_folder(config_for(raw, tmp_path / str(workers), workers=workers, contents=IFNET)) == DONE
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert all(one[name] == two[name] for name in one if name != "dataset.json")
    shapes = open_shapes(tmp_path / "1")
    assert shapes.layout == IFNET.layout() and shapes.voxel_resolution == 0 and shapes.level_points == {}
    mesh = read_mesh(raw / "chair/00.ply").transform(np.linalg.inv(shapes.to_world(0)))
    row = shapes.packed_row(0)
    assert list(row) == [
        "grid_32",
        "grid_64",
        "boundary_points",
        "boundary_values",
        "surface_points",
        "surface_visible",
    ]
    points = (row["boundary_points"] + 0.5) / 32768
    np.testing.assert_array_equal(np.unpackbits(row["boundary_values"]).astype(bool), inside_points(mesh, points))
    with pytest.raises(ValueError, match=r"grid_32.*contents:"):
        shapes.voxels(0)
    other = Contents(**{**vars(IFNET), "boundary": BoundaryConfig(points=80)})
    with pytest.raises(ValueError, match=r"contents\.boundary\.points: 800 .*\b80\b"):
        prepare_folder(config_for(raw, tmp_path / "1", contents=other))


def test_a_data_set_of_the_first_version_opens_and_is_not_made_again(raw, tmp_path):
    """Layouts then had two keys, settings no contents: written back to that, everything is taken as finished."""
    output = tmp_path / "set"
    prepare_folder(config_for(raw, output))
    for file in (output / "shards").iterdir():
        _rewritten(file)
    index = json.loads((output / "dataset.json").read_text())
    index["layout"] = {key: index["layout"][key] for key in ("voxel_resolution", "level_points")}
    del index["settings"]["contents"], index["settings"]["labels"]
    (output / "dataset.json").write_text(json.dumps(index))
    before = {file.name: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}
    shapes = open_shapes(output)
    assert shapes.layout == Layout() and shapes.voxels(4).any()
    assert prepare_folder(config_for(raw, output)) == DONE
    assert before == {file.name: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}
    assert len((output / "timings.csv").read_text().splitlines()) == 6


def _rewritten(file):
    with h5py.File(file, "r+") as shard:
        header = json.loads(shard["header"][:].tobytes())
        header["layout"] = {key: header["layout"][key] for key in ("voxel_resolution", "level_points")}
        assert "contents" not in header["settings"] and "labels" not in header["settings"]
        del shard["header"]
        shard.create_dataset("header", data=np.frombuffer(json.dumps(header).encode(), np.uint8), track_times=False)
    with Shard(file) as shard:
        shard.verify()


def write_scans(folder):
    """Three patients with two boxes under label 3; of the second the left one reaches the end of the scan."""
    folder.mkdir()
    affine = np.diag([-1.5, 1.5, 3.0, 1.0])  # x runs to the left
    for number in range(3):
        labels = np.zeros((40, 30, 20), np.int16)
        labels[3:12, 5 + number : 15, 4:12] = 3
        labels[25 : 40 if number == 1 else 36, 6:15, 5:14] = 3
        labels[18, 18, 18] = 7
        nibabel.save(nibabel.Nifti1Image(labels, affine), folder / f"sub-{number}_dseg.nii.gz")
    (folder / "sub-3_dseg.nii.gz").write_bytes(b"no scan")
    return folder


def scans_config(folder, output, **options):
    labels = {"structures": (StructureConfig("kidney", (3,), components=2, mirror="right"),)} | options
    return DataConfig(
        name="kidneys",
        input=folder,
        output=output,
        kind="labels",
        labels=LabelConfig(**labels),
        normalisation=NormalisationConfig("fixed", 60.0),
        contents=Contents(voxels=0, levels=False, grids=(64,), boundary=BoundaryConfig(points=800)),
        splits=SplitConfig(rule="ratios", ratios=SplitRatios(0.5, 0.0, 0.5), subject="bids"),
        workers=1,
    )


def test_parts_of_labelled_scans_become_shapes(tmp_path):
    output = tmp_path / "kidneys"
    assert prepare_folder(scans_config(write_scans(tmp_path / "scans"), output)) == SOME_FAILED
    shapes = open_shapes(output)
    assert [shape.name for shape in shapes.failed] == [f"kidney/sub-3_dseg-{side}" for side in ("left", "right")]
    assert shapes.names == [f"kidney/sub-{n}_dseg-{side}" for n in range(3) for side in ("left", "right")]
    assert [shapes.names[i] for i in shapes.indices("partial")] == ["kidney/sub-1_dseg-left"]
    subjects = {split: {shapes.names[i][:12] for i in shapes.indices(split)} for split in ("train", "test")}
    assert not subjects["train"] & subjects["test"] and len(set.union(*subjects.values())) == 3
    for index, name in enumerate(shapes.names):
        matrix = shapes.to_world(index)
        mirrored = name.endswith("right")
        np.testing.assert_allclose(np.diag(matrix)[:3], [-60 if mirrored else 60, 60, 60])
        volume = np.unpackbits(shapes.packed_row(index)["grid_64"]).mean() * 60**3
        number, right = int(name[11]), mirrored
        sides = (9, 10 - number, 8) if right else (15 if number == 1 else 11, 9, 9)
        assert abs(volume / (np.prod(sides) * 1.5 * 1.5 * 3) - 1) < 0.08
    assert json.loads((output / "report.json").read_text())["counts"]["partial"] == 1


def test_partial_shapes_are_kept_in_their_splits_on_request(tmp_path):
    raw, output = write_scans(tmp_path / "scans"), tmp_path / "kidneys"
    prepare_folder(scans_config(raw, output))
    before = {file.name: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}
    assert prepare_folder(scans_config(raw, output, keep_partial=True)) == SOME_FAILED
    assert set(open_shapes(output).splits) == {"train", "test"}
    assert before == {file.name: file.stat().st_mtime_ns for file in (output / "shards").iterdir()}


def test_every_file_of_a_merged_organ_is_watched(tmp_path):
    folder = tmp_path / "scans/one"
    folder.mkdir(parents=True)
    for organ, low in (("lobe_a", 3), ("lobe_b", 12)):
        mask = np.zeros((30, 20, 20), np.uint8)
        mask[low : low + 9, 5:15, 4:12] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{organ}.nii.gz")
    structures = (StructureConfig("lung", ("lobe_a", "lobe_b")),)
    config = scans_config(tmp_path / "scans", tmp_path / "set", structures=structures, files="organ")
    config = DataConfig(**{**vars(config), "splits": SplitConfig()})
    assert prepare_folder(config) == DONE
    volume = np.unpackbits(open_shapes(tmp_path / "set").packed_row(0)["grid_64"]).mean()
    mask = np.zeros((30, 20, 20), np.uint8)
    mask[12:17, 5:15, 4:12] = 1
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "lobe_b.nii.gz")
    assert prepare_folder(config) == DONE
    changed = np.unpackbits(open_shapes(tmp_path / "set").packed_row(0)["grid_64"]).mean()
    assert changed < 0.9 * volume  # 14 of 18 mm


def test_a_structure_that_a_scan_does_not_have_is_absent_and_no_failure(tmp_path, capsys):
    folder, output = write_scans(tmp_path / "scans"), tmp_path / "kidneys"
    (folder / "sub-3_dseg.nii.gz").unlink()
    stones = np.zeros((40, 30, 20), np.int16)
    stones[5:9, 5:9, 5:9] = 7
    nibabel.save(nibabel.Nifti1Image(stones, np.diag([-1.5, 1.5, 3.0, 1.0])), folder / "sub-4_dseg.nii.gz")
    structures = (StructureConfig("kidney", (3,), components=2), StructureConfig("spleen", (9,)))
    # A structure that one scan lacks is no failure; one that no scan has may be a misspelt label: it shows.
    assert prepare_folder(scans_config(folder, output, structures=structures)) == SOME_FAILED
    report = json.loads((output / "report.json").read_text())
    assert (report["counts"]["failed"], report["counts"]["absent"]) == (0, 2 + 4)
    absent = [row for row in report["shapes"] if row["status"] == "absent"]
    assert {row["name"] for row in absent if row["category"] == "kidney"} == {
        f"kidney/sub-4_dseg-{side}" for side in ("left", "right")
    }
    assert "no voxel has label 3" in absent[0]["reason"]
    assert open_shapes(output).failed == []
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"{output} is done, but no scan has spleen (misspelt labels? see above); ")
    assert "6 absent" in said and "in no scan: spleen" in said and "in no scan: kidney" not in said
    both = scans_config(folder, tmp_path / "both", structures=structures[:1])
    assert prepare_folder(both) == DONE and "no scan" not in capsys.readouterr().out
