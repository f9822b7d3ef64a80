"""Which cells of a grid the triangles touch, exactly: a cell is touched when its closed cube meets a triangle.

Separating axes after Schwarz and Seidel, "Fast Parallel Surface and Solid Voxelization on GPUs" (SIGGRAPH Asia 2010):
a triangle meets a box when their bounding boxes meet, the plane meets the box, and the three projections meet.
Candidates are enumerated in the columns along the longest axis of the normal, so their number grows with the area.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from isofield.runtime.compiled import compiled_module, is_spared

KERNELS = "data_processing.occupancy.surface_voxels_kernels"
compiled_kernels = partial(compiled_module, KERNELS)

CHUNK = 1 << 20  # candidates at once: bounds the memory to some hundred megabytes
SECONDS_OF_COLUMN = 2e-7  # CPU, by tensors, of a column within a triangle's box, about
MARGIN = 1e-6  # cells; rounding may only add a cell that a triangle just misses


def expand_ranges(count: torch.Tensor, *, chunk: int = CHUNK) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Walk integers 0..count[m] - 1 of every row m: yields (row, offset), int64, `chunk` of them at once, in order."""
    # A chunk may begin and end in the middle of a row: only the rows that it touches are expanded.
    ends = count.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    if 0 < total <= chunk:  # all at once: nothing of a device has to be known on the host
        row = torch.arange(len(ends), device=ends.device).repeat_interleave(count, output_size=total)
        yield row, torch.arange(total, device=ends.device) - (ends - count)[row]
        return
    for start in range(0, total, chunk):
        stop = min(start + chunk, total)
        first, last = torch.searchsorted(ends, torch.tensor([start, stop - 1], device=ends.device), right=True).tolist()
        begin = ends[first : last + 1] - count[first : last + 1]
        here = ends[first : last + 1].clamp(max=stop) - begin.clamp(min=start)
        row = torch.arange(first, last + 1, device=ends.device).repeat_interleave(here, output_size=stop - start)
        yield row, torch.arange(start, stop, device=ends.device) - begin[row - first]


def corner_bounds(corners_F3D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower and upper corner (F, D) of the bounding boxes of triangles (F, 3, D)."""
    a, b, c = corners_F3D.unbind(1)  # three maps of whole tensors: reducing over an axis of 3 is ten times slower
    return torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)


def touched_cells(
    triangles_F33: torch.Tensor, resolution: int, *, skipped_RRR: torch.Tensor | None = None
) -> torch.Tensor:
    """Cells (R, R, R) bool of the cube [-0.5, 0.5]^3 that triangles (F, 3, 3) in cube coordinates touch.

    What lies outside the cube is cut off. Of `skipped` cells nobody wants to know: they may be set or not. Same device
    as the triangles; on a CPU by compiled kernels where numba is installed.
    """
    spared = triangles_F33.device.type != "cpu" or is_spared(KERNELS, _seconds_by_tensors(triangles_F33, resolution))
    kernels = None if spared else compiled_kernels()
    if kernels is None:
        return cells_by_tensors(triangles_F33, resolution)
    corners_F33 = (triangles_F33.double() + 0.5) * resolution
    normals_F3 = torch.linalg.cross(corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0])
    corners_F9, touched = np.ascontiguousarray(corners_F33.reshape(-1, 9).numpy()), np.zeros(resolution**3, np.bool_)
    skipped = np.empty(0, np.bool_) if skipped_RRR is None else skipped_RRR.reshape(-1).numpy()
    kernels.mark_touched(corners_F9, normals_F3.contiguous().numpy(), resolution, skipped, touched)
    return torch.from_numpy(touched).view(resolution, resolution, resolution)


def _seconds_by_tensors(triangles_F33: torch.Tensor, resolution: int) -> float:
    """CPU seconds that the cells take by tensors, about: columns within the triangles' boxes are what is tested."""
    if len(triangles_F33) == 0:
        return 0.0
    lower, upper = corner_bounds(triangles_F33)
    sides_F3 = ((upper - lower) * resolution + 1).sort(dim=1).values
    return SECONDS_OF_COLUMN * float(sides_F3[:, 1].dot(sides_F3[:, 2]))


def cells_by_tensors(triangles_F33: torch.Tensor, resolution: int) -> torch.Tensor:
    """The same cells, by tensors on any device."""
    size = resolution
    # Small triangles lie within one cell, and need no test.
    grid = torch.zeros(size**3, dtype=torch.bool, device=triangles_F33.device)
    strides = torch.tensor([size**2, size, 1], device=grid.device)
    corners_F33 = (triangles_F33.double() + 0.5) * size
    lower, upper = corner_bounds(corners_F33)
    lower = (lower - MARGIN).floor().clamp(min=0).long()
    upper = (upper + MARGIN).floor().clamp(max=size - 1).long()
    single = (lower == upper).all(1)
    grid[(lower[single] * strides).sum(1)] = True
    several = ((lower <= upper).all(1) & ~single).nonzero().squeeze(1)
    corners_F33, lower, upper = corners_F33[several], lower[several], upper[several]
    # The others by the longest axis of their normal: seen along it they are heights over columns.
    normals = torch.linalg.cross(corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0])
    depth = normals.abs().argmax(dim=1)
    for axis in range(3):
        chosen = (depth == axis).nonzero().squeeze(1)
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        columns = _HeightColumns(corners_F33[chosen][..., order], normals[chosen][:, order])
        _mark(grid, columns, lower[chosen][:, order], upper[chosen][:, order], [size ** (2 - k) for k in order])
    return grid.view(size, size, size)


def _mark(
    grid: torch.Tensor, columns: "_HeightColumns", lower: torch.Tensor, upper: torch.Tensor, strides: list[int]
) -> None:
    """Mark the cells of triangles whose normal is longest along the last axis."""
    low, high = [lower[:, k].contiguous() for k in range(3)], [upper[:, k].contiguous() for k in range(3)]
    rows = high[1] - low[1] + 1
    for row, offset in expand_ranges((high[0] - low[0] + 1) * rows):
        width = rows[row]
        step = offset.div(width, rounding_mode="floor")
        a, b = low[0][row] + step, low[1][row] + offset - step * width
        # Columns that the projection meets; in each the few cells that the plane passes.
        hit = columns.sides[0].meets(row, a, b).nonzero().squeeze(1)
        row, a, b = row[hit], a[hit], b[hit]
        first, last = columns.depth_range(row, a, b)
        first, last = torch.maximum(first, low[2][row]), torch.minimum(last, high[2][row])
        for column, above in expand_ranges((last - first + 1).clamp(min=0)):
            at, i, j, k = row[column], a[column], b[column], first[column] + above
            hit = columns.sides[1].meets(at, j, k) & columns.sides[2].meets(at, k, i)
            grid[(i * strides[0] + j * strides[1] + k * strides[2])[hit]] = True


class _Sides:
    """The three sides of triangles projected onto two axes, against unit squares."""

    def __init__(self, corners: torch.Tensor, turn: torch.Tensor, axes: tuple[int, int]) -> None:
        flip = torch.where(turn < 0, -1.0, 1.0)
        self.sides = []
        for k in range(3):
            x, y = corners[:, k, axes[0]], corners[:, k, axes[1]]
            nx = (y - corners[:, (k + 1) % 3, axes[1]]) * flip  # normal of the side, to the inside
            ny = (corners[:, (k + 1) % 3, axes[0]] - x) * flip
            # The corner of the square that lies furthest inwards decides, with a margin so that rounding only ever adds
            # cells.
            farthest = nx.clamp(min=0) + ny.clamp(min=0) + MARGIN * (nx.abs() + ny.abs())
            self.sides.append((nx, ny, farthest - nx * x - ny * y))

    def meets(self, row: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """True where the square [i, i+1] x [j, j+1] lies outside no side of the projected triangle `row`.

        A triangle that projects to a line has sides in both directions, so this holds for it too.
        """
        first, second, third = (nx[row] * i + ny[row] * j + constant[row] for nx, ny, constant in self.sides)
        return torch.minimum(torch.minimum(first, second), third) >= 0


class _HeightColumns:
    """Triangles as heights over columns: the sides in all three projections, and the plane's range of depth."""

    def __init__(self, corners: torch.Tensor, normals: torch.Tensor) -> None:
        self.sides = [
            _Sides(corners, normals[:, 2], (0, 1)),
            _Sides(corners, normals[:, 0], (1, 2)),
            _Sides(corners, normals[:, 1], (2, 0)),
        ]
        steep = normals[:, 2] == 0  # no area at all: the bounding box limits the depth
        divisor = torch.where(steep, 1.0, normals[:, 2])
        self.slope = [torch.where(steep, 0.0, -normals[:, k] / divisor) for k in range(2)]
        # Height of the plane over the middle of the square at (0, 0); over the square it differs by half the sum of the
        # slopes.
        rest = self.slope[0] * (corners[:, 0, 0] - 0.5) + self.slope[1] * (corners[:, 0, 1] - 0.5)
        self.middle = corners[:, 0, 2] - rest
        self.half = torch.where(steep, torch.inf, (self.slope[0].abs() + self.slope[1].abs()) / 2 + MARGIN)

    def depth_range(self, row: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """First and last cell along the depth that the plane meets over the square [a, a+1] x [b, b+1]."""
        middle = self.middle[row] + self.slope[0][row] * a + self.slope[1][row] * b
        half, limit = self.half[row], 1e9  # cells; the limit keeps infinities out of integers
        first, last = (middle - half).floor().clamp(-limit, limit), (middle + half).floor().clamp(-limit, limit)
        return first.long(), last.long()
