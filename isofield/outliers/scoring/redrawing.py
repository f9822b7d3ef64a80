"""The same shape as another source would draw it: on another grid, in slices, smoothed, by another reader.

A segmentation network that works on 3 mm, a reader who draws every third slice and a program that smooths its masks
give other masks of one organ, and each of them is right. What is redrawn here is read from its new grid as any scan is.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid
from data_processing.medical.masks import ScanMask
from data_processing.preparation.config import DataConfig
from isofield.outliers.scoring.cube_masks import CubeMask, box_of_cells, cube_mask

Mask = NDArray[np.bool_]
INSIDE = 0.5
UP = 2  # the axis across which slices are taken
LARGE = 45.0  # mm
# Of seven drawings, how many are of each kind. Enlarged voxels change most numbers of a surface most, and otherwise for
# each ratio of edges: they are shown more often than the others.
KINDS = ("grid", "enlarged", "enlarged", "enlarged", "slices", "smoothed", "both")
GRID_MM, SLICES_MM, SMOOTHED_MM = (1.25, 4.0), (2.0, 6.5), (0.5, 2.5)


@dataclass(frozen=True)
class Drawing:
    """How a source draws, in mm; 0: as the mask is.

    `grid`: edge of cubic voxels. `slices`: thickness of slices across the last axis, in whose planes nothing is lost.
    `enlarged`: how many voxels along an edge each voxel becomes afterwards, as by nearest neighbours. `smoothed`:
    standard deviation of a Gaussian over the mask, cut at one half. `closed`: radius of a disc that closes hollows in
    the plane of each slice, as where a reader draws around a hilum.
    """

    grid: float = 0.0
    slices: float = 0.0
    enlarged: int = 1
    smoothed: float = 0.0
    closed: float = 0.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """A mask on the grid of its source. `index_to_mm`: 4x4, to the mm of the mask that was redrawn, from its corner."""

    mask_RRR: Mask
    index_to_mm: NDArray[np.float64]


def redraw(inside: Mask, spacing: float, drawing: Drawing, generator: np.random.Generator) -> Drawn:
    """A mask of cubic voxels (edge `spacing`, mm) as another source draws it; it may come out empty.

    Where the new grid begins is drawn by `generator`. A voxel of it is inside where more than half of it is.
    """
    soft = np.pad(inside, _reach(drawing, spacing)).astype(np.float32)
    corner = np.full(3, -float(_reach(drawing, spacing)) * spacing)
    if drawing.closed:
        soft = _closed(soft > INSIDE, drawing.closed / spacing).astype(np.float32)
    if drawing.smoothed:
        soft = scipy.ndimage.gaussian_filter(soft, drawing.smoothed / spacing, mode="constant")
    edges = np.full(3, drawing.grid or spacing)
    edges[UP] = drawing.slices or edges[UP]
    coarse = edges > spacing
    steps = edges / spacing
    # The share of a new voxel that is inside: a mean over its width, less the width that a voxel has already.
    widths = np.sqrt(np.maximum(steps**2 - 1, 0) / 12)
    start = np.where(coarse, generator.uniform(0, 1, 3) * steps, 0.0)
    counts = np.where(coarse, np.ceil((np.array(soft.shape) - start) / steps), soft.shape).astype(int)
    soft = scipy.ndimage.gaussian_filter(soft, widths, mode="constant")
    soft = scipy.ndimage.affine_transform(soft, steps, start, tuple(counts), order=1, mode="constant")
    mask = soft > INSIDE
    index_to_mm = np.diag([*edges, 1.0])
    index_to_mm[:3, 3] = corner + start * spacing
    if drawing.enlarged > 1:
        for axis in range(3):
            mask = mask.repeat(drawing.enlarged, axis=axis)
        # The first of the small voxels lies off the middle of the large one.
        index_to_mm[:3, 3] += edges * (1 / drawing.enlarged - 1) / 2
        index_to_mm[:3, :3] /= drawing.enlarged
    return Drawn(mask, index_to_mm)


def as_read(drawn: Drawn, like: CubeMask, config: DataConfig) -> CubeMask:
    """The redrawn mask in the cube, read as a scan of its own is. ValueError where it is empty or does not fit."""
    box = box_of_cells(drawn.mask_RRR)
    if box is None:
        raise ValueError("nothing of the mask is left where it was redrawn")
    # The axes of the cube are those of the world, turned round where the mask was mirrored.
    axes = like.to_world[:3, :3] / np.linalg.norm(like.to_world[:3, :3], axis=0)
    placed = np.eye(4)
    placed[:3, :3] = axes @ drawn.index_to_mm[:3, :3]
    placed[:3, 3] = axes @ (drawn.index_to_mm @ np.array([*(side.start for side in box), 1.0]))[:3]
    occupancy = np.ascontiguousarray(drawn.mask_RRR[box]).view(np.uint8)
    mirrored = bool(np.linalg.det(like.to_world[:3, :3]) < 0)
    scan = ScanGrid((occupancy.shape[0], occupancy.shape[1], occupancy.shape[2]), placed)
    return cube_mask(ScanMask(occupancy, placed, mirrored, (), scan), config)


def redrawn_mask(mask: CubeMask, drawing: Drawing, config: DataConfig, generator: np.random.Generator) -> CubeMask:
    """A mask in the cube as another source would have drawn it.

    The mask itself where nothing would be left of it, or where what is drawn no longer fits into the cube.
    """
    inside = mask.occupancy_RRR[box_of_cells(mask.occupancy_RRR)]
    try:
        return as_read(redraw(inside, mask.spacing, drawing, generator), mask, config)
    except ValueError:
        return mask


def _reach(drawing: Drawing, spacing: float) -> int:
    """Voxels around a mask into which its redrawn one may reach."""
    reach = 4 * drawing.smoothed + 2 * drawing.closed + max(drawing.grid, drawing.slices)
    return int(np.ceil(reach / spacing)) + 1


def _closed(mask: Mask, radius: float) -> Mask:
    """Every slice closed by a disc of this radius in voxels."""
    inside = scipy.ndimage.distance_transform_edt(~mask, sampling=(1, 1, 1e6)) <= radius
    return np.asarray(scipy.ndimage.distance_transform_edt(inside, sampling=(1, 1, 1e6)) > radius)


def random_drawing(generator: np.random.Generator, *, size_mm: float) -> Drawing:
    """How some source may draw an organ of this size (the edge of a cube of its volume, mm): one of five kinds.

    A coarser grid, one enlarged by nearest neighbours, thicker slices, a smoothed mask, or a smoothed one on a coarser
    grid; all voxels and slices are thin enough to show the organ.
    """
    # What is drawn of a kidney (55 mm) or larger; smaller organs are drawn on finer grids, or they are not seen at all.
    unit = min(1.0, size_mm / LARGE)
    kind = KINDS[int(generator.integers(len(KINDS)))]
    grid, slices = (float(generator.uniform(*limits)) * unit for limits in (GRID_MM, SLICES_MM))
    smoothed = float(generator.uniform(*SMOOTHED_MM)) * unit
    if kind == "grid":
        return Drawing(grid=grid)
    if kind == "enlarged":
        return Drawing(grid=grid, enlarged=int(generator.integers(2, 4)))
    if kind == "slices":
        return Drawing(slices=slices)
    return Drawing(smoothed=smoothed) if kind == "smoothed" else Drawing(grid=grid * 0.7, smoothed=smoothed * 0.7)
