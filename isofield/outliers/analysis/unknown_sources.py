"""Masks of a source that draws as their calibration does not know: UNSURE, and why, instead of all of them flagged.

Whoever drew the masks of a folder drew most of its scans: one scan alone that looks so may as well have a fault.
"""

import math
from collections.abc import Sequence

from isofield.runtime.json_files import Row

UNUSUAL = 0.05  # share of known drawings that are as unusual
SCANS = 5  # of one judge, before they can speak of their source
SAYS = "drawn as no mask that its calibration knows"


def mark_unknown_sources(rows: Sequence[Row]) -> list[Row]:
    """Rows in their order; where most scans of a judge are drawn as it does not know, their masks are UNSURE.

    A scan counts as so drawn when most of its masks are. What the user's own limits flag, what the prior draws nothing
    of, and parts of organs stay as they are.
    """
    scans: dict[str, dict[str, list[bool]]] = {}
    for row in rows:
        if _is_judged(row):
            scans.setdefault(str(row["model_hash"]), {}).setdefault(row["scan"], []).append(_is_unusual(row))
    unknown: dict[str, tuple[int, int]] = {}
    for model, drawn in scans.items():
        unusual = sum(2 * sum(marks) > len(marks) for marks in drawn.values())
        if len(drawn) >= SCANS and 2 * unusual > len(drawn):
            unknown[model] = unusual, len(drawn)
    return [_unsure(row, *unknown[str(row["model_hash"])]) if _may_change(row, unknown) else row for row in rows]


def _is_judged(row: Row) -> bool:
    # A journal of earlier results may come from anywhere and say anything.
    p = row.get("drawing_p")
    return row["status"] in ("OK", "OUTLIER") and isinstance(p, float | int) and 0 <= p <= 1


def _is_unusual(row: Row) -> bool:
    return bool(row["drawing_p"] <= UNUSUAL)


def _may_change(row: Row, unknown: dict[str, tuple[int, int]]) -> bool:
    if not (_is_judged(row) and str(row["model_hash"]) in unknown and _is_unusual(row)):
        return False
    return not row["limits"] and math.isfinite(row["score"] or 0.0)


def _unsure(row: Row, unusual: int, scans: int) -> Row:
    reason = (
        f"{SAYS} (drawing p {row['drawing_p']:.3g}), as {unusual} of {scans} scans here are: calibrate with clean "
        f"masks of this source; otherwise {row['status']}: {row['reason']}"
    )
    return {**row, "status": "UNSURE", "flagged": False, "reason": reason}
