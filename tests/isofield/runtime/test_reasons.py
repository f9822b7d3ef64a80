"""Own sentences as they are; the words of a library never."""

import errno
import gzip
import importlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from isofield.runtime.atomic_files import WriteError
from isofield.runtime.reasons import reason_of


def error_of(call, *arguments):
    with pytest.raises(Exception) as caught:
        call(*arguments)
    return caught.value


def test_sentences_of_ours_stay(tmp_path):
    error = error_of(read_mesh, tmp_path / "none.ply")
    assert reason_of(error) == str(error) == f"mesh {tmp_path / 'none.ply'} does not exist"
    assert reason_of(ValueError("never raised")) == "never raised"


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (json.loads, ["{"]),  # a library in Python
        (np.zeros, [-1]),  # a library in C: the last line of Python is the caller's
        (int, ["x"]),  # Python itself
        (gzip.decompress, [b"no gzip"]),
    ],
)
def test_words_of_libraries_never(call, arguments):
    error = error_of(call, *arguments)
    reason = reason_of(error)
    assert str(error) not in reason
    assert type(error).__name__ in reason and "test_reasons, line" in reason
    assert reason_of(error, otherwise="the file is cut off") == "the file is cut off"


def test_libraries_of_another_environment_are_libraries(tmp_path, monkeypatch):
    """As a .pth file links them: their folder is none of this Python's own."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "far_library.py").write_text("def read():\n    raise ValueError('words of a library')\n")
    monkeypatch.syspath_prepend(folder)
    error = error_of(importlib.import_module("far_library").read)
    assert (
        "words of a library" not in reason_of(error) and reason_of(error, otherwise="it is cut off") == "it is cut off"
    )


def test_the_system_in_one_line(tmp_path):
    assert reason_of(error_of(open, tmp_path / "none")) == f"{tmp_path / 'none'}: No such file or directory"

    def full():
        raise WriteError(errno.ENOSPC, "No space left on device", "x.ply")

    assert reason_of(error_of(full)) == "x.ply: No space left on device"
    assert "memory" in reason_of(MemoryError("cannot allocate array of shape (9,)"))


def test_sentences_that_come_from_a_worker():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = error_of(pool.submit(read_mesh, "none.ply").result)
    assert reason_of(error) == "mesh none.ply does not exist"


def test_the_whole_error_on_demand(monkeypatch, capsys):
    monkeypatch.setenv("ISOFIELD_TRACEBACK", "1")
    assert "ISOFIELD_TRACEBACK" in reason_of(error_of(int, "x"))
    assert "invalid literal" in capsys.readouterr().err
