"""Curves over the steps of a training as one picture: a panel for each group of names, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

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
    finite = {name: [(step, value) for step, value in curve if math.isfinite(value)] for name, curve in curves.items()}
    drawn = {name: curve for name, curve in finite.items() if curve}
    if not drawn:
        return None
    steps = [step for curve in drawn.values() for step, _ in curve]
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in drawn.items():
        panels.setdefault(name.rpartition("/")[2], {})[name] = curve
    return np.concatenate([_panel(title, panel, min(steps), max(steps)) for title, panel in panels.items()])


def _panel(title: str, curves: Mapping[str, Curve], first: int, last: int) -> Picture:
    picture = blank(HEIGHT, WIDTH)
    values = [value for curve in curves.values() for _, value in curve]
    logarithmic = min(values) > 0 and max(values) / min(values) > DECADES
    low, high = _range(values, logarithmic)
    # Frame, and the values and steps at its ends.
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    cv2.rectangle(picture, (LEFT, TOP), (right, bottom), SOFT, 1)
    write_words(picture, f"{title} (logarithmic)" if logarithmic else title, (LEFT, 18), size=0.5)
    for number, y in ((high, TOP + 5), (low, bottom)):
        words = short(10**number if logarithmic else number, digits=3)
        write_words(picture, words, (LEFT - 6 - width_of(words), y), colour=SOFT)
    write_words(picture, f"step {first}", (LEFT, HEIGHT - 12), colour=SOFT)
    write_words(picture, str(last), (right - width_of(str(last)), HEIGHT - 12), colour=SOFT)
    # The curves, and what they are called.
    at = LEFT
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        _draw(picture, curve, (first, last), (low, high), logarithmic, colour)
        text = f"{name} {short(curve[-1][1], digits=4)}"
        at = write_words(picture, text, (at, 36), colour=colour) + 16
    return picture


def _range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Of what is drawn, wider than a point."""
    low, high = min(values), max(values)
    if logarithmic:
        return math.log10(low), math.log10(high)
    margin = 0.0 if high > low else max(abs(high), 1.0) / 2
    return low - margin, high + margin


def _draw(
    picture: Picture,
    curve: Curve,
    steps: tuple[int, int],
    values: tuple[float, float],
    logarithmic: bool,
    colour: Colour,
) -> None:
    every = max(1, -(-len(curve) // MOST_POINTS))
    points = np.array([*curve[:-1:every], curve[-1]], dtype=np.float64)
    heights = np.log10(points[:, 1]) if logarithmic else points[:, 1]
    x = LEFT + (points[:, 0] - steps[0]) / max(1, steps[1] - steps[0]) * (WIDTH - RIGHT - LEFT)
    y = HEIGHT - BOTTOM - (heights - values[0]) / (values[1] - values[0]) * (HEIGHT - BOTTOM - TOP)
    corners = np.round(np.stack([x, y], axis=1)).astype(np.int32)
    cv2.polylines(picture, [corners], False, colour, 2, cv2.LINE_AA)
    if len(corners) <= 40:  # few: where they were taken can be seen
        for corner in corners:
            cv2.circle(picture, tuple(map(int, corner)), 4, PAPER, -1, cv2.LINE_AA)
            cv2.circle(picture, tuple(map(int, corner)), 3, colour, -1, cv2.LINE_AA)
