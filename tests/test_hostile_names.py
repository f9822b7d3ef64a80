"""What strangers call their shapes, scans and labels, in what we write: tables, reports, folders. None is lost."""

import csv
import json
from pathlib import Path

import pytest

from data_processing.formats.mesh_files import write_mesh
from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.sources import list_sources
from data_processing.store.shape_set import open_shapes
from isofield.evaluation.pairs import pairs_of_folders
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise, write_csv, write_json
from isofield.outliers.analysis.report import write_report as write_analysis
from isofield.outliers.analysis.rows import new_row, write_results
from isofield.outliers.analysis.scans import find_scans
from isofield.reports.pairs import write_report as write_evaluation
from isofield.run_dir import mesh_in
from isofield.runtime.commandline import say
from isofield.runtime.config import build
from tests.data_processing.solids import box
from tests.plain_ways import evaluate_pairs

NAMES = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-rf",
    "+1+1",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "&lt;b&gt;",
    "caf\u00e9",
    "cafe\u0301",
    "A",
    "a",
    "\u0430",  # Cyrillic
    "con",
    "x" * 200,
    "a,b;c",
    "~",
]
CONTROL = ["\u202etxt", "line\nbreak", "\x1b[2J", "broken\udcff", "tab\there"]


def written(folder: Path, name: str, suffix: str) -> bool:
    """Whether the disk takes the name."""
    try:
        (folder / f"{name}{suffix}").write_bytes(b"")
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.slow
def test_prepared_shapes_keep_their_names(tmp_path: Path):
    raw = tmp_path / "raw"
    names = [name.replace("/", "_") for name in NAMES]
    for name in names:
        write_mesh(raw / f"{name}.ply", box((0, 0, 0), (1, 2, 3)))
    settings = {"name": "odd", "input": raw, "output": tmp_path / "set", "workers": 1, "contents": CONTENTS}
    assert prepare_folder(build(DataConfig, settings, where="test")) == 0
    shapes = open_shapes(tmp_path / "set")
    assert sorted(shapes.names) == sorted(f"raw/{name}" for name in names)
    with open(tmp_path / "set" / "report.csv", encoding="utf-8", newline="") as handle:
        assert sorted(row["name"] for row in csv.DictReader(handle)) == sorted(shapes.names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "set"]


CONTENTS = {"voxels": 0, "levels": False, "grids": [8]}


@pytest.mark.parametrize("name", CONTROL)
def test_names_that_are_no_text_stop_a_preparation_before_any_work(tmp_path: Path, name: str):
    if not written(tmp_path, name, ".ply"):
        pytest.skip("the disk does not take this name")
    with pytest.raises(ValueError, match="exclude"):
        list_sources(tmp_path)


@pytest.mark.slow
def test_evaluations_tell_every_name(tmp_path: Path):
    names = [name.replace("/", "_") for name in (*NAMES[:6], *CONTROL)]
    for name in names:
        for side in ("made", "true"):
            write_mesh(tmp_path / side / "some.ply", box((0, 0, 0), (1, 2, 3)))
            (tmp_path / side / "some.ply").rename(tmp_path / side / f"{name}.ply")
    pairs = pairs_of_folders(tmp_path / "made", tmp_path / "true")
    assert {pair.name for pair in pairs} == set(names)
    (protocol,) = find_protocols(["onet"])
    few = SampleCounts(points=50, iou_points=50)
    rows = evaluate_pairs(pairs, [protocol], few, progress=False)[protocol.name]
    evaluation = summarise(rows, protocol, few, split=None, about={})
    out = tmp_path / "out"
    write_json(out / "onet.json", evaluation)
    write_csv(out / "onet.csv", evaluation)
    write_evaluation(out / "report.html", [evaluation], pairs, title=NAMES[4], pictures=0)
    _check_table(out / "onet.csv", "name", len(names))
    _check_page(out / "report.html")


def _check_table(file: Path, column: str, count: int) -> None:
    with open(file, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == count
    assert not [row[column] for row in rows if row[column].startswith(("=", "+", "-", "@", "\t"))]


def _check_page(file: Path) -> None:
    page = file.read_text(encoding="utf-8")
    assert not any(part in page for part in ("<script>alert", "<img src=x", '="" onmouseover', '" onmouseover="alert'))


def test_analyses_tell_every_scan_and_organ(tmp_path: Path):
    rows = [
        new_row(name, "x.nii", organ, "OK", "reason", p=0.5, picture=str(mesh_in(Path(), name, ".png", last=organ)))
        for name in (*NAMES, *CONTROL)
        for organ in ("liver", "../up", "a/b", NAMES[0], NAMES[5])
    ]
    assert len({row["picture"] for row in rows}) == len(rows)
    write_results(tmp_path, rows, {})
    write_analysis(tmp_path, rows, [], fpr=0.05, title=NAMES[5])
    _check_table(tmp_path / "results.csv", "scan", len(rows))
    _check_table(tmp_path / "results.csv", "organ", len(rows))
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == len(rows)
    _check_page(tmp_path / "report.html")


def test_names_do_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]):
    for name in (*NAMES, *CONTROL):
        say(f"failed: {name}")
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\\x1b[2J" in said and "\\udcff" in said and "\\u202e" in said and "caf\u00e9" in said


def test_every_scan_of_a_folder_is_found_and_has_pictures_of_its_own(tmp_path: Path):
    names = [name for name in (*NAMES, *CONTROL) if written(tmp_path, name.replace("/", "_"), ".nii.gz")]
    scans = find_scans(tmp_path, ["liver"], layout="volumes")
    assert len(scans) == len({scan.key for scan in scans}) == len(names)
    assert len({mesh_in(tmp_path, scan.key, ".png", last="liver") for scan in scans}) == len(names)
