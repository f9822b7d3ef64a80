"""Where the packages of the extras are not installed: one line in each command, with what pip is to install."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data_processing.formats.test_images import write_image
from tests.data_processing.scan_files import body, save
from tests.tools.without import environment_without

EXTRAS = ("SimpleITK", "DracoPy", "wandb", "mlflow", "huggingface_hub")
DRACO = ROOT / "tests/data/strangers/glb_instances_not_required/draco.glb"
PROGRAM = """
import sys
from pathlib import Path
from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.scans import open_any_scan
from isofield.packs.find_run import find_run
from isofield.training.trackers.opening import refuse_missing
scan, mesh = map(Path, sys.argv[1:])
for call, argument in ((open_any_scan, scan), (read_mesh, mesh), (find_run, "hf:a/b@main"),
                       (refuse_missing, "wandb"), (refuse_missing, "mlflow")):
    try:
        call(argument)
        print("nothing was raised")
    except ValueError as error:
        print(str(error).replace("\\n", "NEW LINE"))
"""
CALLS = """
import contextlib, io, json, sys
from isofield.__main__ import main
found = []
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(words)
        except SystemExit as ended:
            status = ended.code
    found.append((status, said.getvalue()))
json.dump(found, sys.stdout)
"""
VALUES, AFFINE = body()
MASK = (VALUES == 2).astype("u1"), AFFINE


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("scan") / "x.nrrd"
    write_image(file, *MASK)
    return file


def test_every_extra_is_named_where_it_is_missing(scan: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(scan), str(DRACO)],
        env=environment_without(EXTRAS),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    for line, extra, where in zip(
        lines,
        ("images", "draco", "hub", "wandb", "mlflow"),
        (str(scan), str(DRACO), "hf:a/b@main", "training.tracker", "training.tracker"),
        strict=True,
    ):
        assert line.startswith(where) and f"pip install 'isofield[{extra}]'" in line
        assert "NEW LINE" not in line and "sys.modules" not in line


def words_of(scan: Path, folder: Path) -> dict[str, tuple[str, list[object]]]:
    """For each command that reads such a file: the extra that it needs, and the words."""
    structures = "labels.structures=[{name: kidney, labels: [1]}]"
    every = ["labels.table=null", "labels.pattern='*'", "splits.subject='.*'"]
    brain, voxels = ROOT / "pretrained/brain", ROOT / "pretrained/voxels_32"
    hub = "hf:a/b@main"
    (folder / "mha").mkdir()
    write_image(folder / "mha/x.mha", *MASK)
    save(folder / "nifti/x.nii.gz", *MASK)
    shutil.copytree(DRACO.parent, folder / "draco", ignore=lambda _, names: set(names) - {DRACO.name})
    out = iter(folder / f"out_{number}" for number in range(20))
    data = ["--no-inspect", "--set", "name=x", "workers=1"]
    return {
        "prepare nrrd": ("images", ["prepare", "--config", "data/organs", *data, f"input={scan.parent}",
                                    f"output={next(out)}", structures, *every]),
        "prepare mha": ("images", ["prepare", "--config", "data/nifti", *data, f"input={folder / 'mha'}",
                                   f"output={next(out)}"]),
        "prepare glb": ("draco", ["prepare", "--config", "data/meshes", *data, f"input={folder / 'draco'}",
                                  f"output={next(out)}"]),
        "generate nrrd": ("images", ["generate", "--run", brain, "--input", scan, "--out", next(out)]),
        "generate glb": ("draco", ["generate", "--run", voxels, "--input", DRACO, "--out", next(out)]),
        "generate hf:": ("hub", ["generate", "--run", hub, "--input", DRACO, "--out", next(out)]),
        "evaluate nrrd": ("images", ["evaluate", "--protocol", "masks", "--pred", scan.parent, "--gt",
                                     folder / "nifti", "--out", next(out)]),
        "evaluate mha": ("images", ["evaluate", "--protocol", "masks", "--pred", folder / "nifti", "--gt",
                                    folder / "mha", "--out", next(out)]),
        "evaluate glb": ("draco", ["evaluate", "--pred", folder / "draco", "--gt", folder / "draco",
                                   "--protocol", "onet", "--out", next(out)]),
        "evaluate hf:": ("hub", ["evaluate", "--run", hub, "--split", "test"]),
        "analyse nrrd": ("images", ["analyse", "--models", brain, "--input", scan.parent, "--out", next(out)]),
        "analyse hf:": ("hub", ["analyse", "--models", hub, "--input", scan.parent, "--out", next(out)]),
    }  # fmt: skip


def test_each_command_says_what_to_install(scan: Path, tmp_path: Path):
    """One process without the packages, in which the commands are called one after the other."""
    commands = words_of(scan, tmp_path)
    lines = json.dumps([[str(word) for word in words] for _, words in commands.values()])
    done = subprocess.run(
        [sys.executable, "-c", CALLS],
        input=lines,
        env={**environment_without(EXTRAS), "COLUMNS": "100"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    for (name, (extra, _)), (status, told) in zip(commands.items(), json.loads(done.stdout), strict=True):
        line = next((line for line in told.splitlines() if f"pip install 'isofield[{extra}]'" in line), None)
        assert line and status in (1, 2), (name, status, told)
        if extra != "hub":
            assert f"x.{name.partition(' ')[2]}" in line or "draco.glb" in line, (name, line)
