"""Pictures of codes: how those of real shapes and generated ones are spread, drawn without a plotting library."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, BORDER = 480, 240, 28
COLOURS = ((60, 60, 60), (220, 90, 30), (40, 110, 200), (30, 140, 70))  # RGB, in the order of the sets
BINS = 64


def code_histograms(codes: Mapping[str, NDArray[np.floating]]) -> NDArray[np.uint8]:
    """Histograms of sets of codes (N, Z) with values in [0, 1], one over the other, as a picture (H, W, 3).

    Left: all values. Right: the standard deviation of each of the Z numbers over a set; a generator that makes the same
    shape again and again stands at 0 there. Each histogram is scaled by the highest bar of the picture's half.
    """
    spreads = {name: values.std(axis=0) for name, values in codes.items()}
    most = max(float(spread.max()) for spread in spreads.values()) or 1.0
    halves = [
        _histograms({name: values.ravel() for name, values in codes.items()}, 1.0, "all values"),
        _histograms(spreads, most, "spread of each"),
    ]
    return np.concatenate(halves, axis=1)


def _histograms(values: Mapping[str, NDArray[np.floating]], upto: float, title: str) -> NDArray[np.uint8]:
    picture = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    shares = {name: np.histogram(each, BINS, (0, upto))[0] / max(len(each), 1) for name, each in values.items()}
    highest = max(float(share.max()) for share in shares.values()) or 1.0
    left, right, low, high = BORDER, WIDTH - BORDER, HEIGHT - BORDER, BORDER
    cv2.line(picture, (left, low), (right, low), (0, 0, 0))
    ticks = np.repeat(np.linspace(left, right, BINS + 1), 2)[1:-1]
    for row, ((name, share), colour) in enumerate(zip(shares.items(), COLOURS, strict=False)):
        heights = np.repeat(low - share / highest * (low - high), 2)
        outline = np.round(np.stack([ticks, heights], axis=1)).astype(np.int32)
        cv2.polylines(picture, [outline], False, colour, 2, cv2.LINE_AA)
        _write(picture, name, (right - 110, high + 16 * row), colour)
    _write(picture, title, (left, high - 10), (0, 0, 0))
    _write(picture, "0", (left - 4, low + 16), (0, 0, 0))
    _write(picture, f"{upto:.2g}", (right - 12, low + 16), (0, 0, 0))
    return picture


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
