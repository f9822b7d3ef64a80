"""Evaluations as `evaluate` writes them, out of given numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.tables import summarise, write_json

CHAMFER = {"chair/a": 1.0, "chair/b": 2.0, "table/c": 3.0, "table/d": 4.0}


def written_result(
    file: Path,
    chamfer: Mapping[str, float | None],
    *,
    protocol: str = "onet",
    split: str | None = "test",
    seed: int = 0,
    points: int = 50,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """A JSON file; None: the shape failed. All other numbers are 0.5."""
    (one,) = find_protocols([protocol])
    plain: dict[str, Any] = dict.fromkeys((*one.metrics, *one.flags), 0.5)
    rows = [
        {"name": name, "category": name.partition("/")[0]}
        | (
            {"status": "failed", "reason": "no prediction"}
            if value is None
            else plain | {"status": "done", "reason": "", one.metrics[0]: value, "ground_truth": "mesh"}
        )
        for name, value in chamfer.items()
    ]
    draws = SampleCounts(seed=seed, points=points, iou_points=points)
    settings = {"predictions": "lost", "ground_truth": "lost", "data_hash": "same"} | dict(about or {})
    write_json(file, summarise(rows, one, draws, split=split, about=settings))
    return file
