"""Journals of ranks: which line counts, and what is tidied up when."""

import json
from pathlib import Path

import pytest

from isofield.runtime.journal import Journal, compact, latest


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def noted(folder: Path, rank: int, **values: int) -> None:
    with Journal(folder / f"{rank}.jsonl", files_in(folder)) as journal:
        for name, value in values.items():
            journal.add({"name": name, "value": value})


def values(folder: Path) -> dict[str, int]:
    return {name: line["value"] for name, line in latest(files_in(folder)).items()}


def test_the_later_start_counts(tmp_path: Path):
    noted(tmp_path, 3, a=1, b=1, c=1)
    noted(tmp_path, 0, a=2)
    noted(tmp_path, 1, b=3, a=4)
    with open(tmp_path / "0.jsonl", "a") as file:
        file.write('{"name": "c", "value": 9, "start"')  # a kill
    assert values(tmp_path) == {"a": 4, "b": 3, "c": 1}


@pytest.mark.parametrize("cut", [False, True])
def test_zeros_as_after_a_power_cut_cost_the_lines_they_hit(tmp_path: Path, cut: bool):
    """The length reached the disk, the content did not: in the last line, or after it. What comes next counts."""
    noted(tmp_path, 0, a=1, b=1)
    file = tmp_path / "0.jsonl"
    text = file.read_bytes()
    kept = text[:-10] if cut else text
    file.write_bytes(kept + b"\0" * 4096)
    assert values(tmp_path) == ({"a": 1} if cut else {"a": 1, "b": 1})
    noted(tmp_path, 0, b=2)
    assert values(tmp_path) == {"a": 1, "b": 2}


def test_what_no_longer_counts_goes_when_it_is_more_than_half(tmp_path: Path):
    noted(tmp_path, 1, a=1, b=1)
    noted(tmp_path, 0, a=2, b=2)
    assert len(compact(files_in(tmp_path), tmp_path / "0.jsonl")) == 2 and len(files_in(tmp_path)) == 2
    noted(tmp_path, 1, a=3)
    before = values(tmp_path)
    assert compact(files_in(tmp_path), tmp_path / "0.jsonl").keys() == before.keys()
    (file,) = files_in(tmp_path)
    assert len(file.read_text().split()) > 2 and len(file.read_text().splitlines()) == 2
    assert values(tmp_path) == before == {"a": 3, "b": 2}
    noted(tmp_path, 2, b=4)  # starts are counted on
    assert values(tmp_path) == {"a": 3, "b": 4}
    assert max(json.loads(line)["start"] for line in (tmp_path / "2.jsonl").read_text().splitlines() if line) == 4


def test_nothing_is_tidied_under_a_process_at_work(tmp_path: Path):
    for value in range(4):
        noted(tmp_path, 0, a=value)
    with Journal(tmp_path / "0.jsonl", files_in(tmp_path)) as journal:
        assert compact(files_in(tmp_path), tmp_path / "0.jsonl")["a"]["value"] == 3
        journal.add({"name": "b", "value": 7})
    assert values(tmp_path) == {"a": 3, "b": 7}
    compact(files_in(tmp_path), tmp_path / "0.jsonl")
    assert len((tmp_path / "0.jsonl").read_text().splitlines()) == 2
