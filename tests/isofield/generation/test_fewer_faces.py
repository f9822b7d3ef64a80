"""generate.py --faces, from the command to the files: what is made again, what is told, what is refused."""

import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import trimesh

import isofield
from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.triangle_mesh import is_watertight
from isofield import registry
from isofield.commands import generate
from isofield.run_dir import RunDir
from tests.commands import call
from tests.isofield.ready_runs import Echo, EchoConfig, make_run

WORDS = ("--device", "cpu", "--resolution", "48")


@pytest.fixture
def octahedra(boxes: Path, tmp_path: Path) -> RunDir:
    return make_run(boxes, tmp_path / "runs")


def split(run: RunDir, *words: object) -> dict[str, dict]:
    """The rows of the test split, by name."""
    assert call(generate.main, "--run", run.path, *WORDS, "--split", "test", *words) == 0
    content = json.loads((run.meshes("test") / "manifest.json").read_text())
    return {row["name"]: row for row in content["shapes"]}


def written(run: RunDir) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.meshes("test").rglob("*.ply")}


def test_meshes_have_at_most_so_many_and_the_row_says_both(octahedra: RunDir):
    whole = split(octahedra)
    few = split(octahedra, "--faces", 200)
    manifest = json.loads((octahedra.meshes("test") / "manifest.json").read_text())
    assert manifest["faces"] == 200 and list(few) == list(whole) and len(few) == 3
    for name, row in few.items():
        mesh, before = read_mesh(octahedra.meshes("test") / row["file"]), whole[name]["faces"]
        assert len(mesh.faces) == row["faces"] <= 200 < before == row["faces_before"]
        assert len(mesh.vertices) == row["vertices"] and is_watertight(mesh)
        assert row["evaluations"] == whole[name]["evaluations"] and "note" not in row
    assert all("faces_before" not in row for row in whole.values())


def test_another_number_makes_all_again_and_the_same_one_nothing(octahedra: RunDir):
    split(octahedra)
    times = [written(octahedra)]
    for words in ((), ("--faces", 200), ("--faces", 200), ("--faces", 300), ()):
        split(octahedra, *words)
        times.append(written(octahedra))
    same = [before == after for before, after in itertools.pairwise(times)]
    assert same == [True, False, True, False, False]
    assert "faces" not in json.loads((octahedra.meshes("test") / "manifest.json").read_text())


def test_how_large_all_become_is_told_once_by_the_first(octahedra: RunDir, capsys: pytest.CaptureFixture[str]):
    rows = split(octahedra)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first mesh: ")]
    first = rows["boxes/test00"]
    size = (octahedra.meshes("test") / first["file"]).stat().st_size / 1e6
    assert lines == [f"first mesh: {first['faces']:,} faces, {size:.2g} MB; all 3 about {3 * size:.2g} MB"]
    split(octahedra)
    assert "first mesh" not in capsys.readouterr().out  # nothing was made
    rows = split(octahedra, "--faces", 200)
    first = rows["boxes/test00"]
    told = capsys.readouterr().out
    assert f"first mesh: {first['faces']} faces (of {first['faces_before']:,}), " in told and "with --faces" not in told


@pytest.mark.parametrize("faces", ["3", "-1", "0"])
def test_too_few_are_refused_before_any_work(octahedra: RunDir, faces: str):
    with pytest.raises(ValueError, match=f"--faces: expected at least 4.*got {faces}"):
        call(generate.main, "--run", octahedra.path, *WORDS, "--split", "test", "--faces", faces)
    assert not octahedra.meshes("test").exists()


def test_python_gives_the_same_mesh_and_the_note_as_a_warning(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
    place = make_run(boxes, tmp_path / "runs", model={"type": "echo"})
    thin = trimesh.util.concatenate(
        [trimesh.creation.box(extents=edges) for edges in ((1, 0.08, 0.08), (0.08, 0.7, 0.08), (0.08, 0.08, 0.4))]
    )
    thin.export(tmp_path / "cross.ply")
    run = isofield.load(place.path, device="cpu")
    for faces, noted in ((300, False), (40, True)):
        words = ("--input", tmp_path / "cross.ply", "--faces", faces, "--out", tmp_path / "out")
        assert call(generate.main, "--run", place.path, *WORDS, *words) == 0, capsys.readouterr().out
        expected = read_mesh(tmp_path / "out" / "cross.ply")
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: cross: ")]
        if noted:
            (note,) = told
            with pytest.warns(UserWarning) as caught:
                mesh = run.reconstruct(tmp_path / "cross.ply", resolution=48, faces=faces)
            assert note == f"note: {caught[0].message}" and note.endswith("ask for more --faces")
        else:
            assert not told
            mesh = run.reconstruct(tmp_path / "cross.ply", resolution=48, faces=faces)
        np.testing.assert_array_equal(mesh.faces, expected.faces)
        np.testing.assert_array_equal(np.float32(mesh.vertices), np.float32(expected.vertices))
        assert is_watertight(expected)
    with pytest.raises(ValueError, match="--faces: expected at least 4"):
        run.reconstruct(tmp_path / "cross.ply", faces=3)
    image = nibabel.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="faces: a mask has none"):
        run.reconstruct(image, faces=100, as_mask=True)
