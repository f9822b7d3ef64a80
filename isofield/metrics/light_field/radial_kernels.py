"""Pixels of a silhouette spread over the table of the radial transform, by numba; radial.py has it in torch."""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact


@compile_exact
def spread_pixels(
    image: NDArray[np.uint8], centre_2: NDArray[np.float64], radius: float, reach: int
) -> NDArray[np.float64]:
    """Weights (2 reach + 1, 2 reach + 1): each set pixel adds 1, shared out between the four entries around it."""
    height, width = image.shape
    entries = 2 * reach + 1
    weights = np.zeros((entries, entries))
    line = np.empty(entries)
    scale = reach / max(radius, 1e-9)
    entry_W, share_W = np.empty(width, dtype=np.int64), np.empty(width)
    # Columns have the same entries in every row: they are worked out once.
    for column in range(width):
        place = min(max((column - centre_2[0]) * scale + reach, 0.0), 2.0 * reach)
        entry_W[column] = min(int(place), 2 * reach - 1)
        share_W[column] = place - entry_W[column]
    for row in range(height):
        line[:] = 0.0
        for column in range(width):
            if image[row, column] != 0:
                line[entry_W[column]] += 1.0 - share_W[column]
                line[entry_W[column] + 1] += share_W[column]
        place = min(max((row - centre_2[1]) * scale + reach, 0.0), 2.0 * reach)
        entry = min(int(place), 2 * reach - 1)
        share = place - entry
        for k in range(entries):
            weights[entry, k] += (1.0 - share) * line[k]
            weights[entry + 1, k] += share * line[k]
    return weights
