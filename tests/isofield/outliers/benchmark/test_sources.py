"""Masks of other sources, and what their tables say of detectors whose answers are known."""

import numpy as np
import pytest

from isofield.outliers.benchmark.cases import CLEAN, MaskShape, corrupted_masks, redrawn_masks
from isofield.outliers.benchmark.judged_cases import ScoredCase
from isofield.outliers.benchmark.source_tables import FLAGGED, TABLE, WITHIN, source_lines, source_rows
from isofield.outliers.benchmark.sources import OWN, SOURCES, drawn_by
from tests.isofield.outliers.organs import brain_config, brain_mask


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_draws_the_same_organ_otherwise(source):
    mask = brain_mask(0, name="putamen")
    drawn, alike = drawn_by(source, mask, mask.occupancy_RRR, brain_config(), seed=0, name="x")
    assert alike == 1.0  # its clean one is drawn on the same grid
    assert drawn.occupancy_RRR.sum() == pytest.approx(mask.occupancy_RRR.sum(), rel=0.15)
    assert (drawn.occupancy_RRR != mask.occupancy_RRR).mean() > 1e-4
    again, _ = drawn_by(source, mask, None, brain_config(), seed=0, name="x")
    np.testing.assert_array_equal(again.occupancy_RRR, drawn.occupancy_RRR)


def test_faults_are_drawn_with_their_mask():
    """Dice is that in the source: smoothing by 2 mm mends an edge that frays, and leaves a dilated mask dilated."""
    shape = MaskShape("x", "donor", brain_mask(0, name="putamen"))
    made = list(corrupted_masks(shape, families=["dilation", "ragged_edge"], draw=0))
    drawn = list(redrawn_masks(made, "smoothed_2", brain_config(), name="x", draw=0))
    assert [(one.family, one.severity) for one in drawn] == [(one.family, one.severity) for one in made]
    alike = {(one.family, one.severity): one.dice for one in drawn}
    assert alike[CLEAN, CLEAN] == 1
    assert alike["ragged_edge", "moderate"] > 0.92 > alike["dilation", "moderate"]


def test_what_no_longer_fits_is_said_and_left_out(capsys):
    """A mask as long as the cube that a coarse grid makes longer."""
    mask = brain_mask(0)
    occupancy = np.zeros_like(mask.occupancy_RRR)
    occupancy[:, 60:68, 60:68] = True
    shape = MaskShape("long", "donor", type(mask)(occupancy, mask.to_world))
    made = list(corrupted_masks(shape, families=[], draw=3))
    results = [list(redrawn_masks(made, "grid_3", brain_config(), name=f"long {n}", draw=0)) for n in range(6)]
    said = capsys.readouterr().out
    assert said.count("left out") == sum(not result for result in results) > 0
    assert "long" in said and "grid_3" in said


def cases_of(detectors):
    """Forty patients; each with a clean mask and two families of faults, in its own source and in another."""
    random = np.random.default_rng(0)
    made = []
    for patient in range(40):
        for source in (OWN, "grid_3"):
            kinds = [(CLEAN, CLEAN), ("bite", "mild"), ("island", "mild"), ("half", "mild"), ("real", "real")]
            for family, severity in kinds:
                scores = {n: f(source, family) + random.normal(0, 0.1) for n, f in detectors.items()}
                truth = {"dice": 0.95, "matched": 1.0}
                made.append(ScoredCase(f"m{patient}", f"p{patient}", family, severity, truth, scores, source))
    return made


def test_tables_tell_a_blind_detector_from_one_that_sees_the_drawing():
    detectors = {
        "blind": lambda source, family: 0.0 if family == CLEAN else 1.0,
        "sees": lambda source, family: 2.0 * (source != OWN),
        "half": lambda source, family: float(family in ("bite", "half")),
    }
    cases = cases_of(detectors)
    rows = source_rows(cases, seeds=10, fpr=0.05)
    by = {(r.table, r.severity, r.detector): r.estimate.value for r in rows if r.family == "grid_3"}
    assert by[TABLE, CLEAN, "blind"] == pytest.approx(0.5, abs=0.15)
    assert by[TABLE, "mild", "blind"] == by[TABLE, "half", "blind"] == by[TABLE, "real", "blind"] == 1
    assert by[TABLE, CLEAN, "sees"] == 1
    assert by[TABLE, "mild", "sees"] == pytest.approx(0.5, abs=0.15)  # within its source it sees nothing
    # Families count alike; half of them are found, and what has no strength is no part of the mean.
    assert by[TABLE, "mild", "half"] == pytest.approx(0.75, abs=0.1)
    assert by[TABLE, "half", "half"] == 1
    # Calibrated on the masks' own source.
    assert by[FLAGGED, CLEAN, "sees"] == by[FLAGGED, "mild", "sees"] == 1
    assert by[FLAGGED, CLEAN, "blind"] < 0.15
    assert (by[WITHIN, CLEAN, "sees"], by[FLAGGED, "mild", "blind"]) == (0, 1)
    lines = source_lines(rows, detectors=("blind", "sees"))
    assert [line.split(" | ")[:2] for line in lines[-2:]] == [["| grid_3", "blind"], ["| grid_3", "sees"]]
    assert len({line.count("|") for line in lines[1:]}) == 1


def test_without_other_sources_there_is_no_table():
    cases = [case for case in cases_of({"any": lambda source, family: 0.0}) if case.source == OWN]
    assert source_rows(cases, seeds=2, fpr=0.05) == [] == source_lines([], detectors=("any",))
