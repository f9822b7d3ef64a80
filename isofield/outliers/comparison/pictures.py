"""A picture of one judged mask: three slices through the largest disagreement, a rendering, its place among clean ones.

Slices are shown as radiologists hold them: the patient's right is on the left, front up in axial slices and on the
left in sagittal ones. The slices' axes are the scan's, nearest to those of the body.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.coordinates import transform_points
from isofield.outliers.comparison.drawing import (
    EXTRA,
    INK,
    MISSING,
    REBUILT,
    SOFT,
    Picture,
    blank,
    score_histogram,
    width_of,
    write_words,
)
from isofield.outliers.comparison.on_scan import Compared, Disagreement
from isofield.outliers.comparison.surface_rendering import render_distance
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.reconstruction import Reconstruction

SIZE = 264  # edge of a slice
MARGIN = 26  # around an organ, for the letters of the sides
HEAD = 50
THUMB = 64  # height of a thumbnail
THUMB_QUALITY = 45
BOTH, PALE_EXTRA, PALE_MISSING = (225, 225, 225), (190, 190, 250), (250, 212, 178)
# Axis that a slice is cut across, its name, and the letters to the left, to the right, above and below.
PLANES = ((2, "axial", "RLAP"), (1, "coronal", "RLSI"), (0, "sagittal", "APSI"))


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything a picture shows. `scores`: of clean masks; `threshold`: above it masks are flagged."""

    title: str
    subtitle: str
    compared: Compared
    mask: CubeMask
    rebuilt: Reconstruction
    largest: Disagreement | None
    scores: NDArray[np.floating]
    score: float | None
    threshold: float | None


def picture_of(shown: Shown) -> tuple[Picture, Picture]:
    """The whole sheet, and a thumbnail of the slices and the rendering: (H, W, 3) BGR each."""
    slices = _slices(shown.compared, shown.largest)
    towards = None if shown.largest is None else shown.largest.world
    rendering = render_distance(shown.mask, shown.rebuilt, towards=towards, size=SIZE)
    histogram = score_histogram(shown.scores, shown.score, shown.threshold, height=SIZE, width=SIZE + 20)
    tiles = [_zoomed(slices), _zoomed([rendering[: SIZE - 30, :SIZE]])]  # without the words below
    named = [_named(one, name, letters) for one, (_, name, letters) in zip(slices, PLANES, strict=True)]
    row = np.concatenate([*named, rendering, histogram], axis=1)
    sheet = np.concatenate([_head(shown, row.shape[1]), row], axis=0)
    return sheet, np.concatenate(tiles, axis=1)


def encode_png(picture: Picture) -> bytes:
    """PNG."""
    return _in_memory(".png", picture)


def encoded_thumbnail(thumb: Picture) -> bytes:
    """WebP of a few kilobytes."""
    return _in_memory(".webp", thumb, cv2.IMWRITE_WEBP_QUALITY, THUMB_QUALITY)


def _in_memory(suffix: str, picture: Picture, *options: int) -> bytes:
    """Never into a file: OpenCV does not tell that a disk is full."""
    done, data = cv2.imencode(suffix, picture, options)
    assert done
    return data.tobytes()


def _head(shown: Shown, width: int) -> Picture:
    head = blank(HEAD, width)
    write_words(head, shown.title, (10, 20), size=0.55)
    write_words(head, shown.subtitle, (10, 42), size=0.42, colour=SOFT)
    x = width - 470
    for words, colour in (("input", INK), ("reconstruction", REBUILT), ("extra", EXTRA), ("missing", MISSING)):
        cv2.line(head, (x, 16), (x + 18, 16), colour, 2 if colour in (INK, REBUILT) else 8)
        x = write_words(head, words, (x + 24, 20), colour=colour) + 22
    return head


def _slices(compared: Compared, largest: Disagreement | None) -> list[Picture]:
    """Axial, coronal and sagittal, of one scale."""
    spacing = np.linalg.norm(compared.mask.index_to_world[:3, :3], axis=0)
    shape = np.array(compared.mask.occupancy.shape)
    scale = (SIZE - 2 * MARGIN) / float((shape * spacing).max())
    middle = _middle(compared, largest)
    pictures = []
    for axis, _, _ in PLANES:
        others = [other for other in range(3) if other != axis]
        number = int(np.clip(middle[axis], 0, shape[axis] - 1))
        planes = [np.take(values, number, axis=axis) for values in (compared.mask.occupancy, compared.rebuilt_XYZ)]
        picture, corner = _plane(planes[0], planes[1], spacing[others] * scale)
        if largest is not None:
            from_corner = (shape - middle - 0.5)[others] * spacing[others] * scale
            _cross(picture, (corner[0] + round(from_corner[0]), corner[1] + round(from_corner[1])))
        pictures.append(picture)
    return pictures


def _middle(compared: Compared, largest: Disagreement | None) -> NDArray[np.int64]:
    """The voxel the slices go through: of the largest disagreement, else of the mask."""
    if largest is not None:
        to_index = np.linalg.inv(compared.mask.index_to_world)
        return np.rint(transform_points(np.array([largest.world]), to_index)[0]).astype(np.int64)
    inside = np.argwhere(compared.mask.occupancy)
    return inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()] if len(inside) else np.zeros(3, np.int64)


def _plane(
    mask_UV: NDArray[np.uint8], rebuilt_UV: NDArray[np.uint8], scale: NDArray[np.float64]
) -> tuple[Picture, tuple[int, int]]:
    """A slice; its first axis runs to the left, its second up. And where its upper left corner is (x, y)."""
    extent = [max(1, round(float(n * s))) for n, s in zip(mask_UV.shape, scale, strict=True)]
    ours, theirs = (
        cv2.resize(np.ascontiguousarray(plane.T[::-1, ::-1]), extent, interpolation=cv2.INTER_NEAREST)
        for plane in (mask_UV, rebuilt_UV)
    )
    picture = blank(SIZE, SIZE)
    top, left = ((SIZE - ours.shape[axis]) // 2 for axis in (0, 1))
    window = picture[top : top + ours.shape[0], left : left + ours.shape[1]]
    window[(ours > 0) & (theirs > 0)] = BOTH
    window[(ours > 0) & (theirs == 0)] = PALE_EXTRA
    window[(ours == 0) & (theirs > 0)] = PALE_MISSING
    for plane, colour in ((theirs, REBUILT), (ours, INK)):
        outlines, _ = cv2.findContours(plane, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1, offset=(left, top))
    return picture, (left, top)


def _cross(picture: Picture, at: tuple[int, int]) -> None:
    """Four strokes around a place that stays free."""
    x, y = at
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        cv2.line(picture, (x + 5 * dx, y + 5 * dy), (x + 12 * dx, y + 12 * dy), INK, 1, cv2.LINE_AA)


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


def _named(plane: Picture, name: str, letters: str) -> Picture:
    """A slice with its name, and letters of the sides: left, right, above, below."""
    picture, half = plane.copy(), SIZE // 2
    write_words(picture, name, (8, SIZE - 10), size=0.38, colour=SOFT)
    places = ((6, half + 5), (SIZE - 6 - width_of(letters[1], 0.45), half + 5), (half - 4, 16), (half - 4, SIZE - 6))
    for letter, place in zip(letters, places, strict=True):
        write_words(picture, letter, place, size=0.45, colour=SOFT)
    return picture
