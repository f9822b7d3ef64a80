"""Numbers of what a prior does not believe of a mask: how much, how deep, in one place or everywhere, of which sign."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import CubeMask, box_of_cells
from isofield.outliers.scoring.reconstruction import SURE, Reconstruction

Mask = NDArray[np.bool_]
FEW = 1e-4  # share of a mask, added before logarithms
MARGIN = 8  # cells


def disagreement_features(
    reconstruction: Reconstruction, box: tuple[slice, ...], distance: NDArray[np.float32]
) -> dict[str, float]:
    """Eleven numbers, of the visible part alone; extra and missing apart, so that neither makes up for the other.

    `box`: a part of the cube that holds mask and reconstruction. `distance`: signed, of the mask in it.
    """
    mask, rebuilt = reconstruction.mask.occupancy_RRR[box], reconstruction.occupancy_RRR[box]
    signed = reconstruction.disagreement_RRR[box]
    visible = reconstruction.mask.visible_RRR
    seen = np.ones(mask.shape, dtype=bool) if visible is None else visible[box]
    # What lies beyond the field of view is neither extra nor missing.
    mask, rebuilt = mask & seen, rebuilt & seen
    volume = max(int(mask.sum()), 1)
    extra, missing = mask & ~rebuilt, rebuilt & ~mask
    # Doubt counts at the mask's surface alone: far from it every prior is sure.
    shell = (np.abs(distance) < 1) & seen
    return {
        "prior_unlike": float(np.log(1 - dice(mask, rebuilt) + FEW)),
        "prior_extra": float(np.log(extra.sum() / volume + FEW)),
        "prior_missing": float(np.log(missing.sum() / volume + FEW)),
        "prior_sure": float(np.log((np.abs(signed) > SURE).sum() / volume + FEW)),
        "prior_growth": float(np.log((rebuilt.sum() + 1) / (volume + 1))),
        "prior_extra_piece": float(np.log(largest_piece(extra) / volume + FEW)),
        "prior_missing_piece": float(np.log(largest_piece(missing) / volume + FEW)),
        "prior_extra_depth": float(np.log1p(max(0.0, -float(distance[extra].min(initial=0))))),
        "prior_missing_depth": float(np.log1p(max(0.0, float(distance[missing].max(initial=0))))),
        "prior_doubt": float(np.log(np.abs(signed[shell]).mean() + FEW)) if shell.any() else 0.0,
        "prior_lean": float(signed[shell].mean()) if shell.any() else 0.0,
    }


def largest_piece(cells: Mask) -> int:
    """Cells of the largest connected piece; 0 of none."""
    labels, count = scipy.ndimage.label(cells)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0


def box_around(mask: CubeMask, reconstruction: Reconstruction | None) -> tuple[slice, ...]:
    """The part of the cube that holds a mask and what was made of it, with some room where the cube has it."""
    both = mask.occupancy_RRR if reconstruction is None else mask.occupancy_RRR | reconstruction.occupancy_RRR
    return box_of_cells(both, margin=MARGIN) or (slice(0, 1),) * 3
