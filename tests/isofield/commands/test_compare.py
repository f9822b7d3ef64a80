"""compare as a user calls it, after real evaluations of real folders."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.store.shape_set import open_shapes
from isofield.commands import compare as compare_command
from isofield.commands import evaluate as evaluate_command
from isofield.evaluation.ground_truth import truth_of_shape
from isofield.run_dir import manifest_file
from tests.commands import call, status_of
from tests.data_processing.scan_files import save
from tests.data_processing.solids import box
from tests.isofield.outliers.organs import ellipsoid
from tests.isofield.ready_runs import bare_run
from tests.pages import page_of, seen
from tests.small_sets import write_published

NAMES = ("chair/a", "chair/b", "table/c")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of boxes: `near`, `far` (one of it lost), and `few`, which is judged with other points."""
    folder = tmp_path_factory.mktemp("compare")
    truth = box((0, 0, 0), (1, 2, 3))
    for name in NAMES:
        write_mesh(folder / "gt" / f"{name}.ply", truth)
        for side, off in (("near", 0.01), ("far", 0.2), ("few", 0.1)):
            if (side, name) != ("far", "table/c"):
                moved = TriangleMesh(truth.vertices * np.array([1 + off, 1, 1]), truth.faces)
                write_mesh(folder / side / f"{name}.ply", moved)
    for side, points in (("near", 200), ("far", 200), ("few", 300)):
        words = ["--pred", folder / side, "--gt", folder / "gt", "--points", points, "--iou-points", 200]
        call(evaluate_command.main, *words, "--protocol", "onet", "imnet", "--pictures", 0, "--workers", 1)
    return folder


def test_two_folders_side_by_side(evaluated: Path, tmp_path: Path, capsys):
    sides = [evaluated / f"{side}-evaluation" for side in ("near", "far")]
    assert call(compare_command.main, *sides, "--names", "near", "far", "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "| chair | 2 | **" in told and "2 : 0" in told
    assert told.splitlines()[-1].endswith(f"next: open the page: {tmp_path / 'out' / 'compare.html'}")
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".md", ".tex", ".csv", ".html"}
    dom = seen(tmp_path / "out" / "compare.html")
    page_of(dom, scripts=2)
    # Three shapes: truth and both candidates, but for the one that is lost; that one first.
    assert dom.count('<figure data-name="') == 3 and dom.index('data-name="table/c"') < dom.index('data-name="chair/a"')
    assert dom.count('src="data:image/png') == 8 and "no picture" in dom


def test_other_points_are_refused_by_name_or_shown_apart(evaluated: Path, tmp_path: Path, capsys):
    words = [*(evaluated / f"{side}-evaluation" for side in ("near", "few")), "--out", tmp_path / "out"]
    assert status_of(compare_command.main, *words) == 1
    assert "points differ (near-evaluation 200, few-evaluation 300)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert status_of(compare_command.main, *words, "--allow") == 0
    assert capsys.readouterr().out.count("## Protocol") == 4


def test_other_truths_are_refused(evaluated: Path, tmp_path: Path, capsys):
    """The same names, predictions and points, but one ground truth is another shape."""
    for name in NAMES:
        write_mesh(tmp_path / "gt" / f"{name}.ply", box((0, 0, 0), (1, 2, 3.5 if name == "chair/a" else 3)))
        moved = box((0, 0, 0), (1, 2, 3))
        write_mesh(tmp_path / "other" / f"{name}.ply", moved)
    words = ["--pred", tmp_path / "other", "--gt", tmp_path / "gt", "--points", 200, "--iou-points", 200]
    call(evaluate_command.main, *words, "--protocol", "onet", "--pictures", 0, "--workers", 1)
    sides = [evaluated / "near-evaluation" / "onet.json", tmp_path / "other-evaluation" / "onet.json"]
    assert status_of(compare_command.main, *sides, "--out", tmp_path / "out") == 1
    assert "data hash differ" in capsys.readouterr().err
    hashes = {json.loads(file.read_text())["settings"]["data_hash"] for file in sides}
    assert len(hashes) == 2 and None not in hashes


def test_the_hash_is_of_the_truth_wherever_it_lies(evaluated: Path):
    hashes = [
        json.loads((evaluated / f"{side}-evaluation" / f"{protocol}.json").read_text())["settings"]["data_hash"]
        for side in ("near", "few")
        for protocol in ("onet", "imnet")
    ]
    assert len(set(hashes)) == 1 and len(hashes[0]) == 16


def test_masks_of_two_folders_are_drawn_where_their_results_say_all(tmp_path: Path):
    """Slices of both, and surfaces to turn with one scale; a result that was cut by an option says why it has none."""
    whole = ellipsoid((8.0, 6.0, 5.0), 20).astype(np.uint8)
    for side, shift in (("gt", 0), ("near", 1), ("far", 3)):
        save(tmp_path / side / "liver.nii.gz", np.roll(whole, shift, axis=0), np.eye(4))
    for side in ("near", "far"):
        words = ["--protocol", "masks", "--pictures", 0, "--workers", 1]
        call(evaluate_command.main, "--pred", tmp_path / side, "--gt", tmp_path / "gt", *words)
    sides = [tmp_path / f"{side}-evaluation" for side in ("near", "far")]
    assert call(compare_command.main, *sides, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    meshes = [json.loads(text) for text in re.findall(r"data-mesh='([^']*)'", page)]
    limits = [mesh["limit"] for mesh in meshes]
    assert len(meshes) == 3 and limits[0] is None and limits[1] == limits[2] > 2  # of the ground truth the shape alone
    assert page.count('class=wide alt="slices, ') == 2 and len({tuple(mesh["ball"]) for mesh in meshes}) == 1
    for folder in sides:
        data = json.loads((folder / "masks.json").read_text())
        data["settings"]["threshold"] = 0.3
        (folder / "masks.json").write_text(json.dumps(data))
    assert call(compare_command.main, *sides, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert "data-mesh" not in page and page.count("named, matched or cut by options") == 2


def test_papers_beside_one_run(evaluated: Path, tmp_path: Path, capsys):
    folder = evaluated / "near-evaluation"
    assert call(compare_command.main, folder, "--published", "IM-NET", "--out", tmp_path, "--pictures", 0) == 0
    assert "IM-NET (not measured here)" in capsys.readouterr().out
    assert status_of(compare_command.main, folder) == 1  # alone, there is nothing to compare with


def test_a_run_that_was_judged_with_another_data_set_is_shown_beside_that(tmp_path: Path):
    """The one that its config names is not here, as that of a packed run is not."""
    data = write_published(tmp_path, train=1, test=1)
    shapes = open_shapes(data)
    runs = [bare_run(data, tmp_path / "one"), bare_run(tmp_path / "gone", tmp_path / "two")]
    for number, run in enumerate(runs):
        mesh = truth_of_shape(shapes, 1).surface_to_show()
        write_mesh(run.meshes("test") / "boxes/test00.ply", TriangleMesh(mesh.vertices * (1 + number / 9), mesh.faces))
        row = {"name": "boxes/test00", "file": "boxes/test00.ply", "status": "done"}
        manifest_file(run.meshes("test")).write_text(json.dumps({"model_hash": "abc", "shapes": [row]}))
        words = ["--run", run.path, "--split", "test", "--data", data, "--points", 200, "--iou-points", 200]
        call(evaluate_command.main, *words, "--protocol", "onet", "--pictures", 0, "--workers", 1)
    assert call(compare_command.main, *(run.path for run in runs), "--names", "x", "y", "--out", tmp_path / "out") == 0
    dom = seen(tmp_path / "out" / "compare.html")
    assert dom.count('src="data:image/png') == 3 and "no picture" not in dom
