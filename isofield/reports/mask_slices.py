"""Three slices through two masks of one scan, with the outline of each: where they differ can be seen at once."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.medical.crops import same_grid
from isofield.evaluation.mask_pairs import in_one_box
from isofield.evaluation.pairs import Pair
from isofield.evaluation.rows import load_masks

LEGEND = "Slices through the largest difference: ground truth green, reconstruction red"
TRUE, PREDICTED = (60, 150, 40), (40, 40, 220)  # BGR, as OpenCV writes them
PAPER, EXTRA, MISSING, BOTH = 255, (205, 205, 255), (255, 214, 190), (232, 232, 232)
MARGIN = 0.08  # of the picture


def slices_of(pair: Pair, *, size: int) -> NDArray[np.uint8] | None:
    """Sagittal, coronal and axial slice side by side, (size, 3 size, 3) BGR; None for what cannot be shown."""
    try:
        predicted, true = load_masks(pair)
    except (ValueError, OSError):  # the reason is in the row of the shape
        return None
    if not same_grid(predicted.scan, true.scan):
        return None
    masks = in_one_box(predicted, true)
    if not masks[0].size:
        return None
    spacing = np.linalg.norm(true.index_to_world[:3, :3], axis=0)
    place = _place_of_difference(*masks)
    edge = (np.array(masks[0].shape) * spacing).max() * (1 + 2 * MARGIN)
    shown = []
    for axis in range(3):
        predicted_XY, true_XY = (np.moveaxis(mask, axis, 0)[place[axis]] for mask in masks)
        scale = size / edge * np.delete(spacing, axis)
        shown.append(_drawn(predicted_XY, true_XY, scale=scale, size=size))
    return np.concatenate(shown, axis=1)


def _place_of_difference(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> list[int]:
    """The planes with most voxels that differ; of equal masks, with most voxels."""
    difference = predicted != true
    seen = difference if difference.any() else true > 0
    return [int(seen.sum(axis=others).argmax()) for others in ((1, 2), (0, 2), (0, 1))]


def _drawn(
    predicted_XY: NDArray[np.uint8], true_XY: NDArray[np.uint8], *, scale: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    """One slice: second axis up, first to the right (the patient's left is on the left)."""
    extent = [max(1, round(float(n * s))) for n, s in zip(true_XY.shape, scale, strict=True)]
    large = [
        cv2.resize(np.ascontiguousarray(mask.T[::-1]), extent, interpolation=cv2.INTER_NEAREST)
        for mask in (predicted_XY, true_XY)
    ]
    picture = np.full((size, size, 3), PAPER, np.uint8)
    top, left = ((size - large[0].shape[axis]) // 2 for axis in (0, 1))
    window = picture[top : top + large[0].shape[0], left : left + large[0].shape[1]]
    window[(large[0] > 0) & (large[1] > 0)] = BOTH
    window[(large[0] > 0) & (large[1] == 0)] = EXTRA
    window[(large[0] == 0) & (large[1] > 0)] = MISSING
    for mask, colour in zip(large, (PREDICTED, TRUE), strict=True):
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1, offset=(left, top))
    return picture
