"""A mask in the cube of its prior, on the one grid that judgement works on, whatever it was read from."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import Normalisation
from data_processing.loading.network_inputs import shares
from data_processing.medical.masks import ScanMask, mask_to_cube, read_structure
from data_processing.medical.structures import part_of_name
from data_processing.occupancy.coarse_solids import solid_cells
from data_processing.preparation.config import DataConfig, config_of, mask_resolution
from data_processing.preparation.level_points import max_pool
from data_processing.store.bits import unpack_bits
from data_processing.store.shape_set import ShapeSet

GRID = 128  # cells along an edge of the cube
INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class CubeMask:
    """Occupancy in the cube, and where it lies in the world.

    `visible_RRR`: cells in the field of view; None where all are. `touched`: faces of the field of view it reaches.
    """

    occupancy_RRR: NDArray[np.bool_]  # (128, 128, 128)
    to_world: NDArray[np.float64]  # 4x4: cube -> RAS mm
    touched: tuple[str, ...] = ()
    visible_RRR: NDArray[np.bool_] | None = None

    @property
    def spacing(self) -> float:
        """Edge of a cell in mm."""
        return float(np.linalg.norm(self.to_world[:3, 0])) / len(self.occupancy_RRR)


def cube_mask(mask: ScanMask, config: DataConfig, *, device: torch.device | str = "cpu") -> CubeMask:
    """A mask cut from a scan, as the run's data set holds its shapes.

    Raises ValueError where it does not fit into the cube of a fixed length.
    """
    by: Normalisation = config.normalisation.by
    # As the data set was made: resampled at its finest grid, then pooled to the judged one.
    finest = mask_resolution(config.contents) if GRID in config.contents.grids else GRID
    share, to_world = mask_to_cube(mask, finest, by=by, length=config.normalisation.length, device=device)
    solid = solid_cells((share > INSIDE).to(torch.uint8), GRID, keep_thin=config.inside.thin == "keep")
    visible = _visible(mask, to_world) if mask.touched else None
    return CubeMask(solid.cpu().numpy().astype(bool), to_world, mask.touched, visible)


def stored_mask(shapes: ShapeSet, index: int) -> CubeMask:
    """A shape of a data set: its 128^3 solid, or where that was not prepared, cut from its scan again.

    ValueError when there is neither; FileNotFoundError when the scan is gone.
    """
    field = f"grid_{GRID}"
    if GRID in shapes.layout.grids:
        bits = torch.from_numpy(shapes.packed_row(index, [field])[field])
        occupancy = unpack_bits(bits).view((GRID,) * 3).numpy().astype(bool)
        return CubeMask(occupancy, shapes.to_world(index))
    config = config_of(shapes.settings)
    if config.labels is None:
        raise ValueError(
            f"{shapes.path} has no {GRID}^3 solids to judge: prepare it with contents.grids holding {GRID}; it has "
            f"{list(shapes.layout.grids) or 'none'}"
        )
    scan, part = shapes.existing_scan(index), part_of_name(shapes.names[index], config.labels)
    return cube_mask(read_structure(scan, part.key, config.labels), config)


def box_of_cells(cells: NDArray[np.bool_], *, margin: int = 0) -> tuple[slice, ...] | None:
    """The smallest box that holds all marked cells, and a margin where the grid has it; None of no cell."""
    boxes = scipy.ndimage.find_objects(cells.view(np.uint8))
    sides = zip(boxes[0], cells.shape, strict=True) if boxes else ()
    return tuple(slice(max(0, s.start - margin), min(size, s.stop + margin)) for s, size in sides) or None


def centring(occupancy: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The shift (3,) in cells that puts the box of a mask, on a grid of any size, into the middle of the judged grid.

    ValueError where it does not fit; 0 of an empty mask.
    """
    box = box_of_cells(occupancy)
    if box is None:
        return np.zeros(3, dtype=np.int64)
    start = np.array([side.start for side in box])
    size = np.array([side.stop for side in box]) - start
    if size.max() > GRID:
        raise ValueError(f"a mask of {tuple(size.tolist())} cells does not fit into a cube of {GRID}")
    return np.asarray((GRID - size) // 2 - start, dtype=np.int64)


def shift_mask(occupancy: NDArray[np.bool_], shift: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A mask on a grid of any size, shifted onto the judged one; what leaves it is lost."""
    result = np.zeros((GRID,) * 3, dtype=bool)
    # What both grids have in common, in the numbers of the judged one; `- s` leads back to the mask's own.
    low = np.maximum(shift, 0)
    high = np.minimum(shift + occupancy.shape, GRID)
    if (high > low).all():
        source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, shift, strict=True))
        result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = occupancy[source]
    return result


def network_input(
    occupancy: NDArray[np.bool_], kind: str, resolution: int, *, keep_thin: bool, finer: int = 1
) -> torch.Tensor:
    """What a prior is shown of a mask: (1, R, R, R) float32. ValueError for priors that are shown something else.

    `finer`: as in the input's section.
    """
    grid = torch.from_numpy(occupancy.astype(np.uint8))
    if kind == "voxels":
        return max_pool(grid, resolution)[None].float()
    if kind not in ("solid", "deformed"):
        raise ValueError(f"a prior of masks is shown solids (data.input.kind solid or deformed); this one: {kind}")
    if resolution * finer > GRID:
        raise ValueError(f"masks are judged at {GRID}^3; the prior wants {resolution * finer}^3")
    return shares(solid_cells(grid, resolution * finer, keep_thin=keep_thin)[None], finer)


def _visible(mask: ScanMask, to_world: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Cells of the cube whose centres lie in the field of view of the scan."""
    to_index = np.linalg.inv(mask.scan.affine) @ to_world
    centres = (np.arange(GRID) + 0.5) / GRID - 0.5
    inside = np.ones((GRID,) * 3, dtype=bool)
    for row, size in zip(to_index[:3], mask.scan.shape, strict=True):
        x, y, z = (weight * centres for weight in row[:3])
        index = x[:, None, None] + y[None, :, None] + z[None, None] + row[3]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return inside
