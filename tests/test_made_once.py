"""What is made once is made by one process alone, is whole for all of them, and is tried again where it failed."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import made_once as setups
from tests.made_once import lay_down_in, made_once


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[Path]:
    """Set-ups of these tests lie apart from those of the suite."""
    before = list(setups._places)
    lay_down_in(tmp_path / "set-ups")
    yield tmp_path / "set-ups"
    setups._places[:] = before


def slowly(folder: Path) -> None:
    (folder / f"maker {os.getpid()}").touch()
    time.sleep(0.3)
    (folder / "whole").touch()


def _ask_together(place: Path) -> list[str]:
    """Both processes are there before either asks."""
    (place.parent / f"here {os.getpid()}").touch()
    while len(list(place.parent.glob("here *"))) < 2:
        time.sleep(0.01)
    return _ask(place)


def _ask(place: Path) -> list[str]:
    lay_down_in(place)
    return sorted(os.listdir(made_once("shapes", slowly)))


def test_one_of_several_processes_makes_it_and_the_others_wait(place: Path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_ask_together, [place] * 2, chunksize=1)
    assert first == second and len(first) == 2 and first[1] == "whole"
    assert _ask(place) == first  # a third finds it


def test_one_that_failed_is_made_anew(place: Path):
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        made_once("shapes", fail)
    assert "half" not in _ask(place)
