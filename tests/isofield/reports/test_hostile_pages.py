"""Names from strangers in the pages of an evaluation: they stay text wherever they stand."""

from pathlib import Path

import pytest

from data_processing.formats.mesh_files import write_mesh
from isofield.evaluation.pairs import FileTruth, Pair
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.set_rows import Machine, evaluate_sets
from isofield.evaluation.sets import Member, Sets
from isofield.evaluation.tables import summarise
from isofield.metrics.sets import GenerativeConfig
from isofield.reports.pairs import write_report
from isofield.reports.sets import write_sets_report
from tests.data_processing.solids import box
from tests.pages import HOSTILE, page_of
from tests.plain_ways import evaluate_pairs

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = SampleCounts(points=50, iou_points=50)


def mesh_file(folder: Path, height: float) -> Path:
    path = folder / f"{height}.ply"
    write_mesh(path, box((0, 0, 0), (1, height, 3)))
    return path


def test_shapes_categories_reasons_and_titles_stay_text(tmp_path: Path):
    truth = FileTruth(mesh_file(tmp_path, 2.0))
    pairs = [
        Pair(f"name {HOSTILE}", f"category {HOSTILE}", mesh_file(tmp_path, 1.0), truth),
        Pair("lost", "all", None, truth, f"reason {HOSTILE}"),
    ]
    protocols = find_protocols(["onet", "imnet"])
    rows = evaluate_pairs(pairs, protocols, FEW, progress=False)
    about = {"run": f"about {HOSTILE}", "predictions": [f"listed {HOSTILE}"]}
    evaluations = [summarise(rows[p.name], p, FEW, split="test", about=about) for p in protocols]
    write_report(tmp_path / "report.html", evaluations, pairs, title=f"title {HOSTILE}")
    page = page_of((tmp_path / "report.html").read_text(encoding="utf-8"), scripts=2)
    # Name: card, its attributes (sorting, and what is turned), table of each protocol. Category: both tables.
    for words, count in (("name", 5), ("category", 4), ("reason", 4), ("title", 2), ("about", 2), ("listed", 2)):
        assert sum(f"{words} {HOSTILE}" in part for part in page.words) == count, words


def test_names_in_sets_stay_text(tmp_path: Path):
    def members(side: str) -> list[Member]:
        heights = (1.0, 2.0, 3.0)
        return [Member(f"{side} {height} {HOSTILE}", FileTruth(mesh_file(tmp_path, height)), "") for height in heights]

    samples = [*members("sample"), Member(f"lost {HOSTILE}", None, f"reason {HOSTILE}")]
    title, about = f"title {HOSTILE}", {"training": f"source {HOSTILE}", "samples": f"about {HOSTILE}"}
    sets = Sets(samples, members("reference"), members("training"), title, tmp_path, about, "samples")
    settings = GenerativeConfig(points=64, emd_points=64, distances=("chamfer",))
    evaluations = evaluate_sets(
        sets, ("generative",), settings, Machine(light_fields=tmp_path / "fields", progress=False)
    )
    write_sets_report(tmp_path / "report.html", evaluations, sets)
    page = page_of((tmp_path / "report.html").read_text(encoding="utf-8"), scripts=2)
    for words in ("title", "lost", "reason", "source", "about", "sample 1.0", "reference 3.0", "training 2.0"):
        assert page.holds(f"{words} {HOSTILE}"), words
