"""Label tables as text: what other tools write, and what is refused with its line."""

import unicodedata

import pytest

from data_processing.medical.label_names import own_table, read_table
from data_processing.medical.label_tables import table_rows
from tests.data_processing.medical.test_label_names import VALUES
from tests.data_processing.scan_files import save

EXPECTED = {"spleen": (7,), "left lung": (10,)}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("t.csv", "id;name;red\n7;spleen;1\n10;left lung;2\n"),
        ("t.csv", "name,index\r\nspleen,7.0\r\nleft lung,10.0\r\n"),
        ("t.csv", '\ufeff"ID","Name"\n"7","spleen"\n"10","left lung"\n'),
        ("t.csv", "LabelValue,Name,Color_R,Color_G,Color_B,Color_A\n7,spleen,1,2,3,255\n10,left lung,1,2,3,255\n"),
        ("t.tsv", "index\tname\themisphere\n7\tspleen\t\n10\tlung\tL\n"),
        ("t.txt", "7 spleen\n10 left lung\n"),
        ("t.txt", "7,spleen\n10,left lung\n"),
        ("t.txt", "spleen: 7\nleft lung: 10\n"),
        ("t.ctbl", "# Color table file\n0 Background 0 0 0 0\n7 spleen 1 2 3 255\n10 left lung 1 2 3 255\n"),
        ("t.label", ' 7  1 2 3  1 1 1  "spleen"\n10  1 2 3  0.5 1 1  "left lung"\n'),
        ("t.txt", "spleen\n7 1 2 3 255\nleft lung\n10 1 2 3 255\n"),  # Connectome Workbench
        ("t.json", '{"labels": {"spleen": "7", "left lung": 10.0}}'),
        ("t.json", '[{"id": 7, "name": "spleen"}, {"id": 10, "name": "left lung"}]'),
        ("t.json", '{"R": [1, 2], "I": [7, 10], "labels": ["spleen", "left lung"]}'),  # niivue
    ],
)
def test_tables_that_are_read(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    assert dict(read_table(tmp_path / file).entries) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8"])
def test_encodings(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("id;name\n1;Rückenmark\n".encode(encoding))
    assert read_table(tmp_path / "t.csv").ids_of("rückenmark") == (1,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("7 spleen\nnothing here\n", r"line 2: expected a number and a name, got 'nothing here'"),
        ("id,name\n7.5,spleen\n", r"line 2: expected a whole number as id, got '7\.5'"),
        ("1 2 3 4\n", "line 1"),
        ("\0\1\2", "no text"),
    ],
)
def test_what_is_no_table_names_the_line_and_the_known_formats(tmp_path, text, said):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"t\.txt.*{said}.*ITK-SNAP, FreeSurfer"):
        read_table(tmp_path / "t.txt")


def test_tables_are_inherited_as_bids_says(tmp_path):
    path = save(tmp_path / "sub-01" / "anat" / "sub-01_desc-aseg_dseg.nii.gz", VALUES)
    (tmp_path / "desc-aparcaseg_dseg.tsv").write_text("index\tname\n7\tother\n")
    assert own_table(path) is None
    (tmp_path / "desc-aseg_dseg.tsv").write_text("index\tname\n7\tspleen\n")
    assert own_table(path).ids_of("spleen") == (7,)
    (path.parent / "dseg.tsv").write_text("index\tname\n8\tspleen\n")  # nearer
    assert own_table(path).ids_of("spleen") == (8,)


def test_a_colour_table_beside_a_scan_is_its_table_but_notes_are_none(tmp_path):
    path = save(tmp_path / "scan.nii.gz", VALUES)
    (tmp_path / "scan.csv").write_text("time 12\n")
    assert own_table(path) is None
    (tmp_path / "scan.ctbl").write_text("7 spleen 1 2 3 255\n")
    assert own_table(path).ids_of("spleen") == (7,)


@pytest.mark.parametrize(
    "text",
    [
        "Label,Structure\n1,liver\n2,left kidney\n",
        "Structure,Label\nliver,1\nleft kidney,2\n",
        "Id,Organ\n1,liver\n2,left kidney\n",
        "id|name\n1|liver\n2|left kidney\n",
        "label,id\nliver,1\nleft kidney,2\n",
        "liver=1\nleft kidney = 2\n",
        "1=liver\n2=left kidney\n",
        'liver: 1\n"left kidney": 2\n',
    ],
)
def test_more_words_for_numbers_and_names(text):
    assert table_rows(text, surely=True) == [("liver", (1,)), ("left kidney", (2,))]


def test_two_names_of_one_number_are_refused():
    with pytest.raises(ValueError, match="label 1 is 'liver' and 'left kidney': keep one"):
        table_rows("id,name\n1,liver\n1,left kidney\n", surely=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Time 12:30", "expected a number and a name, got 'Time 12:30'"),
        ("Date: 2024", "expected a number and a name as in line 1, got 'Date: 2024'"),
        ("labels = 2", "expected a number and a name as in line 1"),
    ],
)
def test_what_else_a_table_says_names_no_label(tmp_path, line, said):
    (tmp_path / "t.txt").write_text(f"7 spleen\n{line}\n10 left lung\n")
    with pytest.raises(ValueError, match=f"line 2: {said}"):
        read_table(tmp_path / "t.txt")


def test_two_names_of_one_number_are_refused_in_lines_too(tmp_path):
    (tmp_path / "t.txt").write_text("7 spleen\n7 liver\n")
    with pytest.raises(ValueError, match="label 7 is 'spleen' and 'liver'"):
        read_table(tmp_path / "t.txt")


def test_umlauts_are_the_same_in_one_character_and_in_two(tmp_path):
    (tmp_path / "t.txt").write_text(unicodedata.normalize("NFD", "7 Schilddrüse\n"), encoding="utf-8")
    assert read_table(tmp_path / "t.txt").ids_of(unicodedata.normalize("NFC", "Schilddrüse")) == (7,)
