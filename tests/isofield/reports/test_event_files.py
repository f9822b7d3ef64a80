"""Event files as a training writes them, resumed, cut, damaged."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from isofield.reports.event_files import read_events
from tests.isofield.reports.written_events import written_run


def test_numbers_and_pictures_come_back(tmp_path: Path):
    events = read_events(written_run(tmp_path).logs)
    assert sorted(events.scalars["validation/iou"].items())[-1] == (100, pytest.approx(0.99))
    pixels = cv2.imdecode(np.frombuffer(events.pictures["reconstruction/x"][30], np.uint8), cv2.IMREAD_COLOR)
    assert (pixels == 30).all() and events.notes == []


def test_what_a_killed_training_noted_beyond_its_checkpoint_is_dropped(tmp_path: Path):
    written_run(tmp_path)
    written_run(tmp_path, steps=range(55, 75, 10), begin=50, scale=7.0)
    losses = read_events(tmp_path / "logs").scalars["autoencoder/loss"]
    assert sorted(losses) == [10, 20, 30, 40, 50, 55, 65] and losses[55] == pytest.approx(7 / 55)
    assert sorted(read_events(tmp_path / "logs").pictures["reconstruction/x"]) == [10, 20, 30, 40, 50, 55, 65]


def test_of_starts_in_one_second_the_tenth_comes_after_the_ninth(tmp_path: Path):
    """Else what was noted after a resume would count as noted before it, and be dropped."""
    for begin, number in ((0, 9), (50, 10)):
        written_run(tmp_path, steps=range(begin + 10, begin + 60, 10), begin=begin)
        (file,) = (each for each in (tmp_path / "logs").iterdir() if "named" not in each.name)
        file.rename(file.with_name(f"events.out.tfevents.1796013925.named.77.{number}"))
    losses = read_events(tmp_path / "logs").scalars["autoencoder/loss"]
    assert sorted(losses) == list(range(10, 110, 10))


@pytest.mark.parametrize("where", ["cut", "damaged", "another file"])
def test_a_damaged_file_is_read_up_to_there_and_named(tmp_path: Path, where: str):
    (file,) = written_run(tmp_path).logs.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    changed = {
        "cut": whole[:middle],
        "damaged": whole[:middle] + bytes(byte ^ 0xFF for byte in whole[middle : middle + 3]) + whole[middle + 3 :],
        "another file": b"no events at all" * 100,
    }
    file.write_bytes(changed[where])
    events = read_events(tmp_path / "logs")
    told = f"{file}: read up to a place where it is cut or damaged; what follows there is missing here"
    assert events.notes == [told]
    losses = events.scalars.get("autoencoder/loss", {})
    assert len(losses) < 10 and all(value == pytest.approx(1 / step) for step, value in losses.items())
    assert bool(losses) == (where != "another file")


def test_no_event_file_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no event files"):
        read_events(tmp_path)
    assert sys.modules.get("tensorflow") is None
