"""Runs over their steps as one self-contained HTML page: losses, scores, learning rate, throughput, pictures.

Read from the event files (event_files.py) and drawn as SVG, so that the page follows the reader's theme. Runs share the
panels; nothing is fetched from anywhere, and every name is escaped.
"""

import base64
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isofield.reports.curves import Curve, Panel, panels_of
from isofield.reports.event_files import TrainingEvents
from isofield.reports.page import write_page
from isofield.runtime.number_text import short

WIDE, HIGH = 520, 190  # of a panel
BUCKETS = 300  # of a curve: each shows its lowest and its highest value, so that no peak is lost
COLOURS = 8
MOST_NAMES, MOST_PICTURES = 6, 8  # of a run, of a name
ORDER = ("loss", "iou", "chamfer", "learning_rate")  # these first; others as they come, throughput last
ENDING = "_per_second"
LOWER = ("loss", "chamfer")  # of these less is better
HIGHER = ("iou",)


@dataclass(frozen=True)
class DrawnCurve:
    """`points`: of an SVG path, which is broken where values are not finite. `last`: as it was noted, finite or not.

    `colour`: a number, of the run; dashed: not of validation, where some are.
    """

    run: str
    name: str
    colour: int
    dashed: bool
    points: str
    last: str
    best: str


@dataclass(frozen=True)
class DrawnPanel:
    """A panel with its curves, in the order of the runs."""

    panel: Panel
    curves: list[DrawnCurve]


@dataclass(frozen=True)
class PictureRow:
    """Pictures of one name over the steps; `count`: how many there are."""

    run: str
    name: str
    pictures: list[tuple[int, str]]
    count: int


def write_training_page(path: Path, runs: Mapping[str, TrainingEvents], *, title: str) -> None:
    """Replace the page, atomically. `runs`: events by the name of the run, in the order in which they are shown."""
    left_out = {name: len(events.pictures) - MOST_NAMES for name, events in runs.items()}
    notes = [note for events in runs.values() for note in events.notes]
    notes += [note for name, events in runs.items() for note in _not_finite(name, events)]
    notes += [f"{name}: {more} more shapes have pictures in TensorBoard" for name, more in left_out.items() if more > 0]
    write_page(
        path,
        "training.html.j2",
        title=title,
        notes=notes,
        runs=list(runs),
        steps={name: _last_step(events) for name, events in runs.items()},
        panels=draw_panels(runs),
        rows=[row for name, events in runs.items() for row in _rows(name, events)],
        width=WIDE,
        height=HIGH,
        colour_count=COLOURS,
    )


def draw_panels(runs: Mapping[str, TrainingEvents]) -> list[DrawnPanel]:
    """Curves of all runs, those called alike after the last slash in one panel."""
    keys = [(run, name) for run, events in runs.items() for name in events.scalars]
    # Numbers before the names: a name of a run or a curve may hold anything, slashes among it.
    curves = {f"{n}/{name}": sorted(runs[run].scalars[name].items()) for n, (run, name) in enumerate(keys)}
    panels = sorted(panels_of(curves), key=lambda panel: _place(panel.title))
    numbers = {run: number % COLOURS for number, run in enumerate(runs)}
    drawn = []
    for panel in panels:
        validated = any(_is_validation(name) for name in panel.curves)
        of_panel = []
        for key, curve in panel.curves.items():
            run, name = keys[int(key.partition("/")[0])]
            dashed = validated and not _is_validation(key)
            parts = _finite_parts(curves[key])
            points = " M".join(_points(thin(panel.place(part))) for part in parts)
            last = short(curves[key][-1][1])
            of_panel.append(DrawnCurve(run, name, numbers[run], dashed, points, last, _best(panel.title, curve)))
        drawn.append(DrawnPanel(panel, of_panel))
    return drawn


def _finite_parts(curve: Curve) -> list[Curve]:
    """What lies between values that are not finite: a line across them would show what was never measured."""
    parts = itertools.groupby(curve, key=lambda point: math.isfinite(point[1]))
    return [list(part) for is_finite, part in parts if is_finite]


def _not_finite(run: str, events: TrainingEvents) -> list[str]:
    """A note for each curve that has such values: of one that has no others nothing is drawn."""
    notes = []
    for name, curve in events.scalars.items():
        steps = sorted(step for step, value in curve.items() if not math.isfinite(value))
        if steps:
            notes.append(
                f"{run}: {name}: {len(steps)} of {len(curve)} values are not finite, the first at step {steps[0]}"
            )
    return notes


def thin(places_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most twice BUCKETS points and the last: of each bucket the lowest and the highest, in their order."""
    count = len(places_N2)
    if count <= 2 * BUCKETS:
        return places_N2
    kept = [count - 1]
    for part in np.array_split(np.arange(count), BUCKETS):
        heights = places_N2[part, 1]
        kept += [int(part[heights.argmin()]), int(part[heights.argmax()])]
    return places_N2[np.unique(kept)]


def _points(places_N2: NDArray[np.float64]) -> str:
    """Of an SVG polyline; one point alone becomes a short stroke."""
    corners = [(x * WIDE, (1 - y) * HIGH) for x, y in places_N2.tolist()]
    if len(corners) == 1:
        ((x, y),) = corners
        corners = [(max(0.0, x - 5), y), (min(WIDE, x + 5), y)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _best(title: str, curve: Sequence[tuple[int, float]]) -> str:
    """The best value and its step, where it is known which way is better."""
    if title not in LOWER + HIGHER:
        return ""
    step, value = (max if title in HIGHER else min)(curve, key=lambda point: point[1])
    return f"{short(value)} at {step}"


def _is_validation(name: str) -> bool:
    return "validation/" in name


def _place(title: str) -> tuple[int, int]:
    if title.endswith(ENDING):
        return 2, 0
    return (0, ORDER.index(title)) if title in ORDER else (1, 0)


def _last_step(events: TrainingEvents) -> int | None:
    return max((step for of_name in events.scalars.values() for step in of_name), default=None)


def _rows(run: str, events: TrainingEvents) -> list[PictureRow]:
    rows = []
    for name, of_name in sorted(events.pictures.items())[:MOST_NAMES]:
        steps = sorted(of_name)
        # The first, the last, and evenly between: how a shape comes about can be seen.
        chosen = np.unique(np.linspace(0, len(steps) - 1, min(MOST_PICTURES, len(steps))).round().astype(int))
        pictures = [(steps[n], _address(of_name[steps[n]])) for n in chosen]
        rows.append(PictureRow(run, name, pictures, len(steps)))
    return [row for row in rows if row.pictures]


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
