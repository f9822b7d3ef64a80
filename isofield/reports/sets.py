"""Judged sets as one self-contained HTML page: scores, and every sample beside the training shape it is nearest to.

So that a reader sees memorisation: pictures of both with their distance, and how the distances of all samples to the
training shapes lie against those of held-out shapes. Numbers come from evaluation/set_rows.py; here they are only
shown.
"""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry import rendering
from isofield.evaluation.set_tables import conditions
from isofield.evaluation.sets import Sets
from isofield.evaluation.tables import short
from isofield.reports.page import (
    choose_shown,
    image,
    picture_of,
    quoted,
    settings_table,
    sort_buttons,
    tile,
    write_page,
)

DISTANCES = {"chamfer": "Chamfer", "emd": "EMD", "lfd": "LFD"}
SCORES = {"cov": "COV ↑", "mmd": "MMD ↓", "1nna": "1-NNA", "jsd": "JSD ↓"}
SORT_BY = {"worst": "nearest first", "best": "farthest first", "name": "by name"}
BINS, WIDE, HIGH = 24, 520, 150  # of the histogram
Evaluation = dict[str, Any]


def write_sets_report(
    path: Path, evaluations: Sequence[Evaluation], sets: Sets, *, up: rendering.Up = "y", pictures: int = 60
) -> None:
    """Replace the report, atomically.

    `evaluations`: one for each protocol, of the same sets; the first decides which samples are nearest. `pictures`: the
    most samples to show; of more, a third are the nearest, a third the farthest, the rest evenly between.
    """
    summaries = "".join(_summary(evaluation) for evaluation in evaluations)
    body = [
        f"<header><h1>{html.escape(sets.title)}</h1>{summaries}</header>",
        _failures(evaluations),
        _nearness(evaluations),
        _cards(evaluations, sets, up=up, most=pictures) if pictures else "",
        "".join(_score_table(evaluation) for evaluation in evaluations),
        "".join(_shape_table(evaluation) for evaluation in evaluations),
        "".join(_settings(evaluation) for evaluation in evaluations),
    ]
    write_page(path, body, title=sets.title)


def _summary(evaluation: Evaluation) -> str:
    counts, units = evaluation["sets"], evaluation["settings"]["units"]
    tiles = "".join(tile(short(value), _label(key), units[key]) for key, value in evaluation["mean"].items())
    failed = evaluation["failed_count"]
    return (
        f'<div class="summary many"><div class="what"><span>{html.escape(evaluation["protocol"])}</span>'
        f"{counts['samples']['n']} samples against {counts['references']['n']} references"
        f'<small class="{"bad" if failed else ""}">{failed} shapes failed and take no part</small>'
        f"<small>{html.escape(conditions(evaluation['settings']))}</small></div>{tiles}</div>"
    )


def _label(key: str) -> str:
    score, _, kind = key.partition("_")
    return f"{SCORES[score]}{f' ({DISTANCES[kind]})' if kind else ''}"


def _failures(evaluations: Sequence[Evaluation]) -> str:
    failed = [(row["set"], row["name"], row["reason"]) for evaluation in evaluations for row in evaluation["failed"]]
    items = "".join(
        f"<li>{side}: <b>{html.escape(name)}</b>: {html.escape(reason)}</li>"
        for side, name, reason in dict.fromkeys(failed)
    )
    return f'<section class="failures"><h2>Failed shapes</h2><ul>{items}</ul></section>' if failed else ""


def _nearness(evaluations: Sequence[Evaluation]) -> str:
    """Histograms of the distances to the nearest training shape; nothing where there are none."""
    parts = []
    for evaluation in evaluations:
        for kind, row in evaluation["nearness_to_training"].items():
            samples_S, references_R = (_distances(evaluation, side, kind) for side in ("samples", "references"))
            parts.append(
                f"<div><h3>{DISTANCES[kind]}</h3>{histogram(samples_S, references_R)}"
                f"<p>Median {short(row['median_of_samples'])} of samples, {short(row['median_of_references'])} of "
                f"references. A sample is nearer than a reference in {row['nearer']:.0%} of pairs (50 % is alike); "
                f"{row['below_all_references']} of {len(samples_S)} samples are nearer than any reference.</p></div>"
            )
    if not parts:
        return ""
    note = html.escape(str(evaluations[0]["settings"]["training"]))
    return (
        "<section><h2>Distance to the nearest training shape</h2><p>Samples (bars) beside held-out references (line), "
        f"which nobody trained on: a model that remembers stands farther left. Training shapes: {note}.</p>"
        f'<div class="charts">{"".join(parts)}</div></section>'
    )


def histogram(samples_S: NDArray[np.float64], references_R: NDArray[np.float64]) -> str:
    """Shares of both in equal bins from 0 to the largest, as SVG; dashed lines are the medians."""
    largest = max(samples_S.max(), references_R.max()) or 1.0
    edges = np.linspace(0, largest, BINS + 1)
    share_s, share_r = (np.histogram(part, edges)[0] / len(part) for part in (samples_S, references_R))
    step, scale = WIDE / BINS, (HIGH - 12) / max(share_s.max(), share_r.max())
    bars = "".join(
        f'<rect x="{i * step + 1:.1f}" y="{HIGH - share * scale:.1f}" width="{step - 2:.1f}" '
        f'height="{share * scale:.1f}"/>'
        for i, share in enumerate(share_s)
    )
    outline = f"M0 {HIGH}" + "".join(f" V{HIGH - share * scale:.1f} h{step:.2f}" for share in share_r) + f" V{HIGH}"
    medians = "".join(
        f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HIGH}"/>'
        for kind, part in (("of-samples", samples_S), ("of-references", references_R))
        for x in [float(np.median(part)) / largest * WIDE]
    )
    return (
        f'<svg viewBox="0 -2 {WIDE} {HIGH + 20}" role="img" aria-label="histogram"><g class="bars">{bars}</g>'
        f'<path d="{outline}"/>{medians}<text x="0" y="{HIGH + 15}">0</text>'
        f'<text x="{WIDE}" y="{HIGH + 15}" text-anchor="end">{short(largest)}</text></svg>'
    )


def _cards(evaluations: Sequence[Evaluation], sets: Sets, *, up: rendering.Up, most: int) -> str:
    """Each sample beside what is nearest to it: training shapes, or references where there are none."""
    other = "training" if evaluations[0]["nearness_to_training"] else "reference"
    kinds = [kind for evaluation in evaluations for kind in _kinds(evaluation, other)]
    rows: dict[str, Evaluation] = {}
    for name, row in _samples(evaluations):
        rows[name] = rows.get(name, {}) | row
    first = f"{other}_{kinds[0]}_distance"
    ordered = sorted((name for name in rows if first in rows[name]), key=lambda name: (rows[name][first], name))
    shown = choose_shown(ordered, most=most)
    pictures = _Pictures(sets, up)
    cards = "".join(_card(name, rows[name], other, kinds, pictures) for name in shown)
    what = "training shapes" if other == "training" else "references (no training shapes were given)"
    return (
        f"<section><h2>Samples (left) and their nearest {what}</h2><p>{len(shown)} of {len(ordered)} samples, nearest "
        f"first by {DISTANCES[kinds[0]]}. {sort_buttons(SORT_BY)}</p>"
        f'<div class="cards triples">{cards}</div></section>'
    )


def _card(name: str, row: Evaluation, other: str, kinds: Sequence[str], pictures: "_Pictures") -> str:
    cells = [f"<div>{pictures.show('samples', name, 'sample')}<small>sample</small></div>"]
    side = "training" if other == "training" else "references"
    for kind in kinds:
        if (near := row.get(f"{other}_{kind}")) is None:
            continue
        label = f"<b>{DISTANCES[kind]} {short(row[f'{other}_{kind}_distance'])}</b><br>{html.escape(near)}"
        cells.append(f"<div>{pictures.show(side, near, 'nearest')}<small>{label}</small></div>")
    key = f"{-row[f'{other}_{kinds[0]}_distance']:.9g}"
    return (
        f'<figure data-badness="{key}" data-name="{quoted(name)}"><div class="several">{"".join(cells)}</div>'
        f"<figcaption><b>{html.escape(name)}</b></figcaption></figure>"
    )


class _Pictures:
    """Pictures of members by side and name, each rendered once."""

    def __init__(self, sets: Sets, up: rendering.Up) -> None:
        self.members = {
            (side, member.name): member
            for side in ("samples", "references", "training")
            for member in getattr(sets, side)
        }
        self.up: rendering.Up = up
        self.done: dict[tuple[str, str], str] = {}

    def show(self, side: str, name: str, what: str) -> str:
        if (side, name) not in self.done:
            try:
                picture = picture_of(self.members[side, name].load().surface_to_show(), up=self.up)
            except (ValueError, OSError):  # gone since it was judged
                picture = None
            self.done[side, name] = image(picture, what)
        return self.done[side, name]


def _kinds(evaluation: Evaluation, other: str) -> list[str]:
    """Distances by which a nearest shape is shown."""
    return list(evaluation["nearness_to_training"] if other == "training" else evaluation["scores"])


def _samples(evaluations: Sequence[Evaluation]) -> Iterator[tuple[str, Evaluation]]:
    for evaluation in evaluations:
        yield from ((row["name"], row) for row in evaluation["per_shape"] if row["set"] == "samples")


def _distances(evaluation: Evaluation, side: str, kind: str) -> NDArray[np.float64]:
    key = f"training_{kind}_distance"
    return np.array([row[key] for row in evaluation["per_shape"] if row["set"] == side and key in row])


def _score_table(evaluation: Evaluation) -> str:
    """All that was counted, by distance."""
    kinds = list(evaluation["scores"])
    keys = list(dict.fromkeys(key for row in evaluation["scores"].values() for key in row))
    rows = "".join(
        f"<tr><th>{html.escape(key).replace('_', ' ')}</th>"
        + "".join(f"<td>{short(evaluation['scores'][kind].get(key))}</td>" for kind in kinds)
        + "</tr>"
        for key in keys
    )
    heads = "".join(f"<th>{DISTANCES[kind]}</th>" for kind in kinds)
    return (
        f"<section><h2>Scores, protocol {html.escape(evaluation['protocol'])}</h2><table><thead><tr><th></th>{heads}"
        f"</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _shape_table(evaluation: Evaluation) -> str:
    """What is nearest to every sample and to every reference."""
    rows = evaluation["per_shape"]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key.endswith("_distance")]
    body = "".join(
        f"<tr><th>{html.escape(row['name'])}</th><td>{row['set']}</td>"
        + (
            "".join(_near(row, key) for key in keys)
            if row["status"] == "done"
            else f'<td class="reason" colspan="{len(keys)}">failed: {html.escape(row["reason"])}</td>'
        )
        + "</tr>"
        for row in rows
    )
    heads = "".join(f"<th>{key.removesuffix('_distance').replace('_', ' by ')}</th>" for key in keys)
    return (
        f"<details><summary>What is nearest to every shape, protocol {html.escape(evaluation['protocol'])}</summary>"
        f'<table class="sortable"><thead><tr><th>name</th><th>set</th>{heads}</tr></thead><tbody>{body}</tbody></table>'
        "</details>"
    )


def _near(row: Evaluation, key: str) -> str:
    if key not in row:
        return "<td>-</td>"
    return f"<td>{short(row[key])} {html.escape(row[key.removesuffix('_distance')])}</td>"


def _settings(evaluation: Evaluation) -> str:
    settings = dict(evaluation["settings"])
    units = {f"unit of {_label(key)}": unit for key, unit in settings.pop("units").items()}
    means = {f"meaning of {key}": text for key, text in settings.pop("means").items()}
    jsd = {f"of {key}": value for key, value in (evaluation["jsd"] or {}).items() if key != "jsd"}
    return settings_table(evaluation["protocol"], settings | units | means | jsd)
