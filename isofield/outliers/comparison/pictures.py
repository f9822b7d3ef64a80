"""A picture of one judged mask: three slices through the largest disagreement, a rendering, its place among clean ones.

Slices are drawn as in every report: isofield/reports/mask_slices.py says how.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.coordinates import transform_points
from isofield.outliers.comparison.drawing import score_histogram
from isofield.outliers.comparison.on_scan import Compared, Disagreement
from isofield.outliers.comparison.surface_rendering import OrganView, render_distance
from isofield.reports.canvas import EXTRA, INK, MISSING, REFERENCE, SOFT, Picture, blank, write_words
from isofield.reports.mask_slices import draw_slices, name_sides

SIZE = 264  # edge of a slice
HEAD = 50
THUMB = 64  # height of a thumbnail


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything a picture shows. `scores`: of clean masks; `threshold`: above it masks are flagged."""

    title: str
    subtitle: str
    compared: Compared
    view: OrganView
    largest: Disagreement | None
    scores: NDArray[np.floating]
    score: float | None
    threshold: float | None


def picture_of(shown: Shown) -> tuple[Picture, Picture]:
    """The whole sheet, and a thumbnail of the slices and the rendering: (H, W, 3) BGR each."""
    slices = _slices(shown.compared, shown.largest)
    rendering = render_distance(shown.view, size=SIZE)
    histogram = score_histogram(shown.scores, shown.score, shown.threshold, height=SIZE, width=SIZE + 20)
    tiles = [_zoomed(slices), _zoomed([rendering[: SIZE - 30, :SIZE]])]  # without the words below
    row = np.concatenate([*name_sides(slices), rendering, histogram], axis=1)
    sheet = np.concatenate([_head(shown, row.shape[1]), row], axis=0)
    return sheet, np.concatenate(tiles, axis=1)


def _head(shown: Shown, width: int) -> Picture:
    head = blank(HEAD, width)
    write_words(head, shown.title, (10, 20), size=0.55)
    write_words(head, shown.subtitle, (10, 42), size=0.42, colour=SOFT)
    x = width - 470
    for words, colour in (("input", INK), ("reconstruction", REFERENCE), ("extra", EXTRA), ("missing", MISSING)):
        cv2.line(head, (x, 16), (x + 18, 16), colour, 2 if colour in (INK, REFERENCE) else 8)
        x = write_words(head, words, (x + 24, 20), colour=colour) + 22
    return head


def _slices(compared: Compared, largest: Disagreement | None) -> list[Picture]:
    """Axial, coronal and sagittal through the largest disagreement, marked by a cross."""
    return draw_slices(
        compared.mask.occupancy,
        compared.rebuilt_XYZ,
        spacing=np.linalg.norm(compared.mask.index_to_world[:3, :3], axis=0),
        place=_middle(compared, largest),
        size=SIZE,
        cross=largest is not None,
    )


def _middle(compared: Compared, largest: Disagreement | None) -> NDArray[np.int64]:
    """The voxel the slices go through: of the largest disagreement, else of the mask."""
    if largest is not None:
        to_index = np.linalg.inv(compared.mask.index_to_world)
        return np.rint(transform_points(np.array([largest.world]), to_index)[0]).astype(np.int64)
    inside = np.argwhere(compared.mask.occupancy)
    return inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()] if len(inside) else np.zeros(3, np.int64)


def _zoomed(pictures: list[Picture]) -> Picture:
    """Thumbnails side by side, of one scale, as large as what is drawn allows."""
    boxes = [np.argwhere((picture < 250).any(axis=2)) for picture in pictures]
    edge = max((int(np.ptp(box, axis=0).max()) + 5 for box in boxes if len(box)), default=SIZE)
    tiles = []
    for picture, box in zip(pictures, boxes, strict=True):
        middle = (box.min(axis=0) + box.max(axis=0)) // 2 if len(box) else np.array([SIZE // 2, SIZE // 2])
        padded = np.pad(picture, ((edge, edge), (edge, edge), (0, 0)), constant_values=255)
        y, x = (int(place) + edge - edge // 2 for place in middle)
        tiles.append(cv2.resize(padded[y : y + edge, x : x + edge], (THUMB, THUMB), interpolation=cv2.INTER_AREA))
    return np.asarray(np.concatenate(tiles, axis=1), dtype=np.uint8)
