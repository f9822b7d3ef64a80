"""Tables as files."""

from pathlib import Path

import pytest

from isofield.runtime.csv_cells import write_csv_file


def test_rows_stand_under_their_columns_and_no_text_is_a_formula(tmp_path: Path):
    rows = [{"name": "=1+1", "n": -2, "x": 0.1}, {"name": "-3.5", "x": None}, {"name": 'a,"b"\n', "n": True}]
    write_csv_file(tmp_path / "t.csv", ("name", "n", "x"), rows)
    assert (tmp_path / "t.csv").read_bytes() == b'name,n,x\n\'=1+1,-2,0.1\n-3.5,,\n"a,""b""\n",True,\n'
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_a_value_without_a_column_is_refused_and_the_file_stays(tmp_path: Path):
    write_csv_file(tmp_path / "t.csv", ["a"], [{"a": 1}])
    with pytest.raises(ValueError, match="'b'"):
        write_csv_file(tmp_path / "t.csv", ["a"], [{"a": 2, "b": 3}])
    assert (tmp_path / "t.csv").read_text() == "a\n1\n"
