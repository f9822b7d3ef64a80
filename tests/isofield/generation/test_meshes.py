"""Meshes of splits and of the user's files: frames, what is done again and what is not, kills, several processes."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from data_processing.formats.mesh_files import read_mesh
from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from isofield import checkpoint, registry
from isofield.commands import generate
from isofield.evaluation.pairs import pairs_of_run
from isofield.generation.surfaces import GenerationConfig
from isofield.run_dir import RunDir, exclusive
from isofield.runtime.atomic_files import is_temporary
from tests.commands import call
from tests.conftest import ROOT
from tests.isofield.ready_runs import RADII, Echo, EchoConfig, make_run
from tests.torchrun import torchrun

LOWER, UPPER = np.array([1000.0, -70.0, 5.0]), np.array([1010.0, -30.0, 25.0])  # sides 10, 40, 20 far from the origin
VOXEL = 40 / 0.9 / 64  # of the encoder's grid, in the frame of that box
DIAGONAL = float(np.linalg.norm(UPPER - LOWER))  # to which the published data set, and so its runs, scale a shape
QUICK = ("--resolution", "24")


@pytest.fixture
def octahedra(boxes: Path, tmp_path: Path) -> RunDir:
    return make_run(boxes, tmp_path / "runs")


@pytest.fixture
def echo(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run whose model gives back the voxels it was given."""
    monkeypatch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
    return make_run(boxes, tmp_path / "runs", model={"type": "echo"})


def run_command(run: RunDir, *arguments: object) -> int:
    """generate.py in this process: its status; errors are raised."""
    return call(generate.main, "--run", run.path, "--device", "cpu", *arguments)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in manifest(folder)["shapes"]}


def times(folder: Path) -> dict[str, int]:
    """When each mesh was written; what a killed writer left is not one."""
    meshes = [path for path in sorted(folder.glob("**/*.ply")) if not is_temporary(path)]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in meshes}


def write_box(path: Path, lower: np.ndarray = LOWER, upper: np.ndarray = UPPER) -> Path:
    trimesh.creation.box(bounds=[lower, upper]).export(path)
    return path


def test_a_split_comes_out_whole_with_a_manifest(octahedra: RunDir):
    assert run_command(octahedra, "--split", "test", "--resolution", "48") == 0
    folder = octahedra.meshes("test")
    content = manifest(folder)
    assert (content["run"], content["checkpoint"], content["resolution"]) == (str(octahedra.path), "best", 48)
    assert content["iso_level"] == 0.5 and len(content["model_hash"]) == 16
    assert [row["name"] for row in content["shapes"]] == ["boxes/test00", "boxes/test01", "boxes/test02"]
    sizes = []
    for row in content["shapes"]:
        mesh = read_mesh(folder / row["file"])
        assert row["status"] == "done" and row["evaluations"] > 0 and row["seconds"] >= 0
        assert (len(mesh.vertices), len(mesh.faces)) == (row["vertices"], row["faces"])
        assert row["to_world"] == np.eye(4).tolist()
        lower, upper = mesh.bounds()
        assert np.allclose(lower, -upper, atol=1e-6)
        scale = upper / RADII
        assert np.allclose(scale, scale[1], atol=0.06) and 0.9 < scale[1] < 1.2  # radii along x, y, z in their order
        sizes.append(scale[1])
    assert len({round(size, 6) for size in sizes}) == 3  # each shape has its own code


def test_the_second_run_makes_nothing_again(octahedra: RunDir):
    folder = octahedra.meshes("test")
    run_command(octahedra, "--split", "test", *QUICK)
    before, content = times(folder), manifest(folder)
    assert not list(folder.rglob(".*"))  # no lock, no journal
    record = (folder / "record.jsonl").read_text()
    assert run_command(octahedra, "--split", "test", *QUICK) == 0
    assert times(folder) == before and manifest(folder) == content
    assert (folder / "record.jsonl").read_text() == record and not list(folder.rglob(".*"))


def test_a_deleted_mesh_is_made_again_alone(octahedra: RunDir):
    folder = octahedra.meshes("test")
    run_command(octahedra, "--split", "test", *QUICK)
    before = times(folder)
    (folder / "boxes/test01.ply").unlink()
    run_command(octahedra, "--split", "test", *QUICK)
    after = times(folder)
    assert [name for name in after if after[name] != before[name]] == ["boxes/test01.ply"]


@pytest.mark.parametrize(
    "change", [("--resolution", "25"), ("--frame", "8"), ("--refine", "1"), ("--checkpoint", "last")]
)
def test_other_settings_or_weights_make_all_again(octahedra: RunDir, change: tuple[str, str]):
    folder = octahedra.meshes("test")
    run_command(octahedra, "--split", "test", *QUICK)
    before = times(folder)
    content = checkpoint.load(octahedra.checkpoint_file("last"))
    content["model"]["decoder.layers.3.bias"] += 0.05
    checkpoint.save(octahedra.checkpoint_file("last"), content)
    assert run_command(octahedra, "--split", "test", *QUICK, *change) == 0
    after = times(folder)
    assert list(after) == list(before) and all(after[name] != before[name] for name in before)
    assert len(rows(folder)) == 3


def test_a_line_cut_by_a_kill_costs_that_shape_alone(octahedra: RunDir):
    folder = octahedra.meshes("test")
    run_command(octahedra, "--split", "test", *QUICK)
    before, content = times(folder), manifest(folder)
    journal = folder / "record.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    (folder / "manifest.json").unlink()
    (folder / "boxes/.partial-7-test02.ply").write_bytes(b"ply")
    assert run_command(octahedra, "--split", "test", *QUICK) == 0
    after = times(folder)
    assert [name for name in before if after[name] != before[name]] == ["boxes/test02.ply"]
    assert list(rows(folder)) == [row["name"] for row in content["shapes"]]


def test_a_mesh_nobody_vouches_for_is_not_taken_for_done(octahedra: RunDir):
    half = octahedra.meshes("test") / "boxes/test01.ply"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"ply\nformat binary")
    run_command(octahedra, "--split", "test", *QUICK)
    assert len(read_mesh(half).faces) == rows(octahedra.meshes("test"))["boxes/test01"]["faces"]


def test_killed_in_the_middle_the_rest_is_made_and_only_the_rest(octahedra: RunDir):
    """The real command, killed with -9 before its third mesh is there; the line about the second is cut."""
    folder = octahedra.meshes("train")
    words = ["--run", str(octahedra.path), "--split", "train", *QUICK]
    killed = [sys.executable, "-m", "tests.signalled", "SIGKILL", "*.ply", "3", "generate.py", *words]
    assert subprocess.run(killed, cwd=ROOT, capture_output=True, timeout=600, check=False).returncode == -signal.SIGKILL
    journal = folder / ".journal-0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    before = times(folder)
    assert len(before) == 2 and not (folder / "manifest.json").exists()
    for name in before:
        read_mesh(folder / name)  # whole, all of them
    assert call(generate.main, *words) == 0
    after = times(folder)
    assert len(after) == len(rows(folder)) == 5
    assert [name for name in before if after[name] == before[name]] == [min(before)]


def test_a_second_start_while_the_first_is_at_work_is_refused(octahedra: RunDir):
    """It would take the file that the first is writing for one that a killed one left."""
    folder = octahedra.meshes("test")
    with exclusive(folder, 0, what="generation"):
        left = folder / ".partial-1-test00.ply"
        left.write_bytes(b"ply")
        with pytest.raises(ValueError, match=r"test: .*generation"):
            run_command(octahedra, "--split", "test", *QUICK)
        assert left.exists() and not times(folder)
    assert run_command(octahedra, "--split", "test", *QUICK) == 0 and not left.exists()


def test_two_processes_make_the_meshes_of_one(octahedra: RunDir, tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    run_command(octahedra, "--split", "test", *QUICK, "--out", one)
    torchrun("generate.py", "--run", octahedra.path, "--split", "test", *QUICK, "--out", two, "--device", "cpu")
    assert list(times(one)) == list(times(two))
    for name in times(one):
        a, b = read_mesh(one / name), read_mesh(two / name)
        assert np.array_equal(a.faces, b.faces) and np.allclose(a.vertices, b.vertices, atol=1e-6)
    assert list(rows(two)) == list(rows(one))
    made = (two / "record.jsonl").read_text().splitlines()
    assert not list(two.glob(".*")) and len(made) == 3  # each shape by one of them


def test_what_another_rank_failed_at_before_is_mended(octahedra: RunDir):
    """Three ranks were killed, one goes on: its lines count, though those of rank 2 are read after them."""
    run_command(octahedra, "--split", "test", *QUICK)
    folder = octahedra.meshes("test")
    before, journal = rows(folder), folder / "record.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line["row"] |= {"status": "failed", "reason": "memory"}
    (folder / ".journal-2.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal.unlink()
    run_command(octahedra, "--split", "test", *QUICK)
    assert [row["status"] for row in rows(folder).values()] == ["done"] * 3 and list(rows(folder)) == list(before)


def test_a_journal_of_the_version_before_is_gone_on_with(octahedra: RunDir):
    """Its lines are the rows with the settings in them; one of them is of other settings."""
    run_command(octahedra, "--split", "test", *QUICK)
    folder = octahedra.meshes("test")
    before, content = times(folder), manifest(folder)
    # Of what a mesh is made with the version before knew all but these.
    later = {"faces", "input_points", "islands", "poses", "input_calibration"}
    settings = {key: content[key] for key in GenerationConfig.__dataclass_fields__.keys() - later}
    lines = [{**row, "settings": settings, "start": 1} for row in content["shapes"]]
    lines[1]["settings"] = settings | {"resolution": 96}
    (folder / "record.jsonl").unlink()
    (folder / ".journal-0.jsonl").write_text("\n" + "".join(json.dumps(line) + "\n" for line in lines))
    run_command(octahedra, "--split", "test", *QUICK)
    after = times(folder)
    assert [name for name in after if after[name] != before[name]] == ["boxes/test01.ply"]
    assert rows(folder)["boxes/test00"] == content["shapes"][0] and len(rows(folder)) == 3


def test_the_users_mesh_comes_out_in_its_own_frame(echo: RunDir, tmp_path: Path):
    """An off-centre box with three different sides, far from the origin: an axis swap or a lost shift cannot hide."""
    file = write_box(tmp_path / "my.box.ply")
    assert run_command(echo, "--input", file, "--resolution", "64") == 0
    folder = echo.meshes("input")
    lower, upper = read_mesh(folder / "my.box.ply").bounds()
    assert np.abs(lower - LOWER).max() < 1.1 * VOXEL and np.abs(upper - UPPER).max() < 1.1 * VOXEL
    matrix = np.array(rows(folder)["my.box"]["to_world"])
    assert np.allclose(matrix[:3, 3], (LOWER + UPPER) / 2) and np.allclose(np.diag(matrix)[:3], DIAGONAL)


def test_the_users_voxels_come_out_in_the_frame_of_their_file(echo: RunDir, tmp_path: Path):
    voxels = np.zeros((40, 30, 20), np.uint8)
    voxels[5:35, 12:18, 3:7] = 1
    np.save(tmp_path / "part.npy", voxels)
    assert run_command(echo, "--input", tmp_path / "part.npy", "--resolution", "64") == 0
    lower, upper = read_mesh(echo.meshes("input") / "part.ply").bounds()
    # Of a .npy: the cube, its longest axis filling it, the others in the middle.
    assert np.allclose(lower, np.array([5 - 20, 12 - 15, 3 - 10]) / 40, atol=0.03)
    assert np.allclose(upper, np.array([35 - 20, 18 - 15, 7 - 10]) / 40, atol=0.03)


def test_meshes_of_a_data_set_come_out_in_the_frames_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stored set of two boxes and a broken file: frames, and a row for the shape that is not in the set."""
    folder = tmp_path / "raw" / "box"
    folder.mkdir(parents=True)
    write_box(folder / "a.ply")
    write_box(folder / "b.ply", np.array([-3.0, 0.0, 0.0]), np.array([-2.0, 5.0, 2.0]))
    for name in ("c", "d"):
        (folder / f"{name}.ply").write_bytes(b"ply\n")
    members = {"train": "box/b\n", "val": "box/d\n", "test": "box/a\nbox/c\n"}
    for split, names in members.items():
        (tmp_path / f"{split}.txt").write_text(names)
    lists = {"rule": "lists", "lists": {split: str(tmp_path / f"{split}.txt") for split in members}}
    settings = {"name": "raw", "input": tmp_path / "raw", "output": tmp_path / "set", "workers": 1, "splits": lists}
    assert prepare_folder(registry.build(DataConfig, settings, where="test")) == 2
    monkeypatch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
    run = make_run(tmp_path / "set", tmp_path / "runs", model={"type": "echo"})
    assert run_command(run, "--split", "test", "--resolution", "64") == 2
    lower, upper = read_mesh(run.meshes("test") / "box/a.ply").bounds()
    assert np.abs(lower - LOWER).max() < 1.1 * VOXEL and np.abs(upper - UPPER).max() < 1.1 * VOXEL
    row = rows(run.meshes("test"))["box/c"]
    assert row["status"] == "failed" and row["reason"].startswith("preparation failed: ")
    assert run_command(run, "--split", "val", "--resolution", "64") == 2  # a split of which nothing could be prepared
    assert list(rows(run.meshes("val"))) == ["box/d"]


def test_another_file_of_the_same_name_is_not_taken_for_done(echo: RunDir, tmp_path: Path):
    file, folder = write_box(tmp_path / "x.ply"), echo.meshes("input")
    run_command(echo, "--input", file, *QUICK)
    first = times(folder)
    run_command(echo, "--input", file, *QUICK)
    assert times(folder) == first
    run_command(echo, "--input", file, *QUICK, "--set", "normalisation.length=0.5")  # prepared otherwise
    second = times(folder)
    assert second != first and np.isclose(rows(folder)["x"]["to_world"][0][0], 2 * DIAGONAL)
    write_box(file, LOWER + 500, UPPER + 500)
    run_command(echo, "--input", file, *QUICK, "--set", "normalisation.length=0.5")
    assert times(folder) != second and read_mesh(folder / "x.ply").bounds()[0][0] > 1400


def test_a_shape_that_fails_is_a_row_and_the_others_are_made(
    echo: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat")
    files = [tmp_path / "cut.ply", tmp_path / "missing.ply", write_box(tmp_path / "good.ply")]
    assert run_command(echo, "--input", *files, *QUICK) == 2
    found = rows(echo.meshes("input"))
    assert {name: row["status"] for name, row in found.items()} == {
        "cut": "failed",
        "missing": "failed",
        "good": "done",
    }
    assert "cut.ply" in found["cut"]["reason"] and "does not exist" in found["missing"]["reason"]
    out = capsys.readouterr().out
    assert "failed: cut:" in out and "1 meshes, 2 failed" in out
    write_box(tmp_path / "cut.ply")
    assert run_command(echo, "--input", files[0], files[2], *QUICK) == 0  # failed ones are tried again
    assert rows(echo.meshes("input"))["cut"]["status"] == "done"


@pytest.mark.parametrize("planned", [None, 300])
def test_a_field_without_a_surface_is_a_failure_that_says_so(
    octahedra: RunDir, capsys: pytest.CaptureFixture[str], planned: int | None
):
    """A model whose training is not finished says how far it is, on screen and to evaluate.py."""
    content = checkpoint.load(octahedra.checkpoint_file("best"))
    content["model"]["decoder.layers.3.bias"] -= 5
    for which in ("best", "last"):  # where the last one is at its end, an early best one is no unfinished model
        checkpoint.save(octahedra.checkpoint_file(which), {**content, "step": 12, "planned": planned})
    assert run_command(octahedra, "--split", "test", *QUICK) == 2
    found = rows(octahedra.meshes("test"))
    assert all(row["status"] == "failed" and "no surface" in row["reason"] for row in found.values())
    assert len(found) == 3
    how_far = "no surface yet: .*trained for 12 of 300 steps.*--resume"
    said, told = capsys.readouterr().out, [pair.reason for pair in pairs_of_run(octahedra, "test")]
    for text in [*said.splitlines()[1:4], *told]:
        assert (re.search(how_far, text) is not None) == (planned is not None)


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "off", "glb"])
def test_every_format_reads_back_the_same(octahedra: RunDir, tmp_path: Path, suffix: str):
    assert run_command(octahedra, "--split", "test", *QUICK, "--format", suffix) == 0
    folder = octahedra.meshes("test")
    row = rows(folder)["boxes/test00"]
    assert row["file"] == f"boxes/test00.{suffix}"
    mesh = trimesh.load_mesh(folder / row["file"])
    assert len(mesh.faces) == row["faces"] and mesh.is_watertight and mesh.volume > 0
    assert np.argsort(mesh.extents).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], r"'tset'.*train \(5\), test \(3\)"),
        (["--split", "test", "--checkpoint", "7"], "'7'.* last, best"),
        (["--split", "test", "--checkpoint", "bst"], "'bst'.*last"),
        (["--split", "test", "--data", "nowhere"], "nowhere"),
        (["--split", "test", "--resolution", "1"], "resolution"),
        (["--split", "test", "--frame", "0"], "frame"),
        (["--split", "test", "--batch-points", "0"], "point"),
        (["--input", "a/x.ply", "a/x.obj"], r"a/x.ply does not exist"),
        (["--input", "a/x.ply", "--set", "normalisation.lenght=1"], "normalisation.length"),
    ],
)
def test_what_cannot_be_is_one_error_before_any_work(octahedra: RunDir, arguments, message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_command(octahedra, *arguments)
    assert not list(octahedra.path.glob("meshes/**/*.*"))


def test_batches_bound_the_points_and_change_nothing(octahedra: RunDir, tmp_path: Path):
    for points in (100, 1 << 16):
        run_command(octahedra, "--split", "test", *QUICK, "--batch-points", points, "--out", tmp_path / str(points))
    a, b = (read_mesh(tmp_path / str(points) / "boxes/test00.ply") for points in (100, 1 << 16))
    assert np.array_equal(a.faces, b.faces) and np.allclose(a.vertices, b.vertices, atol=1e-6)


def test_a_field_of_nan_is_named(octahedra: RunDir):
    content = checkpoint.load(octahedra.checkpoint_file("best"))
    content["model"]["decoder.layers.3.bias"] = torch.full((1,), float("nan"))
    checkpoint.save(octahedra.checkpoint_file("best"), content)
    assert run_command(octahedra, "--split", "test", *QUICK) == 2
    assert "NaN" in rows(octahedra.meshes("test"))["boxes/test00"]["reason"]


@pytest.mark.parametrize("suffix", ["ply", "glb", "obj", "off", "stl"])
def test_a_file_in_map_coordinates_comes_out_as_the_one_at_the_origin(echo: RunDir, tmp_path: Path, suffix: str):
    """In the frame of its file, with all its vertices; or refused where 32 bits hold neither."""
    files = [ROOT / "tests" / "data" / "strangers" / "far_from_origin" / f"{name}.obj" for name in ("near", "utm")]
    status = run_command(echo, "--input", *files, "--out", tmp_path / "out", "--format", suffix, *QUICK)
    made = rows(tmp_path / "out")
    if suffix == "stl":
        assert made["utm"]["status"] == "failed" and "utm.stl: .stl holds 32-bit numbers" in made["utm"]["reason"]
        return
    assert status == 0
    near, far = (read_mesh(tmp_path / "out" / made[name]["file"]) for name in ("near", "utm"))
    offset = np.array([431234.5, 5512345.25, 287.75])
    np.testing.assert_allclose(far.triangles() - offset, near.triangles(), rtol=0, atol=1e-6)
    assert len(np.unique(far.vertices, axis=0)) == len(np.unique(near.vertices, axis=0)) > 500
