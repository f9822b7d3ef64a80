"""Rows of an evaluation into means, and both into JSON, CSV and a table for the terminal.

Failed shapes stand beside every mean, never inside it; a metric that a shape cannot have (IoU against a point cloud)
is counted as undefined. An infinite distance (to an empty mask) makes the mean infinite, JSON says "inf": medians, and
how many are infinite, stand beside every mean.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isofield.evaluation.data_hash import data_hash_of
from isofield.evaluation.pairs import Comparison
from isofield.evaluation.protocols import AnyProtocol, MaskProtocol, Protocol
from isofield.evaluation.rows import Row, SampleCounts
from isofield.runtime.atomic_files import write_text
from isofield.runtime.commandline import first_of, say
from isofield.runtime.csv_cells import write_csv_file
from isofield.runtime.number_text import short

NOTED = 3  # names beside a note on screen
WHOLE = "all"  # the lines over all shapes among those of the categories


def summarise(rows: Sequence[Row], protocol: AnyProtocol, draws: SampleCounts, *, split: str | None, about: Row) -> Row:
    """The evaluation of one protocol as plain data, ready for JSON. `about`: where both sides came from."""
    done = [row for row in rows if row["status"] == "done"]
    failed = [{"name": row["name"], "reason": row["reason"]} for row in rows if row["status"] != "done"]
    metrics, averaged = protocol.metrics, (*protocol.metrics, *protocol.flags)
    # Published tables average over categories as well as over shapes: neither can be had from the other afterwards.
    per_category = {}
    for category in sorted({row["category"] for row in rows}):
        of_category = [row for row in done if row["category"] == category]
        total = sum(row["category"] == category for row in rows)
        counts = {"n": len(of_category), "failed_count": total - len(of_category)}
        per_category[category] = counts | means(of_category, averaged)
        beside = {"median": means(of_category, metrics, np.median), "infinite": infinite(of_category, metrics)}
        per_category[category] |= beside
    return {
        "protocol": protocol.name,
        "split": split,
        "n": len(done),
        "failed_count": len(failed),
        "failed": failed,
        "suspect": [{"name": row["name"], "reason": row["suspect"]} for row in done if row.get("suspect")],
        "mean": means(done, averaged),
        "mean_per_category": means(list(per_category.values()), averaged),
        "median_per_category": means(list(per_category.values()), metrics, np.median),
        "infinite_per_category": infinite(list(per_category.values()), metrics),
        "median": means(done, metrics, np.median),
        "infinite": infinite(done, metrics),
        "undefined": {key: count for key in metrics if (count := sum(row[key] is None for row in done))},
        "per_category": per_category,
        "per_shape": list(rows),
        "settings": describe(protocol, draws) | about,
    }


def means(
    rows: Sequence[Row], keys: Sequence[str], mean: Callable[[Sequence[float]], Any] = np.mean
) -> dict[str, float | None]:
    """Mean of each key over the rows that have it; of yes and no (`watertight`) the share of rows."""
    values_of = {key: [row[key] for row in rows if row[key] is not None] for key in keys}
    return {key: float(mean(values)) if values else None for key, values in values_of.items()}


def infinite(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, int]:
    """How many rows have an infinite value, of each key that has one."""
    counts = {key: sum(math.isinf(row[key]) for row in rows if row[key] is not None) for key in keys}
    return {key: count for key, count in counts.items() if count}


def describe(protocol: AnyProtocol, draws: SampleCounts) -> Row:
    """What has to stand beside every number."""
    if not isinstance(protocol, Protocol):
        return protocol.describe()
    return {
        "points": draws.surface_count(protocol),
        "seed": draws.seed,
        "scale": protocol.describe_scale(),
        "units": protocol.units(),
        "iou_points": draws.iou_count(protocol),
        "f_score_threshold": protocol.f_threshold,
        "metrics": list(protocol.metrics),
        "flags": list(protocol.flags),
        "published_metrics": list(protocol.published),
        "source": protocol.source,
    }


def write_json(path: Path, evaluation: Row) -> None:
    """Replace the JSON file of an evaluation, atomically."""
    write_text(path, json.dumps(_finite(evaluation), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_tables(
    rows: Mapping[str, Sequence[Row]],
    protocols: Sequence[AnyProtocol],
    draws: SampleCounts,
    what: Comparison,
    out: Path,
) -> list[dict[str, Any]]:
    """JSON and CSV of each protocol's rows, told at the terminal as well; returns what is in them."""
    evaluations, about = [], what.about | {"data_hash": data_hash_of(what.pairs)}
    for protocol in protocols:
        evaluation = summarise(rows[protocol.name], protocol, draws, split=what.split, about=about)
        write_json(what.result_file(out, protocol.name, ".json"), evaluation)
        write_csv(what.result_file(out, protocol.name, ".csv"), evaluation)
        if isinstance(protocol, MaskProtocol):
            write_means(what.result_file(out, protocol.name, "-means.csv"), evaluation)
        say(table(evaluation))
        evaluations.append(evaluation)
    return evaluations


def write_csv(path: Path, evaluation: Row) -> None:
    """Replace the CSV file: a line for each shape, each with protocol, points, seed and unit."""
    settings = evaluation["settings"]
    # Repeated in each line: a line of a table that was merged with others still says how it was measured.
    shared = {"protocol": evaluation["protocol"], "split": evaluation["split"] or ""}
    shared |= {key: settings[key] for key in ("points", "seed", "tolerance_mm") if key in settings}
    if "chamfer" in settings["units"]:
        shared["chamfer_unit"] = settings["units"]["chamfer"]
    numbers = [*settings["metrics"], *settings["flags"]]
    labels = ["label", "predicted_label"] if "tolerance_mm" in settings else []
    columns = ["name", "category", *labels, "status", *numbers, "ground_truth", *shared, "reason", "suspect"]
    columns += ["note"] if any("note" in row for row in evaluation["per_shape"]) else []
    write_csv_file(path, columns, (row | shared for row in evaluation["per_shape"]))


def write_means(path: Path, evaluation: Row) -> None:
    """Replace the CSV file of the means of masks: mean, median, how many are infinite, by category and over all."""
    numbers = evaluation["settings"]["metrics"]
    total = {"n": evaluation["n"], "failed_count": evaluation["failed_count"]}
    whole = total | evaluation["mean"] | {"median": evaluation["median"], "infinite": evaluation["infinite"]}
    rows = []
    for category, values in [*_named(evaluation["per_category"]), (WHOLE, whole)]:
        about = {"category": category, "n": values["n"], "failed": values["failed_count"]}
        counts = dict.fromkeys(numbers, 0) | values["infinite"]
        for statistic, line in (("mean", values), ("median", values["median"]), ("infinite", counts)):
            rows.append(about | {"statistic": statistic} | {key: line[key] for key in numbers})
    write_csv_file(path, ["category", "statistic", "n", "failed", *numbers], rows)


def _named(per_category: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """The categories, none of which goes by the name of the whole: a line of a table has to be found by its name."""
    # Masks without a name of their own have this category too: alone, it is the whole, and stands there once.
    others = {name: values for name, values in per_category.items() if name != WHOLE}
    if not others or len(others) == len(per_category):
        return list(others.items())
    return [(f"{name} (category)" if name == WHOLE else name, values) for name, values in per_category.items()]


def table(evaluation: Row) -> str:
    """Means for each category and over all, for the terminal; medians and infinite ones below them."""
    settings = evaluation["settings"]
    extra = [key for key in ("f_score", *settings["flags"]) if key in evaluation["mean"]]
    keys = list(dict.fromkeys([*settings["published_metrics"], *extra]))
    total = {"n": evaluation["n"], "failed_count": evaluation["failed_count"]}
    # Categories first, then the mean over them, then the one over shapes: the last lines are what papers quote.
    lines = [*evaluation["per_category"].items()]
    for name, ending in (("per category", "_per_category"), ("per shape", "")):
        beside = {key: evaluation[key + ending] for key in ("median", "infinite")}
        lines.append((name, evaluation["mean" + ending] | total | beside))
    width = max(*(len(name) for name, _ in lines), len("  infinite")) + 2
    text = [
        f"{evaluation['protocol']}: {_conditions(settings)}",
        f"{'':{width}}{'n':>6}{'failed':>8}" + "".join(f"{key:>{_wide(key)}}" for key in keys),
    ]
    for name, values in lines:
        numbers = "".join(f"{short(values[key]):>{_wide(key)}}" for key in keys)
        text.append(f"{name:{width}}{values['n']:>6}{values['failed_count']:>8}{numbers}")
        text += _lines_beside(values, keys, width)
    failed = [f"failed: {failure['name']}: {failure['reason']}" for failure in evaluation["failed"]]
    rest = f"the results of {evaluation['protocol']}"
    suspect = [f"suspect: {shape['name']}: {shape['reason']}" for shape in evaluation["suspect"]]
    text += [line for lines in (failed, suspect, _notes(evaluation)) for line in first_of(lines, rest=rest)]
    return "\n".join(text)


def _lines_beside(values: Row, keys: Sequence[str], width: int) -> list[str]:
    """The median of several shapes, and how many are infinite, where some are."""
    if values.get("median") is None or values["n"] < 2:
        return []
    lines = [("  median", {key: short(values["median"].get(key)) for key in keys})]
    if values["infinite"]:
        lines.append(("  infinite", {key: str(values["infinite"].get(key, 0)) for key in keys}))
    return [f"{name:{width}}{'':14}" + "".join(f"{line[key]:>{_wide(key)}}" for key in keys) for name, line in lines]


def _notes(evaluation: Row) -> list[str]:
    """What was left out, and what the rows say beside their numbers: each note once, with the shapes it is of."""
    names: dict[str, list[str]] = {}
    for row in evaluation["per_shape"]:
        for note in filter(None, str(row.get("note", "")).split("; ")):
            names.setdefault(note, []).append(row["name"])
    lines = list(evaluation["settings"].get("left_out", ()))
    for note, found in names.items():
        more = f", ... ({len(found)} in all)" if len(found) > NOTED else ""
        lines.append(f"note: {', '.join(found[:NOTED])}{more}: {note}")
    return lines


def _conditions(settings: Row) -> str:
    if "tolerance_mm" in settings:
        return f"distances in mm; nsd within {settings['tolerance_mm']:g} mm"
    if "points" not in settings:
        return str(settings["scale"])
    return f"{settings['points']:,} points, seed {settings['seed']}; chamfer: {settings['units']['chamfer']}"


def _finite(data: Any) -> Any:
    """The same data with infinite numbers as words: JSON has none."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and math.isinf(data) else data


def _wide(key: str) -> int:
    return max(10, len(key) + 2)
