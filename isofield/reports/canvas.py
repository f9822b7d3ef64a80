"""What pictures in memory are made of: an empty sheet, its colours, words on it, and the bytes of a file.

Pictures are (H, W, 3) uint8 in the order blue, green, red, as OpenCV has them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]  # blue, green, red
INK: Colour = (51, 39, 28)
SOFT: Colour = (138, 122, 107)
PAPER: Colour = (255, 255, 255)
EXTRA: Colour = (60, 60, 222)  # red: in the mask, not in its reference
MISSING: Colour = (214, 110, 40)  # blue: in the reference, not in the mask
REFERENCE: Colour = (70, 150, 20)  # green
FONT = cv2.FONT_HERSHEY_SIMPLEX
WEBP_QUALITY = 45  # of thumbnails: one page may hold thousands


def blank(height: int, width: int) -> Picture:
    """A white picture."""
    return np.full((height, width, 3), 255, np.uint8)


def write_words(picture: Picture, words: str, at: tuple[int, int], *, size: float = 0.4, colour: Colour = INK) -> int:
    """Words with the left end of their base line at (x, y); returns where they end."""
    cv2.putText(picture, words, at, FONT, size, colour, 1, cv2.LINE_AA)
    return at[0] + width_of(words, size)


def width_of(words: str, size: float = 0.4) -> int:
    """Width of words in pixels."""
    return int(cv2.getTextSize(words, FONT, size, 1)[0][0])


def encode_png(picture: Picture) -> bytes:
    """The bytes of a PNG file."""
    return _encode(picture, ".png")


def encode_webp(picture: Picture) -> bytes:
    """The bytes of a WebP file, small rather than exact."""
    return _encode(picture, ".webp", cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY)


def _encode(picture: Picture, suffix: str, *options: int) -> bytes:
    """Never straight into a file: OpenCV does not tell that a disk is full."""
    is_encoded, data = cv2.imencode(suffix, picture, options)
    assert is_encoded
    return data.tobytes()
