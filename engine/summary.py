"""Rows of an evaluation into means, and both into JSON, CSV and a table for the terminal.

Failed shapes stand beside every mean, never inside it; a metric that a shape cannot have (IoU against a point cloud)
is counted as undefined.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_processing.files import write_text
from engine.evaluation import Draws, Row
from engine.protocols import METRICS, Protocol

AVERAGED = (*METRICS, "watertight")


def summarise(rows: Sequence[Row], protocol: Protocol, draws: Draws, *, split: str | None, about: Row) -> Row:
    """The evaluation of one protocol as plain data, ready for JSON. `about`: where both sides came from."""
    done = [row for row in rows if row["status"] == "done"]
    failed = [{"name": row["name"], "reason": row["reason"]} for row in rows if row["status"] != "done"]
    per_category = {}
    for category in sorted({row["category"] for row in rows}):
        of_category = [row for row in done if row["category"] == category]
        total = sum(row["category"] == category for row in rows)
        per_category[category] = {"n": len(of_category), "failed_count": total - len(of_category)} | means(of_category)
    return {
        "protocol": protocol.name,
        "split": split,
        "n": len(done),
        "failed_count": len(failed),
        "failed": failed,
        "mean": means(done),
        "mean_per_category": means(list(per_category.values())),
        "median": medians(done),
        "undefined": {key: count for key in METRICS if (count := sum(row[key] is None for row in done))},
        "per_category": per_category,
        "per_shape": list(rows),
        "settings": describe(protocol, draws) | about,
    }


def means(rows: Sequence[Row]) -> dict[str, float | None]:
    """Mean of each metric over the rows that have it; `watertight` is the share of rows."""
    return {key: float(np.mean(values)) if (values := _values(rows, key)) else None for key in AVERAGED}


def medians(rows: Sequence[Row]) -> dict[str, float | None]:
    """Median of each metric over the rows that have it."""
    return {key: float(np.median(values)) if (values := _values(rows, key)) else None for key in METRICS}


def describe(protocol: Protocol, draws: Draws) -> Row:
    """What has to stand beside every number."""
    return {
        "points": draws.surface_count(protocol),
        "seed": draws.seed,
        "scale": protocol.describe_scale(),
        "units": protocol.units(),
        "iou_points": draws.iou_count(protocol),
        "f_score_threshold": protocol.f_threshold,
        "published_metrics": list(protocol.published),
        "source": protocol.source,
    }


def write_json(path: Path, evaluation: Row) -> None:
    """Replace the JSON file of an evaluation, atomically."""
    write_text(path, json.dumps(evaluation, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, evaluation: Row) -> None:
    """Replace the CSV file: a line for each shape, each with protocol, points, seed and unit."""
    settings = evaluation["settings"]
    shared = {
        "protocol": evaluation["protocol"],
        "split": evaluation["split"] or "",
        "points": settings["points"],
        "seed": settings["seed"],
        "chamfer_unit": settings["units"]["chamfer"],
    }
    columns = ["name", "category", "status", *METRICS, "watertight", "ground_truth", *shared, "reason"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | shared for row in evaluation["per_shape"])
    write_text(path, text.getvalue())


def table(evaluation: Row) -> str:
    """Means for each category and over all, for the terminal."""
    keys = [*evaluation["settings"]["published_metrics"], "f_score", "watertight"]
    keys = list(dict.fromkeys(keys))
    total = {"n": evaluation["n"], "failed_count": evaluation["failed_count"]}
    lines = [*evaluation["per_category"].items()]
    lines += [("per category", evaluation["mean_per_category"] | total), ("per shape", evaluation["mean"] | total)]
    width = max(len(name) for name, _ in lines) + 2
    settings = evaluation["settings"]
    text = [
        f"{evaluation['protocol']}: {settings['points']:,} points, seed {settings['seed']}; chamfer: "
        f"{settings['units']['chamfer']}",
        f"{'':{width}}{'n':>6}{'failed':>8}" + "".join(f"{key:>{_wide(key)}}" for key in keys),
    ]
    for name, values in lines:
        numbers = "".join(f"{_short(values[key]):>{_wide(key)}}" for key in keys)
        text.append(f"{name:{width}}{values['n']:>6}{values['failed_count']:>8}{numbers}")
    text += [f"failed: {failure['name']}: {failure['reason']}" for failure in evaluation["failed"]]
    return "\n".join(text)


def _wide(key: str) -> int:
    return max(10, len(key) + 2)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _values(rows: Sequence[Row], key: str) -> list[float]:
    return [row[key] for row in rows if row[key] is not None]
