"""Curves over the steps of a training as one picture: a panel for each group of names, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from isofield.reports.canvas import PAPER, SOFT, Colour, Picture, blank, encode_png, width_of, write_words
from isofield.runtime.atomic_files import replacing
from isofield.runtime.number_text import short

Curve = Sequence[tuple[int, float]]  # step and value, in the order of the steps
WIDTH, HEIGHT = 640, 260  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 66, 20, 44, 34
COLOURS: tuple[Colour, ...] = ((176, 110, 30), (40, 90, 210), (60, 140, 40), (140, 60, 130), (60, 60, 60))  # BGR
DECADES = 50.0  # of the largest to the smallest positive value, from which on a panel is logarithmic
MOST_POINTS = 4000  # of a curve that are drawn


def write_curves(file: Path, curves: Mapping[str, Curve]) -> None:
    """Replace the picture, atomically; nothing where no curve has a point. WriteError when it cannot be written."""
    picture = draw_curves(curves)
    if picture is not None:
        with replacing(file) as temporary:
            temporary.write_bytes(encode_png(picture))


def draw_curves(curves: Mapping[str, Curve]) -> Picture | None:
    """One panel below the other, all over the same steps. None where there is nothing to draw.

    Curves that are called alike after the last slash share a panel: `autoencoder/loss` and `validation/loss`. Values
    that are not finite are left out. A panel whose positive values lie far apart is logarithmic, and says so.
    """
    panels = panels_of(curves)
    return np.concatenate([_draw_panel(panel) for panel in panels]) if panels else None


@dataclass(frozen=True)
class Panel:
    """Curves that share axes. `low`, `high`: the ends of what is drawn, in powers of ten where it is logarithmic.

    `first`, `last`: steps at the ends, of all panels.
    """

    title: str
    curves: dict[str, Curve]
    logarithmic: bool
    low: float
    high: float
    first: int
    last: int

    def place(self, curve: Curve) -> NDArray[np.float64]:
        """Where the points of a curve lie, (N, 2): from 0 to 1, to the right and up."""
        points = np.array(curve, dtype=np.float64).reshape(-1, 2)
        heights = np.log10(points[:, 1]) if self.logarithmic else points[:, 1]
        across = (points[:, 0] - self.first) / max(1, self.last - self.first)
        return np.stack([across, (heights - self.low) / (self.high - self.low)], axis=1)

    def end(self, number: float) -> str:
        """An end as a value."""
        return short(10**number if self.logarithmic else number, digits=3)


def panels_of(curves: Mapping[str, Curve]) -> list[Panel]:
    """What is drawn below each other; see `draw_curves`."""
    finite = {name: [(step, value) for step, value in curve if math.isfinite(value)] for name, curve in curves.items()}
    grouped: dict[str, dict[str, Curve]] = {}
    for name, curve in finite.items():
        if curve:
            grouped.setdefault(name.rpartition("/")[2], {})[name] = curve
    steps = [step for group in grouped.values() for curve in group.values() for step, _ in curve]
    panels = []
    for title, group in grouped.items():
        values = [value for curve in group.values() for _, value in curve]
        logarithmic = min(values) > 0 and max(values) / min(values) > DECADES
        panels.append(Panel(title, group, logarithmic, *_range(values, logarithmic), min(steps), max(steps)))
    return panels


def _draw_panel(panel: Panel) -> Picture:
    picture = blank(HEIGHT, WIDTH)
    # Frame, and the values and steps at its ends.
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    cv2.rectangle(picture, (LEFT, TOP), (right, bottom), SOFT, 1)
    write_words(picture, f"{panel.title} (logarithmic)" if panel.logarithmic else panel.title, (LEFT, 18), size=0.5)
    for number, y in ((panel.high, TOP + 5), (panel.low, bottom)):
        words = panel.end(number)
        write_words(picture, words, (LEFT - 6 - width_of(words), y), colour=SOFT)
    write_words(picture, f"step {panel.first}", (LEFT, HEIGHT - 12), colour=SOFT)
    write_words(picture, str(panel.last), (right - width_of(str(panel.last)), HEIGHT - 12), colour=SOFT)
    # The curves, and what they are called.
    at = LEFT
    for number, (name, curve) in enumerate(panel.curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        _draw(picture, panel, curve, colour)
        text = f"{name} {short(curve[-1][1], digits=4)}"
        at = write_words(picture, text, (at, 36), colour=colour) + 16
    return picture


def _range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Of what is drawn, wider than a point."""
    low, high = min(values), max(values)
    if logarithmic:
        return math.log10(low), math.log10(high)
    margin = 0.0 if high > low else abs(high) / 2 or 0.5  # of the value: a learning rate of 1e-4 is no 0 +- 0.5
    return low - margin, high + margin


def _draw(picture: Picture, panel: Panel, curve: Curve, colour: Colour) -> None:
    every = max(1, -(-len(curve) // MOST_POINTS))
    across, up = panel.place([*curve[:-1:every], curve[-1]]).T
    x = LEFT + across * (WIDTH - RIGHT - LEFT)
    y = HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)
    corners = np.round(np.stack([x, y], axis=1)).astype(np.int32)
    cv2.polylines(picture, [corners], False, colour, 2, cv2.LINE_AA)
    if len(corners) <= 40:  # few: where they were taken can be seen
        for corner in corners:
            cv2.circle(picture, tuple(map(int, corner)), 4, PAPER, -1, cv2.LINE_AA)
            cv2.circle(picture, tuple(map(int, corner)), 3, colour, -1, cv2.LINE_AA)
