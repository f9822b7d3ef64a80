"""Beside the slices: the bar of the colours of signed distances, and a histogram of calibration scores."""

import cv2
import numpy as np
from numpy.typing import NDArray

from isofield.reports.canvas import EXTRA, INK, MISSING, SOFT, Picture, blank, width_of, write_words
from isofield.reports.disagreement import signed_colours

BINS = 24
ROOM = 0.25  # of the range of scores, beside it


def colour_bar(height: int, limit: float) -> Picture:
    """A bar from -limit to +limit mm with its ends named."""
    bar = blank(height, 62)
    top, bottom = 30, height - 30
    values = np.linspace(limit, -limit, bottom - top)
    bar[top:bottom, 6:18] = np.rint(signed_colours(values, limit)).astype(np.uint8)[:, None]
    for value, place in ((limit, top), (0.0, (top + bottom) // 2), (-limit, bottom - 1)):
        cv2.line(bar, (18, place), (22, place), INK, 1)
        write_words(bar, f"{value:+.3g}" if value else "0 mm", (25, place + 4), size=0.35)
    write_words(bar, "extra", (6, top - 9), size=0.35, colour=EXTRA)
    write_words(bar, "missing", (6, bottom + 16), size=0.35, colour=MISSING)
    return bar


def score_histogram(
    scores: NDArray[np.floating], score: float | None, threshold: float | None, *, height: int, width: int
) -> Picture:
    """Scores of clean masks, the border above which masks are flagged, and this mask's place among them."""
    picture = blank(height, width)
    if not len(scores):
        write_words(picture, "no calibration:", (20, height // 2 - 10))
        write_words(picture, "no score, no p-value", (20, height // 2 + 10))
        return picture
    # The axis holds all clean scores and this mask's, with some room at both ends.
    low, high = float(scores.min()), float(scores.max())
    if score is not None and np.isfinite(score):
        low, high = min(low, score), max(high, score)
    room = max(high - low, 1e-6) * ROOM / 2
    low, high = low - room, high + room
    left, right, top, bottom = 14, width - 14, 58, height - 34

    def across(value: float) -> int:
        return round(left + float(np.clip((value - low) / (high - low), 0, 1)) * (right - left))

    # Bars of the clean masks, and a tick for each while ticks can be told apart.
    counts, edges = np.histogram(scores, bins=BINS, range=(low, high))
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            upper = round(bottom - (bottom - top) * count / counts.max())
            cv2.rectangle(picture, (across(start), upper), (across(end) - 1, bottom), (214, 190, 168), -1)
    for value in scores if len(scores) <= 200 else ():
        cv2.line(picture, (across(value), bottom + 1), (across(value), bottom + 5), SOFT, 1)
    cv2.line(picture, (left, bottom), (right, bottom), SOFT, 1)
    write_words(picture, f"scores of {len(scores)} clean masks", (left, height - 12), size=0.38, colour=SOFT)
    # The border, with its legend, and this mask's place.
    if threshold is not None:
        _dashed(picture, across(threshold), top, bottom)
        end = write_words(picture, "flagged beyond", (left, 18), size=0.38, colour=SOFT)
        _dashed(picture, end + 8, 6, 22)
    if score is not None:
        place = across(score)  # infinite: at the end
        cv2.line(picture, (place, top - 14), (place, bottom), EXTRA, 2)
        words = f"this mask {score:.3g}"
        write_words(picture, words, (int(np.clip(place - 40, 4, width - width_of(words) - 4)), top - 20), colour=EXTRA)
    return picture


def _dashed(picture: Picture, x: int, top: int, bottom: int) -> None:
    for start in range(top, bottom, 8):
        cv2.line(picture, (x, start), (x, min(start + 4, bottom)), SOFT, 1)
