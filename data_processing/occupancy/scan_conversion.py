"""Scan conversion: the integer winding number of a closed mesh on a grid, or at points, and edges that faces block.

Lines through the voxel centres along one axis meet the triangles; signed crossings, summed along the line, are the
winding number. Vertices are rounded to a lattice of integers small enough that every edge function is exact in int64:
both triangles at a shared edge agree on which side a line passes, on any device, and ties follow one rule (the line is
moved by +e along the first axis and +e^2 along the second). So voxels are half open: a centre exactly on a lower face
is inside, one exactly on an upper face is outside. Only closed meshes make sense here: meshes.unbalanced_edges.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.occupancy.surface_voxels import CHUNK, corner_bounds, expand_ranges, touched_cells
from isofield.runtime.compiled import compiled_module, is_spared

KERNELS = "data_processing.occupancy.scan_conversion_kernels"
compiled_kernels = partial(compiled_module, KERNELS)
CROSSING_KERNELS = "data_processing.occupancy.grid_crossings_kernels"
crossing_kernels = partial(compiled_module, CROSSING_KERNELS)

LATTICE_BITS = 29  # |coordinate| < 2^29: differences < 2^30, edge functions < 2^62
FRACTION_BITS = 20  # finest lattice: a millionth of a voxel
POINT_CELLS = 128  # grid that decides the points which are far from the surface; a power of two
FEW_POINTS = 20_000  # by tensors: they are asked one by one, as a grid of cells costs more
COLUMN_ENTRIES = 16  # of a face, on average, at most
COLUMN_BINS = 1024
UNKNOWN = 32767  # no winding number of a mesh
SECONDS_OF_PART, SECONDS_OF_POINT = 0.005, 2e-6  # CPU, by tensors, of a closed mesh and of a point, about
SECONDS_OF_LINE = 7e-8  # and of a line within a face's box
LOOK_UP_CHUNK = 1 << 15  # points whose temporaries stay in cache
BLOCK = 4096  # faces, the same
MOST_COLUMNS = 9  # bits of their number along an axis: filling more of them costs more than it spares


@dataclass(frozen=True)
class Crossings:
    """Lines that cross triangles: line (H, 2) int64 indices, height (H,) float64 in voxels, face (H,) and its sign."""

    line_H2: torch.Tensor
    height_H: torch.Tensor
    sign_H: torch.Tensor  # int64; +1 where the face looks up the axis
    face_H: torch.Tensor  # int64


def grid_crossings(triangles_F33: torch.Tensor, resolution: int, *, axis: int) -> Iterator[Crossings]:
    """Crossings of the lines along `axis` through all voxel centres; centre k is at height k.

    `triangles_F33` in cube coordinates. Lines are numbered by the voxels of axes (axis + 1) % 3 and (axis + 2) % 3.
    """
    # The finest lattice on which products of two differences still fit into int64.
    # Lines run along the last of the permuted axes. In units of voxels, with centres at whole numbers, a line's place
    # is its index.
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    grid_units = ((triangles_F33.double() + 0.5) * resolution - 0.5)[..., order]
    reach = max(float(grid_units.abs().max()) if grid_units.numel() else 0.0, float(resolution)) + 1
    bits = min(FRACTION_BITS, LATTICE_BITS - math.ceil(math.log2(reach)))
    scale = 2.0**bits
    lattice_F33 = (grid_units * scale).round().long()
    lower_F2, upper_F2 = corner_bounds(grid_units[..., :2])
    seconds = SECONDS_OF_LINE * float((upper_F2 - lower_F2 + 1).prod(1).sum())
    spared = lattice_F33.device.type != "cpu" or is_spared(CROSSING_KERNELS, seconds)
    kernels = None if spared else crossing_kernels()
    if kernels is not None:
        yield from _compiled_crossings(kernels, lattice_F33.numpy(), int(scale), resolution)
    else:
        yield from crossings_by_tensors(lattice_F33, scale, resolution)


def _compiled_crossings(
    kernels: ModuleType, lattice_F33: NDArray[np.int64], unit: int, resolution: int
) -> Iterator[Crossings]:
    """The same by compiled kernels: some faces at once, whose candidates bound the memory."""
    first_F2 = (-(-lattice_F33[:, :, :2].min(axis=1) // unit)).clip(min=0)
    last_F2 = (lattice_F33[:, :, :2].max(axis=1) // unit).clip(max=resolution - 1)
    lines_F4 = np.concatenate([first_F2, last_F2], axis=1)
    ends = np.cumsum((last_F2 - first_F2 + 1).clip(min=0).prod(axis=1))
    corners_F9, begin = np.ascontiguousarray(lattice_F33.reshape(-1, 9)), 0
    while begin < len(ends):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, before + CHUNK, side="right")), begin + 1)
        room = int(ends[end - 1]) - before
        line, height = np.empty((room, 2), np.int64), np.empty(room)
        sign, face = np.empty(room, np.int64), np.empty(room, np.int64)
        found = kernels.list_crossings(corners_F9, lines_F4, unit, begin, end, line, height, sign, face)
        yield Crossings(*(torch.from_numpy(values[:found]) for values in (line, height, sign, face)))
        begin = end


def crossings_by_tensors(lattice_F33: torch.Tensor, scale: float, resolution: int) -> Iterator[Crossings]:
    """The same by tensors, on any device: of triangles on the lattice, `scale` of it from line to line."""
    flat = Projection(lattice_F33)
    # Candidates are the lines within each face's box; those parallel to the axis cross nothing.
    first = (flat.low[:, :2] / scale).ceil().clamp(min=0).long()
    last = (flat.high[:, :2] / scale).floor().clamp(max=resolution - 1).long()
    rows, columns = (last - first + 1).clamp(min=0).unbind(1)
    first_i, first_j = first[:, 0].contiguous(), first[:, 1].contiguous()
    for row, offset in expand_ranges(torch.where(flat.turn == 0, 0, rows * columns)):
        width = columns[row]
        step = offset.div(width, rounding_mode="floor")
        i, j = first_i[row] + step, first_j[row] + offset - step * width
        hit, height = flat.heights(row, (i * scale).long(), (j * scale).long())
        yield Crossings(torch.stack([i[hit], j[hit]], dim=1), height / scale, flat.turn[row[hit]], row[hit])


def scan_grid(triangles_F33: torch.Tensor, resolution: int) -> torch.Tensor:
    """Winding number (R, R, R) int16 at the voxel centres, of triangles (F, 3, 3) in cube coordinates, same device.

    Exact for closed meshes; 1 inside a solid, -1 inside one turned inside out, 2 where two solids overlap.
    """
    return _scan_block(triangles_F33, resolution, [0, 0, 0], [resolution] * 3)


def scan_box(triangles_F33: torch.Tensor, resolution: int) -> tuple[tuple[slice, ...], torch.Tensor]:
    """The part of `scan_grid` that a closed mesh reaches: where it lies in the grid, and its numbers; 0 elsewhere."""
    corners = triangles_F33.reshape(-1, 3)
    # One voxel of slack on either side: rounding to the lattice may carry a corner past a centre, never past a voxel.
    first = ((corners.amin(0) + 0.5) * resolution - 1).floor().long().clamp(0, resolution - 1).tolist()
    last = ((corners.amax(0) + 0.5) * resolution + 1).ceil().long().clamp(1, resolution).tolist()
    return tuple(map(slice, first, last)), _scan_block(triangles_F33, resolution, first, last)


def _scan_block(triangles_F33: torch.Tensor, resolution: int, first: list[int], last: list[int]) -> torch.Tensor:
    """Winding number at the centres `first` to `last` (not included) of a grid, of faces that cross no other lines."""
    shape = [end - begin for begin, end in zip(first, last, strict=True)]
    change = torch.zeros(math.prod(shape), dtype=torch.int16, device=triangles_F33.device)
    for crossing in grid_crossings(triangles_F33, resolution, axis=2):
        # Passing upwards through a face that looks up leaves the solid: the number falls by one, from here to the end
        # of the line.
        above = crossing.height_H.ceil().clamp(min=first[2])  # first centre above the face, or on it
        kept = above < last[2]
        i, j = crossing.line_H2[:, 0] - first[0], crossing.line_H2[:, 1] - first[1]
        index = (i * shape[1] + j) * shape[2] + above.long() - first[2]
        change.index_add_(0, index[kept], -crossing.sign_H[kept].to(torch.int16))
    # Changes summed along each line are the number; int16 holds them, as no mesh encloses a place 32,767 times.
    return change.view(shape).cumsum(2, dtype=torch.int16)


def blocked_edges(triangles_F33: torch.Tensor, resolution: int, *, axis: int) -> torch.Tensor:
    """(R, R, R) bool: a triangle crosses the segment from the centre of this voxel to the next one along `axis`."""
    size = resolution
    blocked = torch.zeros(size**3, dtype=torch.bool, device=triangles_F33.device)
    strides = [size**2, size, 1]
    first, second = strides[(axis + 1) % 3], strides[(axis + 2) % 3]
    for crossing in grid_crossings(triangles_F33, size, axis=axis):
        # A crossing right at a centre blocks the segment below it and not the one above: each crossing blocks one.
        below = crossing.height_H.ceil() - 1
        kept = (below >= 0) & (below < size - 1)
        index = crossing.line_H2[:, 0] * first + crossing.line_H2[:, 1] * second + below.long() * strides[axis]
        blocked[index[kept]] = True
    return blocked.view(size, size, size)


def scan_points(
    triangles_F33: NDArray[np.float64], points_N3: NDArray[np.floating], *, device: torch.device | str
) -> NDArray[np.int16]:
    """Winding number (N,) of a closed mesh, triangles (F, 3, 3), at points (N, 3) of the same frame.

    Points in cells of a grid around the mesh that no triangle touches take the number of the cell's centre; the others
    count crossings, with the triangles sorted into columns. On a CPU by compiled kernels where numba is installed.
    """
    if len(triangles_F33) == 0 or len(points_N3) == 0:
        return np.zeros(len(points_N3), dtype=np.int16)
    frame = PointFrame(triangles_F33, POINT_CELLS)
    seconds = SECONDS_OF_PART + SECONDS_OF_POINT * len(points_N3)
    spared = torch.device(device).type != "cpu" or is_spared(KERNELS, seconds)
    kernels = None if spared else compiled_kernels()
    if kernels is None:
        return _scan_by_tensors(frame, triangles_F33, points_N3, device)
    return _scan_by_kernels(kernels, frame, triangles_F33, points_N3)


def _scan_by_kernels(
    kernels: ModuleType, frame: "PointFrame", triangles: NDArray[np.float64], points: NDArray[np.floating]
) -> NDArray[np.int16]:
    # Most points lie in cells that no face touches, and are answered by the cell.
    place = np.asarray(frame.middle, dtype=np.float64), frame.side
    faces = kernels.to_lattice(np.asarray(triangles, dtype=np.float64), *place)
    known = kernels.known_cells(faces, POINT_CELLS.bit_length() - 1)
    points = np.ascontiguousarray(points, dtype=np.float64)
    winding = kernels.look_up(known, points, *place)
    # Near the surface crossings are counted, in columns so narrow that each holds few faces.
    near = np.flatnonzero(winding == UNKNOWN)
    if len(near):
        bits = min(max(round(math.log2(len(triangles)) / 2) + 2, 4), MOST_COLUMNS)
        while bits and kernels.count_in_columns(faces, bits) > COLUMN_ENTRIES * len(triangles):
            bits -= 1  # large faces lie in many columns
        lines, heights, key = kernels.lattice_points(points, near, *place)
        order = np.argsort(key)
        winding[near] = kernels.count_crossings(faces, *kernels.columns(faces, bits), known, lines, heights, order)
    return winding


def _scan_by_tensors(
    frame: "PointFrame", triangles: NDArray[np.float64], points: NDArray[np.floating], device: torch.device | str
) -> NDArray[np.int16]:
    faces = torch.as_tensor(frame.to_cube(triangles), device=device)
    if len(points) <= FEW_POINTS:
        places = torch.as_tensor(frame.to_cube(points), device=device)
        return RayColumns(faces).winding(places).to(torch.int16).cpu().numpy()
    known = torch.where(touched_cells(faces, POINT_CELLS), UNKNOWN, scan_grid(faces, POINT_CELLS))
    winding = frame.look_up(known, points)
    near = np.flatnonzero(winding == UNKNOWN)
    if len(near):
        near_points = torch.as_tensor(frame.to_cube(points[near]), device=device)
        winding[near] = RayColumns(faces).winding(near_points).to(torch.int16).cpu().numpy()
    return winding


class PointFrame:
    """A cube around a mesh whose outermost cells of `resolution` stay empty, so that far points clamp into them."""

    def __init__(self, triangles_F33: NDArray[np.float64], resolution: int) -> None:
        lower, upper = _box(triangles_F33)
        self.middle = (lower + upper) / 2
        # One and a half cells of air on each side: after any rounding the outermost cells are still empty.
        self.side = float((upper - lower).max()) * resolution / (resolution - 3)
        self.resolution = resolution

    def to_cube(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points of the mesh's frame in cube coordinates."""
        return (np.asarray(points, dtype=np.float64) - self.middle) / self.side

    def look_up(self, grid_RRR: torch.Tensor, points_N3: NDArray[np.floating]) -> NDArray:
        """The value of the cell that holds each point, (N,), of the grid's type; far points take a border cell."""
        size, flat = self.resolution, grid_RRR.cpu().view(-1).numpy()
        values = np.empty(len(points_N3), dtype=flat.dtype)
        scale, shift = size / self.side, size / 2 - self.middle * size / self.side
        for start in range(0, len(points_N3), LOOK_UP_CHUNK):
            block = np.asarray(points_N3[start : start + LOOK_UP_CHUNK], dtype=np.float64).T
            i, j, k = ((block[d] * scale + shift[d]).clip(0, size - 1).astype(np.int32) for d in range(3))
            values[start : start + LOOK_UP_CHUNK] = flat[(i * size + j) * size + k]
        return values


def _box(triangles_F33: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (3,) of triangles (F, 3, 3), at least one."""
    # Rows are reduced faster than columns, and some faces at once stay in the cache.
    rows_F9 = triangles_F33.reshape(-1, 9)
    lower_9, upper_9 = rows_F9[0].copy(), rows_F9[0].copy()
    for start in range(0, len(rows_F9), BLOCK):
        block_9B = np.ascontiguousarray(rows_F9[start : start + BLOCK].T)
        np.minimum(lower_9, block_9B.min(axis=1), out=lower_9)
        np.maximum(upper_9, block_9B.max(axis=1), out=upper_9)
    return lower_9.reshape(3, 3).min(axis=0), upper_9.reshape(3, 3).max(axis=0)


class Projection:
    """Triangles seen along the last axis, with integer edge functions; `corners`: (F, 3, 3) int64 on the lattice."""

    def __init__(self, corners: torch.Tensor) -> None:
        x, y = ([corners[:, k, axis].contiguous() for k in range(3)] for axis in range(2))
        self.z = [corners[:, k, 2].contiguous() for k in range(3)]
        self.low, self.high = corner_bounds(corners)
        self.turn = ((x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])).sign()  # +1: looks up
        self.sides = []
        for k in range(3):
            dx, dy = (x[(k + 1) % 3] - x[k]) * self.turn, (y[(k + 1) % 3] - y[k]) * self.turn
            tie = (dy < 0) | ((dy == 0) & (dx > 0))  # the side that owns the lines through it
            self.sides.append((-dy, dx, dy * x[k] - dx * y[k] + tie.long()))  # value > 0, or 0 and tie

    def heights(self, row: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the pairs (triangle `row`, line x, y) meet: their positions, and the heights there, float64."""
        # Three edge functions in int64, exact. Only a hit is divided: they add up to twice the projected area, and each
        # weighs the corner opposite to its edge.
        value = self._edge_functions(row, x, y)
        hit = (torch.minimum(torch.minimum(value[0], value[1]), value[2]) > 0).nonzero().squeeze(1)
        return hit, self._heights(row[hit], [item[hit] for item in value])

    def heights_of_all(self, row: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each of the pairs meets, bool, and the height there, which says nothing where it does not."""
        value = self._edge_functions(row, x, y)
        return torch.minimum(torch.minimum(value[0], value[1]), value[2]) > 0, self._heights(row, value)

    def _edge_functions(self, row: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        return [a[row] * x + b[row] * y + c[row] for a, b, c in self.sides]

    def _heights(self, row: torch.Tensor, value: list[torch.Tensor]) -> torch.Tensor:
        opposite_c, opposite_a, opposite_b = (item.double() for item in value)
        z0, z1, z2 = (item[row].double() for item in self.z)
        rise = opposite_b * (z1 - z0) + opposite_c * (z2 - z0)
        return z0 + rise / (opposite_a + opposite_b + opposite_c)


class RayColumns:
    """Triangles (F, 3, 3) in [-0.5, 0.5]^3 sorted into square columns along z."""

    def __init__(self, faces_F33: torch.Tensor) -> None:
        self.scale = 2.0 ** (LATTICE_BITS - 1)
        self.flat = Projection((faces_F33 * self.scale).round().long())
        self.bins = min(max(int(len(faces_F33) ** 0.5), 16), COLUMN_BINS)
        low, high = self._bin(self.flat.low[:, 0]), self._bin(self.flat.high[:, 0])
        low_y, high_y = self._bin(self.flat.low[:, 1]), self._bin(self.flat.high[:, 1])
        width = high_y - low_y + 1
        # Each face is listed in every column that its box reaches; sorted by column, those of one column are one run.
        none = torch.zeros(0, dtype=torch.int64, device=faces_F33.device)
        pairs = [(none, none)]  # walls along z alone are in no column
        for row, offset in expand_ranges(torch.where(self.flat.turn == 0, 0, (high - low + 1) * width)):
            wide = width[row]
            step = offset.div(wide, rounding_mode="floor")
            pairs.append((row, (low[row] + step) * self.bins + low_y[row] + offset - step * wide))
        column, order = torch.cat([pair[1] for pair in pairs]).sort(stable=True)
        self.face = torch.cat([pair[0] for pair in pairs])[order]
        self.top = self.flat.high[:, 2].double()
        self.start = torch.searchsorted(column, torch.arange(self.bins**2 + 1, device=column.device))

    def winding(self, points_N3: torch.Tensor) -> torch.Tensor:
        """Sum of the signs of the faces above each point, (N,) int64; points may lie beyond the cube."""
        # Beyond the cube nothing is above: one step beside it says as much, and edge functions still fit into int64.
        beside = 0.5 + 1 / self.scale
        lattice = (points_N3.clamp(-beside, beside) * self.scale).round().long()
        column = self._bin(lattice[:, 0]) * self.bins + self._bin(lattice[:, 1])
        column, order = column.sort(stable=True)  # neighbours share memory
        x, y, height = lattice[order, 0], lattice[order, 1], (points_N3[:, 2] * self.scale)[order]
        result = torch.zeros(len(points_N3), dtype=torch.int64, device=points_N3.device)
        start = self.start[column]
        for query, offset in expand_ranges(self.start[column + 1] - start):
            face = self.face[start[query] + offset]
            # A face wholly below the point cannot be above it: that spares most of the edge functions.
            kept = (self.top[face] > height[query]).nonzero().squeeze(1)
            query, face = query[kept], face[kept]
            hit, crossing = self.flat.heights(face, x[query], y[query])
            above = hit[crossing > height[query[hit]]]
            result.index_add_(0, query[above], self.flat.turn[face[above]])
        return torch.empty_like(result).scatter_(0, order, result)

    def _bin(self, lattice: torch.Tensor) -> torch.Tensor:
        return ((lattice.double() / self.scale + 0.5) * self.bins).long().clamp_(0, self.bins - 1)
