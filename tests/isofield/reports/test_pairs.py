"""The report: self-contained, escaped, complete."""

import base64
import re

import cv2
import numpy as np
import pytest
import trimesh

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.pairs import FileTruth, Pair
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise
from isofield.reports.pairs import chosen_pairs, pictures_of, write_report
from tests.plain_ways import evaluate_pairs

FEW = SampleCounts(points=500, iou_points=500)
NASTY = "chair/<script>alert(1)</script>&\"'"
pytestmark = pytest.mark.usefixtures("one_thread")


def box(height: float) -> TriangleMesh:
    solid = trimesh.creation.box(bounds=[[0, 0, 0], [1, height, 0.5]])
    return TriangleMesh(np.asarray(solid.vertices), np.asarray(solid.faces, dtype=np.int64))


@pytest.fixture
def pairs(tmp_path) -> list[Pair]:
    """Three shapes, better and better, and one that failed; the first has an unpleasant name."""
    write_mesh(tmp_path / "gt.ply", box(0.6))
    for number, height in enumerate((0.3, 0.5, 0.6)):
        write_mesh(tmp_path / f"{number}.ply", box(height))
    truth = FileTruth(tmp_path / "gt.ply")
    good = [Pair(name, "chair", tmp_path / f"{n}.ply", truth) for n, name in enumerate((NASTY, "chair/b", "chair/c"))]
    return [*good, Pair("table/lost", "table", None, truth, "no prediction: <it> failed")]


def evaluations(pairs, *names: str):
    protocols = find_protocols(names)
    rows = evaluate_pairs(pairs, protocols, FEW, progress=False)
    return [summarise(rows[p.name], p, FEW, split="test", about={"run": "runs/x"}) for p in protocols]


@pytest.fixture
def page(pairs, tmp_path) -> str:
    write_report(tmp_path / "report.html", evaluations(pairs, "onet", "imnet"), pairs, title="A <title>")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_is_fetched_from_anywhere(page):
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in page
    assert "@import" not in page


def test_names_and_reasons_are_escaped(page):
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;it&gt; failed" in page
    assert "A &lt;title&gt;" in page


def test_it_says_what_failed_the_units_and_the_settings(page):
    assert "1 failed, not in the means" in page
    assert "3 of 4 shapes" in page
    assert "longest edge" in page
    assert "500 points, seed 0" in page
    assert "runs/x" in page
    assert "no reconstruction" in page


def test_pictures_are_pictures_of_both_sides(page):
    images = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(images) == 3 * 2 + 1  # the failed shape has its ground truth alone
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(images[0]), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert (picture < 255).any()


def test_worst_first_and_failed_before_all(pairs):
    (onet,) = evaluations(pairs, "onet")
    assert [pair.name for pair in chosen_pairs(pairs, onet, most=10)] == ["table/lost", NASTY, "chair/b", "chair/c"]


def test_of_many_shapes_the_worst_the_best_and_some_between_are_shown(pairs):
    many = [Pair(f"{n:03}", "all", None, None) for n in range(100)]
    evaluation = {
        "per_shape": [{"name": f"{n:03}", "chamfer": float(n)} for n in range(100)],
        "settings": {"published_metrics": ["chamfer"]},
    }
    names = [pair.name for pair in chosen_pairs(many, evaluation, most=9)]
    assert names[:3] == ["099", "098", "097"]
    assert names[-3:] == ["002", "001", "000"]
    assert len(set(names)) == 9


def test_both_sides_are_shown_in_the_frame_of_the_ground_truth(pairs):
    """A reconstruction of half the height looks half as high, not blown up."""
    truth, low = pictures_of(pairs[0], up="y")
    _, same = pictures_of(pairs[2], up="y")
    assert truth is not None
    assert low is not None
    np.testing.assert_array_equal(truth, same)
    assert (low < 255).sum() < 0.9 * (truth < 255).sum()
