"""Fixtures shared by all tests: where real data lies."""

import os
import signal
from multiprocessing import forkserver
from pathlib import Path

import pytest

from isofield.runtime.cores import usable_cores
from tests.made_once import lay_down_in, made_once

os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars would fill the output of a failing test
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # before torch: its threads would spin
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))

# A shell that starts tests in the background lets them, and all that they start, ignore Ctrl-C. Some are about it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
# Files of half a minute and more, of few tests: they begin first, so that no process of `make test` is left alone with
# one at the end. (pytest-xdist would begin with the files of most tests, which are short.)
LONG = (
    "test_end_to_end.py",
    "test_fuzz.py",
    "test_first_gpu.py",
    "data_processing/test_prepare_cli.py",
    "ifnet/test_published.py",
    "isofield/test_devices.py",
    "isofield/generation/test_latent_shapes.py",
    "isofield/outliers/analysis/test_folder.py",
    "isofield/outliers/scoring/test_detector.py",
    "isofield/packs/test_find_run.py",
    "isofield/packs/writing/test_pack.py",
    "isofield/runtime/test_kernel_folder.py",
    "isofield/training/test_loop.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. Tests marked slow run when ISOFIELD_SLOW is set (`make test-slow`): the suite stays short."""
    long = {ROOT / "tests" / name for name in LONG}
    items.sort(key=lambda item: item.path not in long)
    if "ISOFIELD_SLOW" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes more than ten seconds; set ISOFIELD_SLOW=1 to run it"))


@pytest.fixture(scope="session")
def examples() -> Path:
    """The real meshes shipped with the project."""
    return ROOT / "examples"


@pytest.fixture(scope="session", autouse=True)
def setups(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is made once lies where all processes of this run find it: beside the folders of each."""
    own = tmp_path_factory.getbasetemp()
    lay_down_in((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once")


@pytest.fixture(scope="session")
def prepared() -> Path:
    """Five boxes prepared with grids, points near the surface and surface points; four to train on. Meshes: ../raw."""
    from tests.small_sets import write_prepared  # compiles kernels: only where it is needed

    return made_once("prepared", write_prepared) / "set"


@pytest.fixture
def no_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that starts workers was there, and no longer answers."""
    from isofield.runtime.processes import worker_pool

    with worker_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
    monkeypatch.setattr(forkserver._forkserver, "_forkserver_address", "\0nobody-listens-here")
