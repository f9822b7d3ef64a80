"""The evaluation as one self-contained HTML page: summary, tables, failed shapes, pictures side by side, settings.

Nothing is fetched from anywhere when the page is opened, and every name is escaped. Numbers come from
evaluation/rows.py; here they are only shown.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import FLAGS, LOWER_IS_BETTER, NO_BETTER
from isofield.reports.mask_slices import LEGEND, slices_of
from isofield.reports.page import (
    PICTURE_SIZE,
    choose_shown,
    image,
    picture_of,
    quoted,
    settings_table,
    sort_buttons,
    tile,
    write_page,
)

LABELS = {
    "chamfer": "Chamfer",
    "chamfer_l1": "Chamfer L1",
    "chamfer_l2": "Chamfer L2",
    "normal_consistency": "Normals",
    "signed_normal_agreement": "Normals, signed",
    "f_score": "F-score",
    "iou": "IoU",
    "lfd": "LFD",
    "watertight": "Watertight",
    "dice": "Dice",
    "nsd": "Surface Dice",
    "asd": "ASD",
    "assd": "ASSD",
    "hd95": "HD95",
    "hd": "Hausdorff",
    "volume": "Volume",
    "predicted_volume": "Predicted volume",
}
SORT_BY = {"worst": "worst first", "best": "best first", "name": "by name"}
Evaluation = dict[str, Any]


def write_report(
    path: Path,
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Pair],
    *,
    title: str,
    up: rendering.Up = "y",
    pictures: int = 60,
) -> None:
    """Replace the report, atomically.

    `evaluations`: one for each protocol, over the same shapes; the first decides what is worst. `pictures`: the most
    shapes to show; of more, a third are the worst, a third the best, the rest evenly between.
    """
    cards = "".join(
        card(pair, [_row(evaluation, pair.name) for evaluation in evaluations], evaluations, up=up)
        for pair in chosen_pairs(pairs, evaluations[0], most=pictures)
    )
    shown = f"{min(pictures, len(pairs))} of {len(pairs)}" if pictures < len(pairs) else f"all {len(pairs)}"
    of_masks = "tolerance_mm" in evaluations[0]["settings"]
    sides = LEGEND if of_masks else "Ground truth (left) and reconstruction (right)"
    body = [
        f"<header><h1>{html.escape(title)}</h1>{''.join(_summary(evaluation) for evaluation in evaluations)}</header>",
        _failures(evaluations),
        "".join(_category_table(evaluation) for evaluation in evaluations),
        f"<section><h2>{sides}</h2><p>{shown} shapes, worst first by "
        f"{LABELS[_first(evaluations[0])]} ({html.escape(evaluations[0]['protocol'])}). {sort_buttons(SORT_BY)}</p>"
        f'<div class="cards">{cards}</div></section>'
        if pictures
        else "",
        "".join(_shape_table(evaluation) for evaluation in evaluations),
        "".join(_settings(evaluation) for evaluation in evaluations),
    ]
    write_page(path, body, title=title)


def chosen_pairs(pairs: Sequence[Pair], evaluation: Evaluation, *, most: int) -> list[Pair]:
    """At most `most` pairs, worst first; failed shapes are the worst of all."""
    badness = {row["name"]: _badness(row, evaluation) for row in evaluation["per_shape"]}
    ordered = sorted(pairs, key=lambda pair: (-badness[pair.name], pair.name))
    return choose_shown(ordered, most=most)


def card(pair: Pair, rows: Sequence[Evaluation], evaluations: Sequence[Evaluation], *, up: rendering.Up) -> str:
    """Both sides of one shape and its numbers under every protocol."""
    failed = rows[0]["status"] != "done"
    if "tolerance_mm" in evaluations[0]["settings"]:
        pictures = image(slices_of(pair, size=PICTURE_SIZE), "slices of both masks", wide=True)
    else:
        truth, reconstruction = pictures_of(pair, up=up)
        pictures = f'<div class="pair">{image(truth, "ground truth")}{image(reconstruction, "reconstruction")}</div>'
    key = f"{_badness(rows[0], evaluations[0]):.9g}".replace("inf", "Infinity")
    numbers = "".join(_numbers(row, evaluation) for row, evaluation in zip(rows, evaluations, strict=True))
    return (
        f'<figure data-badness="{key}" data-name="{quoted(pair.name)}"'
        f"{' class=bad' if failed else ''}>"
        f"{pictures}<figcaption><b>{html.escape(pair.name)}</b>"
        + (f'<p class="reason">failed: {html.escape(rows[0]["reason"])}</p>' if failed else f"<dl>{numbers}</dl>")
        + ('<p class="reason">not watertight</p>' if rows[0].get("watertight") is False else "")
        + "</figcaption></figure>"
    )


def pictures_of(pair: Pair, *, up: rendering.Up) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """Ground truth and reconstruction in the same frame, that of the ground truth; None for what cannot be shown."""
    truth = _loaded(lambda: pair.truth.load().surface_to_show() if pair.truth else None)
    reconstruction = _loaded(lambda: read_mesh(pair.prediction) if pair.prediction else None)
    first = truth if truth is not None else reconstruction
    if first is None:
        return None, None
    view_ball = rendering.view_ball_around(*first.bounds())
    shown = [None if mesh is None else picture_of(mesh, up=up, view_ball=view_ball) for mesh in (truth, reconstruction)]
    return shown[0], shown[1]


def _loaded(load: Any) -> TriangleMesh | None:
    try:
        return load()
    except (ValueError, OSError):  # the reason is in the row of the shape
        return None


def _first(evaluation: Evaluation) -> str:
    """The metric that decides what is worst."""
    return str(evaluation["settings"]["published_metrics"][0])


def _badness(row: Evaluation, evaluation: Evaluation) -> float:
    """Higher is worse; a failed shape is the worst of all."""
    key = _first(evaluation)
    if row.get(key) is None:
        return float("inf")
    return float(row[key]) if key in LOWER_IS_BETTER else 1 - float(row[key])


def _row(evaluation: Evaluation, name: str) -> Evaluation:
    return next(row for row in evaluation["per_shape"] if row["name"] == name)


def _numbers(row: Evaluation, evaluation: Evaluation) -> str:
    """The published metrics of a shape under one protocol, as a line of a list."""
    if row["status"] != "done":
        return f"<dt>{html.escape(evaluation['protocol'])}</dt><dd>failed: {html.escape(row['reason'])}</dd>"
    values = " ".join(
        f"<span>{LABELS[key]} {_number(key, row[key])}</span>" for key in evaluation["settings"]["published_metrics"]
    )
    return f"<dt>{html.escape(evaluation['protocol'])}</dt><dd>{values}</dd>"


def _number(key: str, value: float | bool | None) -> str:
    """Four digits of a distance, three decimals of a share; a dash where there is no number."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key not in LOWER_IS_BETTER | NO_BETTER:
        return f"{value:.3f}"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:#.4g}"


def _summary(evaluation: Evaluation) -> str:
    settings = evaluation["settings"]
    tiles = "".join(
        tile(_number(key, evaluation["mean"][key]), f"mean {LABELS[key]}", settings["units"][key])
        for key in settings["published_metrics"]
    )
    failed = evaluation["failed_count"]
    return (
        f'<div class="summary"><div class="what"><span>{html.escape(evaluation["protocol"])}</span>'
        f"{evaluation['n']} of {evaluation['n'] + failed} shapes"
        f'<small class="{"bad" if failed else ""}">{failed} failed, not in the means</small>'
        f"<small>{_conditions(settings)}</small></div>{tiles}</div>"
    )


def _conditions(settings: Evaluation) -> str:
    if "tolerance_mm" in settings:
        return f"surfaces within {settings['tolerance_mm']:g} mm count as equal"
    return f"{settings['points']:,} points, seed {settings['seed']}" if "points" in settings else settings["scale"]


def _columns(evaluation: Evaluation) -> list[str]:
    return [*evaluation["settings"]["metrics"], *evaluation["settings"]["flags"]]


def _failures(evaluations: Sequence[Evaluation]) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for evaluation in evaluations:
        for failure in evaluation["failed"]:
            reasons.setdefault((failure["name"], failure["reason"]), []).append(evaluation["protocol"])
    if not reasons:
        return ""
    items = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(reason)}"
        + (f" ({', '.join(protocols)})" if len(protocols) < len(evaluations) else "")
        + "</li>"
        for (name, reason), protocols in reasons.items()
    )
    return f'<section class="failures"><h2>Failed shapes</h2><ul>{items}</ul></section>'


def _category_table(evaluation: Evaluation) -> str:
    """Means for each category, over the categories and over the shapes."""
    total = {"n": evaluation["n"], "failed_count": evaluation["failed_count"]}
    lines = [(html.escape(name), values, "") for name, values in evaluation["per_category"].items()]
    lines.append(("mean over categories", evaluation["mean_per_category"] | total, "total"))
    lines.append(("mean over shapes", evaluation["mean"] | total, "total"))
    lines.append(("median over shapes", evaluation["median"] | total, "total"))
    rows = "".join(
        f'<tr class="{kind}"><th>{name}</th><td>{values["n"]}</td><td>{values["failed_count"]}</td>'
        + _cells(values, evaluation)
        + "</tr>"
        for name, values, kind in lines
    )
    return (
        f"<section><h2>Means, protocol {html.escape(evaluation['protocol'])}</h2><table><thead><tr><th>category</th>"
        f"<th>n</th><th>failed</th>{_heads(evaluation)}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _shape_table(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(row['name'])}</th><td>{html.escape(row['category'])}</td>"
        + (
            _cells(row, evaluation)
            if row["status"] == "done"
            else f'<td class="reason" colspan="{len(_columns(evaluation))}">failed: {html.escape(row["reason"])}</td>'
        )
        + "</tr>"
        for row in evaluation["per_shape"]
    )
    return (
        f"<details><summary>Every shape, protocol {html.escape(evaluation['protocol'])}</summary>"
        f'<table class="sortable"><thead><tr><th>name</th><th>category</th>{_heads(evaluation)}</tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def _heads(evaluation: Evaluation) -> str:
    settings = evaluation["settings"]
    heads = []
    for key in _columns(evaluation):
        arrow = "" if key in FLAGS or key in NO_BETTER else " ↓" if key in LOWER_IS_BETTER else " ↑"
        unit = settings["units"].get(key, "closed, consistently oriented")
        published = ' class="published"' if key in settings["published_metrics"] else ""
        heads.append(f'<th{published} title="{quoted(unit)}">{LABELS[key]}{arrow}</th>')
    return "".join(heads)


def _cells(values: Evaluation, evaluation: Evaluation) -> str:
    published = evaluation["settings"]["published_metrics"]
    return "".join(
        f"<td{' class=published' if key in published else ''}>{_number(key, values.get(key))}</td>"
        for key in _columns(evaluation)
    )


def _settings(evaluation: Evaluation) -> str:
    settings = dict(evaluation["settings"])
    units = {f"unit of {LABELS[key]}": unit for key, unit in settings.pop("units").items()}
    undefined = {f"{LABELS[key]}: shapes without it": count for key, count in evaluation["undefined"].items()}
    return settings_table(evaluation["protocol"], settings | units | undefined)
