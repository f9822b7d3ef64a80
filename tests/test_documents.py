"""What the documents point at is there."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from data_processing.formats.mesh_files import write_mesh
from data_processing.formats.point_clouds import PointCloud, write_cloud
from isofield.generation.contact_sheets import TILE
from isofield.runtime.shipped import config_names
from tests.conftest import ROOT
from tests.data_processing.solids import box
from tests.tools.medians import main as draw_medians
from tests.tools.medians import medians

LOG, KEPT = "tests/benchmarks/LOG.md", "tests/data/version_0_1/README.md"
PAGES = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").glob("**/*.md"))
DOCUMENTS = (*sorted(file.name for file in ROOT.glob("*.md")), *PAGES, "docs/slurm.sh", LOG, KEPT)
FIRST = r"(?:configs|data_processing|docs|examples|ifnet|imnet|isofield|tests)"
PLACE = re.compile(rf"(?<![\w./<-]){FIRST}/[\w./*-]*[\w/*]|(?<=\]\()[\w./-]+(?=\))")
LINK_TARGET = re.compile(r"\]\([^)\s]+\)")
MADE = ("configs/data/mine.yaml", "configs/data/NAME.yaml")  # by who follows the document; a place holder
SCORES: dict[str, dict[str, float | None]] = {
    "car": {"a": 3.0, "b": None, "c": 2.0, "d": 1.0},
    "bed": {"a": 4.0, "b": 2.0, "c": 9.0, "d": 1.0},
}
MODULE = re.compile(r"python -m ((?:data_processing|ifnet|imnet|isofield|tests)[\w.]*\w)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_places_and_modules_are_there(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    if document in PAGES:  # their links lead from page to page: tests/test_docs.py follows them
        text = LINK_TARGET.sub("]", text)
    places = {place for place in PLACE.findall(text) if place not in MADE}
    names = set(config_names())  # as --config takes them: imnet/small
    assert not [place for place in sorted(places - names) if not list(ROOT.glob(place))]
    for name in MODULE.findall(text):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def test_old_places_are_noticed():
    assert PLACE.findall("`tests/engine/test_pulse.py` and [it](isofield/none.py), runs/x/configs/y") == [
        "tests/engine/test_pulse.py",
        "isofield/none.py",
    ]
    assert not (ROOT / "tests/engine/test_pulse.py").exists()


def test_pictures_are_of_this_version_or_said_to_be_older():
    """docs/pictures.yaml names version, digest and commands of each picture that a page shows."""
    listed = yaml.safe_load((ROOT / "docs" / "pictures.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    shown = {file.name: file for file in (ROOT / "docs").iterdir() if file.suffix in (".png", ".gif")}
    assert set(listed) == set(shown)
    for name, made in listed.items():
        assert hashlib.sha256(shown[name].read_bytes()).hexdigest() == made["sha256"], f"{name}: is it of this version?"
        assert made["made"] and all(isinstance(command, str) for command in made["made"]), name
        pages = [page for page in ("README.md", *PAGES) if f"{name})" in (ROOT / page).read_text(encoding="utf-8")]
        assert pages, f"{name} is shown nowhere"
        if not version.startswith(f"{made['version']}."):
            for page in pages:
                assert f"version {made['version']}" in (ROOT / page).read_text(encoding="utf-8"), (
                    f"{page}: {name} is older"
                )


def test_pictures_of_medians_are_nobodys_choice(tmp_path: Path):
    """Of each category the lower median, whatever the order of the rows; what the network saw, the mesh, the truth."""
    rows = [{"name": f"{kind}/{n}", "chamfer": score} for kind, scores in SCORES.items() for n, score in scores.items()]
    assert medians({"per_shape": rows}) == medians({"per_shape": rows[::-1]}) == ["bed/b", "car/c"]
    for name in ("bed/b", "car/c"):
        for folder, side in (("truth", 1.0), ("made", 0.5)):
            write_mesh(tmp_path / folder / f"{name}.ply", box((0, 0, 0), (side, side, side)))
        write_cloud(tmp_path / "made" / f"{name}_input.ply", PointCloud(np.random.default_rng(0).random((50, 3))))
    (tmp_path / "onet.json").write_text(json.dumps({"per_shape": rows}))
    pair = f"{tmp_path / 'onet.json'}={tmp_path / 'made'}"
    assert draw_medians([str(tmp_path / "out.png"), "--truth", str(tmp_path / "truth"), pair]) == 0
    picture = np.asarray(Image.open(tmp_path / "out.png").convert("L"))
    assert picture.shape == (3 * TILE, 2 * TILE)
    dark = (picture.reshape(3, TILE, 2, TILE) < 250).sum(axis=(1, 3))
    assert (dark[1] < dark[2] / 2).all() and (dark[0] > 0).all()  # half the side, seen in the truth's ball


def test_limits_of_the_winding_number_are_those_of_the_code():
    pytest.importorskip("numba")
    from data_processing.occupancy import far_edges_kernels, winding_number, winding_number_kernels

    page = (ROOT / "docs/explanation/winding-number.md").read_text(encoding="utf-8")
    limits = {name: float(value) for value, name in re.findall(r"(\d[\d.]*)[^`(\d]*\(`([A-Z_]+)`\)", page)}
    assert len(limits) >= 6
    code = vars(winding_number) | vars(winding_number_kernels) | vars(far_edges_kernels)
    assert limits == {name: code[name] for name in limits}
