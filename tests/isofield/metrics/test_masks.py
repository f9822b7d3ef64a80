"""Masks of scans judged: two folders, and a run over labelled scans, from files to rows, tables and pages."""

import csv
import json
import shutil

import numpy as np
import pytest

from data_processing.formats.nifti import ScanGrid
from data_processing.loading.batches import LoadingConfig
from data_processing.medical.masks import read_structure, write_scan_mask
from data_processing.medical.structures import LabelConfig, StructureConfig
from data_processing.preparation.config import DataConfig
from data_processing.preparation.contents import Contents
from data_processing.preparation.job import prepare_folder
from data_processing.store.splits import SplitConfig, SplitRatios
from isofield.commands.evaluate import main
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.evaluation.mask_pairs import folder_masks_to_compare, run_masks_to_compare
from isofield.evaluation.protocols import MaskProtocol, find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise, table
from isofield.metrics.masks import compare_masks, dice
from isofield.run_dir import RunDir, mesh_in
from isofield.runtime.config import to_yaml
from tests.commands import call
from tests.data_processing.scan_files import body, pair_in_thick_slices, save, turned
from tests.plain_ways import evaluate_pairs
from tests.small_sets import write_published

KIDNEYS = LabelConfig((StructureConfig("kidney", (2,), components=2, mirror="right"),))


@pytest.fixture
def folders(tmp_path):
    """A mask that is right, one moved, one empty, one on another grid, one of other labels, one cut off, one lost."""
    values, affine = body()
    kidney, scan = (values == 2).astype(np.uint8), ScanGrid(values.shape, affine)
    for name in ("right", "moved", "empty", "grid", "labels", "cut", "lost"):
        write_scan_mask(tmp_path / "gt" / "kidney" / f"{name}.nii.gz", kidney, scan)
    below = tmp_path / "pred" / "kidney"
    write_scan_mask(below / "right_recon.nii.gz", kidney, scan)
    write_scan_mask(below / "moved_recon.nii.gz", np.roll(kidney, 1, axis=0), scan)
    write_scan_mask(below / "empty_recon.nii.gz", kidney * 0, scan)
    save(below / "grid_recon.nii.gz", kidney, affine * [[1.1], [1], [1], [1]])
    save(below / "labels_recon.nii.gz", values, affine)
    (below / "cut_recon.nii.gz").write_bytes((below / "right_recon.nii.gz").read_bytes()[:-50])
    return tmp_path


def rows_of(folders):
    pairs = folder_masks_to_compare(folders / "pred", folders / "gt").pairs
    (rows,) = evaluate_pairs(pairs, [MaskProtocol(1.0)], SampleCounts(), progress=False).values()
    return {row["name"].removeprefix("kidney/"): row for row in rows}


def test_a_row_for_every_mask_with_the_reason_of_failures(folders):
    rows = rows_of(folders)
    assert rows["right"]["dice"] == 1 and rows["right"]["hd"] == 0 and rows["right"]["nsd"] == 1
    assert rows["moved"]["hd"] == pytest.approx(2.0) and 0.8 < rows["moved"]["dice"] < 1
    values, affine = body()
    kidney = (values == 2).astype(np.uint8)
    whole = compare_masks(np.roll(kidney, 1, axis=0), kidney, affine[:3, :3], tolerance=1.0)  # not cropped
    assert {key: rows["moved"][key] for key in whole} == pytest.approx(whole)
    assert rows["empty"]["dice"] == 0 and rows["empty"]["hd95"] == np.inf and rows["empty"]["status"] == "done"
    for name, reason in {
        "grid": r"expected the grid of .*gt.*grid\.nii\.gz.*got that of .*pred.*mm \(.* voxels\) apart",
        "cut": r"prediction: .*cut_recon\.nii\.gz.*restore the file",
        "lost": r"no prediction: .*pred has no kidney/lost",
    }.items():
        assert rows[name]["status"] == "failed" and rows[name]["category"] == "kidney"
        with pytest.raises(ValueError, match=reason):
            raise ValueError(rows[name]["reason"])
    # Labels 2 and 5 are no prediction of label 1: one row of each.
    found = {
        name: (row["dice"], row["label"], row["predicted_label"]) for name, row in rows.items() if "labels" in name
    }
    assert found == {"labels": (0, "1", ""), "labels/label 2": (0, "", "2"), "labels/label 5": (0, "", "5")}


def test_means_stand_beside_failures_and_infinity_is_not_hidden(folders):
    protocol = MaskProtocol(1.0)
    evaluation = summarise(list(rows_of(folders).values()), protocol, SampleCounts(), split=None, about={})
    assert evaluation["n"] == 6 and evaluation["failed_count"] == 3
    kidney, moved = evaluation["per_category"]["kidney"], rows_of(folders)["moved"]["dice"]
    assert kidney["dice"] == pytest.approx(np.mean([1, 0, moved, 0]))
    assert kidney["hd"] == np.inf and kidney["median"]["dice"] == pytest.approx(moved / 2)
    assert kidney["infinite"] == {"asd": 2, "assd": 2, "hd95": 2, "hd": 2} and evaluation["infinite"]["hd"] == 4
    assert "inf" in table(evaluation) and "nsd within 1 mm" in table(evaluation) and "\n  infinite" in table(evaluation)


def test_the_command_writes_json_csv_and_a_page(folders):
    words = ["--pred", folders / "pred", "--gt", folders / "gt", "--protocol", "masks", "--tolerance", 2.5]
    assert call(main, *words, "--out", folders / "out") == 2
    evaluation = json.loads((folders / "out" / "masks.json").read_text())
    assert evaluation["mean"]["hd95"] == "inf" and evaluation["settings"]["tolerance_mm"] == 2.5
    rows = {row["name"]: row for row in csv.DictReader((folders / "out" / "masks.csv").open())}
    assert len(rows) == 9 and rows["kidney/empty"]["hd"] == "inf" and float(rows["kidney/moved"]["nsd"]) == 1
    assert rows["kidney/moved"]["tolerance_mm"] == "2.5" and rows["kidney/moved"]["predicted_label"] == "1"
    means = {
        (row["category"], row["statistic"]): row for row in csv.DictReader((folders / "out" / "masks-means.csv").open())
    }
    assert means["kidney", "mean"]["hd"] == "inf" and means["kidney", "infinite"]["hd"] == "2"
    assert means["kidney", "infinite"]["dice"] == "0" and float(means["all", "median"]["dice"]) < 1
    page = (folders / "out" / "report-masks.html").read_text()
    assert page.count("data:image/png") == 6 and "HD95" in page and "restore the file" in page


def test_protocols_of_masks_and_of_meshes_are_not_mixed():
    with pytest.raises(ValueError, match=r"masks .*imnet"):
        find_protocols(["imnet", "masks"])
    with pytest.raises(ValueError, match="'masks'"):
        find_protocols(["mask"])
    with pytest.raises(ValueError, match=r"tolerance.*0"):
        find_protocols(["masks"], tolerance=-1)


def test_folders_without_a_name_in_common(tmp_path):
    values, affine = body()
    save(tmp_path / "a" / "x.nii.gz", values, affine)
    save(tmp_path / "b" / "y.nii.gz", values, affine)
    with pytest.raises(ValueError, match="x and y"):
        folder_masks_to_compare(tmp_path / "a", tmp_path / "b")


def test_a_run_over_labelled_scans(tmp_path):
    """Prepared from scans; ground truths are the parts in the scans themselves, whatever the cube made of them."""
    values, affine = body()
    for name in ("one", "two"):
        save(tmp_path / "scans" / f"{name}.nii.gz", *turned(values, affine, (2, 0, 1), (1, 0, 1)))
    save(tmp_path / "scans" / "none.nii.gz", (values == 5).astype(np.uint8), affine)
    config = DataConfig(
        "kidneys",
        tmp_path / "scans",
        tmp_path / "set",
        kind="labels",
        labels=KIDNEYS,
        contents=Contents(voxels=0, levels=False, grids=(32,)),
        splits=SplitConfig(rule="ratios", ratios=SplitRatios(0.0, 0.0, 1.0)),
        workers=1,
    )
    assert prepare_folder(config) == 0  # a scan without kidneys has none of them: absent, not failed
    training = TrainingConfig(stages=(TrainingStage(level=16, epochs=1),))
    run = RunDir(tmp_path / "runs" / "tiny")
    section = LoadingConfig(path=tmp_path / "set")
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_yaml(RunConfig("tiny", {"type": "imnet_autoencoder"}, section, training)))
    for name, side, shift in (("one", "left", 0), ("one", "right", 1), ("two", "left", 0)):
        mask = read_structure(tmp_path / "scans" / f"{name}.nii.gz", f"kidney/{side}", KIDNEYS)
        file = mesh_in(run.meshes("test"), f"kidney/{name}-{side}", "_recon.nii.gz")
        write_scan_mask(file, np.roll(mask.on_scan(), shift, axis=1), mask.scan)
    comparison = run_masks_to_compare(run.path, "test", truth_folder=None, data=None)
    (rows,) = evaluate_pairs(comparison.pairs, [MaskProtocol(1.0)], SampleCounts(), progress=False).values()
    found = {row["name"]: row for row in rows}
    assert found["kidney/one-left"]["dice"] == found["kidney/two-left"]["dice"] == 1
    assert found["kidney/one-right"]["hd"] == pytest.approx(2.0)
    assert "no prediction" in found["kidney/two-right"]["reason"]
    assert len(rows) == 4  # a kidney that its scan does not have is none to be found
    # Ground truth of a folder, whose files are called otherwise: a label volume is no mask of one kidney.
    mask = read_structure(tmp_path / "scans" / "one.nii.gz", "kidney/left", KIDNEYS)
    write_scan_mask(tmp_path / "truth" / "one-left_true.nii.gz", mask.on_scan(), mask.scan)
    shutil.copy(tmp_path / "scans" / "one.nii.gz", tmp_path / "truth" / "one-right_true.nii.gz")
    names = ["--match", "kidney/*=*_true", "--protocol", "masks"]
    status = main(["--run", str(run.path), "--split", "test", "--gt", str(tmp_path / "truth"), *names])
    renamed = json.loads((run.evaluation / "test-masks.json").read_text())
    (row,) = (one for one in renamed["per_shape"] if one["status"] == "done")
    assert (status, row["name"], row["dice"]) == (2, "kidney/one-left", 1.0)
    reasons = {one["name"]: one["reason"] for one in renamed["failed"]}
    assert "expected a mask of one shape, got the labels" in reasons["kidney/one-right"]
    assert "no ground truth" in reasons["kidney/two-left"]
    with pytest.raises(ValueError, match=r"no shape of the test split is named like one below .*--match '.*_true'"):
        run_masks_to_compare(run.path, "test", truth_folder=tmp_path / "truth", data=None)
    (tmp_path / "scans" / "two.nii.gz").unlink()
    (rows,) = evaluate_pairs(comparison.pairs, [MaskProtocol(1.0)], SampleCounts(), progress=False).values()
    gone = next(row for row in rows if row["name"] == "kidney/two-left")
    assert gone["status"] == "failed" and "no longer" in gone["reason"]


def test_a_run_over_meshes_has_no_masks(tmp_path):
    path = write_published(tmp_path, train=1, test=1)
    run = RunDir(tmp_path / "runs" / "tiny")
    training = TrainingConfig(stages=(TrainingStage(level=16, epochs=1),))
    run.path.mkdir(parents=True)
    run.config_file.write_text(
        to_yaml(RunConfig("x", {"type": "imnet_autoencoder"}, LoadingConfig(path=path), training))
    )
    with pytest.raises(ValueError, match=f"{path} .*kind: labels"):
        run_masks_to_compare(run.path, "test", truth_folder=None, data=None)


def test_a_real_mask_against_itself_one_slice_further(examples, tmp_path):
    """Spacing of the file is honoured: slices of 4 mm, 1 mm in plane."""
    path = pair_in_thick_slices(tmp_path / "scan.nii.gz", examples / "brain" / "donor_9861_dk.nii.gz", step=4)
    settings = LabelConfig((StructureConfig("putamen", (1,), components=2),))
    mask = read_structure(path, "putamen/left", settings)
    moved = np.roll(mask.on_scan(), 1, axis=1)  # stored axes are LIP: one slice further down
    found = compare_masks(moved, mask.on_scan(), mask.scan.affine[:3, :3], tolerance=1.0)
    assert found["hd"] == pytest.approx(4.0) and 0 < found["asd"] < 4


def test_dice_of_masks_and_of_shares():
    one, other = np.array([1, 1, 0, 0], dtype=np.uint8), np.array([1, 0, 1, 1], dtype=np.uint8)
    assert dice(one, other) == dice(one > 0, other > 0) == dice(one.astype(float), other.astype(float)) == 0.4
    assert dice(np.array([0.5, 0.25]), np.array([0.75, 0.5])) == 2 * 0.75 / 2
    assert dice(one * 0, other * 0) == 1 and dice(one * 0, other) == 0
