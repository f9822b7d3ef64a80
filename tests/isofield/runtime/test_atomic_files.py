"""A file is replaced whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isofield.runtime.atomic_files import (
    WriteError,
    is_temporary,
    refuse_vanished,
    remove_leftovers,
    replacing,
    write_text,
)
from tests.conftest import ROOT

WRITE_AND_HANG = """
import sys, time
from pathlib import Path
from isofield.runtime.atomic_files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    with open(temporary, "w") as handle:
        handle.write("half of the new")
        handle.flush()
        sys.stdout.write("writing\\n")
        sys.stdout.flush()
        time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_appears_at_the_end_in_folders_made_for_it(tmp_path: Path):
    path = tmp_path / "a" / "b" / "x.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and is_temporary(temporary)
        assert not path.exists()
    assert path.read_text() == "new" and names(path.parent) == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error if isinstance(error, type) else OSError), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["x.txt"]


def test_a_kill_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    command = [sys.executable, "-c", WRITE_AND_HANG, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
    left = [name for name in names(tmp_path) if name != "x.txt"]
    assert path.read_text() == "old"
    assert len(left) == 1 and is_temporary(tmp_path / left[0])
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_reader_sees_the_old_or_the_new_never_a_part(tmp_path: Path):
    path, size = tmp_path / "x.txt", 1 << 20
    write_text(path, "0" * size)
    command = "import sys\nfrom pathlib import Path\nfrom isofield.runtime.atomic_files import write_text\n"
    command += f"for i in range(1, 9): write_text(Path(sys.argv[1]), str(i) * {size})"
    seen, end = set(), time.monotonic() + 30
    with subprocess.Popen([sys.executable, "-c", command, str(path)], cwd=ROOT) as writer:
        while writer.poll() is None and time.monotonic() < end:
            text = path.read_text()
            assert len(text) == size and len(set(text)) == 1
            seen.add(text[0])
    assert writer.returncode == 0 and path.read_text()[0] == "8" and "0" in seen


def test_text_is_utf8_whatever_the_locale(tmp_path: Path):
    write_text(tmp_path / "x", "größer")
    assert (tmp_path / "x").read_bytes() == "größer".encode()


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path: Path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "x", "new")
    assert names(tmp_path) == ["x"]


def test_what_cannot_be_written_is_named_and_what_else_fails_is_not_blamed_on_it(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"File exists: '.*/file'"):
        write_text(tmp_path / "file" / "x", "new")
    with pytest.raises(WriteError, match=r"'.*/x'"), replacing(tmp_path / "x"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing(tmp_path / "x"):
        open(tmp_path / "elsewhere").close()


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path):
    for name in (".partial-12-x.ply", "x.ply", ".journal-0.jsonl"):
        (tmp_path / name).touch()
    remove_leftovers([tmp_path, tmp_path / "absent"])
    assert names(tmp_path) == [".journal-0.jsonl", "x.ply"]


def test_a_file_whose_folder_is_gone_is_noticed(tmp_path: Path):
    """Writing to an opened file goes on without an error then."""
    place = tmp_path / "a" / "journal"
    place.parent.mkdir()
    with open(place, "w") as handle:
        refuse_vanished(handle)
        place.parent.rename(tmp_path / "b")
        with pytest.raises(WriteError, match=r"'.*a/journal'"):
            refuse_vanished(handle)
        place.parent.mkdir()
        place.touch()
        with pytest.raises(WriteError, match=str(place)):
            refuse_vanished(handle)
