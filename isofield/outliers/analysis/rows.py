"""A row for every organ of every scan: its columns, what is flagged in the end, and the files it is written to.

Infinite distances stay infinite ("inf"); what is not known is empty, never NaN.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_processing.formats.nifti import NO_UNIT
from isofield.metrics.conformal import SLACK, scores_needed
from isofield.metrics.conformal import is_flagged as is_flagged
from isofield.outliers.analysis.unknown_sources import SAYS, UNUSUAL, mark_unknown_sources
from isofield.runtime.atomic_files import write_text
from isofield.runtime.csv_cells import write_csv_file
from isofield.runtime.json_files import Row
from isofield.runtime.number_text import short

STATUSES = ("ERROR", "OUTLIER", "PARTIAL", "UNSURE", "OK", "EMPTY", "NO_MODEL")
UNFLAGGED = ("UNSURE", "PARTIAL", "OUTLIER", "OK", "EMPTY", "NO_MODEL")  # after errors and what is flagged
JUDGED = ("OK", "OUTLIER", "PARTIAL")
COLUMNS = (
    "scan", "file", "organ", "structure", "status", "flagged", "reason", "p", "q", "score", "dice", "asd",
    "assd", "hd95", "hd", "nsd", "limits", "volume_ml", "reconstruction_ml", "components", "left_out_ml",
    "touched", "spacing_mm", "orientation", "disagreement_sign", "disagreement_ml", "disagreement_depth_mm",
    "disagreement_x_mm", "disagreement_y_mm", "disagreement_z_mm", "score_parts", "drawing_p", "model", "model_hash",
    "calibration_n", "calibration_hash", "seconds", "picture", "reconstruction", "disagreement", "repaired",
    "agreement",
)  # fmt: skip
CSV_FILE, JSON_FILE = "results.csv", "results.json"
FORMAT = 1
WORST = 10
NO_ORIENTATION = "unknown"  # in the column orientation


def new_row(scan: str, file: str, organ: str, status: str, reason: str, **known: Any) -> Row:
    """All columns, those not known are None. `status` is one of STATUSES."""
    assert status in STATUSES and set(known) <= set(COLUMNS) | {"thumbnail", "shape"}
    row: Row = dict.fromkeys(COLUMNS)
    return row | {"scan": scan, "file": file, "organ": organ, "status": status, "reason": reason} | known


def apply_thresholds(rows: Sequence[Row], *, fpr: float, across_folder: bool) -> list[Row]:
    """What is flagged, by p <= fpr of each mask, or by Benjamini and Hochberg (1995) across all masks with a p-value.

    A PARTIAL mask stays PARTIAL and is flagged; UNSURE ones never are. `q` is filled in for all that were judged. A
    mask whose p is the smallest that its calibration has, and whose q is too large all the same, is UNSURE: more clean
    masks could show that it is strange. So are masks of a source that their calibration does not know.
    """
    rows = mark_unknown_sources(rows)
    # Tests of masks that were not judged are no tests: they must not count among the hypotheses that share the rate.
    judged = [number for number, row in enumerate(rows) if row["status"] in JUDGED and _is_probability(row["p"])]
    q_of = dict(zip(judged, adjust_p_values([rows[number]["p"] for number in judged]), strict=True))
    strangest = sum(_is_strangest(rows[number]) for number in judged)
    # With so many clean masks the strangest would share the rate: p / (strangest / judged) <= fpr.
    needed = scores_needed(fpr * strangest / len(judged)) if strangest else 0
    result = []
    for number, row in enumerate(rows):
        row = {**row, "q": q_of.get(number), "flagged": bool(row["flagged"])}
        # An infinite score (an empty mask, a prior that draws nothing) is flagged already, whatever the others look
        # like.
        if across_folder and number in q_of and math.isfinite(row["score"] or 0.0):
            row = _across(row, fpr, needed)
        result.append(row)
    return result


def _is_strangest(row: Row) -> bool:
    """Whether no clean mask of the calibration had such a score: its p cannot be smaller."""
    count = row["calibration_n"]
    return isinstance(count, int) and count > 0 and row["p"] <= 1 / (count + 1) + SLACK


def _across(row: Row, fpr: float, needed: int) -> Row:
    is_outlier = is_flagged(row["q"], fpr) or bool(row["limits"])
    status = row["status"] if row["status"] == "PARTIAL" else ("OUTLIER" if is_outlier else "OK")
    note = f"; q {row['q']:.3g} across the folder" if row["flagged"] != is_outlier else ""
    if note and not is_outlier and _is_strangest(row):
        status = "UNSURE"
        note += (
            f": stranger than all {row['calibration_n']} clean masks, which are too few for --bh here (some {needed} "
            "are needed); without --bh it is flagged"
        )
    return {**row, "flagged": is_outlier, "status": status, "reason": row["reason"] + note}


def adjust_p_values(values: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the same order."""
    from scipy.stats import false_discovery_control  # takes half a second to import

    return [float(q) for q in false_discovery_control(values)]


def _is_probability(p: float | None) -> bool:
    """A journal of earlier results may come from anywhere and say anything."""
    return p is not None and 0 <= p <= 1


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Errors, then flagged masks by p and score, then unsure ones, then others with a score, then the rest by name."""

    def key(row: Row) -> tuple[Any, ...]:
        # What nobody could read comes first: it may hide anything.
        group = 0 if row["status"] == "ERROR" else 1 if row["flagged"] else 2 + UNFLAGGED.index(row["status"])
        p = 1.0 if row["p"] is None else row["p"]
        score = -math.inf if row["score"] is None else row["score"]
        dice = 1.0 if row["dice"] is None else row["dice"]
        return group, p, -score, dice, row["scan"], row["organ"]

    return sorted(rows, key=key)


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """How many of each status, and how many are flagged."""
    counts = Counter(row["status"] for row in rows)
    return {status: counts[status] for status in STATUSES} | {"flagged": sum(bool(row["flagged"]) for row in rows)}


def exit_status(rows: Sequence[Row]) -> int:
    """0 nothing to look at, 1 outliers, 2 errors."""
    counts = totals(rows)
    return 2 if counts["ERROR"] else 1 if counts["flagged"] else 0


def write_results(out: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """results.csv and results.json, worst first."""
    plain = [plain_row(row) for row in worst_first(rows)]
    content = {"format": FORMAT, "settings": dict(settings), "totals": totals(rows), "rows": plain}
    write_text(out / JSON_FILE, json.dumps(content, indent=1, allow_nan=False, default=str) + "\n")
    write_csv_file(out / CSV_FILE, COLUMNS, ({key: _cell(value) for key, value in row.items()} for row in plain))


def plain_row(row: Row) -> Row:
    """What JSON can hold: infinity as a word, numbers rounded to what means something; no thumbnail."""
    return {key: _number(row[key]) for key in COLUMNS}


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return (
            ("inf" if value > 0 else "-inf")
            if math.isinf(value)
            else None
            if math.isnan(value)
            else float(f"{value:.6g}")
        )
    if isinstance(value, Mapping):
        return {key: _number(part) for key, part in value.items()}
    return [_number(part) for part in value] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return "" if value is None else value


def table(rows: Sequence[Row], out: Path) -> str:
    """The ten worst cases with the picture to open, and the totals by status."""
    # What a person has to look at first, and where the picture of it lies; the rest is in the table on disk.
    to_look_at = [row for row in worst_first(rows) if row["flagged"] or row["status"] in ("ERROR", "UNSURE")]
    worst, lines = to_look_at[:WORST], []
    if worst:
        # Many have the smallest p that there is: the score tells them apart.
        cells = [("scan", "organ", "status", "p", "score", "dice", "hd95", "look at")]
        for row in worst:
            # What to do about a file that cannot be read stands at the end of its reason.
            reason = row["reason"] if row["status"] == "ERROR" else row["reason"][:90]
            look = str(out / row["picture"]) if row["picture"] else reason
            numbers = (short(row[key], digits=3) for key in ("p", "score", "dice", "hd95"))
            cells.append((row["scan"][-32:], row["organ"] or "-", row["status"], *numbers, look))
        widths = [max(len(line[column]) for line in cells) for column in range(7)]
        lines = ["  ".join([c.ljust(w) for c, w in zip(line, widths, strict=False)] + [line[7]]) for line in cells]
    if len(to_look_at) > WORST:
        lines.append(f"... and {len(to_look_at) - WORST} more, see {out / CSV_FILE}")
    counts = totals(rows)
    named = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    flagged = f"; flagged {counts['flagged']}" if counts["flagged"] else ""
    lines += _warnings(rows)
    return "\n".join([*lines, f"{len(rows)} organs: {', '.join(named)}{flagged}"])


def _warnings(rows: Sequence[Row]) -> list[str]:
    """Of scans whose header does not say which side is left or what is a millimetre, or of another source."""
    elsewhere = [row for row in rows if row["status"] == "UNSURE" and SAYS in (row["reason"] or "")]
    most = max((row["drawing_p"] for row in elsewhere), default=0.0)
    kinds = {
        "left and right cannot be told in": [row for row in rows if row["orientation"] == NO_ORIENTATION],
        "no unit of length, and unusual sizes in mm, which are assumed, in": [
            row for row in rows if NO_UNIT in (row["reason"] or "")
        ],
        f"{SAYS} (drawing p up to {most:.2g}; {UNUSUAL:g} and less is unusual), so that nobody can say what is usual: "
        "masks of": elsewhere,
    }
    lines = []
    for what, found in kinds.items():
        scans = list(dict.fromkeys(row["scan"] for row in found))
        more = ", ..." if len(scans) > WORST else ""
        lines += [f"warning: {what} {len(scans)} scans: {', '.join(scans[:WORST])}{more}"] if scans else []
    return lines
