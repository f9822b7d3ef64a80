"""The page of a data set: suspect and failed shapes first, bars, what a network sees; in the browser."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.medical.structures import StructureConfig
from data_processing.occupancy.inside_outside import both_solids
from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from data_processing.store.shape_set import open_shapes
from isofield.commands import inspect as inspect_command
from isofield.reports import dataset
from isofield.reports.dataset import write_dataset_page
from isofield.reports.prepared_pictures import disagreement_of, draw_points
from isofield.reports.prepared_shapes import count_bars, prepared_shapes, volume_text
from isofield.reports.suspect_advice import ABSENT, ADVICE, FAILED, OTHER, advice_for
from isofield.runtime.config import build
from tests.commands import call, status_of
from tests.conftest import ROOT
from tests.data_processing.preparation.test_job_contents import scans_config, write_scans
from tests.data_processing.solids import box
from tests.pages import HOSTILE, page_of, seen
from tests.small_sets import write_boxes, write_published

pytestmark = pytest.mark.usefixtures("one_thread")
DOUBTFUL = "BlendSwap_CC_0_86_Armchair"
TRAINING = """
name: looked_at
model: {type: imnet_autoencoder}
data: {path: PATH}
training: {batch_shapes: 2, stages: [{level: 16, epochs: 1, points: 512}]}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """Three boxes, a chair of which the inside is doubtful, and a file that is no mesh."""
    folder = tmp_path_factory.mktemp("inspect")
    raw = write_boxes(folder, 3)
    (raw / "chair").mkdir()
    shutil.copy(examples / "chair" / f"{DOUBTFUL}.ply", raw / "chair")
    (raw / "boxes" / "broken.ply").write_text("no mesh")
    settings = {"input": str(raw), "output": str(folder / "set"), "name": "set", "workers": 1, "device": "cpu"}
    config = build(DataConfig, settings | {"contents": {"voxels": 64, "levels": True}}, where="test")
    prepare_folder(config)
    return folder / "set"


def test_what_to_look_at_stands_first_with_reason_volume_and_advice(prepared: Path):
    shapes = open_shapes(prepared)
    found = prepared_shapes(shapes)
    assert [shape.kind for shape in found] == ["failed", "suspect", "ok", "ok", "ok"]
    failed, suspect, first = found[:3]
    assert failed.name == "boxes/broken" and failed.reason and failed.advice == FAILED
    assert failed.split == ""  # as in report.csv: it takes no place in a split
    assert suspect.name == f"chair/{DOUBTFUL}" and "agree on" in suspect.quality and "red is inside" in suspect.advice
    assert volume_text(shapes, failed) == "-" and first.advice == ""
    # The volume of a box, in the units of its file, to what voxels of 1/64 can tell.
    lower, upper = read_mesh(shapes.source(first.index)).bounds()
    assert float(volume_text(shapes, first).split()[0]) == pytest.approx(float(np.prod(upper - lower)), rel=0.1)


def test_structures_that_a_scan_does_not_have_are_shown_too(tmp_path: Path):
    folder = write_scans(tmp_path / "scans")
    structures = (StructureConfig("kidney", (3,), components=2), StructureConfig("spleen", (9,)))
    prepare_folder(scans_config(folder, tmp_path / "set", structures=structures))
    found = prepared_shapes(open_shapes(tmp_path / "set"))
    absent = [shape for shape in found if shape.kind == "absent"]
    rows = json.loads((tmp_path / "set" / "report.json").read_text())["shapes"]
    assert len(found) == len(rows) and {shape.category for shape in absent} == {"spleen"}
    assert all(shape.advice == ABSENT and "label 9" in shape.reason and shape.split == "" for shape in absent)


def test_bars_count_every_input(prepared: Path):
    found = prepared_shapes(open_shapes(prepared))
    bars = {bar.name: (bar.counts, bar.width) for bar in count_bars(found, by="category")}
    assert bars == {"boxes": ({"failed": 1, "ok": 3}, 100.0), "chair": ({"suspect": 1}, 25.0)}
    assert sum(bar.total for bar in count_bars(found, by="split")) == 5


def test_the_page_in_a_browser(prepared: Path, tmp_path: Path, capsys):
    config = tmp_path / "training.yaml"
    config.write_text(TRAINING.replace("PATH", str(prepared)))
    page = tmp_path / "inspect.html"
    assert call(inspect_command.main, prepared, "--config", config, "--out", page) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (f"done: 1 failed, 1 suspect, 3 ok; next: open the page: {page}")
    script = """document.body.dataset.sizes = [...document.images].map(image => image.naturalWidth).join();
      document.body.dataset.bars = [...document.querySelectorAll(".bar > div")].map(bar =>
        Math.round(100 * bar.offsetWidth / bar.parentNode.clientWidth));"""
    dom = seen(page, script=script)
    names = re.findall(r'<figure[^>]*data-name="([^"]*)"', dom)
    assert names[:2] == ["boxes/broken", f"chair/{DOUBTFUL}"] and len(names) == 5
    sizes = re.search(r'data-sizes="([^"]*)"', dom)[1].split(",")
    assert sizes.count("720") == 1 and set(sizes) == {"240", "720"}  # the slices of the doubtful one
    bars = [int(width) for width in re.search(r'data-bars="([^"]*)"', dom)[1].split(",")]
    assert bars[-2] > 3.5 * bars[-1] > 0  # four boxes, one chair
    assert "512 points of level 16" in dom and "voxels, 64 x 64 x 64" in dom
    page_of(page.read_text(encoding="utf-8"), scripts=1)


def test_what_the_network_takes_has_to_be_there(prepared: Path, tmp_path: Path, capsys):
    config = tmp_path / "training.yaml"
    config.write_text(TRAINING.replace("PATH", str(prepared)))
    words = [prepared, "--out", tmp_path / "x.html", "--config", config]
    assert status_of(inspect_command.main, *words, "--set", "data.input.kind=points") == 1
    assert "surface" in capsys.readouterr().err and not (tmp_path / "x.html").exists()
    assert status_of(inspect_command.main, prepared, "--set", "a=b") == 1


def test_colours_show_which_test_says_what(prepared: Path, tmp_path: Path):
    shapes = open_shapes(prepared)
    (doubtful,) = (n for n, name in enumerate(shapes.names) if name.endswith(DOUBTFUL))
    picture = disagreement_of(shapes, doubtful)
    red = (picture[..., 2].astype(int) - picture[..., 0] > 30).sum()
    assert picture.shape == (240, 720, 3) and red > 1000  # the winding number alone
    numbered, flooded = both_solids(box((0, 0, 0), (1, 2, 3)))
    assert numbered.any() and (numbered == flooded).mean() > 0.99


def test_points_lie_where_they_are():
    points = np.array([[-0.5, 0.5, 0.0], [0.5, -0.5, 0.0]])
    picture = draw_points(points, np.array([True, False]))
    dark = np.argwhere(picture.max(axis=2) < 100)
    assert len(dark) and (dark.mean(axis=0) < 20).all()  # up and left: rows and columns from the top left
    assert cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[-12:, -12:].min() < 250


def test_published_files_have_a_page_too(tmp_path: Path):
    file = write_published(tmp_path, train=2, test=1)
    assert call(inspect_command.main, file, "--pictures", 1) == 0
    page = (tmp_path / "inspect.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 1 and "method published" in page


@pytest.mark.parametrize("published", [False, True])
def test_the_report_is_named_only_where_there_is_one(published: bool, prepared: Path, tmp_path: Path, monkeypatch):
    if published:
        write_published(tmp_path, train=2, test=1)
    monkeypatch.setattr(dataset, "MOST_LINES", 2)
    shapes = open_shapes(tmp_path if published else prepared)
    write_dataset_page(tmp_path / "x.html", shapes, pictures=0)
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert f"The first 2 of {3 if published else 5} inputs" in page
    assert ("all are in report.csv" in page) is not published


def test_names_of_strangers_stay_words(prepared: Path, tmp_path: Path):
    shapes = open_shapes(prepared)
    shapes.names[0] = shapes.categories[1] = HOSTILE
    shapes.qualities[2] = f"suspect: {HOSTILE}"
    write_dataset_page(tmp_path / "x.html", shapes, pictures=0)
    page = page_of((tmp_path / "x.html").read_text(encoding="utf-8"), scripts=1)
    assert page.holds(HOSTILE) and page.holds(f"suspect: {HOSTILE}")


def test_every_reason_of_the_inside_tests_has_its_advice():
    """Each reason that the source writes has words of its own here, not the general ones."""
    source = (ROOT / "data_processing" / "occupancy" / "inside_outside.py").read_text(encoding="utf-8")
    reasons = [
        reason for reason in re.findall(r'"suspect: ([^"]+)"', source) if reason not in ("reason", "{parts.concern}")
    ]
    assert len(reasons) >= 5
    for reason in [*reasons, "2 faces are in parts with one side only (Moebius)", "3 inner shells are wound both ways"]:
        assert not advice_for("done", f"suspect: {reason}").startswith(OTHER), reason
    for readers in ("nifti", "images"):
        source = (ROOT / "data_processing" / "formats" / f"{readers}.py").read_text(encoding="utf-8")
        doubts = re.findall(r'"(its [^"]*(?:orientation|mirrored)[^"]*)"', source)
        assert len(doubts) == 2, doubts
        for doubt in doubts:
            assert not advice_for("done", f"suspect: {doubt}").startswith(OTHER), doubt
    assert advice_for("done", "suspect: who knows").startswith(OTHER)
    assert all(text.endswith((".", ")")) for text in ADVICE.values())
