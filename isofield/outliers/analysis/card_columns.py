"""What a card of a page shows of a row, and what folds away below it."""

from typing import Any

from isofield.outliers.analysis.rows import Row, plain_row

CARD = (
    "scan", "organ", "status", "flagged", "reason", "p", "q", "score", "dice", "hd95", "assd", "volume_ml", "picture",
)  # fmt: skip
BESIDE = ("thumbnail", "shape")  # of a row, but no columns of a table


def card_of(row: Row) -> dict[str, Any]:
    """Columns by name, and `more`: all others that are known."""
    plain = plain_row(row)
    shown = {key: plain.get(key) for key in CARD} | {key: row.get(key) for key in BESIDE}
    more = {key: value for key, value in plain.items() if key not in CARD and value not in (None, "", [], {})}
    return {**shown, "more": more}
