"""The report of an analysis: one HTML page that needs no network, worst first, for thousands of organs.

The page holds a small thumbnail of each organ; pictures are opened from the folder beside it.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isofield.outliers.analysis.priors import Prior, organs_of
from isofield.outliers.analysis.report_page import SCRIPT, STYLE
from isofield.outliers.analysis.rows import STATUSES, Row, plain_row, totals, worst_first
from isofield.runtime.atomic_files import write_text

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
    ordered = worst_first(rows)
    content = json.dumps([_card(row) for row in ordered], separators=(",", ":"), allow_nan=False)
    file = out / REPORT_FILE
    write_text(
        file,
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{_tiles(totals(rows))}\n{_models(priors, fpr)}\n{_controls(rows)}\n"
        '<main id="list"></main><div id="end"></div>\n'
        # A name may hold "</script>": no "<" is left as it is.
        f'<script type="application/json" id="rows">{content.replace("<", chr(92) + "u003c")}</script>\n'
        f"<script>{SCRIPT}</script></body></html>\n",
    )
    return file


def _card(row: Row) -> dict[str, Any]:
    """What a card shows; the other columns fold away below it."""
    plain = plain_row(row)
    shown = {key: plain.get(key) for key in CARD if key != "thumbnail"}
    more = {key: value for key, value in plain.items() if key not in CARD and value not in (None, "", [], {})}
    return {**shown, "thumbnail": row.get("thumbnail"), "more": more}


def _tiles(counts: Mapping[str, int]) -> str:
    tiles = "".join(
        f'<button class="tile {status}" data-status="{status}" title="{html.escape(MEANINGS[status])}">'
        f"<b>{counts[status]}</b>{status}<small>{html.escape(MEANINGS[status])}</small></button>"
        for status in STATUSES
        if counts[status]
    )
    return f'<nav class="tiles" aria-label="statuses">{tiles}</nav>'


def _models(priors: Sequence[Prior], fpr: float) -> str:
    """Which priors judged, on how many clean masks their calibration rests, and how many are missing."""
    lines = []
    for prior in priors:
        calibration = prior.calibration
        count = 0 if calibration is None else calibration.n
        missing = prior.missing(fpr)
        say = f'<td class="bad">{missing} more clean masks: UNSURE until then</td>' if missing else "<td>enough</td>"
        where = "" if calibration is None else f"{calibration.data} ({calibration.split})"
        lines.append(
            f"<tr><th>{html.escape(', '.join(organs_of(prior)))}</th><td>{html.escape(str(prior.run.path.name))}</td>"
            f"<td>{count}</td>{say}<td>{html.escape(where)}</td><td>{prior.loaded.model_hash}</td></tr>"
            + "".join(f'<tr><td colspan="6" class="bad">{html.escape(note)}</td></tr>' for note in prior.notes)
        )
    unsure = any(prior.missing(fpr) for prior in priors)
    return (
        f"<details{' open' if unsure else ''}><summary>Priors and their calibration, false positives at most "
        f"{fpr:g}</summary><table><thead>"
        "<tr><th>organs</th><th>run</th><th>clean masks</th><th>needed</th><th>from</th><th>model</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></details>"
    )


def _controls(rows: Sequence[Row]) -> str:
    organs = "".join(f"<option>{html.escape(organ)}</option>" for organ in sorted({row["organ"] for row in rows}))
    sorts = "".join(
        f'<option value="{key}">{text}</option>'
        for key, text in (
            ("worst", "worst first"),
            ("p", "p"),
            ("score", "score"),
            ("dice", "Dice"),
            ("hd95", "HD95"),
            ("organ", "organ"),
            ("scan", "scan"),
        )
    )
    return (
        '<form id="controls"><label>sort <select name="sort">' + sorts + "</select></label>"
        f'<label>organ <select name="organ"><option value="">all</option>{organs}</select></label>'
        '<label>p at most <input name="p" type="number" min="0" max="1" step="0.01"></label>'
        '<label>name holds <input name="find" type="search"></label>'
        '<button type="reset">all</button><output id="count"></output></form>'
    )
