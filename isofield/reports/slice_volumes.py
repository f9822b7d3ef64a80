"""A mask, its reference and its repaired form as bits for a page that scrolls through their slices itself.

The page (templates/scan.js) draws them as mask_slices.py says: PLANES and colours come from there. A packed volume is
plain data for JSON: `shape` and `lower` (3 whole numbers each: its box in the canonical grid of its scan), `spacing`
(3, mm), `grid` (equal for organs on one grid, which can be shown together) and `data`: base64 of zlib of three volumes
of bits in C order: the mask, where the reference differs from it, and where the repaired mask does.
"""

import base64
import zlib

import numpy as np
from numpy.typing import NDArray

from data_processing.medical.crops import Crop
from isofield.reports.turnable import Packed
from isofield.runtime.fingerprint import fingerprint


def pack_volume(mask: Crop, reference_XYZ: NDArray[np.uint8], repaired_XYZ: NDArray[np.uint8]) -> Packed:
    """All in the box of the mask's crop, of 0 and 1."""
    inside = mask.occupancy > 0
    # Where two volumes differ is nearly nothing and packs to as much; the second and third themselves would not.
    bits = [np.packbits(part) for part in (inside, inside ^ (reference_XYZ > 0), inside ^ (repaired_XYZ > 0))]
    return {
        "shape": list(mask.occupancy.shape),
        "lower": [int(number) for number in mask.lower],
        "spacing": [round(float(edge), 6) for edge in np.linalg.norm(mask.index_to_world[:3, :3], axis=0)],
        "grid": fingerprint([mask.scan.affine.tolist(), list(mask.scan.shape)], size=8),
        "data": base64.b64encode(zlib.compress(np.concatenate(bits).tobytes(), 6)).decode(),
    }
