"""Values of a field on a cubic grid, coarse to fine: exact in a band of cells around the surface, beyond it the sign.

isosurface.py walks along the surface over the samples of one lattice, so that a mesh closes and no sample is taken
twice. Here every level has cells of its own, and their centres are asked for: what is wanted is a number for every cell
near the surface, not a surface.
"""

from typing import Any

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import voxel_centres
from isofield.extraction.lattice import Field, evaluate_field

SATURATED = 12.0  # value, from the level, of a cell that was not asked: surely outside, or surely inside


def values_near_surface(
    field: Field, asked_CCC: NDArray[np.bool_], *, halvings: int, iso_level: float, device: torch.device | str
) -> NDArray[np.float32]:
    """(R, R, R) values at the centres of cells over the cube, R = 2^halvings C.

    `asked_CCC`: cells of the coarsest grid in which the field is asked; the others are outside. After each halving it
    is asked in the eighths of cells with a face where signs change; elsewhere the sign of the cell stands. ValueError
    when a value is not finite.
    """
    asked, values = asked_CCC, np.full(asked_CCC.shape, iso_level - SATURATED, dtype=np.float32)
    values[asked] = _at_centres(field, asked, device)
    for _ in range(halvings):
        signs = values > iso_level
        # Cells with a face to one of the other sign; beyond the border counts as the same sign, or the whole side would
        # be asked.
        asked = scipy.ndimage.binary_dilation(signs) & ~scipy.ndimage.binary_erosion(signs, border_value=1)
        signs, asked = _double(signs), _double(asked)
        values = np.where(signs, iso_level + SATURATED, iso_level - SATURATED).astype(np.float32)
        values[asked] = _at_centres(field, asked, device)
    return values


def _double(cells: NDArray[Any]) -> NDArray[Any]:
    for axis in range(3):
        cells = np.repeat(cells, 2, axis=axis)
    return cells


def _at_centres(field: Field, asked: NDArray[np.bool_], device: torch.device | str) -> NDArray[np.float32]:
    points_N3 = voxel_centres(torch.from_numpy(np.argwhere(asked)), len(asked))
    return evaluate_field(field, points_N3.to(device)).cpu().numpy()
