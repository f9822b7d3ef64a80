"""What counts of an analysis: the later start, whatever the clock said, whichever rank and version wrote it."""

import json
from pathlib import Path

import pytest

from isofield.outliers.analysis.journal import LATER, forget, line_of_organ, open_journal, rows_of
from isofield.outliers.analysis.rows import COLUMNS, new_row
from isofield.runtime.journal import journal_file, journal_files


def note(out: Path, rank: int, status: str, made_from: str) -> None:
    """One start of one rank, with one row."""
    with open_journal(out, rank) as journal:
        journal.add(line_of_organ("a", "liver"), made_from, new_row("a", "a.nii", "liver", status, ""))
        journal.add("a", made_from, {"liver": made_from})


def statuses(out: Path) -> list[str] | None:
    rows = rows_of(open_journal(out), "a")
    return None if rows is None else [row["status"] for row in rows]


def test_the_later_start_counts_whatever_its_rank(tmp_path: Path):
    """An error of the second rank, then the same scan done by the first: its journal is read before the other's."""
    note(tmp_path, 1, "ERROR", "x")
    note(tmp_path, 0, "OK", "x")
    assert statuses(tmp_path) == ["OK"]


def test_a_clock_that_jumped_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.time", lambda: 2e9)
    note(tmp_path, 0, "ERROR", "x")
    monkeypatch.setattr("time.time", lambda: 1e9)
    note(tmp_path, 0, "OK", "y")
    assert {line["start"] for line in open_journal(tmp_path).lines.values()} == {2}
    assert open_journal(tmp_path).lines["a"]["made_from"] == "y"


def test_a_row_stands_no_longer_once_its_files_are_of_another(tmp_path: Path):
    """Settings x, then y, then x again: the maps and pictures there are those of y."""
    note(tmp_path, 0, "OK", "x")
    note(tmp_path, 0, "OK", "y")
    journal = open_journal(tmp_path)
    assert journal.row(line_of_organ("a", "liver"), "x") is None and journal.row(line_of_organ("a", "liver"), "y")
    with journal:  # killed before the line about the scan
        journal.add(line_of_organ("a", "liver"), "z", new_row("a", "a.nii", "liver", "OK", ""))
    assert statuses(tmp_path) is None


@pytest.mark.parametrize("cut", [False, True])
def test_zeros_as_after_a_power_cut_cost_the_lines_they_hit(tmp_path: Path, cut: bool):
    note(tmp_path, 0, "OK", "x")
    (file,) = journal_files(tmp_path)
    text = file.read_bytes()
    file.write_bytes((text[:-10] if cut else text) + b"\0" * 4096)
    assert line_of_organ("a", "liver") in open_journal(tmp_path).lines and (statuses(tmp_path) is None) == cut
    note(tmp_path, 0, "ERROR", "x")
    assert statuses(tmp_path) == ["ERROR"]


def test_journals_of_the_version_before_are_gone_on_with(tmp_path: Path):
    """Its lines as it wrote them, one of them cut by a kill; a start of today counts from there."""
    row = new_row("a", "a.nii", "liver", "OK", "")
    lines = [
        {"made_with": "x", "row": {**row, "status": "ERROR"}, "at": 1.0},
        {"made_with": "x", "row": row, "at": 2.0},
        {"scan": "a", "made_with": "y", "organs": {"liver": "x"}, "at": 2.0},
    ]
    journal_file(tmp_path, 1).write_text(
        "\n" + "".join(json.dumps(line) + "\n" for line in lines) + '{"made_with": "x"'
    )
    assert statuses(tmp_path) == ["OK"] and open_journal(tmp_path).row("a", "y") == {"liver": "x"}
    note(tmp_path, 0, "EMPTY", "x")
    assert statuses(tmp_path) == ["EMPTY"] and open_journal(tmp_path).lines["a"]["start"] == 3


def test_rows_of_versions_that_knew_less_are_rows_and_what_they_lack_is_not_known(tmp_path: Path):
    """Version 0.1 wrote no segments and asked nobody how a mask is drawn; its maps are removed with its rows."""
    row = {key: value for key, value in new_row("a", "a.nii", "liver", "OK", "").items() if key not in LATER}
    there = tmp_path / "masks" / "a" / "liver_recon.nii.gz"
    lines = [
        {"made_with": "x", "row": {**row, "reconstruction": "masks/a/liver_recon.nii.gz"}, "at": 2.0},
        {"scan": "a", "made_with": "y", "organs": {"liver": "x"}, "at": 2.0},
    ]
    journal_file(tmp_path, 0).write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = rows_of(open_journal(tmp_path), "a")
    assert rows is not None
    (read,) = rows
    assert set(read) == {*COLUMNS} and all(read[key] is None for key in LATER)
    there.parent.mkdir(parents=True)
    there.write_bytes(b"")
    forget(tmp_path)
    assert not there.exists() and not journal_files(tmp_path)
