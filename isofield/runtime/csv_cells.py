"""Cells of the CSV files that we write: no name of a stranger's becomes a formula where the table is opened."""

from collections.abc import Mapping
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """The value; a text that a spreadsheet would compute, with an apostrophe before it (JSON has it bare)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value) else value


def cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """`cell` of every value of a row."""
    return {key: cell(value) for key, value in row.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
