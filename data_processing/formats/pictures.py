"""Picture files: read safely whatever their mode and depth, made grey on white, cut out as training views are.

A stranger's file executes nothing and is not decoded before its declared size is checked. What a network sees of a
picture in the end is the business of loading/network_inputs.py; how pictures are rendered, of geometry/rendering.py.
"""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from data_processing.formats.first_bytes import missing_file, refuse_other_content
from isofield.runtime.atomic_files import refuse_large, replacing
from isofield.runtime.reasons import reason_of

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
KNOWN = "PNG, JPEG, BMP, WebP, TIFF or GIF"
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30  # of a file
START_OF_SCAN, MAX_SCANS = b"\xff\xda", 200  # a JPEG of a megabyte may go over a hundred million pixels for hours
# What Pillow raises on damaged files, as truncation and flipped bytes show.
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
)
PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as OpenCV and Pillow make grey

WORKING_SIZE = 1024  # pixels along the longer side of a photo, at most, when its object is looked for
LEAST_OBJECT = 8  # pixels along its longer side
LEAST_FILL = 0.1
OPAQUE = 250  # alpha from here on everywhere: no alpha worth the name
FAINT = 13  # alpha below is not part of the object
BORDER_SHARE = 0.6  # of the border that must have the background's colour: the rest may be the object
SPECK = 0.002  # smaller parts, of all that stands out, are noise


@dataclass(frozen=True)
class PhotoConfig:
    """How the object is found in a user's own picture: by its alpha, a mask, or a near-uniform background."""

    mask: Path | None = None  # white is the object; none: NAME.mask.png beside NAME.jpg, where there is one
    tolerance: float = 0.1  # how far colours of the background lie apart, of the whole range
    fill: float = 0.0  # of the picture's edge that the object's longer side takes; 0: as in the training views

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1 or not (self.fill == 0 or LEAST_FILL <= self.fill <= 1):
            raise ValueError(
                f"photo: expected shares, fill at least {LEAST_FILL}; got tolerance {self.tolerance}, fill {self.fill}"
            )


@dataclass(frozen=True)
class Picture:
    """A grey picture (H, W) uint8, to be written as it is."""

    grey_HW: NDArray[np.uint8]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(H, W, 4) uint8: red, green, blue, alpha (not premultiplied; 255 where the file has none), turned as EXIF says.

    FileNotFoundError; ValueError for what is no picture, cut off, damaged, animated or too large.
    """
    if not path.is_file():
        raise missing_file(path)
    refuse_other_content(path)
    refuse_large(path, MAX_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about odd metadata; sizes are checked here
            data = path.read_bytes()  # of an open file Pillow would ask for as many bytes as are declared
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.format in ("JPEG", "MPO") and data.count(START_OF_SCAN) > MAX_SCANS:
                    raise _RefusedError(f"{path} goes over its pixels more than {MAX_SCANS} times; save it anew")
                return _decoded(image, path)
    except DAMAGED as error:
        if isinstance(error, _RefusedError | PermissionError):
            raise
        raise ValueError(f"{path}: {_cause(error)}") from error


def picture_in_memory(image: Image.Image, *, where: str) -> NDArray[np.uint8]:
    """An image of Pillow as `read_picture` would give it. ValueError for what is too large, animated or damaged."""
    try:
        return _decoded(image, where)
    except DAMAGED as error:
        if isinstance(error, _RefusedError):
            raise
        raise ValueError(f"{where}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """What an error of Pillow means, and what to do."""
    if isinstance(error, UnidentifiedImageError):
        return f"expected a picture ({KNOWN}), found none that can be read: copy it again, or save it as PNG"
    return reason_of(error, otherwise="a picture that is cut off or damaged: copy it again, or save it as PNG")


def grey_on_white(rgba_HW4: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """grey * alpha + 255 * (1 - alpha), rounded: (H, W) uint8 (Chen and Zhang 2019, their data)."""
    grey_HW = np.rint(rgba_HW4[..., :3] @ LUMA)
    alpha_HW = rgba_HW4[..., 3] / 255.0
    return np.rint(grey_HW * alpha_HW + 255.0 * (1 - alpha_HW)).astype(np.uint8)


def read_photo(path: Path, settings: PhotoConfig, *, size: int, fill: float) -> NDArray[np.uint8]:
    """A user's own picture as a training view is: (size, size) uint8, the object alone, in the middle, on white.

    `fill`: the share of the edge that its longer side takes, where the settings do not say. FileNotFoundError;
    ValueError when the picture cannot be read, or the object not told from its background.
    """
    return cut_out(read_picture(path), settings, size=size, fill=fill, where=path, mask=mask_file(path, settings))


def cut_out(
    rgba_HW4: NDArray[np.uint8], settings: PhotoConfig, *, size: int, fill: float, where: Path | str, mask: Path | None
) -> NDArray[np.uint8]:
    """What `read_photo` makes of a file, of pixels (H, W, 4) as `read_picture` gives them. `where` names them."""
    path, (height, width) = where, rgba_HW4.shape[:2]
    if max(height, width) < LEAST_OBJECT:
        raise ValueError(f"{path}: {width}x{height} pixels; at least {LEAST_OBJECT} are needed to see anything")
    cut_HW4 = _reduced(rgba_HW4 if mask is None else _with_mask(rgba_HW4, path, mask))
    if mask is None:
        cut_HW4[..., 3] = object_alpha(cut_HW4, path, settings.tolerance)
    # The object's box, without the faint rim of shadows and of resampling.
    there_HW = cut_HW4[..., 3] >= FAINT
    rows, columns = np.flatnonzero(there_HW.any(axis=1)), np.flatnonzero(there_HW.any(axis=0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1 if len(rows) else 0
    if longer < LEAST_OBJECT:
        raise ValueError(
            f"{path}: nothing stands out from the background (the object is {longer} pixels long); if something is "
            f"there, {_mask_hint(path)}"
        )
    middle_x, middle_y = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
    return _square(grey_on_white(cut_HW4), middle_x, middle_y, longer / (settings.fill or fill), size)


def object_alpha(rgba_HW4: NDArray[np.uint8], path: Path | str, tolerance: float) -> NDArray[np.uint8]:
    """How much of each pixel is the object, 0 to 255 (H, W): its alpha, else whether it differs from the background.

    ValueError, naming `path`, when everything is transparent, or the border has no colour of its own.
    """
    alpha_HW = rgba_HW4[..., 3]
    if alpha_HW.max() < FAINT:
        raise ValueError(f"{path}: every pixel is transparent")
    if alpha_HW.min() < OPAQUE:
        return alpha_HW
    return _beside_background(rgba_HW4[..., :3], path, tolerance)


def mask_file(path: Path, settings: PhotoConfig) -> Path | None:
    """The mask that is given, or lies beside the picture."""
    beside = path.with_name(f"{path.stem}.mask.png")
    return settings.mask or (beside if beside.is_file() else None)


def write_picture(path: Path, picture: Picture) -> None:
    """Write a PNG, atomically."""
    with replacing(path) as temporary:
        Image.fromarray(picture.grey_HW).save(temporary, format="PNG")


class _RefusedError(ValueError):
    """A sound file that is not what is meant; not to be taken for damage."""


def _decoded(image: Image.Image, path: Path | str) -> NDArray[np.uint8]:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _RefusedError(f"{path}: {width}x{height} pixels are too many (limit {MAX_PIXELS:,}); make it smaller")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG may hold other things behind
        raise _RefusedError(f"{path} has several frames: animated, or of several pages; save the one that is meant")
    if image.mode in DEEP_MODES:
        deep = np.asarray(ImageOps.exif_transpose(image)).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise _RefusedError(f"{path}: grey values beyond 16 bits; save it with 8")
        # 65535 = 255 * 257: white stays white.
        grey_HW = np.rint(deep / 257).astype(np.uint8)
        return np.dstack([grey_HW] * 3 + [np.full_like(grey_HW, 255)])
    if image.mode not in PLAIN_MODES:
        raise _RefusedError(f"{path}: pixels of type {image.mode} are not supported; save it as 8-bit RGB or RGBA")
    turned = ImageOps.exif_transpose(image)
    if turned.mode in ("YCbCr", "CMYK", "RGBX"):
        turned = turned.convert("RGB")
    return np.array(turned.convert("RGBA"))


def _reduced(rgba_HW4: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same picture with no more than WORKING_SIZE pixels along its longer side; a copy."""
    image = Image.fromarray(rgba_HW4)
    if max(image.size) > WORKING_SIZE:
        image.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX)
    return np.array(image)


def _with_mask(rgba_HW4: NDArray[np.uint8], path: Path | str, mask: Path) -> NDArray[np.uint8]:
    """The picture with a mask's alpha. ValueError when they are not alike in size, or it tells nothing apart."""
    given_HW4 = read_picture(mask)
    if given_HW4.shape != rgba_HW4.shape:
        expected, got = (f"{shape[1]}x{shape[0]}" for shape in (rgba_HW4.shape, given_HW4.shape))
        raise ValueError(f"{mask}: a mask of {got} pixels for {path} of {expected}: they must be alike")
    there_HW = _masked(given_HW4)
    if there_HW.all() or not there_HW.any():
        which = "every pixel is" if there_HW.any() else "no pixel is"
        raise ValueError(
            f"{mask}, mask of {path}: {which} the object; expected it in white, what is around it in black"
        )
    return np.dstack([rgba_HW4[..., :3], np.where(there_HW, 255, 0).astype(np.uint8)])


def _masked(rgba_HW4: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The white part of a mask; of one that is all of one colour, the opaque part."""
    grey_HW = rgba_HW4[..., :3] @ LUMA
    opaque_HW = rgba_HW4[..., 3] > 127
    return opaque_HW if np.ptp(grey_HW) < 1 and not opaque_HW.all() else (grey_HW > 127) & opaque_HW


def _beside_background(rgb_HW3: NDArray[np.uint8], path: Path | str, tolerance: float) -> NDArray[np.uint8]:
    """What differs from the colour of most of the border, or is shut off from the border and differs at all."""
    # The median of the border, as the object may cut through some of it.
    border_N3 = np.concatenate([rgb_HW3[0], rgb_HW3[-1], rgb_HW3[1:-1, 0], rgb_HW3[1:-1, -1]]).astype(np.int16)
    colour_3 = np.median(border_N3, axis=0)
    distance_HW = np.abs(rgb_HW3.astype(np.int16) - colour_3.astype(np.int16)).max(axis=2)
    share = float((np.abs(border_N3 - colour_3).max(axis=1) <= 255 * tolerance).mean())
    if share < BORDER_SHARE:
        raise ValueError(
            f"{path}: the background is not uniform ({share:.0%} of the border have its colour, {BORDER_SHARE:.0%} are "
            f"needed): {_mask_hint(path)}, a picture with transparency, or a larger photo.tolerance"
        )
    near_HW = (distance_HW <= 255 * tolerance).astype(np.uint8)
    _, part_HW = cv2.connectedComponents(near_HW, connectivity=4)
    edges = np.unique(np.concatenate([part_HW[0], part_HW[-1], part_HW[:, 0], part_HW[:, -1]]))
    # What is shut off from the border, such as the hole of a cup's handle, is background only if it is very near its
    # colour.
    background_HW = np.isin(part_HW, edges[edges > 0]) | (distance_HW <= 255 * tolerance / 2)
    return np.where(_without_specks(~background_HW), 255, 0).astype(np.uint8)


def _without_specks(there_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without small loose parts: the noise of a camera would stretch the object's box."""
    _, part_HW, numbers, _ = cv2.connectedComponentsWithStats(there_HW.astype(np.uint8), connectivity=8)
    area_P = numbers[:, cv2.CC_STAT_AREA]
    kept_P = area_P >= SPECK * there_HW.sum()
    kept_P[0] = False
    return kept_P[part_HW]


def _square(grey_HW: NDArray[np.uint8], middle_x: float, middle_y: float, edge: float, size: int) -> NDArray[np.uint8]:
    """A square of a picture, white beyond its border, at another size: (size, size)."""
    left, top = middle_x - edge / 2, middle_y - edge / 2
    # White beyond the border, one pixel more for the interpolation.
    pad = max(0, int(np.ceil(max(-left, -top, left + edge - grey_HW.shape[1], top + edge - grey_HW.shape[0])))) + 1
    padded = Image.fromarray(np.pad(grey_HW, pad, constant_values=255))
    box = (left + pad, top + pad, left + pad + edge, top + pad + edge)
    return np.array(padded.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _mask_hint(path: Path | str) -> str:
    if isinstance(path, str):  # no file: nothing lies beside it
        return "give an image whose alpha is the object (RGBA)"
    return f"give a mask (white on black) as {path.stem}.mask.png beside it or with photo.mask=FILE"
