"""Listing an input folder: names, categories, and what is refused at once."""

import unicodedata

import pytest

from data_processing.preparation.sources import list_sources


def touch(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")


def named(folder, **options):
    return {s.name: (s.category, s.file, s.kind) for s in list_sources(folder, **options).sources}


def test_folders_are_categories_and_names_are_paths_without_suffix(tmp_path):
    touch(
        tmp_path, "chair/b.ply", "chair/a.OBJ", "table/x/model.stl", "scan/m.nii.gz", "scan/v.npy", "chair/.hidden.ply"
    )
    touch(tmp_path, "CREDITS.md", "chair/a.mtl", ".git/x.ply")
    found = list_sources(tmp_path)
    assert [s.name for s in found.sources] == ["chair/a", "chair/b", "scan/m", "scan/v", "table/x/model"]
    assert named(tmp_path)["scan/m"] == ("scan", "scan/m.nii.gz", "voxels")
    assert named(tmp_path)["table/x/model"] == ("table", "table/x/model.stl", "mesh")
    assert found.ignored == {".md": 1, ".mtl": 1}


def test_a_flat_folder_is_one_category(tmp_path):
    touch(tmp_path / "mugs", "one.ply", "two.ply")
    assert named(tmp_path / "mugs")["mugs/one"] == ("mugs", "one.ply", "mesh")


def test_linked_folders_are_entered_and_loops_end(tmp_path):
    touch(tmp_path / "else", "a.ply")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/chair").symlink_to(tmp_path / "else")
    (tmp_path / "else/loop").symlink_to(tmp_path / "in")
    assert list(named(tmp_path / "in")) == ["chair/a"]


def test_kind_categories_and_exclude_choose(tmp_path):
    touch(tmp_path, "chair/a.ply", "chair/a.npy", "table/b.ply", "table/b.obj", "table/broken_c.ply")
    assert list(named(tmp_path, kind="voxels")) == ["chair/a"]
    assert list(named(tmp_path, kind="mesh", exclude=["*.obj", "table/broken*"])) == ["chair/a", "table/b"]
    assert list(named(tmp_path, kind="mesh", categories=["chair"])) == ["chair/a"]
    with pytest.raises(ValueError, match=r"lamp.*chair, table"):
        list_sources(tmp_path, kind="mesh", exclude=["*.obj"], categories=["lamp"])


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "chair/a.ply", "chair/a.obj")
    with pytest.raises(ValueError, match=r"chair/a\.obj .*chair/a\.ply .*'chair/a'"):
        list_sources(tmp_path)


@pytest.mark.parametrize("name", ["new\nline.ply", "tab\t.ply", "back\\slash.ply"])
def test_names_that_cannot_be_printed_are_refused(tmp_path, name):
    touch(tmp_path, f"chair/{name}")
    with pytest.raises(ValueError, match=r"(new.+line|tab.+|back.+slash)\.ply"):
        list_sources(tmp_path)
    touch(tmp_path, "chair/good.ply")
    assert list(named(tmp_path, exclude=["*new*", "*tab*", "*back*"])) == ["chair/good"]


def test_nothing_to_do_says_what_there_was(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "no")):
        list_sources(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        list_sources(tmp_path)
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(FileNotFoundError, match=r"2 \.jpg"):
        list_sources(tmp_path)


def test_names_are_the_same_with_umlauts_in_one_character_and_in_two(tmp_path):
    folder, wanted = unicodedata.normalize("NFD", "Möbel"), unicodedata.normalize("NFC", "Möbel")
    touch(tmp_path, f"{folder}/a.ply", f"{folder}/b.ply", "other/c.ply")
    assert len(list_sources(tmp_path, categories=[wanted]).sources) == 2
    assert len(list_sources(tmp_path, exclude=[f"{wanted}/a*"]).sources) == 2
