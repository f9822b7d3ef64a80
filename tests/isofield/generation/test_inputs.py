"""Generation from what the network is shown: clouds, scans, inputs written beside the results, fitting."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.point_clouds import PointCloud, read_cloud, write_cloud
from data_processing.geometry.coordinates import transform_points
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import observe_shape
from data_processing.store.shape_set import open_shapes
from isofield import registry
from isofield.commands import generate
from isofield.generation import inputs
from isofield.run_dir import RunDir
from tests.commands import call
from tests.conftest import ROOT
from tests.isofield.ready_runs import Echo, EchoConfig
from tests.isofield.tiny_field import TinyConfig, TinyField, ready_run
from tests.small_sets import box_corners

SOLID, POINTS = InputConfig("solid", 32), InputConfig("points", 32, points=500)


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
    monkeypatch.setitem(registry.MODELS, "tiny_field", (TinyConfig, TinyField))


def run_command(run: RunDir, *arguments: object) -> int:
    return call(generate.main, "--run", run.path, "--device", "cpu", "--resolution", 48, *arguments)


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((folder / "manifest.json").read_text())["shapes"]}


def cell(name: str) -> float:
    """Of a grid of 32^3 around a prepared box, in its own frame."""
    lower, upper = box_corners(name)
    return float((upper - lower).max()) / 0.9 / 32


def write_box_cloud(path: Path, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Points on the surface of a box far from the origin."""
    lower, upper = box_corners("mine")
    random = np.random.default_rng(0)
    points = random.uniform(lower, upper, (count, 3))
    axis, side = random.integers(0, 3, count), random.integers(0, 2, count)
    points[np.arange(count), axis] = np.where(side, upper[axis], lower[axis])
    write_cloud(path, PointCloud(points))
    return lower, upper


def test_a_solid_input_is_written_beside_the_mesh_in_the_frame_of_the_file(prepared: Path, tmp_path: Path):
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    assert run_command(run, "--split", "test", "--with-input") == 0
    folder = run.meshes("test")
    row = rows(folder)["boxes/box4"]
    assert row["input_file"] == "boxes/box4_input.ply"
    for file in (row["file"], row["input_file"]):
        lower, upper = read_mesh(folder / file).bounds()
        expected = box_corners("box4")
        assert np.abs(lower - expected[0]).max() < cell("box4") and np.abs(upper - expected[1]).max() < cell("box4")
    triangles = read_mesh(folder / row["input_file"]).triangles()
    corners = transform_points(triangles.reshape(-1, 3), np.linalg.inv(np.array(row["to_world"])))
    assert np.abs((corners + 0.5) * 32 - np.round((corners + 0.5) * 32)).max() < 1e-3  # boxes of its cells


def test_a_cloud_that_was_shown_is_written_in_the_frame_of_the_file(prepared: Path, tmp_path: Path):
    run = ready_run(prepared, tmp_path, section=POINTS, model="echo")
    assert run_command(run, "--split", "test", "--with-input", "--format", "obj") == 0
    row = rows(run.meshes("test"))["boxes/box4"]
    assert (row["file"], row["input_file"]) == ("boxes/box4.obj", "boxes/box4_input.ply")
    cloud = read_cloud(run.meshes("test") / row["input_file"])
    assert cloud is not None and cloud.points_N3.shape == (500, 3)
    lower, upper = box_corners("box4")
    clearance = np.minimum(np.abs(cloud.points_N3 - lower), np.abs(cloud.points_N3 - upper)).min(1)
    assert clearance.max() < 1e-3  # each on a face of the box, in its own frame
    assert np.abs(cloud.points_N3.min(0) - lower).max() < 0.3 and np.abs(cloud.points_N3.max(0) - upper).max() < 0.3


def test_what_is_shown_of_a_shape_is_worked_out_once(prepared: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def watched(shapes, index, *words, **options):
        seen.append(shapes.names[index])
        return observe_shape(shapes, index, *words, **options)

    monkeypatch.setattr(inputs, "observe_shape", watched)
    items = inputs.items_of_split(open_shapes(prepared), "train", section=SOLID, seed=0)
    origins = [item.origin() for item in items]
    assert seen == [item.name for item in items] and len(set(origins)) == len(items) > 1
    seen.clear()
    for item, origin in zip(items, origins, strict=True):
        item.load()
        assert item.origin() == origin == item.origin()
    assert seen == [item.name for item in items]


def test_inputs_that_are_gone_or_asked_for_later_are_made_again(prepared: Path, tmp_path: Path):
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    folder = run.meshes("train")
    assert run_command(run, "--split", "train") == 0
    assert not list(folder.glob("**/*_input.ply"))
    run_command(run, "--split", "train", "--with-input")
    before = {file: file.stat().st_mtime_ns for file in folder.glob("**/*.ply")}
    assert len(before) == 8
    (folder / "boxes/box1_input.ply").unlink()
    run_command(run, "--split", "train", "--with-input")
    after = {file: file.stat().st_mtime_ns for file in folder.glob("**/*.ply")}
    changed = sorted(file.name for file in after if after[file] != before[file])
    assert changed == ["box1.ply", "box1_input.ply"]


@pytest.mark.parametrize("suffix", [".ply", ".xyz", ".npy", ".npz", ".pcd"])
def test_a_users_cloud_comes_out_in_its_own_frame(prepared: Path, tmp_path: Path, suffix: str):
    file = tmp_path / f"mine{suffix}"
    lower, upper = write_box_cloud(tmp_path / "mine.ply")
    cloud = read_cloud(tmp_path / "mine.ply")
    assert cloud is not None
    points = cloud.points_N3
    head = f"FIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nPOINTS {len(points)}\nDATA binary\n".encode()
    write = {
        ".ply": lambda: None,
        ".xyz": lambda: np.savetxt(file, points),
        ".npy": lambda: np.save(file, points),
        ".npz": lambda: np.savez(file, points=points),
        ".pcd": lambda: file.write_bytes(head + points.tobytes()),
    }
    write[suffix]()
    run = ready_run(prepared, tmp_path, section=InputConfig("points", 16, points=0), model="echo")
    assert run_command(run, "--input", file, "--with-input") == 0
    found = read_mesh(run.meshes("input") / "mine.ply").bounds()
    size = float((upper - lower).max()) / 0.9 / 16
    assert np.abs(found[0] - lower).max() < 1.2 * size and np.abs(found[1] - upper).max() < 1.2 * size


def test_clouds_that_fail_are_rows_and_the_others_are_made(prepared: Path, tmp_path: Path):
    write_box_cloud(tmp_path / "good.ply")
    np.save(tmp_path / "empty.npy", np.empty((0, 3)))
    np.save(tmp_path / "one.npy", np.ones((1, 3)))
    np.save(tmp_path / "nan.npy", np.full((5, 3), np.nan))
    np.save(tmp_path / "volume.npy", np.zeros((4, 4, 4)))
    np.save(tmp_path / "four.npy", np.ones((2, 3, 4, 5)))
    (tmp_path / "cut.pcd").write_bytes(b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA binary\n1234")
    (tmp_path / "what.xyz").write_text("not numbers\n")
    names = ["good.ply", "empty.npy", "one.npy", "nan.npy", "volume.npy", "four.npy", "cut.pcd", "what.xyz", "no.xyz"]
    run = ready_run(prepared, tmp_path, section=InputConfig("points", 16, points=0), model="echo")
    assert run_command(run, "--input", *(tmp_path / name for name in names)) == 2
    found = rows(run.meshes("input"))
    assert set(found) == {Path(name).stem for name in names}
    assert {name for name, row in found.items() if row["status"] == "done"} == {"good"}
    reasons = {name: row["reason"] for name, row in found.items() if name != "good"}
    expected = {
        "empty": "N > 0",
        "one": "one point",
        "nan": "NaN",
        "volume": "no voxel is above",
        "four": "expected one 3D grid",
        "cut": "cut off: declares 9 points",
        "what": "three numbers x y z, got 'not numbers' in line 1",
        "no": "does not exist",
    }
    assert all(text in reasons[name] and name in reasons[name] for name, text in expected.items()), reasons


def test_a_cloud_for_a_run_on_solids_says_what_to_give(prepared: Path, tmp_path: Path):
    write_box_cloud(tmp_path / "cloud.ply")
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    assert run_command(run, "--input", tmp_path / "cloud.ply") == 2
    assert "give a mesh, a voxel file or a NIfTI mask" in rows(run.meshes("input"))["cloud"]["reason"]


def test_a_nifti_mask_comes_back_on_its_own_grid(prepared: Path, tmp_path: Path):
    """Oblique, anisotropic and mirrored; the model gives back the cells it was shown."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (60, 50, 40)), indexing="ij"), -1)
    ball = (((index - [25, 28, 17]) / [18, 15, 9]) ** 2).sum(-1) < 1
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([1.0, 1.3, 2.0])
    affine[:3, 3] = 30, -200, 15
    image = nibabel.Nifti1Image(ball.astype(np.uint8), affine)
    image.set_sform(affine, code=2)
    nibabel.save(image, tmp_path / "organ.nii.gz")
    run = ready_run(prepared, tmp_path, section=InputConfig("solid", 64), model="echo")
    assert run_command(run, "--input", tmp_path / "organ.nii.gz", "--resolution", "64") == 0
    row = rows(run.meshes("input"))["organ"]
    assert row["mask_file"] == "organ_recon.nii.gz"
    back: Any = nibabel.load(run.meshes("input") / row["mask_file"])
    mask = np.asanyarray(back.dataobj)
    assert mask.shape == ball.shape and np.allclose(back.affine, affine) and int(back.header["sform_code"]) == 2
    dice = 2 * (mask & ball).sum() / (mask.sum() + ball.sum())
    assert dice > 0.95
    assert np.abs(np.argwhere(mask).mean(0) - np.argwhere(ball).mean(0)).max() < 0.2
    (run.meshes("input") / row["mask_file"]).unlink()
    assert run_command(run, "--input", tmp_path / "organ.nii.gz", "--resolution", "64") == 0
    assert (run.meshes("input") / row["mask_file"]).is_file()  # made again when it is gone


def test_fitting_is_noted_and_leaves_the_other_shapes_alone(prepared: Path, tmp_path: Path):
    run = ready_run(prepared, tmp_path, section=InputConfig("solid", 16), model="tiny_field")
    fit = ("--fit-steps", "4", "--fit-rate", "0.003")
    assert run_command(run, "--split", "train", *fit, "--out", tmp_path / "whole") == 0
    whole = rows(tmp_path / "whole")
    assert all(row["loss_after"] < row["loss_before"] for row in whole.values()) and len(whole) == 4
    assert run_command(run, "--split", "train", "--out", tmp_path / "plain") == 0
    assert "loss_after" not in rows(tmp_path / "plain")["boxes/box0"]
    (tmp_path / "whole/boxes/box2.ply").rename(tmp_path / "first.ply")  # alone, after the others: the same again
    assert run_command(run, "--split", "train", *fit, "--out", tmp_path / "whole") == 0
    assert (tmp_path / "first.ply").read_bytes() == (tmp_path / "whole/boxes/box2.ply").read_bytes()
    assert (tmp_path / "first.ply").read_bytes() != (tmp_path / "plain/boxes/box2.ply").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fit-steps", "3"), "--fit-steps"),
        (("--fit-steps", "-1"), "-1"),
        (("--fit-rate", "0"), "rate"),
    ],
)
def test_fitting_that_cannot_be_is_one_error_before_any_work(
    prepared: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
):
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    with pytest.raises(ValueError, match=message):
        run_command(run, "--split", "test", *arguments)
    assert not list(run.path.glob("meshes/**/*.*"))


def test_a_run_shows_the_same_input_in_any_process(prepared: Path, tmp_path: Path):
    """Points of a split do not depend on the order of work or the number of shapes."""
    run = ready_run(prepared, tmp_path, section=POINTS, model="echo")
    for out in ("a", "b"):
        torch.manual_seed(len(list(tmp_path.iterdir())))
        run_command(run, "--split", "train", "--with-input", "--out", tmp_path / out)
    for name in ("box0", "box3"):
        file = f"boxes/{name}_input.ply"
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


CASES = ROOT / "tests/data/strangers"


def test_strangers_clouds_come_out_and_what_was_left_out_is_said(prepared: Path, tmp_path: Path, capsys):
    all_points = dataclasses.replace(POINTS, points=0)  # none of them is too small for the run
    run = ready_run(prepared, tmp_path, section=all_points, model="echo")
    nan, text = CASES / "organised_cloud_with_nan", CASES / "text_clouds_with_headers"
    files = [nan / "kinect.pcd", nan / "nan.ply", nan / "compressed.pcd", text / "cloud.csv", text / "header_count.xyz"]
    assert run_command(run, "--input", *files) == 0
    found = rows(run.meshes("input"))
    assert found["kinect"]["note"] == "145 of 500 points without numbers left out" and "note" not in found["cloud"]
    told = capsys.readouterr().out
    assert "note: kinect: 145 of 500 points without numbers left out" in told and "5 meshes, 0 failed" in told


def test_files_of_one_name_and_folders_are_written_apart(prepared: Path, tmp_path: Path):
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    assert run_command(run, "--input", CASES / "files_of_one_name", "--out", tmp_path / "out") == 0
    assert {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").glob("*/*.ply")} == {
        "a/model.ply", "b/model.ply"
    }  # fmt: skip


def test_signed_distances_are_taken_when_they_are_called_so(prepared: Path, tmp_path: Path, capsys):
    run = ready_run(prepared, tmp_path, section=SOLID, model="echo")
    axis = (np.arange(24) + 0.5) / 24 - 0.5
    distance = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1), axis=-1) - 0.3
    np.save(tmp_path / "ball.npy", distance)
    np.savez(tmp_path / "points.npz", points=np.random.default_rng(0).random((8, 3)), occupancies=np.zeros(1, np.uint8))
    assert run_command(run, "--input", tmp_path / "ball.npy", tmp_path / "points.npz") == 2
    told = capsys.readouterr().out
    assert "failed: ball:" in told and "--set values=sdf" in told and "failed: points:" in told
    assert run_command(run, "--input", tmp_path / "ball.npy", "--set", "values=sdf", "--out", tmp_path / "o") == 0
    lower, upper = read_mesh(tmp_path / "o/ball.ply").bounds()
    assert np.abs(upper - 0.3).max() < 0.03 and np.abs(lower + 0.3).max() < 0.03
