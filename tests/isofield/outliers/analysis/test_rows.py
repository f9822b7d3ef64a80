"""What is flagged in the end, in which order, and what the files hold."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from data_processing.formats.nifti import ScanGrid, unit_note
from isofield.outliers.analysis.limits import describe_excess, limit_of
from isofield.outliers.analysis.rows import (
    adjust_p_values,
    apply_thresholds,
    exit_status,
    new_row,
    table,
    totals,
    worst_first,
    write_results,
)


def judged(organ: str, p: float | None, *, fpr: float = 0.05, **known: object) -> dict:
    flagged = p is not None and p <= fpr
    row = new_row("s", "s.nii", organ, "OUTLIER" if flagged else "OK", "because", p=p, flagged=flagged, score=1.0)
    return row | known


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg():
    # Worked out by hand: p * 5 / rank, made monotone from the largest down.
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.5])
    assert adjust_p_values([0.01, 0.02, 0.021]) == pytest.approx([0.021, 0.021, 0.021])
    assert adjust_p_values([]) == [] and adjust_p_values([0.2]) == [0.2]


def test_a_journal_of_strangers_says_what_is_no_probability():
    rows = [judged("a", 0.01), judged("b", math.nan), judged("c", 7.0), judged("d", -1.0), judged("e", 0.02)]
    assert [row["q"] for row in apply_thresholds(rows, fpr=0.05, across_folder=True)] == [0.02, None, None, None, 0.02]
    odd = [judged(str(count), 0.04, calibration_n=count) for count in (None, "many", -1, [3], math.nan)]
    found = apply_thresholds([*odd, judged("z", 0.9)], fpr=0.041, across_folder=True)
    assert {row["status"] for row in found} == {"OK"}  # no calibration is known to be too small


def test_across_the_folder_fewer_are_flagged_and_partial_ones_stay_partial():
    rows = [judged("a", 0.001), judged("b", 0.04), judged("c", 0.5), judged("d", 0.6)]
    rows.append(judged("e", 0.002, status="PARTIAL"))
    rows.append(judged("f", 0.001, status="UNSURE", flagged=False))
    rows.append(judged("g", 0.9, limits=["dice"], flagged=True, status="OUTLIER"))
    alone = apply_thresholds(rows, fpr=0.05, across_folder=False)
    assert [row["flagged"] for row in alone] == [True, True, False, False, True, False, True]
    assert alone[0]["q"] == pytest.approx(0.006) and alone[5]["q"] is None
    together = apply_thresholds(rows, fpr=0.05, across_folder=True)
    assert [row["status"] for row in together] == ["OUTLIER", "OK", "OK", "OK", "PARTIAL", "UNSURE", "OUTLIER"]
    assert together[4]["flagged"] and "q 0.08" in together[1]["reason"]


def test_across_the_folder_what_a_small_calibration_cannot_show_is_unsure():
    """Of 28 masks ten are stranger than all 20 clean ones: p 1/21 each, q 0.133. None of them is OK."""
    rows = [judged(f"bad{n}", 1 / 21, score=9.0 - n, calibration_n=20) for n in range(10)]
    rows += [judged(f"fine{n}", 0.2 + n / 100, calibration_n=20) for n in range(18)]
    found = apply_thresholds(rows, fpr=0.05, across_folder=True)
    assert [row["status"] for row in found] == ["UNSURE"] * 10 + ["OK"] * 18
    assert "q 0.133 across the folder: stranger than all 20 clean masks" in found[0]["reason"]
    assert "some 55 are needed" in found[0]["reason"] and not any(row["flagged"] for row in found)
    assert [row["organ"] for row in worst_first(found)][:2] == ["bad0", "bad1"]
    # So many are enough, and without --bh nothing changes.
    more = [row | {"p": 1 / 56 if row["p"] < 0.1 else row["p"], "calibration_n": 55} for row in rows]
    assert [row["status"] for row in apply_thresholds(more, fpr=0.05, across_folder=True)][:10] == ["OUTLIER"] * 10
    assert apply_thresholds(rows, fpr=0.05, across_folder=False)[0]["status"] == "OUTLIER"


def drawn(scan: int, drawing_p: object, **known: object) -> dict:
    p = 0.01 if scan % 2 else 0.5
    return judged("kidney", p) | {"scan": f"scan {scan}", "drawing_p": drawing_p, "model_hash": "a", **known}


def test_masks_of_a_source_that_nobody_calibrated_with_are_unsure():
    rows = [drawn(n, 0.004) for n in range(4)] + [drawn(4, 0.3), drawn(5, 0.004), drawn(6, 0.9, model_hash="b")]
    found = apply_thresholds(rows, fpr=0.05, across_folder=True)
    assert [row["status"] for row in found] == ["UNSURE"] * 4 + ["OK", "UNSURE", "OK"]
    assert not any(row["flagged"] for row in found) and found[1]["q"] is None
    assert "drawing p 0.004" in found[1]["reason"] and "5 of 6 scans" in found[1]["reason"]
    assert "OUTLIER: because" in found[1]["reason"]
    # What is strange for another reason than its drawing stays so: limits, and a prior that draws nothing of it.
    kept = [drawn(7, 0.004, limits=["dice"]), drawn(9, 0.004, score=math.inf), drawn(11, 0.004, status="PARTIAL")]
    found = apply_thresholds([*rows, *kept], fpr=0.05, across_folder=False)
    assert [row["status"] for row in found[-3:]] == ["OUTLIER", "OUTLIER", "PARTIAL"]


def test_a_few_scans_or_some_of_many_do_not_speak_of_a_source():
    few = [drawn(n, 0.004) for n in range(4)]
    some = few + [drawn(n, 0.2) for n in range(4, 8)]
    # Many masks of one scan are one source's word, and a journal of strangers may say anything.
    one_scan = [drawn(1, 0.004, organ=str(n)) for n in range(9)]
    odd = [drawn(n, value) for n, value in enumerate(("no", None, math.nan, -1.0, 7.0, [0.01]))]
    nameless = [drawn(n, 0.004, model_hash=[n]) for n in range(6)]
    for rows in (few, some, one_scan, odd, nameless):
        found = apply_thresholds(rows, fpr=0.05, across_folder=False)
        assert [row["status"] for row in found] == [row["status"] for row in rows]


def test_the_worst_come_first_and_the_exit_status_follows():
    rows = [judged("fine", 0.6), judged("bad", 0.01, score=5.0), judged("worse", 0.01, score=math.inf)]
    rows.append(new_row("s", "s.nii", "kidney", "NO_MODEL", "no"))
    assert exit_status(rows) == 1 and exit_status(rows[:1]) == 0
    rows.append(new_row("t", "t.nii", "", "ERROR", "broken"))
    assert [row["organ"] for row in worst_first(rows)] == ["", "worse", "bad", "fine", "kidney"]
    assert exit_status(rows) == 2 and totals(rows)["flagged"] == 2


def test_infinity_is_a_word_and_nan_is_nothing(tmp_path: Path):
    rows = [judged("a", None, hd95=math.inf, asd=math.nan, dice=0.123456789, touched=["left"], score_parts={"x": 1.0})]
    write_results(tmp_path, rows, {"input": tmp_path})
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert (row["hd95"], row["asd"], row["dice"], row["p"]) == ("inf", None, 0.123457, None)
    text = (tmp_path / "results.csv").read_text().splitlines()
    assert len(text) == 2 and ",inf," in text[1] and ",left," in text[1] and "x 1.0" in text[1]


def test_the_table_shows_the_worst_with_what_to_open(tmp_path: Path):
    rows = [judged(f"organ{n}", 0.01, picture=f"pictures/s/organ{n}.png") for n in range(30)]
    said = table(apply_thresholds(rows, fpr=0.05, across_folder=False), tmp_path)
    assert (
        len(said.splitlines()) == 13
        and "... and 20 more, see" in said
        and str(tmp_path / "pictures/s/organ0.png") in said
    )
    assert said.splitlines()[0].split()[3:7] == ["p", "score", "dice", "hd95"]
    assert said.splitlines()[-1] == "30 organs: 30 OUTLIER; flagged 30"


def test_the_table_warns_of_a_source_that_nobody_knows(tmp_path: Path):
    rows = [drawn(n, 0.004 + n / 1000) for n in range(6)]
    said = table(apply_thresholds(rows, fpr=0.05, across_folder=False), tmp_path)
    # With the number that decides, and what it is held against.
    assert "warning: drawn as no mask that its calibration knows (drawing p up to 0.009; 0.05 and less is " in said
    assert "usual: masks of 6 scans: scan 0, " in said


def test_what_a_header_leaves_open_is_a_warning_and_errors_are_told_whole(tmp_path: Path):
    grid = ScanGrid((40, 40, 40), np.diag([0.5, 0.5, 0.5, 1.0]), unit_note=unit_note(np.diag([0.5] * 4), (40,) * 3))
    remark, long = grid.remarks, "needs a reader: " + 40 * "x " + "pip install it"
    rows = [judged("a", 0.5, reason=remark), judged("b", 0.01, reason=remark), judged("c", None, reason=long)]
    said = table([*rows[:2], rows[2] | {"status": "ERROR"}], tmp_path)
    assert "warning: no unit of length, and unusual sizes in mm, which are assumed, in 1 scans: s\n" in said
    assert long in said


def test_limits_have_a_direction():
    assert describe_excess([limit_of("dice<0.8"), limit_of("hd95 > 10")], {"dice": 0.7, "hd95": math.inf}) == [
        "dice 0.7 is below 0.8",
        "hd95 inf is above 10",
    ]
    assert describe_excess([limit_of("dice<0.8"), limit_of("hd95>10")], {"dice": 0.8, "hd95": 10}) == []
    for words in ("dice>0.8", "hd95<3", "volume>3", "dice", "dice<x"):
        with pytest.raises(ValueError, match=f"{words}.*dice<"):
            limit_of(words)
