"""Judged sets as one self-contained HTML page: scores, and every sample beside the training shape it is nearest to.

So that a reader sees memorisation: pictures of both with their distance, and how the distances of all samples to the
training shapes lie against those of held-out shapes. Numbers come from evaluation/set_rows.py; here they are only
shown, by templates/sets.html.j2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry import rendering
from isofield.evaluation.set_tables import conditions
from isofield.evaluation.sets import Sets
from isofield.evaluation.tables import short
from isofield.reports.page import address_of, choose_shown, picture_of, settings_rows, write_page
from isofield.reports.turnable import pack_mesh

DISTANCES = {"chamfer": "Chamfer", "emd": "EMD", "lfd": "LFD"}
SCORES = {"cov": "COV ↑", "mmd": "MMD ↓", "1nna": "1-NNA", "jsd": "JSD ↓"}
BINS, WIDE, HIGH = 24, 520, 150  # of the histogram
Evaluation = dict[str, Any]


def write_sets_report(
    path: Path, evaluations: Sequence[Evaluation], sets: Sets, *, up: rendering.Up = "y", pictures: int = 60
) -> None:
    """Replace the report, atomically.

    `evaluations`: one for each protocol, of the same sets; the first decides which samples are nearest. `pictures`: the
    most samples to show; of more, a third are the nearest, a third the farthest, the rest evenly between.
    """
    other = "training" if evaluations[0]["nearness_to_training"] else "reference"
    kinds = [kind for evaluation in evaluations for kind in _kinds(evaluation, other)]
    ordered = _nearest_first(evaluations, f"{other}_{kinds[0]}_distance")
    shown = _Shown(sets, up)
    cards = [_card(row, other, kinds, shown) for row in choose_shown(ordered, most=pictures)]
    write_page(
        path,
        "sets.html.j2",
        title=sets.title,
        evaluations=evaluations,
        failures=_failures(evaluations),
        charts=_charts(evaluations),
        other=other,
        kinds=kinds,
        cards=cards,
        turnable=bool(cards),
        count=len(ordered),
        distances=DISTANCES,
        short=short,
        score_label=_label,
        conditions=conditions,
        keys_of=_keys_of,
        settings_of=_settings,
    )


def _label(key: str) -> str:
    score, _, kind = key.partition("_")
    return f"{SCORES[score]}{f' ({DISTANCES[kind]})' if kind else ''}"


def _failures(evaluations: Sequence[Evaluation]) -> list[tuple[str, str, str]]:
    """Set, name and reason of what failed under any protocol, each once."""
    failed = [(row["set"], row["name"], row["reason"]) for evaluation in evaluations for row in evaluation["failed"]]
    return list(dict.fromkeys(failed))


def _charts(evaluations: Sequence[Evaluation]) -> list["Histogram"]:
    """Of the distances to the nearest training shape; none where there are no training shapes."""
    return [
        histogram(*(_distances(evaluation, side, kind) for side in ("samples", "references")), kind=kind, row=row)
        for evaluation in evaluations
        for kind, row in evaluation["nearness_to_training"].items()
    ]


@dataclass(frozen=True)
class Histogram:
    """What a chart shows, in its own units. `bars`, `line`: heights of samples and references in equal bins from 0 on.

    `medians`: where they lie across. `largest`: the distance at the right end. `count`: of samples. `row`: numbers.
    """

    kind: str
    row: Evaluation
    bars: list[float]
    line: list[float]
    medians: dict[str, float]
    largest: float
    count: int
    width: int = WIDE
    height: int = HIGH
    step: float = WIDE / BINS


def histogram(
    samples_S: NDArray[np.float64], references_R: NDArray[np.float64], *, kind: str, row: Evaluation
) -> Histogram:
    """Shares of both sides, each of its own count, in bins from 0 to the largest distance."""
    largest = max(samples_S.max(), references_R.max()) or 1.0  # all zero: every shape is a training shape
    edges = np.linspace(0, largest, BINS + 1)
    sides = {"samples": samples_S, "references": references_R}
    shares = [np.histogram(part, edges)[0] / len(part) for part in sides.values()]
    scale = (HIGH - 12) / max(share.max() for share in shares)
    medians = {side: float(np.median(part)) / largest * WIDE for side, part in sides.items()}
    bars, line = ((share * scale).tolist() for share in shares)
    return Histogram(kind, row, bars, line, medians, float(largest), len(samples_S))


def _nearest_first(evaluations: Sequence[Evaluation], key: str) -> list[Evaluation]:
    """Samples that have this distance, each with what all protocols say of it."""
    # One protocol may have judged by Chamfer, another by EMD: a card tells of both.
    rows: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for row in evaluation["per_shape"]:
            if row["set"] == "samples":
                rows[row["name"]] = rows.get(row["name"], {}) | row
    return sorted((row for row in rows.values() if key in row), key=lambda row: (row[key], row["name"]))


def _card(row: Evaluation, other: str, kinds: Sequence[str], shown: "_Shown") -> Evaluation:
    """A sample beside what is nearest to it: training shapes, or references where there are none."""
    side = "training" if other == "training" else "references"
    nearest = [
        {
            "kind": kind,
            "name": row[f"{other}_{kind}"],
            "distance": row[f"{other}_{kind}_distance"],
            "shown": shown.of(side, row[f"{other}_{kind}"]),
        }
        for kind in kinds
        if row.get(f"{other}_{kind}") is not None
    ]
    return {
        "name": row["name"],
        "badness": f"{-row[f'{other}_{kinds[0]}_distance']:.9g}",
        "shown": shown.of("samples", row["name"]),
        "nearest": nearest,
    }


class _Shown:
    """Pictures and packed meshes of members by side and name, each made once."""

    def __init__(self, sets: Sets, up: rendering.Up) -> None:
        self.members = {
            (side, member.name): member
            for side in ("samples", "references", "training")
            for member in getattr(sets, side)
        }
        self.up: rendering.Up = up
        self.made: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, side: str, name: str) -> dict[str, Any]:
        """`picture` (an address) and `mesh`; None for a member that cannot be read any more."""
        if (side, name) not in self.made:
            try:
                mesh = self.members[side, name].load().surface_to_show()
                made = {"picture": address_of(picture_of(mesh, up=self.up)), "mesh": pack_mesh(mesh, up=self.up)}
            except (ValueError, OSError):  # gone since it was judged
                made = {"picture": None, "mesh": None}
            self.made[side, name] = made
        return self.made[side, name]


def _kinds(evaluation: Evaluation, other: str) -> list[str]:
    """Distances by which a nearest shape is shown."""
    return list(evaluation["nearness_to_training"] if other == "training" else evaluation["scores"])


def _distances(evaluation: Evaluation, side: str, kind: str) -> NDArray[np.float64]:
    key = f"training_{kind}_distance"
    return np.array([row[key] for row in evaluation["per_shape"] if row["set"] == side and key in row])


def _keys_of(rows: Iterable[Evaluation], *, ending: str = "") -> list[str]:
    """Keys of any row that end so, in the order in which they come."""
    return [key for key in dict.fromkeys(key for row in rows for key in row) if key.endswith(ending)]


def _settings(evaluation: Evaluation) -> dict[str, str]:
    settings = dict(evaluation["settings"])
    units = {f"unit of {_label(key)}": unit for key, unit in settings.pop("units").items()}
    means = {f"meaning of {key}": text for key, text in settings.pop("means").items()}
    jsd = {f"of {key}": value for key, value in (evaluation["jsd"] or {}).items() if key != "jsd"}
    return settings_rows(settings | units | means | jsd)
