"""Lists of splits as people write them: names, paths from elsewhere, tables, JSON; on any system, in any editor."""

import pytest

from data_processing.preparation.sources import list_sources
from data_processing.store.split_lists import read_table
from tests.data_processing.preparation.test_sources import touch

STUHL = ("st\u00fchl", "stu\u0308hl")  # one character, or two that look alike


@pytest.mark.parametrize(
    "lists",
    [
        {"train.txt": "a\r\nb\r\n", "val.txt": "c\r\n", "test.txt": "d"},
        {"train.txt": "\ufeffa.ply\n# b follows\nb.ply\n", "val.txt": "c.ply\n\n", "test.txt": "d.ply"},
        {
            "train.txt": "./chair/a.ply\nchair\\b.ply\n",
            "val.txt": "/home/me/chair/c.ply",
            "test.txt": "C:\\x\\chair\\d.ply",
        },
        {"split.csv": "id;split\r\na;train\r\nb;TRAIN\r\nc;validation\r\nd;Test\r\n"},
        {"splits.json": '{"train": ["a", "b"], "val": ["c"], "test": ["d"]}'},
        {"split.json": '{"a": "train", "b": "train", "c": "val", "chair/d": "test"}'},
        {"train.json": '["a", "b"]', "val.json": '["c"]', "test.json": '["d"]'},
    ],
)
def test_lists_as_people_write_them(tmp_path, lists):
    touch(tmp_path, *[f"chair/{name}.ply" for name in "abcd"], "table/e.obj")
    for name, text in lists.items():
        (tmp_path / name).write_bytes(text.encode())
    expected = {"chair/a": "train", "chair/b": "train", "chair/c": "val", "chair/d": "test"}
    assert list_sources(tmp_path, layout="lists").splits == expected
    assert any("look like lists of splits: --set layout=lists" in note for note in list_sources(tmp_path).notes)


def test_umlauts_of_lists_are_one_character_or_two(tmp_path):
    for shape, line in (STUHL, STUHL[::-1]):
        touch(tmp_path / shape, f"chair/{shape}.ply", "chair/b.ply")
        (tmp_path / shape / "train.lst").write_text("b\n", encoding="utf-8")
        (tmp_path / shape / "test.lst").write_text(f"{line}\n", encoding="utf-8")
        assert list_sources(tmp_path / shape).splits == {"chair/b": "train", f"chair/{shape}": "test"}


def test_the_end_of_a_path_from_elsewhere_is_no_shape_of_another_folder(tmp_path):
    touch(tmp_path, "chair/a.ply", "chair/b.ply")
    (tmp_path / "train.lst").write_text("b\n")
    (tmp_path / "test.lst").write_text("/data/table/a.ply\n")
    found = list_sources(tmp_path)
    assert found.splits == {"chair/b": "train"} and any("'/data/table/a.ply'" in note for note in found.notes)


@pytest.mark.parametrize("text", ["[1, 2]", '{"train": "a"}', '{"a": "somewhere"}', "{}", "[", '"a"'])
def test_json_of_other_things_is_no_table_of_splits(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(ValueError, match=r"split\.json: expected "):
        read_table(tmp_path / "split.json")
