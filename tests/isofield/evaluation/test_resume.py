"""An evaluation shared by ranks, stopped and gone on with. Ranks that do not wait are as good as real ones here."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import write_mesh
from isofield.commands import evaluate
from isofield.evaluation.pairs import Comparison, Pair, folders_to_compare
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.resume import journal_of, rows_of_ranks
from isofield.evaluation.rows import Row, SampleCounts, each_pair
from isofield.run_dir import exclusive
from isofield.runtime.distributed import Group
from isofield.runtime.processes import is_first_alone
from tests.commands import call
from tests.data_processing.solids import box

PROTOCOLS = find_protocols(["ifnet"])
DRAWS = SampleCounts(points=200, iou_points=200)
NAMES = [f"box{number}" for number in range(5)]


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        corners = np.array([-1.0, -2.0, -3.0]), np.array([1.0, 2.0, 3.0 + number])
        write_mesh(tmp_path / "gt" / f"{name}.ply", box(*corners))
        write_mesh(tmp_path / "pred" / f"{name}.ply", box(corners[0], corners[1] * 0.9))
    return tmp_path


class Work:
    """Evaluates for real, counts, and may be killed after so many shapes."""

    def __init__(self, most: int = 100) -> None:
        self.most, self.done = most, list[str]()

    def __call__(self, pairs: Sequence[Pair]) -> Generator[list[Row]]:
        for pair, rows in zip(pairs, each_pair(pairs, PROTOCOLS, DRAWS, progress=False), strict=True):
            if len(self.done) == self.most:
                raise Killed
            self.done.append(pair.name)
            yield rows


def comparison(folders: Path) -> Comparison:
    return folders_to_compare(folders / "pred", folders / "gt")


def share(folders: Path, work: Work, rank: int = 0, size: int = 1) -> list[list[Row]]:
    what = comparison(folders)
    journal = journal_of(folders, what, PROTOCOLS, DRAWS, rank=rank)
    return rows_of_ranks(what.pairs, work, journal, Group(rank, size, torch.device("cpu")))


@pytest.mark.usefixtures("one_thread")
def test_a_second_start_while_the_first_is_at_work_is_refused(folders: Path):
    """It would remove the lines of the first when it is done."""
    words = ["--pred", folders / "pred", "--gt", folders / "gt", "--out", folders / "out"]
    with exclusive(folders / "out", 0, what="evaluation"):
        for more in ([], ["--samples", "--protocol", "lfd"]):
            with pytest.raises(ValueError, match=r"out: .*evaluation"):
                call(evaluate.main, *words, *more)
    assert not list((folders / "out").iterdir())


def notes_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(".rows-*"))


def test_ranks_make_the_rows_of_one(folders: Path):
    alone, works = share(folders, Work()), [Work(), Work(), Work()]
    journal_of(folders, comparison(folders), PROTOCOLS, DRAWS).remove()
    assert not notes_in(folders)
    assert share(folders, works[1], 1, 3) == share(folders, works[2], 2, 3) == []
    assert share(folders, works[0], 0, 3) == alone and len(alone) == 5 and alone[4][0]["iou"] > 0.5
    assert [work.done for work in works] == [NAMES[0::3], NAMES[1::3], NAMES[2::3]]


def test_it_goes_on_with_another_number_of_ranks(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(Killed):
        share(folders, Work(1), 1, 2)  # box1, then killed at box3
    with pytest.raises(Killed):
        share(folders, Work(2), 0, 2)  # box0, box2
    works = [Work(), Work(), Work()]
    share(folders, works[1], 1, 3)
    share(folders, works[2], 2, 3)
    rows = share(folders, works[0], 0, 3)
    assert sorted(name for work in works for name in work.done) == ["box3", "box4"]
    assert "rank 1: 1 of 2 shapes were evaluated before" in capsys.readouterr().out
    journal_of(folders, comparison(folders), PROTOCOLS, DRAWS).remove()
    assert rows == share(folders, Work())


def test_only_what_still_holds_is_taken_over(folders: Path):
    """A changed file, a row that failed, a line cut by the kill or made from something else: made again."""
    (folders / "pred" / "box2.ply").write_bytes(b"no mesh")
    share(folders, Work(), 1, 2)
    share(folders, Work(), 0, 2)
    corners = np.zeros(3), np.ones(3)
    for side in ("pred", "gt"):
        write_mesh(folders / side / "box1.ply", box(*corners))
    (first, second) = notes_in(folders)
    first.write_bytes(first.read_bytes()[:-5])  # of box4
    with open(first, "a") as file:
        file.write('\n{"name": "box0", "made_from": "x", "row": 7, "start": 9}\n')  # none of ours
        file.write('{"name": "box3", "made_from": "x", "row": [], "start": 9}\n')
    again = Work()
    rows = share(folders, again)
    assert again.done == ["box1", "box2", "box3", "box4"]
    assert rows[1][0]["iou"] == 1 and second.exists()  # the later start counts, not the line of rank 1
    other = journal_of(folders, comparison(folders), PROTOCOLS, SampleCounts(points=100, iou_points=200))
    other.remove()
    assert not other.lines and len(notes_in(folders)) == 2


def test_rows_of_the_version_before_are_taken_over(folders: Path):
    """Its lines held the states of the files instead of their fingerprint; a damaged one is made again."""
    rows = share(folders, Work())
    (file,) = notes_in(folders)
    lines = []
    for pair in comparison(folders).pairs:
        states = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in (pair.prediction, *truth(pair))]
        of_pair = rows[NAMES.index(pair.name)]
        lines.append({"name": pair.name, "made_from": json.dumps(["", states]), "rows": of_pair, "start": 4})
    lines[2]["made_from"] = json.dumps(["", []])
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = Work()
    assert share(folders, again) == rows and again.done == ["box2"]


def truth(pair: Pair) -> list[Path]:
    return [] if pair.truth is None else pair.truth.files()


def test_a_later_start_counts_whatever_the_ranks(folders: Path):
    """A line of rank 3 of an earlier start, read after that of rank 1, does not win."""
    share(folders, Work(), 3, 4)
    (file,) = notes_in(folders)
    lines = [json.loads(line) for line in file.read_text().split("\n") if line]
    for line in lines:
        line["row"][0]["status"] = "failed"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    share(folders, Work(), 1, 2)  # box3 now belongs to it
    assert {row[0]["status"] for row in share(folders, Work(), 0, 2)} == {"done"}


def test_what_is_not_shared_is_done_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert is_first_alone("calibration") and capsys.readouterr().out == ""
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert is_first_alone("calibration")
    assert "calibration is not shared: the first of 3 processes does it alone" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "2")
    assert not is_first_alone("calibration") and capsys.readouterr().out == ""
