"""Where the packages of the extras are not installed: one line in each command, with what pip is to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data_processing.formats.test_images import write_image
from tests.data_processing.scan_files import body
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


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values, affine = body()
    file = tmp_path_factory.mktemp("scan") / "x.nrrd"
    write_image(file, (values == 2).astype("u1"), affine)
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


def test_masks_are_compared_without_the_extra_up_to_the_file_that_needs_it(scan: Path, tmp_path: Path):
    command: list[str | Path] = [
        "-m",
        "isofield",
        "evaluate",
        "--protocol",
        "masks",
        "--pred",
        scan.parent,
        "--gt",
        scan.parent,
    ]
    done = subprocess.run(
        [sys.executable, *command, "--out", tmp_path / "out"],
        env=environment_without(EXTRAS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"failed: x: ground truth: {scan}" in done.stdout and "pip install 'isofield[images]'" in done.stdout
