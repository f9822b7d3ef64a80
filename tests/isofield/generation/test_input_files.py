"""Names of the user's own files: each mesh gets one of its own, and a folder is gone through object by object."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.loading.network_inputs import InputConfig
from data_processing.preparation.config import DataConfig
from isofield.generation.input_files import FolderRules, named_files
from tests.conftest import ROOT
from tests.data_processing.preparation.test_sources import touch

SOLID, POINTS, VIEW = InputConfig("solid", 32), InputConfig("points", 32, points=500), InputConfig("view")
CONFIG = DataConfig(name="x", input=Path("x"))
CASES = ROOT / "tests/data/strangers"


def named(*paths: Path, section=SOLID, rules: FolderRules | None = None, out: Path | None = None) -> dict[str, Path]:
    return named_files(paths, section, CONFIG, rules or FolderRules(), out=out)


def test_files_of_one_name_get_outputs_of_their_own():
    case = CASES / "files_of_one_name"
    expected = {"a/model": case / "a/model.obj", "b/model": case / "b/model.obj"}
    assert named(case / "a/model.obj", case / "b/model.obj") == expected
    assert named(case) == expected
    assert named(case / "a/model.obj") == {"model": case / "a/model.obj"}
    assert named(case / "a/model.obj", case / "a/model.obj") == {"model": case / "a/model.obj"}


def test_a_folder_of_shapenet_is_one_mesh_for_each_object(capsys):
    found = named(CASES / "shapenet_v2_folders/input")
    assert next(iter(found)) == "02691156/1a04e3ea" and len(found) == 6
    assert all(file.name == "model_normalized.obj" for file in found.values())
    told = capsys.readouterr().out
    assert "6 objects have several files" in told and "6 shapes, 6 other files left alone" in told


def test_what_the_run_is_shown_decides_what_of_a_folder_is_taken(tmp_path):
    touch(tmp_path, "mesh.ply", "cloud.xyz", "scan.pcd", "photo.jpg", "photo.mask.png", "README.md", "licence.txt")
    (tmp_path / "points.txt").write_text("0 0 0\n1 2 3\n")
    assert list(named(tmp_path)) == ["mesh"]
    assert sorted(named(tmp_path, section=POINTS)) == ["cloud", "mesh", "points", "scan"]
    assert sorted(named(tmp_path, section=VIEW)) == ["mesh", "photo"]


def test_own_outputs_and_what_is_excluded_are_no_inputs(tmp_path):
    touch(tmp_path, "a/model.obj", "out/a/model.ply", "b/model.obj")
    assert sorted(named(tmp_path, out=tmp_path / "out")) == ["a/model", "b/model"]
    rules = FolderRules.of(DataConfig(name="x", input=Path("x"), exclude=("out/*", "b/*")), ["exclude=[x]"])
    assert list(named(tmp_path, rules=rules)) == ["a/model"]
    assert FolderRules.of(DataConfig(name="x", input=Path("x"), exclude=("b/*",)), []) == FolderRules()


def test_what_cannot_be_meant_is_refused(tmp_path):
    touch(tmp_path, "a/x.obj", "a/x.ply", "empty/notes.md")
    with pytest.raises(ValueError, match=r"a/x\.obj and .*a/x\.ply would both be written as x: run twice"):
        named(tmp_path / "a/x.obj", tmp_path / "a/x.ply")
    with pytest.raises(FileNotFoundError, match=r"\*\.xyz does not exist"):  # as a shell passes on what matches nothing
        named(tmp_path / "a/*.xyz", tmp_path / "a/*.csv")
    with pytest.raises(ValueError, match=r"a/x\.obj and a/x\.ply would both be .*--set exclude="):
        named(tmp_path)
    assert FolderRules.of(DataConfig(name="x", input=Path("x"), kind="voxels"), ["kind=voxels"]).kind == "voxels"
    with pytest.raises(FileNotFoundError, match=r"empty holds no file that this run takes.*it has 1 \.\w+"):
        named(tmp_path / "empty")


PATHS = st.lists(
    st.tuples(st.sampled_from(["", "a/", "b/", "a/c/", "b/c/"]), st.sampled_from(["model", "x", "y"])),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(paths=PATHS, as_folder=st.booleans())
def test_no_two_files_get_one_name_and_none_is_lost(paths, as_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    files = [folder / f"{above}{stem}.obj" for above, stem in paths]
    touch(folder, *[file.relative_to(folder) for file in files])
    found = named(folder) if as_folder else named(*files)
    assert sorted(found.values()) == sorted(files)
    assert all(os.path.basename(name) in (file.stem, file.parent.name) for name, file in found.items())
    assert np.unique([str(file) for file in found.values()]).size == len(found)
