"""Journals of ranks: which line counts, which row holds, and what is collected when."""

import json
from pathlib import Path

import pytest

from isofield.runtime.atomic_files import WriteError
from isofield.runtime.journal import MOST_STARTS, RECORD, Journal, journal_file, journal_files, stands


def note(folder: Path, rank: int, **values: int) -> None:
    """One start of one rank."""
    with Journal(folder, rank) as journal:
        for name, value in values.items():
            journal.add(name, "x", value)


def values(folder: Path) -> dict[str, int]:
    return {name: line["row"] for name, line in Journal(folder).lines.items()}


def collect(folder: Path) -> dict[str, int]:
    journal = Journal(folder)
    journal.collect()
    return {name: line["row"] for name, line in journal.lines.items()}


def test_the_later_start_counts(tmp_path: Path):
    note(tmp_path, 3, a=1, b=1, c=1)
    note(tmp_path, 0, a=2)
    note(tmp_path, 1, b=3, a=4)
    with open(tmp_path / ".journal-0.jsonl", "a") as file:
        file.write('{"name": "c", "made_from": "x", "row": 9, "start"')  # a kill
    assert values(tmp_path) == {"a": 4, "b": 3, "c": 1}


def test_a_row_holds_as_long_as_it_was_made_from_the_same(tmp_path: Path):
    """Settings x, then y: the files there are those of y, whatever the settings are next."""
    note(tmp_path, 0, a=1)
    assert Journal(tmp_path, 5).row("a", "x") == 1 and Journal(tmp_path).row("b", "x") is None
    with Journal(tmp_path, 1) as journal:
        journal.add("a", "y", 2)
    assert Journal(tmp_path).row("a", "y") == 2 and Journal(tmp_path).row("a", "x") is None


def test_a_row_stands_unless_it_failed_or_a_file_is_gone(tmp_path: Path):
    (tmp_path / "a.ply").touch()
    row = {"status": "done", "file": "a.ply", "mask": None}
    assert stands(row, tmp_path, ("file", "mask", "input")) and stands({"status": "OK"}, tmp_path, ("file",))
    assert not stands(row | {"mask": "gone.nii"}, tmp_path, ("file", "mask"))
    assert not any(stands(row | {"status": status}, tmp_path) for status in ("failed", "ERROR"))


@pytest.mark.parametrize("cut", [False, True])
def test_zeros_as_after_a_power_cut_cost_the_lines_they_hit(tmp_path: Path, cut: bool):
    """The length reached the disk, the content did not: in the last line, or after it. What comes next counts."""
    note(tmp_path, 0, a=1, b=1)
    file = tmp_path / ".journal-0.jsonl"
    text = file.read_bytes()
    kept = text[:-10] if cut else text
    file.write_bytes(kept + b"\0" * 4096)
    assert values(tmp_path) == ({"a": 1} if cut else {"a": 1, "b": 1})
    note(tmp_path, 0, b=2)
    assert values(tmp_path) == {"a": 1, "b": 2}


def test_what_no_longer_counts_goes_when_it_is_more_than_half(tmp_path: Path):
    note(tmp_path, 1, a=1, b=1)
    note(tmp_path, 0, a=2, b=2)
    assert len(collect(tmp_path)) == 2 and len(journal_files(tmp_path)) == 2
    note(tmp_path, 1, a=3)
    before = values(tmp_path)
    assert collect(tmp_path) == before
    (file,) = journal_files(tmp_path)
    assert len(file.read_text().split()) > 2 and len(file.read_text().splitlines()) == 2
    assert values(tmp_path) == before == {"a": 3, "b": 2}
    note(tmp_path, 2, b=4)  # starts are counted on
    assert values(tmp_path) == {"a": 3, "b": 4}
    lines = journal_file(tmp_path, 2).read_text().splitlines()
    assert max(json.loads(line)["start"] for line in lines if line) == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_nothing_is_collected_under_a_process_at_work(tmp_path: Path, rank: int):
    for value in range(4):
        note(tmp_path, 0, a=value)
    with Journal(tmp_path, rank) as journal:
        assert collect(tmp_path)["a"] == 3
        journal.add("b", "x", 7)
    assert values(tmp_path) == {"a": 3, "b": 7}
    collect(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".journal-0.jsonl"]  # and no lock is left
    assert len((tmp_path / ".journal-0.jsonl").read_text().splitlines()) == 2


def test_a_line_that_moves_the_count_of_starts_to_its_end_stops_nobody(tmp_path: Path):
    line = {"name": "a", "made_from": "x", "row": 1, "start": MOST_STARTS}
    journal_file(tmp_path, 0).write_text(json.dumps(line) + "\n")
    note(tmp_path, 0, a=2, b=3)
    assert values(tmp_path) == {"a": 2, "b": 3}


def test_journals_of_another_name_are_others(tmp_path: Path):
    note(tmp_path, 0, a=1)
    with Journal(tmp_path, 2, stem=".rows-1") as journal:
        assert not journal.lines
        journal.add("a", "x", 2)
    journal.remove()
    assert values(tmp_path) == {"a": 1} and [file.name for file in tmp_path.iterdir()] == [".journal-0.jsonl"]


def recorded(folder: Path, rank: int = 0) -> Journal:
    return Journal(folder, rank, record=RECORD)


def done(folder: Path, *, ranks: int = 1, **values: int) -> None:
    """One command that comes to its end."""
    for rank in range(ranks):
        with recorded(folder, rank) as journal:
            for name, value in values.items():
                journal.add(f"{name}{rank}", "x", value)
    recorded(folder).keep_record()


def told(folder: Path) -> dict[str, int]:
    return {name: line["row"] for name, line in recorded(folder).lines.items()}


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_command_that_is_done_leaves_a_record_and_no_journal(tmp_path: Path):
    done(tmp_path, ranks=3, b=1, a=2)
    assert files_in(tmp_path) == ["record.jsonl"]
    names = [json.loads(line)["name"] for line in (tmp_path / RECORD).read_text().splitlines()]
    assert names == ["a0", "a1", "a2", "b0", "b1", "b2"]
    done(tmp_path, a=3)  # of another number of ranks
    assert files_in(tmp_path) == ["record.jsonl"]
    assert told(tmp_path) == {"a0": 3, "a1": 2, "a2": 2, "b0": 1, "b1": 1, "b2": 1}
    recorded(tmp_path).remove()
    assert files_in(tmp_path) == []


def test_a_record_alone_never_tells_what_a_stopped_start_has_changed(tmp_path: Path):
    """The hidden journal is lost (a copy without it, say): then nothing is known, instead of what was true before."""
    done(tmp_path, a=1)
    with recorded(tmp_path) as journal:
        assert journal.row("a0", "x") == 1
        journal.add("a0", "y", 2)  # and a kill
    assert files_in(tmp_path) == [".journal-0.jsonl"] and told(tmp_path) == {"a0": 2}
    with recorded(tmp_path, 1) as journal:  # continued
        journal.add("b", "x", 3)
    recorded(tmp_path).keep_record()
    assert files_in(tmp_path) == ["record.jsonl"] and told(tmp_path) == {"a0": 2, "b": 3}


def test_no_record_is_made_under_a_process_at_work(tmp_path: Path):
    with recorded(tmp_path) as journal:
        recorded(tmp_path, 1).keep_record()
        journal.add("a", "x", 1)
    assert files_in(tmp_path) == [".journal-0.jsonl"]


def test_results_that_vanish_are_an_error(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out") as journal:
        (tmp_path / "out").rename(tmp_path / "away")
        with pytest.raises(WriteError, match=r"vanished while it was written to.*journal-0\.jsonl"):
            journal.add("a", "x", 1)
    assert not values(tmp_path / "away")  # other files of it may have gone elsewhere
