"""The last lines of an evaluation: what its numbers are to be read with, how much was compared, and where to look."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def describe_end(evaluations: Sequence[dict[str, Any]], report: Path) -> list[str]:
    """A line where the meshes are of a model whose training did not come to its end, and the one that says it is done.

    The first comes from the manifest of generate.py, through the settings of the results.
    """
    parts = [f"{each['protocol']} {each['n']} shapes, {each['failed_count']} failed" for each in evaluations]
    unfinished = dict.fromkeys(str(each["settings"]["unfinished"]) for each in evaluations if _is_told(each))
    notes = [f"note: these numbers are of a model in the making: {text}" for text in unfinished]
    return [*notes, f"done: {'; '.join(parts)}; next: open the report: {report}"]


def _is_told(evaluation: dict[str, Any]) -> bool:
    return bool(evaluation.get("settings", {}).get("unfinished"))
