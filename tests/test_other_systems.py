"""Where embreex, point-cloud-utils, fcntl and resource are missing, as on other systems, everything works the same.

In processes of their own, in which importing any of them is an error: tests/tools/without.py.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.small_sets import write_boxes
from tests.tools import platforms
from tests.tools.without import OF_OTHER_SYSTEMS, environment_without

IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys
import data_processing, ifnet, imnet, isofield
names = [module.name for package in (data_processing, ifnet, imnet, isofield)
         for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
of_extras = {"triton": "triton", "wandb_runs": "wandb", "mlflow_store": "mlflow"}  # modules that stand on another
for name in names:
    needed = of_extras.get(name.rpartition(".")[2])
    if not name.endswith("__main__") and (needed is None or importlib.util.find_spec(needed)):
        importlib.import_module(name)
print(len(names), [name for name in sys.argv[1:] if sys.modules.get(name) is not None])
"""
DATA = {
    "name": "boxes",
    "input": "raw",
    "workers": 1,
    "shard_size": 2,
    "contents": {
        "levels": False,
        "grids": [32],
        "boundary": {"points": 1000},
        "surface": {"points": 1000, "views": 8},
        "rendering": {"views": 2, "size": 32},
    },
    "splits": {"ratios": {"train": 0.5, "test": 0.5}},
}
TRAINING = {
    "name": "boxes",
    "data": {"path": "datasets/boxes", "input": {"kind": "points", "resolution": 32, "points": 300}},
    "model": {"type": "ifnet", "resolution": 32, "stages": [[2], [4, 4]], "decoder_widths": [16]},
    "training": {
        "stages": [{"level": "boundary", "epochs": 60, "points": 500}],
        "batch_shapes": 2,
        "optim": {"learning_rate": 0.01},
        "validation": {"every": 0},
    },
}


def without(missing: tuple[str, ...], *words: str, folder: Path = ROOT, status: int = 0) -> str:
    """What Python prints that is started with these words where modules are missing."""
    environment = environment_without(missing) | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_module_is_imported_without_them():
    count, imported = without(OF_OTHER_SYSTEMS, "-c", IMPORT_ALL, *OF_OTHER_SYSTEMS).split(maxsplit=1)
    assert int(count) > 200 and imported.strip() == "[]"


def test_the_blocked_modules_are_missing_there():
    for name in OF_OTHER_SYSTEMS:
        code = f"try: import {name}\nexcept ModuleNotFoundError: print('missing')"
        assert without((name,), "-c", code) == "missing\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared, trained, generated and evaluated where nothing of it can be imported."""
    folder = tmp_path_factory.mktemp("without")
    write_boxes(folder, 4)
    (folder / "data.yaml").write_text(yaml.safe_dump(DATA))
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAINING))
    without(OF_OTHER_SYSTEMS, "-m", "isofield", "prepare", "--config", "data.yaml", folder=folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*.h5"))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_a_data_set_with_pictures_has_the_same_bytes(work: Path, tmp_path: Path):
    os.symlink(work / "raw", tmp_path / "raw")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(DATA))
    without((), "-m", "isofield", "prepare", "--config", "data.yaml", folder=tmp_path)
    assert digests(tmp_path / "datasets") == digests(work / "datasets") and digests(work / "datasets")


@pytest.mark.slow
def test_the_other_commands_run_through(work: Path):
    run = ["--run", "runs/boxes", "--split", "test"]
    for words in (
        ["train", "--config", "train.yaml"],
        ["generate", *run, "--resolution", "32"],
        ["evaluate", *run, "--protocol", "onet"],
    ):
        without(OF_OTHER_SYSTEMS, "-m", "isofield", *words, folder=work)
    assert (work / "runs/boxes/evaluation/report.html").is_file()
    assert not list((work / "runs").rglob("*.lock"))


def test_nothing_is_required_that_has_no_wheels_for_other_systems():
    required = " ".join(platforms.requirements())
    assert not any(name in required for name in ("embreex", "point-cloud-utils", "pycollada", "rtree", "triton"))


@pytest.mark.skipif("ISOFIELD_NETWORK" not in os.environ, reason="asks a package index; set ISOFIELD_NETWORK=1")
@pytest.mark.parametrize("python", platforms.PYTHONS)
@pytest.mark.parametrize("system", ["linux-arm64", "macos-arm64", "windows"])
def test_all_dependencies_have_wheels_elsewhere(system: str, python: str):
    wheels = platforms.without_cuda(system, python, platforms.requirements())
    assert {"torch", "numba", "h5py", "filelock"} <= set(wheels)
