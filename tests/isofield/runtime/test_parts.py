"""Parts of a job array: what --part says, who may work into a folder, and who joins. Locks of this process are real."""

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from isofield.runtime.locks import hold_rank_lock
from isofield.runtime.parts import PARTS_FILE, Part, describe_part, hold_folder, join_parts, part_of, without_part
from tests.conftest import ROOT


@pytest.mark.parametrize("text", ["0/16", "17/16", "3", "3/", "/16", "-1/16", "3/0", "3/16/2", "a/b", "1/100001", ""])
def test_what_is_no_part_is_refused_with_what_was_expected(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=f"from 1 to N.*{text!r}"):
        part_of(text)


def test_a_part_counts_from_one():
    part = part_of("3/16")
    assert (part.number, part.total, part.rank, str(part)) == (3, 16, 2, "3/16")


@pytest.mark.parametrize("words", [["--part", "3/16"], ["--part=3/16"], ["--par", "3/16"]])
def test_the_same_command_for_all(words: list[str]):
    assert without_part(["--config", "x.yaml", *words, "--set", "a=1"]) == ["--config", "x.yaml", "--set", "a=1"]


def test_a_part_of_another_total_is_refused_until_they_are_joined(tmp_path: Path):
    with hold_folder(tmp_path, 0, what="analysis", part=Part(3, 16)):
        pass
    with pytest.raises(ValueError, match=r"--part 3/8: .*in 16 parts.*K/16"), _held(tmp_path, Part(3, 8)):
        pass
    with hold_folder(tmp_path, 0, what="analysis"):  # a call for all
        assert not (tmp_path / PARTS_FILE).exists()
    with _held(tmp_path, Part(3, 8)):
        pass


def test_a_part_is_at_work_once(tmp_path: Path):
    part = Part(2, 3)
    with _held(tmp_path, part), pytest.raises(ValueError, match="part 2/3 is at work"), _held(tmp_path, part):
        pass


def test_a_call_for_all_waits_for_no_part(tmp_path: Path):
    whole = hold_folder(tmp_path, 0, what="analysis")
    with _held(tmp_path, Part(2, 3)), pytest.raises(ValueError, match=r"analysis of part 2/3 is at work"), whole:
        pass


def test_no_part_starts_while_all_is_made(tmp_path: Path):
    whole = hold_folder(tmp_path, 0, what="analysis")
    with whole, pytest.raises(ValueError, match="of all parts, is at work"), _held(tmp_path, Part(2, 3)):
        pass
    with _held(tmp_path, Part(2, 3)):
        pass


def test_a_damaged_count_of_parts_is_named(tmp_path: Path):
    (tmp_path / PARTS_FILE).write_text('{"parts": "many"}')
    with pytest.raises(ValueError, match=r"\.parts\.json: .*'many'"), _held(tmp_path, Part(1, 2)):
        pass


def test_the_last_part_joins_and_only_it(tmp_path: Path):
    done: list[int] = []

    def finish(number: int) -> str | None:
        part = Part(number, 3)
        with _held(tmp_path, part):
            done.append(number)
        return join_parts(tmp_path, part, what="analysis", is_whole=lambda: len(done) >= 3, join=lambda: "joined")

    assert [finish(2), finish(1), finish(3)] == [None, None, "joined"]
    assert not list(tmp_path.iterdir())


def test_nobody_joins_while_another_part_is_at_work(tmp_path: Path):
    """It is the last to finish, and looks itself."""
    with _held(tmp_path, Part(1, 2)):
        with _held(tmp_path, Part(2, 2)):
            pass
        assert _joined(tmp_path, Part(2, 2)) is None
    assert _joined(tmp_path, Part(1, 2)) == "joined"
    assert _joined(tmp_path, Part(2, 2)) is None  # it had waited for the lock: another has joined them


def test_the_lock_of_a_killed_part_keeps_nobody_out(tmp_path: Path):
    with _held(tmp_path, Part(2, 2)):
        pass
    killed = f"""
import os, signal
from pathlib import Path
from isofield.runtime.parts import Part, hold_folder
with hold_folder(Path({str(tmp_path)!r}), 0, what="analysis", part=Part(1, 2)):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False).returncode != 0
    assert (tmp_path / ".lock-0").exists()
    assert _joined(tmp_path, Part(2, 2)) == "joined"
    with hold_rank_lock(tmp_path, 0, what="analysis"):
        pass


def test_a_part_tells_how_the_rest_comes():
    told = describe_part(Part(3, 16), again="--resume")
    assert "part 3/16 is done" in told and "without --part and with --resume" in told


def _held(folder: Path, part: Part) -> contextlib.AbstractContextManager[None]:
    return hold_folder(folder, 0, what="analysis", part=part)


def _joined(folder: Path, part: Part) -> str | None:
    return join_parts(folder, part, what="analysis", is_whole=lambda: True, join=lambda: "joined")
