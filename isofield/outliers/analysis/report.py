"""The report of an analysis: one HTML page that needs no network, worst first, for thousands of organs.

The page (isofield/reports/templates/analysis.html.j2) holds a small thumbnail of each organ; pictures are opened from
the folder beside it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isofield.outliers.analysis.priors import Prior, organs_of
from isofield.outliers.analysis.rows import Row, plain_row, totals, worst_first
from isofield.reports.page import write_page

REPORT_FILE = "report.html"
MEANINGS = {
    "ERROR": "could not be read or judged",
    "OUTLIER": "stranger than clean masks are",
    "PARTIAL": "touches the field of view; judged by what is visible",
    "UNSURE": "too few clean masks to say, or too few slices",
    "OK": "as clean masks are",
    "EMPTY": "no voxel",
    "NO_MODEL": "no prior for it",
}
CARD = (
    "scan", "organ", "status", "flagged", "reason", "p", "q", "score", "dice", "hd95", "assd", "volume_ml", "picture",
    "thumbnail",
)  # fmt: skip


def write_report(out: Path, rows: Sequence[Row], priors: Sequence[Prior], *, fpr: float, title: str) -> Path:
    """Replace OUT/report.html, atomically; returns its path."""
    file = out / REPORT_FILE
    write_page(
        file,
        "analysis.html.j2",
        title=title,
        meanings=MEANINGS,
        totals=totals(rows),
        priors=[_about(prior, fpr) for prior in priors],
        fpr=fpr,
        organs=sorted({row["organ"] for row in rows}),
        cards=[_card(row) for row in worst_first(rows)],
    )
    return file


def _card(row: Row) -> dict[str, Any]:
    """What a card shows; the other columns fold away below it."""
    plain = plain_row(row)
    shown = {key: plain.get(key) for key in CARD if key != "thumbnail"}
    more = {key: value for key, value in plain.items() if key not in CARD and value not in (None, "", [], {})}
    return {**shown, "thumbnail": row.get("thumbnail"), "more": more}


def _about(prior: Prior, fpr: float) -> dict[str, Any]:
    """Which organs a prior judged, on how many clean masks its calibration rests, and how many are missing."""
    calibration = prior.calibration
    return {
        "organs": organs_of(prior),
        "run": prior.run.path.name,
        "count": 0 if calibration is None else calibration.n,
        "missing": prior.missing(fpr),
        "source": "" if calibration is None else f"{calibration.data} ({calibration.split})",
        "model_hash": prior.loaded.model_hash,
        "notes": prior.notes,
    }
