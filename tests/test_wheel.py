"""What `pip wheel .` makes: whole, nothing but ours, quick to import, and no name of others is taken."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PACKAGES = ("data_processing", "ifnet", "imnet", "isofield")
NOT_OURS = ("train", "generate", "evaluate", "analyse", "engine", "outliers", "tests", "configs", "pretrained", "setup")
IMPORT_SECONDS = 0.3  # CPU of the whole interpreter


def copied_sources(folder: Path) -> Path:
    """What a build reads, away from the checkout: an old build/ there would travel in the wheel."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name in {*PACKAGES, "configs", "pretrained", "tests"}:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, folder / path.name)
    return folder


def run_python(python: Path, *words: object, path: str = "") -> str:
    """The output of an interpreter started in a folder that holds nothing of ours."""
    environment = {**os.environ, "PYTHONPATH": path}
    words = (python, *words)
    done = subprocess.run(
        list(map(str, words)), cwd=python.parent, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: by the setuptools of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder)
    run_python(Path(sys.executable), "-m", "pip", "wheel", copied_sources(folder / "sources"), *options)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The interpreter of an environment in which the wheel is installed and nothing else, not even pip."""
    folder = wheel.parent / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ("install", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run_python(Path(sys.executable), "-m", "pip", "--python", python, *options, wheel)
    return python


def answers(python: Path, code: str, *, path: str = "") -> Any:
    """What the code leaves in `answer`."""
    return json.loads(run_python(python, "-c", f"{code}\nimport json; print(json.dumps(answer))", path=path))


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    expected = {f"isofield/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    for file in (ROOT / "pretrained").glob("*/pack.json"):
        names = {file.name, *json.loads(file.read_text())["files"]}
        expected |= {f"isofield/pretrained/{file.parent.name}/{name}" for name in names}
    for package in PACKAGES:
        files = (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        expected |= {str(path.relative_to(ROOT)) for path in files}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {f"{package}/py.typed" for package in PACKAGES} < held


def test_importing_isofield_is_quick_and_pulls_nothing_up(python: Path) -> None:
    code = "import isofield, sys, time; answer = [time.process_time(), sorted(sys.modules), isofield.__file__]"
    seconds, modules, file = answers(python, code, path=sysconfig.get_path("purelib"))
    assert seconds < IMPORT_SECONDS
    assert not {"torch", "numpy", "data_processing", "importlib.metadata"} & set(modules)
    assert Path(file).is_relative_to(python.parents[1])


def test_no_name_of_others_is_taken(python: Path) -> None:
    code = f"import importlib.util; answer = [n for n in {(*PACKAGES, *NOT_OURS)} if importlib.util.find_spec(n)]"
    assert answers(python, code) == list(PACKAGES)


def test_the_version_is_that_of_the_distribution(python: Path, wheel: Path) -> None:
    assert answers(python, "import isofield; answer = isofield.__version__") == wheel.name.split("-")[1]
    code = "import isofield\ntry: isofield.versoin\nexcept AttributeError as error: answer = str(error)"
    assert "versoin" in answers(python, code)


def test_the_command_is_installed_and_knows_the_configurations_that_came_along(python: Path, tmp_path: Path) -> None:
    """`isofield` of the environment's own bin, in an empty folder; the requirements are lent by this environment."""
    installed, lent = next(python.parents[1].rglob("site-packages")), sysconfig.get_path("purelib")
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{lent}"}
    answers: dict[str, str] = {}
    for words in (
        "--version",
        "configs",
        "train --config imnet/small --dry-run",
        "prepare --config data/meshes --dry-run",
    ):
        command = [python.parent / "isofield", *words.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        answers[words.partition(" ")[0]] = done.stdout
    names = sorted(
        path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in ROOT.glob("configs/**/*.yaml")
    )
    assert [line.split()[0] for line in answers["configs"].splitlines()] == names
    assert "type: imnet_autoencoder" in answers["train"] and "normalisation:" in answers["prepare"]
    assert not list(tmp_path.iterdir())


def test_a_command_reads_a_config_that_came_with_the_wheel(python: Path) -> None:
    """The requirements are lent by this environment, whose way to the checkout (a .pth file) is not followed there."""
    ours, lent = python.parents[1], sysconfig.get_path("purelib")
    installed = next(ours.rglob("site-packages"))
    code = (
        "from contextlib import redirect_stdout; from importlib.resources import files; from io import StringIO\n"
        "from isofield.commands import train\n"
        "config = files('isofield') / 'configs' / 'imnet' / 'small.yaml'\n"
        "with redirect_stdout(StringIO()) as page: status = train.main(['--config', str(config), '--dry-run'])\n"
        "answer = [status, page.getvalue(), train.__file__]"
    )
    status, page, file = answers(python, code, path=f"{installed}{os.pathsep}{lent}")
    assert status == 0 and "imnet_autoencoder" in page
    assert Path(file).is_relative_to(ours)
