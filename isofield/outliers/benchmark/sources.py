"""Sources of masks: ways in which others draw the organs that the benchmark holds, none of which is a fault.

A detector of faults should not tell clean masks of another source from those of its own, and should find in each
source the faults that it finds in its own.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.preparation.config import DataConfig
from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import CubeMask, box_of_cells
from isofield.outliers.scoring.redrawing import Drawing, as_read, redraw
from isofield.runtime.seeds import numpy_generator

Mask = NDArray[np.bool_]
OWN = ""  # the source of the masks themselves
SOURCES: dict[str, Drawing] = {
    "grid_1.5": Drawing(grid=1.5),
    "grid_3": Drawing(grid=3.0),
    "slices_3": Drawing(slices=3.0),
    "slices_5": Drawing(slices=5.0),
    "nearest_3": Drawing(grid=3.0, slices=3.0, enlarged=3),
    "smoothed_1": Drawing(smoothed=1.0),
    "smoothed_2": Drawing(smoothed=2.0),
    # Draws every third millimetre, around hollows that are narrower than a centimetre instead of into them.
    "reader": Drawing(slices=3.0, closed=5.0),
}


def drawn_by(
    source: str, mask: CubeMask, clean_RRR: Mask | None, config: DataConfig, *, seed: int, name: str
) -> tuple[CubeMask, float]:
    """A mask as a source draws it, and its Dice there to the clean one (on the same grid as the mask; None: NaN).

    ValueError where nothing of it is left, or it does not fit into the cube.
    """
    drawing, both = SOURCES[source], mask.occupancy_RRR if clean_RRR is None else mask.occupancy_RRR | clean_RRR
    box = box_of_cells(both)
    # One key for the mask and its clean one: they lie on one grid.
    drawn = redraw(mask.occupancy_RRR[box], mask.spacing, drawing, numpy_generator(seed, name, "source", source))
    alike = float("nan")
    if clean_RRR is not None:
        right = redraw(clean_RRR[box], mask.spacing, drawing, numpy_generator(seed, name, "source", source))
        alike = dice(drawn.mask_RRR, right.mask_RRR)
    return as_read(drawn, mask, config), alike
