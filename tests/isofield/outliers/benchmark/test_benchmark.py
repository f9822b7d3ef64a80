"""The benchmark from end to end on real structures, and that it goes on where it was stopped."""

import csv
import json
import shutil

import numpy as np
import pytest

from isofield.metrics.masks import dice
from isofield.outliers.benchmark import __main__
from isofield.outliers.benchmark.cases import CLEAN, MaskShape, corrupted_masks
from isofield.outliers.benchmark.corruptions import TARGETS
from isofield.runtime.commandline import DONE
from tests.commands import call
from tests.isofield.outliers.organs import DONORS, brain_mask


def run_benchmark(run, out, *more):
    arguments = ["--run", run.path, "--out", out, "--families", "island", "missing_slices", "half"]
    arguments += ["--sources", "grid_1.5"]
    assert call(__main__.main, *arguments, "--most", 3, "--seeds", 2, "--fpr", 0.5, *more) == DONE


@pytest.mark.slow  # half a minute: every table once
def test_it_writes_every_table(brain_run, tmp_path, capsys):
    run_benchmark(brain_run, tmp_path)
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert (content["clean"], content["patients"]) == (3, 2)
    assert content["unmatched"] == []
    rows = {(r["table"], r["family"], r["severity"], r["detector"]): r for r in content["rows"]}
    for detector in ("volume", "mahalanobis", "pca", "ours", "ours_and_prior", "ours:prior"):
        assert 0 <= rows["auroc", "macro", "mild", detector]["value"] <= 1
    assert rows["auroc", "missing_slices", "moderate", "ours"]["value"] == 1
    macro, unseen = (rows["auroc", name, "mild", "ours"]["value"] for name in ("macro", "macro_unseen"))
    assert unseen == macro  # this run was trained on no damage
    rebuilt, repaired = (rows["dice_ceiling", CLEAN, CLEAN, made]["value"] for made in ("prior", "repaired"))
    assert 0.7 < rebuilt < repaired < 1  # what is no fault stays
    assert all(rows["dice_gain", "island", "moderate", made]["n"] == 3 for made in ("prior", "repaired"))
    assert rows["source", "grid_1.5", CLEAN, "ours"]["n"] == rows["source", "grid_1.5", "half", "ours"]["n"] == 3
    assert rows["source", "grid_1.5", "moderate", "ours"]["value"] > 0.9
    assert rows["average_precision", "island", "moderate", "prior"]["n"] == 3
    with open(tmp_path / "benchmark.csv") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    text = (tmp_path / "benchmark.md").read_text()
    assert "| ours |" in text and "| grid_1.5 | ours |" in text
    capsys.readouterr()

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cases").iterdir()}
    before = (tmp_path / "benchmark.csv").read_text()
    run_benchmark(brain_run, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cases").iterdir()} == files
    assert (tmp_path / "benchmark.csv").read_text() == before


def test_no_training_patient_is_judged(brain_run, brain_set):
    shapes = __main__.open_shapes(brain_set)
    prior = __main__.MaskPrior(__main__.load_run(brain_run), __main__.preparation_of(brain_run))
    patients = __main__.held_out(shapes, prior, data=None, real=brain_set, most=None)
    trained = {__main__.subject(shapes, shapes.names[i]) for i in shapes.indices("train")}
    assert len(patients.clean) == 4
    assert not {shape.subject for shape in [*patients.clean, *patients.real]} & trained
    assert {shape.family for shape in patients.real} == {"hippocampus"}


def test_a_folder_of_scans_is_read_as_the_run_was_trained(brain_run, brain_set, tmp_path):
    shapes = __main__.open_shapes(brain_set)
    preparation = __main__.preparation_of(brain_run)
    shutil.copy(preparation.input / DONORS[2], tmp_path)
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    found = __main__.shapes_of(tmp_path, shapes, preparation)
    stem = DONORS[2].removesuffix(".nii.gz")
    assert sorted(shape.name for shape in found) == [f"hippocampus/{stem}-{side}" for side in ("left", "right")]
    for shape in found:
        held = __main__.stored_mask(shapes, shapes.names.index(shape.name))
        np.testing.assert_array_equal(shape.mask.occupancy_RRR, held.occupancy_RRR)


@pytest.mark.parametrize("family", ["merged_neighbour", "cut_off"])
def test_spoilt_and_clean_masks_lie_on_one_grid(family):
    shape = MaskShape("x", "donor", brain_mask(0))
    first, *rest = corrupted_masks(shape, families=[family], draw=0)
    assert first.family == CLEAN
    for one in rest:
        assert dice(one.mask.occupancy_RRR, one.clean_RRR) == pytest.approx(TARGETS[one.severity], abs=0.011)
