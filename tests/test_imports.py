"""Who may import whom, what files may be called and how long they may grow, held by a machine.

The rooms stand on floors: a file imports from its own room and from rooms further down, never from one above.
"""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = ("train.py", "generate.py", "evaluate.py", "analyse.py")
PACKAGES = ("data_processing", "imnet", "ifnet", "isofield")
FORBIDDEN_NAMES = ("util", "utils", "misc", "helper", "helpers", "common")
MAX_LINES, MAX_TRAINING_LINES, MAX_SCRIPT_LINES, MAX_STORY_LINES = 400, 300, 8, 120

# From the ground up. A floor is a file or a folder with all below it; of several that fit, the longest counts.
FLOORS = (
    "isofield/runtime",
    "isofield/ops",
    "data_processing/batch.py",
    "data_processing/geometry",
    "data_processing/formats",
    "data_processing/occupancy",
    "data_processing/medical",
    "data_processing/store",
    "data_processing/preparation",
    "data_processing/loading",
    "data_processing",
    "isofield",  # contract, config, run_dir, checkpoint
    "isofield/packs",
    "isofield/metrics",
    "isofield/extraction",
    "isofield/evaluation",
    "isofield/training",
    "imnet",
    "ifnet",
    "isofield/registry.py",
    "isofield/generation",
    "isofield/reports",
    "isofield/outliers/scoring",
    "isofield/packs/writing",  # of a prior, with its calibration
    "isofield/outliers/comparison",
    "isofield/outliers/benchmark",
    "isofield/outliers/analysis",
    "isofield/outliers",
    "isofield/api.py",
    "isofield/__init__.py",  # hands out what api.py holds
    "isofield/commands",
    "isofield/__main__.py",
    "data_processing/__main__.py",  # a door to isofield/commands, as the scripts at the root are
)
# What a floor may not reach although it lies further down: a room says what it does without.
WITHOUT = {
    "data_processing": ("isofield/ops",),
    "isofield/metrics": ("data_processing/store", "data_processing/preparation", "data_processing/loading", "isofield"),
    "isofield/generation": ("isofield/registry.py", "imnet", "ifnet", "isofield/training", "isofield/evaluation"),
    "isofield/reports": ("isofield/registry.py", "imnet", "ifnet", "isofield/training", "isofield/generation"),
    "isofield/outliers": ("imnet", "ifnet", "isofield/training", "isofield/generation"),
    "isofield/commands": ("imnet", "ifnet"),
}
# Models are leaves: they know the batch and the fast operators.
MODELS = {"imnet": ("data_processing/batch.py", "isofield/ops"), "ifnet": ("data_processing/batch.py", "isofield/ops")}


def source_files() -> list[Path]:
    """Python files of the packages and the scripts, relative to the root."""
    files = [path for folder in PACKAGES for path in sorted((ROOT / folder).glob("**/*.py"))]
    return [path.relative_to(ROOT) for path in [*files, *(ROOT / name for name in SCRIPTS)]]


def imported(source: str, package: str) -> set[str]:
    """Modules of ours that a source imports, those named by `from x import y` as x.y; relative ones resolved."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).strip(".")
            modules |= {f"{base}.{alias.name}" for alias in node.names}
    ours = {*PACKAGES, "tests", *(name.removesuffix(".py") for name in SCRIPTS)}
    return {name for name in modules if name.partition(".")[0] in ours}


def floor_of(path: str) -> str | None:
    """The floor of a file, or of a module's name written with slashes; None where there is none."""
    fitting = [floor for floor in FLOORS if f"{path}/".startswith(f"{floor.removesuffix('.py')}/")]
    return max(fitting, key=len, default=None)


def is_below(path: str, floors: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{floor.removesuffix('.py')}/") for floor in floors)


def may_import(file: Path, module: str) -> bool:
    """Whether the file may import the module, or the name in a module."""
    name, target = file.as_posix().removesuffix(".py"), module.replace(".", "/")
    if file.as_posix() in SCRIPTS:
        return is_below(target, ("isofield/commands",))
    mine, theirs = floor_of(name), floor_of(target)
    if mine is None or theirs is None:
        return False  # a room that is not in the table, a script or a test
    top = file.parts[0]
    # Commands that turn published weights into a run write what the rest reads; networks are leaves.
    if top in MODELS and not file.name.startswith("published"):
        return is_below(target, (top, *MODELS[top]))
    if FLOORS.index(theirs) > FLOORS.index(mine):
        return False
    if top in MODELS:
        return theirs not in ({*MODELS} - {top})
    barred = [floor for room, floors in WITHOUT.items() if is_below(name, (room,)) for floor in floors]
    return theirs == mine or theirs not in barred


def violations(file: Path, source: str) -> list[str]:
    """Imports of a file that the floors do not allow."""
    return [name for name in sorted(imported(source, ".".join(file.parts[:-1]))) if not may_import(Path(file), name)]


def relative_id(file: Path) -> str:
    return file.as_posix()


@pytest.mark.parametrize("file", source_files(), ids=relative_id)
def test_imports_keep_to_the_floors(file: Path):
    assert violations(file, (ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source", "bad"),
    [
        ("isofield/runtime/x.py", "from data_processing.geometry import y", ["data_processing.geometry.y"]),
        ("isofield/runtime/x.py", "import isofield.config", ["isofield.config"]),
        ("isofield/runtime/x.py", "from . import seeds\nfrom .seeds import seed_of\nimport torch, numpy", []),
        ("isofield/ops/x.py", "from ..registry import MODELS", ["isofield.registry.MODELS"]),
        ("isofield/ops/feature_sampling/x.py", "from isofield.ops import memory", []),
        ("data_processing/geometry/x.py", "import data_processing.formats.obj", ["data_processing.formats.obj"]),
        ("data_processing/formats/x.py", "from data_processing.geometry.coordinates import y", []),
        ("data_processing/formats/x.py", "from isofield.config import RunConfig", ["isofield.config.RunConfig"]),
        ("data_processing/formats/x.py", "from isofield.runtime.config import build", []),
        ("data_processing/store/x.py", "def f():\n    import imnet.decoder", ["imnet.decoder"]),
        ("data_processing/store/x.py", "from ..preparation import job", ["data_processing.preparation.job"]),
        ("data_processing/loading/x.py", "from isofield.ops import memory", ["isofield.ops.memory"]),
        ("data_processing/__main__.py", "from data_processing.preparation.job import y", []),
        ("isofield/x.py", "from isofield.training.loop import train", ["isofield.training.loop.train"]),
        ("isofield/metrics/x.py", "from data_processing.store import shards", ["data_processing.store.shards"]),
        ("isofield/metrics/x.py", "from isofield.evaluation import rows", ["isofield.evaluation.rows"]),
        ("isofield/training/x.py", "from isofield.generation import meshes", ["isofield.generation.meshes"]),
        ("isofield/training/x.py", "from isofield import registry", ["isofield.registry"]),
        ("isofield/generation/x.py", "from isofield.registry import load_run", ["isofield.registry.load_run"]),
        ("isofield/outliers/scoring/x.py", "import isofield.outliers.analysis", ["isofield.outliers.analysis"]),
        ("isofield/outliers/scoring/x.py", "from isofield.registry import load_run", []),
        ("isofield/outliers/analysis/x.py", "from isofield.reports.page import write_page", []),
        ("isofield/reports/x.py", "from isofield.outliers.analysis import y", ["isofield.outliers.analysis.y"]),
        ("isofield/evaluation/x.py", "from isofield.api import load", ["isofield.api.load"]),
        (
            "isofield/api.py",
            "import isofield.registry\nfrom isofield.commands import train",
            ["isofield.commands.train"],
        ),
        ("isofield/registry.py", "from imnet import autoencoder", []),
        ("isofield/commands/x.py", "from imnet import autoencoder", ["imnet.autoencoder"]),
        ("isofield/commands/x.py", "from isofield.outliers.scoring import scores", []),
        ("isofield/commands/x.py", "import tests.small_sets\nimport train", ["tests.small_sets", "train"]),
        ("isofield/drawer/x.py", "from isofield.commands import train", ["isofield.commands.train"]),
        ("imnet/x.py", "from data_processing.batch import Batch\nfrom isofield.ops.chunked import f", []),
        ("imnet/x.py", "from data_processing.batches import Batch", ["data_processing.batches.Batch"]),
        ("imnet/x.py", "from data_processing.store import shards", ["data_processing.store.shards"]),
        ("imnet/x.py", "from isofield.training.loop import train", ["isofield.training.loop.train"]),
        ("imnet/published.py", "from isofield.training.loop import x\nfrom isofield.runtime.config import y", []),
        (
            "imnet/published.py",
            "from ifnet.model import x\nimport isofield.registry",
            ["ifnet.model.x", "isofield.registry"],
        ),
        ("ifnet/x.py", "from imnet.decoder import Decoder", ["imnet.decoder.Decoder"]),
        ("train.py", "from isofield.registry import resolve", ["isofield.registry.resolve"]),
        ("train.py", "from isofield.commands.train import command", []),
    ],
)
def test_the_check_sees_every_way_to_import(file: str, source: str, bad: list[str]):
    assert violations(Path(file), source) == bad


def test_every_folder_is_a_floor():
    rooms = {file.parent.as_posix() for file in source_files() if file.as_posix() not in SCRIPTS}
    assert {room for room in rooms if not is_below(room, FLOORS)} == set()
    assert {floor for floor in FLOORS if floor not in WITHOUT and not (ROOT / floor).exists()} <= {
        "isofield/__main__.py"
    }


def test_few_files_lie_flat_in_their_package():
    assert sum(len(list((ROOT / package).glob("*.py"))) for package in ("data_processing", "isofield")) <= 12


def test_files_are_named_after_what_they_hold():
    files = [*source_files(), *(path.relative_to(ROOT) for path in (ROOT / "tests").glob("**/*.py"))]
    assert len(files) > 60  # the search did find the project
    assert [f for f in files if set(f.stem.lower().split("_")) & set(FORBIDDEN_NAMES)] == []


def test_tests_mirror_the_packages():
    tests = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").glob("**/test_*.py")]
    assert [test for test in tests if len(test.parts) > 1 and not (ROOT / test.parent).is_dir()] == []


def test_files_stay_short():
    files = [*source_files(), *(path.relative_to(ROOT) for path in (ROOT / "tests").glob("**/*.py"))]
    lengths = {file.as_posix(): len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: lines for file, lines in lengths.items() if lines > MAX_LINES} == {}
    assert lengths["isofield/training/loop.py"] <= MAX_TRAINING_LINES
    assert {file: lengths[file] for file in SCRIPTS if lengths[file] > MAX_SCRIPT_LINES} == {}
    stories = {file: lines for file, lines in lengths.items() if file.startswith("isofield/commands/")}
    assert {file: lines for file, lines in stories.items() if lines > MAX_STORY_LINES} == {}


def test_networks_know_no_device():
    """Devices and dtypes come from outside."""
    bad = []
    for file in source_files():
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
                bad.append(f"{file}:{node.lineno}")
    assert bad == []
