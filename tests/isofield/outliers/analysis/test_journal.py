"""What counts of journals: the later start, whatever the clock said and whichever rank wrote it."""

from pathlib import Path

import pytest

from isofield.outliers.analysis.journal import Done, Journal, open_journal
from isofield.outliers.analysis.rows import new_row
from isofield.run_dir import journal_files
from isofield.runtime.atomic_files import WriteError


def noted(out: Path, rank: int, status: str, made_with: str) -> None:
    """One start of one rank, with one row."""
    start = Done(out).start
    with open_journal(out, rank) as file:
        journal = Journal(file, start)
        journal.row(new_row("a", "a.nii", "liver", status, ""), made_with)
        journal.scan("a", made_with, {"liver": made_with})


def test_the_later_start_counts_whatever_its_rank(tmp_path: Path):
    """An error of the second rank, then the same scan done by the first: its journal is read before the other's."""
    noted(tmp_path, 1, "ERROR", "x")
    noted(tmp_path, 0, "OK", "x")
    assert [row["status"] for row in Done(tmp_path).rows_of("a") or []] == ["OK"]


def test_a_clock_that_jumped_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.time", lambda: 2e9)
    noted(tmp_path, 0, "ERROR", "x")
    monkeypatch.setattr("time.time", lambda: 1e9)
    noted(tmp_path, 0, "OK", "y")
    assert Done(tmp_path).scans["a"].made_with == "y" and Done(tmp_path).start == 3


def test_a_row_stands_no_longer_once_its_files_are_of_another(tmp_path: Path):
    """Settings x, then y, then x again: the maps and pictures there are those of y."""
    noted(tmp_path, 0, "OK", "x")
    noted(tmp_path, 0, "OK", "y")
    assert set(Done(tmp_path).rows) == {("a", "liver", "y")}


@pytest.mark.parametrize("cut", [False, True])
def test_zeros_as_after_a_power_cut_cost_the_lines_they_hit(tmp_path: Path, cut: bool):
    noted(tmp_path, 0, "OK", "x")
    (file,) = journal_files(tmp_path)
    text = file.read_bytes()
    file.write_bytes((text[:-10] if cut else text) + b"\0" * 4096)
    assert len(Done(tmp_path).rows) == 1 and (Done(tmp_path).rows_of("a") is None) == cut
    noted(tmp_path, 0, "ERROR", "x")
    assert [row["status"] for row in Done(tmp_path).rows_of("a") or []] == ["ERROR"]


def test_results_that_vanish_are_an_error(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with open_journal(tmp_path / "out", 0) as file:
        journal = Journal(file, 1)
        (tmp_path / "out").rename(tmp_path / "away")
        with pytest.raises(WriteError, match=str(tmp_path / "out")):
            journal.scan("a", "x", {})
    assert not Done(tmp_path / "away").scans  # its pictures may have gone elsewhere
