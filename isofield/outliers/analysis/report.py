"""The report of an analysis: one HTML page that needs no network, worst first, for thousands of organs.

The page (isofield/reports/templates/analysis.html.j2) holds a small thumbnail of each organ; pictures and shapes are
opened from the folder beside it. Each scan has a page of its own: scan_pages.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isofield.outliers.analysis.card_columns import card_of
from isofield.outliers.analysis.priors import Prior, organs_of
from isofield.outliers.analysis.rows import Row, totals, worst_first
from isofield.outliers.analysis.scan_pages import write_scan_pages
from isofield.reports.page import write_page

REPORT_FILE = "report.html"
MEANINGS = {
    "ERROR": "could not be read or judged",
    "OUTLIER": "stranger than clean masks are",
    "PARTIAL": "touches the field of view; judged by what is visible",
    "UNSURE": "too few clean masks to say, too few slices, or drawn as its calibration does not know",
    "OK": "as clean masks are",
    "EMPTY": "no voxel",
    "NO_MODEL": "no prior for it",
}


def write_report(
    out: Path, rows: Sequence[Row], priors: Sequence[Prior], *, fpr: float, title: str, inputs: Path | None = None
) -> Path:
    """Replace OUT/report.html and the pages of the scans, each atomically; returns the path of the first.

    `inputs`: the folder of the scans, to which the scenes for 3D Slicer lead; None leaves the input out of them.
    """
    file = out / REPORT_FILE
    pages = write_scan_pages(out, rows, inputs=inputs, meanings=MEANINGS, report=file, title=title)
    write_page(
        file,
        "analysis.html.j2",
        title=title,
        meanings=MEANINGS,
        totals=totals(rows),
        priors=[_about(prior, fpr) for prior in priors],
        fpr=fpr,
        organs=sorted({row["organ"] for row in rows}),
        cards=[card_of(row) | {"page": page} for row, page in zip(worst_first(rows), pages, strict=True)],
        turnable=any(row.get("shape") for row in rows),
    )
    return file


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
