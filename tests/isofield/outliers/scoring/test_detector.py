"""A judge fitted, calibrated, stored and loaded on real masks; what it says of them, and when it refuses."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from data_processing.store.shape_set import open_shapes
from isofield.commands import evaluate
from isofield.config import read_run_config
from isofield.metrics.mahalanobis import Tail
from isofield.outliers.benchmark.corruptions import corrupt
from isofield.outliers.scoring.calibrate import calibrate_run, refuse_shared_subjects, subject
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, stored_mask
from isofield.outliers.scoring.detector import load_detector
from isofield.outliers.scoring.scores import PRIOR
from isofield.run_dir import RunDir
from isofield.runtime.commandline import DONE, ERROR
from tests.commands import call, status_of
from tests.isofield.outliers.conftest import mark_unfinished, save_model, write_run


@pytest.fixture(scope="module")
def judge(brain_run):
    assert call(evaluate.main, "--run", brain_run.path, "--calibrate") == DONE
    return load_detector(brain_run)


@pytest.fixture(scope="module")
def tested(judge):
    """A mask of the donor who neither trained nor calibrated."""
    shapes = open_shapes(judge.loaded.config.data.path)
    return stored_mask(shapes, int(shapes.indices("test")[0]))


def corrupted(mask, family):
    made = corrupt(mask.occupancy_RRR, family, severity="moderate", seed=0, name="x")
    return dataclasses.replace(mask, occupancy_RRR=made.mask_RRR)


def test_the_calibration_is_of_masks_never_seen(judge, brain_run):
    content = json.loads(brain_run.calibration_file.read_text())
    assert content["n"] == 2 == judge.calibration.n
    assert content["split"] == "val"
    assert content["model_hash"] == judge.loaded.model_hash
    assert len(content["data_hash"]) == 16


def test_spoilt_masks_are_stranger(judge, tested):
    found = judge.judge([tested, corrupted(tested, "island"), corrupted(tested, "missing_slices")], fpr=0.34)
    clean, island, gaps = (one.score for one in found)
    assert island > clean
    assert gaps > clean
    assert found[2].verdict == "OUTLIER"
    assert found[2].p == pytest.approx(1 / 3)
    assert f"most by {next(part for part in found[2].components if part != PRIOR)} (" in found[2].reason
    assert max(found[1].components.values()) == next(iter(found[1].components.values()))
    # Slices left out are drawn as nobody draws: one mask cannot tell that from a source, and both are told.
    assert found[0].drawing_p > found[2].drawing_p > 0


def test_a_verdict_is_explained_by_what_counts(judge, tested):
    """The prior that disagrees most is shown first; the reason names the group that made the score."""
    (mahalanobis, _), gaps = judge.scorer.groups[PRIOR], corrupted(tested, "missing_slices")
    groups = {**judge.scorer.groups, PRIOR: (mahalanobis, Tail(-99.0, 1.0))}
    loud = dataclasses.replace(judge, scorer=dataclasses.replace(judge.scorer, groups=groups))
    (before,), (found,) = (one.judge([gaps], fpr=0.34) for one in (judge, loud))
    assert next(iter(found.components)) == PRIOR
    assert found.verdict == "OUTLIER" and (found.score, found.p) == (before.score, before.p)
    assert f"most by {list(found.components)[1]} (" in found.reason
    older = dataclasses.replace(loud, scorer=dataclasses.replace(loud.scorer, with_prior=True))
    assert "most by prior (" in older.judge([gaps], fpr=0.34)[0].reason


def test_too_few_masks_make_it_unsure_and_say_how_many_more(judge, tested):
    (found,) = judge.judge([tested])
    assert found.verdict == "UNSURE"
    assert "17 more" in found.reason


def test_the_batch_does_not_matter(judge, tested):
    masks = [tested, corrupted(tested, "bite"), tested]
    together = judge.judge(masks)
    alone = [judge.judge([mask])[0] for mask in masks]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone])
    assert together[0].score == together[2].score


def test_an_empty_mask_is_an_outlier_whatever_the_calibration(judge, tested):
    empty = dataclasses.replace(tested, occupancy_RRR=np.zeros((GRID,) * 3, bool))
    found = judge.judge([empty, tested])
    assert (found[0].verdict, found[0].score, found[0].dice) == ("OUTLIER", float("inf"), 0.0)
    assert found[1].verdict == "UNSURE"


def test_the_disagreement_is_signed_and_where_the_prior_differs(judge, tested):
    """This prior sees cells of 4 voxels: it fills and loses what is thinner, and nothing else."""
    (found,) = judge.judge([tested])
    rebuilt = found.reconstruction
    signed, mask = rebuilt.disagreement_RRR, tested.occupancy_RRR
    assert (signed[mask] >= 0).all() and (signed[~mask] <= 0).all()
    assert ((signed > 0.5) == (mask & ~rebuilt.occupancy_RRR)).all()
    assert found.dice > 0.8
    low, high = rebuilt.box
    places = np.argwhere(rebuilt.occupancy_RRR) / GRID - 0.5
    assert (places >= low).all() and (places <= high).all()


def test_a_partial_mask_is_judged_by_what_is_visible(judge, tested):
    visible = np.ones((GRID,) * 3, bool)
    visible[:, :, : GRID // 2] = False
    cut = CubeMask(tested.occupancy_RRR & visible, tested.to_world, ("inferior",), visible)
    (found,) = judge.judge([cut])
    assert found.partial and found.drawing_p is None
    assert set(found.components) == {"prior"}
    assert not found.reconstruction.disagreement_RRR[~visible].any()
    assert found.p == judge.calibration.p_value(found.score, partial=True)


@pytest.mark.usefixtures("judge")
def test_a_new_checkpoint_makes_the_calibration_stale(brain_run, tmp_path):
    shutil.copytree(brain_run.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    save_model(run, read_run_config(run.config_file), scale=2.0)
    with pytest.raises(ValueError, match=rf"{run.calibration_file} .*--calibrate"):
        load_detector(run)


def test_train_and_test_subjects_may_not_calibrate(brain_run):
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=f"subject donor_.*split {split}"):
            calibrate_run(brain_run, split=split)


@pytest.mark.parametrize("wrong", [["--pred", "a", "--gt", "b"], ["--run", "a", "--samples"], []])
def test_calibration_goes_with_a_run(capsys, wrong):
    assert status_of(evaluate.main, "--calibrate", *wrong) == ERROR
    assert "--calibrate goes with --run" in capsys.readouterr().err


def test_subjects_follow_the_rule_of_the_run(brain_set):
    shapes = open_shapes(brain_set)
    assert subject(shapes, "hippocampus/donor_9861_dk-left") == "donor_9861"
    refuse_shared_subjects(shapes, shapes, [int(i) for i in shapes.indices("val")])


def test_masks_without_stored_solids_are_cut_from_their_scans(brain_set):
    """A data set of 32^3 only: its masks come from the label volumes, equal to the solids another holds."""
    shapes = open_shapes(brain_set)
    index = shapes.names.index("hippocampus/donor_10021_dk-right")
    stored = stored_mask(shapes, index)
    shapes.layout = dataclasses.replace(shapes.layout, grids=(32,))
    cut = stored_mask(shapes, index)
    np.testing.assert_array_equal(stored.occupancy_RRR, cut.occupancy_RRR)
    np.testing.assert_array_equal(stored.to_world, cut.to_world)
    assert stored.spacing == pytest.approx(80 / 128)
    assert stored.occupancy_RRR.sum() * stored.spacing**3 == pytest.approx(4000, rel=0.5)  # mm^3 of a hippocampus


@pytest.mark.slow
def test_a_prior_that_makes_nothing_is_not_calibrated(brain_set, echo, tmp_path):
    run = write_run(brain_set, tmp_path, scale=0.0)
    with pytest.raises(ValueError, match=r"\b(\d+) of \1 .*--resume"):
        calibrate_run(run)
    mark_unfinished(run, step=12, planned=300)
    with pytest.raises(ValueError, match=r"\b(\d+) of \1 .*for 12 of 300 steps.*--resume"):
        calibrate_run(run)
    assert not run.calibration_file.exists()
