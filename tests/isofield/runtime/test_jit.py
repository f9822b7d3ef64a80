"""Where compiled kernels are kept, and that one process compiles for all. Real processes, real folders."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isofield.runtime import jit, kernel_folder

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import numpy as np
from data_processing.occupancy.scan_conversion import scan_points
box = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
                [[0, 0, 0], [0, 0, 1], [1, 0, 0]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]]], dtype=float)
inside = scan_points(box, np.array([[0.1, 0.15, 0.2], [0.9, 0.8, 0.7]]), device="cpu")
assert (inside != 0).tolist() == [True, False], inside
"""


def run_program(**variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    environment = {key: value for key, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_first_process_compiles_and_says_so_once(tmp_path):
    first, second = (run_program(NUMBA_CACHE_DIR=None, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert first.count("compiling kernels") == 1 and str(tmp_path / "isofield") in first
    assert second == ""
    assert list((tmp_path / "isofield").rglob("scan_conversion_kernels._look_up*.nbc"))


def test_without_a_home_the_folder_of_temporary_files_serves(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    said = run_program(NUMBA_CACHE_DIR=None, XDG_CACHE_HOME=str(blocked), HOME=str(blocked), TMPDIR=str(tmp_path))
    assert f"kept in {tmp_path}" in said


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users to tell apart")
def test_a_folder_that_others_can_write_is_not_taken(tmp_path):
    folder = tmp_path / "isofield" / "kernels"
    assert kernel_folder._is_own(folder)
    folder.chmod(0o777)
    assert not kernel_folder._is_own(folder)
    folder.chmod(0o700)
    folder.parent.chmod(0o777)
    assert not kernel_folder._is_own(folder)


def test_kernels_are_called_by_one_process_and_then_by_all(tmp_path, monkeypatch):
    for module in (jit, kernel_folder):
        monkeypatch.setattr(module, "kernel_folder", lambda: tmp_path)
    calls = []
    for _ in range(2):
        jit.compile_once("some", lambda: calls.append((tmp_path / "some.compiled").exists()))
    assert calls == [False, True]


def test_kernels_that_do_not_count_arrays_compute_the_same_where_numba_has_no_such_option(monkeypatch):
    """The option has no public name: a numba without it compiles them all the same, and nobody's array is freed."""
    pytest.importorskip("numba")
    monkeypatch.setattr(jit, "kernel_folder", lambda: None)
    kept = np.arange(12.0).reshape(3, 4)

    def total(rows):
        found = 0.0
        for k in range(len(rows)):
            row = rows[k]
            found += row[0] * row[3]
        return found

    def fill(rows, target):
        target[0] = inner(rows)

    for options in (jit.UNCOUNTED, {}):
        monkeypatch.setattr(jit, "UNCOUNTED", options)
        inner, target, before = jit.compile_inner(total), np.zeros(1), sys.getrefcount(kept)
        jit.compile_filling(fill)(kept, target)
        assert target[0] == (kept[:, 0] * kept[:, 3]).sum() and sys.getrefcount(kept) == before


def test_kernels_of_ours_load_no_linear_algebra_and_those_of_others_have_it():
    """A quarter of what numba takes to load: only for a kernel that multiplies matrices."""
    program = (
        "import sys, numba, numpy as np\n"
        "from data_processing.geometry.surface_sampling_kernels import cumulative_area\n"
        "cumulative_area(np.eye(3), np.array([[0, 1, 2]]))\n"
        "print('scipy.linalg' in sys.modules)\n"
        "print(numba.njit(lambda a, b: np.dot(a, b))(np.eye(3), np.full((3, 3), 2.0)).sum())\n"
        "from numba.np import arraymath\n"
        "print(arraymath._HAVE_BLAS, sys.modules.get('scipy.linalg.cython_blas') is not None)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:3] == ["False", "18.0", "True True"], done.stderr


def test_another_thread_may_import_scipy_while_numba_is_loaded():
    """It does so where numba is about to look for a BLAS: nothing of scipy may be hidden from it then."""
    program = (
        "import importlib, threading\n"
        "failed = []\n"
        "def others():\n"
        "    try:\n"
        "        import scipy.linalg.cython_blas\n"
        "    except BaseException as error:\n"
        "        failed.append(repr(error))\n"
        "load = importlib.import_module\n"
        "def meanwhile(name):\n"
        "    if name == 'numba.np.arraymath':\n"
        "        thread = threading.Thread(target=others)\n"
        "        thread.start()\n"
        "        thread.join()\n"
        "        failed.append('met')\n"
        "    return load(name)\n"
        "importlib.import_module = meanwhile\n"
        "import isofield.runtime.jit\n"
        "from numba.np import arraymath, linalg\n"
        "look = linalg.ensure_blas\n"
        "print(failed, arraymath._HAVE_BLAS, arraymath.ensure_blas is look, look.__module__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "['met'] True True numba.np.linalg\n", done.stdout + done.stderr
