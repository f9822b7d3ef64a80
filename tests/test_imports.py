"""Who may import whom, what files may be called and how long they may grow, held by a machine."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = {"train.py", "generate.py", "evaluate.py", "analyse.py"}
OURS = {"data_processing", "engine", "imnet", "ifnet", "outliers", *(name.removesuffix(".py") for name in SCRIPTS)}
FORBIDDEN_NAMES = ("util", "utils", "misc", "helper", "helpers", "common")
MAX_LINES, MAX_TRAINING_LINES, MAX_SCRIPT_LINES = 400, 300, 80


def source_files() -> list[Path]:
    """Python files of the packages and the scripts, relative to the root."""
    folders = ("data_processing", "engine", "imnet", "ifnet", "outliers")
    files = [path for folder in folders for path in sorted((ROOT / folder).glob("**/*.py"))]
    files += [ROOT / name for name in sorted(SCRIPTS) if (ROOT / name).is_file()]
    return [path.relative_to(ROOT) for path in files]


def imported(source: str, package: str) -> set[str]:
    """Modules of ours that a source imports, those named by `from x import y` as x.y; relative ones resolved."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).strip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] in OURS}


def allowed(file: Path) -> tuple[str, ...]:
    """Prefixes of what a file may import of ours."""
    top = file.parts[0]
    if file.as_posix() == "engine/registry.py":
        return ("engine", "data_processing", "imnet", "ifnet")
    # Commands that turn published weights into a run: they write what the engine reads.
    if file.name.startswith("published") and top in ("imnet", "ifnet"):
        doors = "arrays", "commandline", "config", "dataset", "files", "observations", "organ_tables", "published_hdf5"
        return (top, "engine", *(f"data_processing.{name}" for name in doors))
    return {
        "data_processing": ("data_processing",),
        "engine": ("engine", "data_processing"),
        "imnet": ("imnet", "data_processing.batch", "engine.ops"),
        "ifnet": ("ifnet", "data_processing.batch", "engine.ops"),
        "outliers": ("outliers", "engine", "data_processing"),
        "analyse.py": ("engine", "data_processing", "outliers"),
        "evaluate.py": ("engine", "data_processing", "outliers"),  # a prior's calibration
    }.get(top, ("engine", "data_processing"))


def violations(file: Path, source: str) -> list[str]:
    """Imports of a file that the table does not allow."""
    package = ".".join(file.parts[:-1])
    mine = imported(source, package)
    bad = [name for name in sorted(mine) if not any(f"{name}.".startswith(f"{start}.") for start in allowed(file))]
    if file.parts[0] == "engine" and file.name != "registry.py":
        bad += [name for name in mine if f"{name}.".startswith("engine.registry.")]
    return bad


def relative_id(file: Path) -> str:
    return file.as_posix()


@pytest.mark.parametrize("file", source_files(), ids=relative_id)
def test_imports_keep_to_the_table(file: Path):
    assert violations(file, (ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source", "bad"),
    [
        ("data_processing/x.py", "from engine.config import RunConfig", ["engine.config.RunConfig"]),
        ("data_processing/x.py", "import engine", ["engine"]),
        ("data_processing/x.py", "def f():\n    import imnet.decoder", ["imnet.decoder"]),
        ("data_processing/x.py", "from . import files\nfrom .files import replacing", []),
        ("engine/x.py", "from imnet import decoder", ["imnet.decoder"]),
        ("engine/x.py", "from engine import registry", ["engine.registry"]),
        ("engine/x.py", "from engine.registry import load_run", ["engine.registry.load_run"]),
        ("engine/x.py", "from data_processing import files\nimport torch, numpy", []),
        ("engine/registry.py", "from imnet import autoencoder", []),
        ("engine/ops/x.py", "from ..registry import MODELS", ["engine.registry.MODELS"]),
        ("imnet/x.py", "from data_processing.batch import Batch\nfrom engine.ops.chunked import f", []),
        ("imnet/x.py", "from data_processing.batches import Batch", ["data_processing.batches.Batch"]),
        ("imnet/x.py", "from data_processing import storage", ["data_processing.storage"]),
        ("imnet/x.py", "from engine.training import train", ["engine.training.train"]),
        ("imnet/published.py", "from engine.training import x\nfrom data_processing.config import y", []),
        ("imnet/published.py", "from data_processing.storage import x", ["data_processing.storage.x"]),
        ("ifnet/x.py", "from imnet.decoder import Decoder", ["imnet.decoder.Decoder"]),
        ("train.py", "from imnet.decoder import Decoder", ["imnet.decoder.Decoder"]),
        ("train.py", "from engine.registry import resolve", []),
        ("generate.py", "import outliers.scores", ["outliers.scores"]),
        ("evaluate.py", "import outliers.scores", []),
        ("analyse.py", "import outliers.scores", []),
    ],
)
def test_the_check_sees_every_way_to_import(file: str, source: str, bad: list[str]):
    assert violations(Path(file), source) == bad


def test_files_are_named_after_what_they_hold():
    files = [*source_files(), *(path.relative_to(ROOT) for path in (ROOT / "tests").glob("**/*.py"))]
    assert len(files) > 60  # the search did find the project
    assert [f for f in files if set(f.stem.lower().split("_")) & set(FORBIDDEN_NAMES)] == []


def test_files_stay_short():
    lengths = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in source_files()}
    tests = [path.relative_to(ROOT) for path in (ROOT / "tests").glob("**/*.py")]
    lengths |= {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in tests}
    assert {str(file): lines for file, lines in lengths.items() if lines > MAX_LINES} == {}
    assert lengths[Path("engine/training.py")] <= MAX_TRAINING_LINES
    assert {
        str(file): lines for file, lines in lengths.items() if file.name in SCRIPTS and lines > MAX_SCRIPT_LINES
    } == {}


def test_networks_know_no_device():
    """Devices and dtypes come from outside."""
    bad = []
    for file in source_files():
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
                bad.append(f"{file}:{node.lineno}")
    assert bad == []
