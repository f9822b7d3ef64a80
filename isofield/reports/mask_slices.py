"""Three slices through a mask and its reference, with the outline of each: where they differ can be seen at once.

They are shown as radiologists look at them: the patient's right is on the left of axial and coronal slices, the front
is up in axial ones and on the left in sagittal ones. Letters on the pictures say so. Arrays are in canonical order
(data_processing/medical/crops.py): their axes run to the patient's right, front and head, as closely as the scan's can.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from isofield.reports.canvas import INK, REFERENCE, SOFT, Colour, Picture, blank, width_of, write_words

MARGIN = 0.1  # of the picture, on each side, for the letters
BOTH: Colour = (225, 225, 225)
PALE_EXTRA: Colour = (190, 190, 250)
PALE_MISSING: Colour = (250, 212, 178)
REPAIRED: Colour = (0, 120, 230)  # orange
# Of outlines and areas, as pages that draw slices themselves call them.
SLICE_COLOURS = {
    "mask": INK, "reference": REFERENCE, "repaired": REPAIRED, "both": BOTH, "pale-extra": PALE_EXTRA,
    "pale-missing": PALE_MISSING,
}  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """Which axis the slices are cut across, and the sides that lie to the left, to the right, above and below."""

    axis: int
    name: str
    sides: str


PLANES = (Plane(2, "axial", "RLAP"), Plane(1, "coronal", "RLSI"), Plane(0, "sagittal", "APSI"))


def draw_slices(
    mask_XYZ: NDArray[np.uint8],
    reference_XYZ: NDArray[np.uint8],
    *,
    spacing: NDArray[np.floating],
    place: NDArray[np.integer],
    size: int,
    cross: bool = False,
) -> list[Picture]:
    """The slices through a voxel, in the order of PLANES and of one scale: (size, size, 3) each, without letters.

    The mask is outlined in black, the reference in green; what is extra is pale red, what is missing pale blue.
    `spacing`: (3,) mm. `place`: (3,) index of the voxel. `cross`: mark the place.
    """
    shape = np.array(mask_XYZ.shape)
    scale = (size - 2 * round(MARGIN * size)) / float((shape * spacing).max())
    pictures = []
    for plane in PLANES:
        across = [axis for axis in range(3) if axis != plane.axis]
        number = int(np.clip(place[plane.axis], 0, shape[plane.axis] - 1))
        mask_UV, reference_UV = (np.take(values, number, axis=plane.axis) for values in (mask_XYZ, reference_XYZ))
        picture, corner = _draw_slice(mask_UV, reference_UV, spacing[across] * scale, size=size)
        if cross:
            # Both axes run against those of the picture: count from the far end.
            x, y = np.rint((shape - place - 0.5)[across] * spacing[across] * scale).astype(int)
            _draw_cross(picture, (corner[0] + int(x), corner[1] + int(y)))
        pictures.append(picture)
    return pictures


def name_sides(slices: list[Picture], *, letters: float = 0.45) -> list[Picture]:
    """Copies of the slices with their names, and the letters of the patient's sides at the four borders.

    `letters`: size of the font; pictures that are shown smaller need larger ones.
    """
    named = []
    for slice_, plane in zip(slices, PLANES, strict=True):
        picture, size = slice_.copy(), len(slice_)
        half = size // 2
        write_words(picture, plane.name, (8, size - 10), size=0.85 * letters, colour=SOFT)
        right = size - 6 - width_of(plane.sides[1], letters)
        places = ((6, half + 5), (right, half + 5), (half - 4, 16), (half - 4, size - 6))
        for letter, place in zip(plane.sides, places, strict=True):
            write_words(picture, letter, place, size=letters, colour=SOFT)
        named.append(picture)
    return named


def _draw_slice(
    mask_UV: NDArray[np.uint8], reference_UV: NDArray[np.uint8], scale: NDArray[np.floating], *, size: int
) -> tuple[Picture, tuple[int, int]]:
    """A slice; its first axis runs to the left, its second up. And where its upper left corner is (x, y)."""
    extent = [max(1, round(float(n * s))) for n, s in zip(mask_UV.shape, scale, strict=True)]
    mask, reference = (
        cv2.resize(np.ascontiguousarray(plane.T[::-1, ::-1]), extent, interpolation=cv2.INTER_NEAREST)
        for plane in (mask_UV, reference_UV)
    )
    picture = blank(size, size)
    top, left = ((size - mask.shape[axis]) // 2 for axis in (0, 1))
    window = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
    window[(mask > 0) & (reference > 0)] = BOTH
    window[(mask > 0) & (reference == 0)] = PALE_EXTRA
    window[(mask == 0) & (reference > 0)] = PALE_MISSING
    for plane, colour in ((reference, REFERENCE), (mask, INK)):
        outlines, _ = cv2.findContours(plane, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1, offset=(left, top))
    return picture, (left, top)


def _draw_cross(picture: Picture, at: tuple[int, int]) -> None:
    """Four strokes around a place that stays free."""
    x, y = at
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        cv2.line(picture, (x + 5 * dx, y + 5 * dy), (x + 12 * dx, y + 12 * dy), INK, 1, cv2.LINE_AA)
