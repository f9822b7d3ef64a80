"""The winding number of an open surface with a short boundary by tensors alone: nothing is compiled, nothing is loaded.

For a single shape: compiling the kernels of winding_number_kernels.py takes nine seconds, importing numba another half,
and a sum over a hundred boundary edges less than either. The same formula, with one direction for all places:

    w(p) = faces above p, +1 where they look up, + 1 / (2 pi) * sum over boundary edges of their half angles

(docs/explanation/winding-number.md: the fan of each edge runs down, and so nothing is added where p lies above all).
The first is counted in integers, as scan_conversion.py does. On a grid only cells that a face touches, or in which the
number may round to another integer, are halved: its gradient is that of a current along the edges, which is bounded by
their distance from the cell.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.occupancy.scan_conversion import RayColumns, grid_crossings
from data_processing.occupancy.surface_voxels import expand_ranges, touched_cells

COARSEST = 8  # cells along an edge of the first grid, at least
PAIRS = 1 << 15  # of places and edges at once: temporaries stay in cache
SURE = 0.5 - 1e-7
BESIDE = 1e-7  # of the cube: a place so close to straight below an edge may be counted on either side of it
FAR = 1  # times the reach: from there on an edge counts by its own slope
BORDER = 1e-6  # of the cube: beside a cell whatever is in it by rounding
TINY = 1e-300


def sum_on_grid(
    triangles_F33: NDArray[np.float64], boundary_E23: NDArray[np.float64], resolution: int
) -> NDArray[np.int16]:
    """Rounded winding number (R, R, R) at the voxel centres of triangles (F, 3, 3) in cube coordinates."""
    triangles, edges = torch.as_tensor(triangles_F33, dtype=torch.float64), _Boundary(boundary_E23)
    level = resolution
    while level % 2 == 0 and level // 2 >= COARSEST:
        level //= 2
    number = torch.zeros((level,) * 3, dtype=torch.int16)
    index_C3 = torch.cartesian_prod(*[torch.arange(level)] * 3)
    turned_C3 = index_C3[:0]  # cells of which what the boundary adds is known; faces are counted at the end
    while level < resolution:
        # In a cell without a face the number changes by its gradient at most, and in one that lies under no edge what
        # the boundary adds does, whatever faces are there.
        split = torch.ones(len(index_C3), dtype=torch.bool)
        touched = touched_cells(triangles, level)[index_C3.unbind(1)]
        asked = (~touched | edges.are_clear(index_C3, level)).nonzero().squeeze(1)
        place, points_A3 = index_C3[asked].unbind(1), _centres(index_C3[asked], level)
        above_A = torch.where(touched[asked], 0, _faces_above(triangles, level, place))
        values_A = _numbers(triangles, edges, points_A3, above_A)
        number[place] = values_A.round().to(torch.int16)
        reach = math.sqrt(3) / 2 / level
        split[asked] = (values_A - values_A.round()).abs() + edges.changes(points_A3, reach) >= SURE
        turned_C3 = torch.cat([_octants(turned_C3), _octants(index_C3[touched & ~split])])
        index_C3, level = _octants(index_C3[split]), 2 * level
        number = number[:, None, :, None, :, None].expand(-1, 2, -1, 2, -1, 2).reshape((level,) * 3)
    place = torch.cat([index_C3, turned_C3]).unbind(1)
    above = _faces_above(triangles, level, place)
    count = len(index_C3)
    values_C = _numbers(triangles, edges, _centres(index_C3, level), above[:count])
    number[index_C3.unbind(1)] = values_C.round().to(torch.int16)
    number[turned_C3.unbind(1)] += above[count:]
    return number.numpy()


def _centres(index_C3: torch.Tensor, level: int) -> torch.Tensor:
    """Of cells of a grid of so many along each axis, in cube coordinates: (C, 3) float64, of none too."""
    return (index_C3.double() + 0.5) / level - 0.5


def _octants(index_C3: torch.Tensor) -> torch.Tensor:
    """The eight cells of the next level in each cell."""
    return (2 * index_C3[:, None] + torch.cartesian_prod(*[torch.arange(2)] * 3)).view(-1, 3)


def sum_at_points(
    triangles_F33: NDArray[np.float64], boundary_E23: NDArray[np.float64], points_N3: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Winding number (N,) at finite points, of triangles in the cube [-0.5, 0.5]^3."""
    triangles, edges = torch.as_tensor(triangles_F33, dtype=torch.float64), _Boundary(boundary_E23)
    points = torch.as_tensor(points_N3, dtype=torch.float64)
    return _numbers(triangles, edges, points, RayColumns(triangles).winding(points)).numpy()


def _numbers(
    triangles: torch.Tensor, edges: "_Boundary", points_N3: torch.Tensor, above_N: torch.Tensor
) -> torch.Tensor:
    """The number (N,) at points with so many faces above them."""
    turn_N, weak_N = edges.turns(points_N3)
    values_N, weak = above_N + turn_N, weak_N.nonzero().squeeze(1)
    values_N[weak] = _sum_over_faces(triangles, points_N3[weak])
    return values_N


def _faces_above(triangles: torch.Tensor, resolution: int, place: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Faces above the centres of voxels, by their indices (C,) along each axis, +1 where they look up: (C,) int16."""
    change = torch.zeros(resolution**3, dtype=torch.int16)
    for crossing in grid_crossings(triangles, resolution, axis=2):
        first = crossing.height_H.ceil().clamp(max=resolution).long()  # centre above the face, or on it
        kept = first > 0
        index = (crossing.line_H2[:, 0] * resolution + crossing.line_H2[:, 1]) * resolution + first - 1
        change.index_add_(0, index[kept], crossing.sign_H[kept].to(torch.int16))
    # Of all faces of a line those that are not below: what changes at the centre itself lies above it.
    change = change.view((resolution,) * 3)
    below = change.cumsum(2, dtype=torch.int16)
    return below[place[0], place[1], -1] - below[place] + change[place]


def _sum_over_faces(triangles: torch.Tensor, points_N3: torch.Tensor) -> torch.Tensor:
    """The number as the sum of the solid angles of all faces: right everywhere, and slow."""
    parts = [points_N3.new_empty(0)]
    for point_M3 in points_N3.split(max(1, PAIRS // max(1, len(triangles)))):
        a, b, c = (triangles[None, :, k] - point_M3[:, None] for k in range(3))
        length_a, length_b, length_c = (corner.norm(dim=2) for corner in (a, b, c))
        volume = (a * torch.linalg.cross(b, c)).sum(2)
        ab, bc, ca = (a * b).sum(2), (b * c).sum(2), (c * a).sum(2)
        below = length_a * length_b * length_c + ab * length_c + bc * length_a + ca * length_b
        parts.append(torch.atan2(volume, below).sum(1) / (2 * torch.pi))
    return torch.cat(parts)


class _Boundary:
    """Directed edges (E, 2, 3) of a boundary, in cube coordinates, as columns."""

    def __init__(self, boundary_E23: NDArray[np.float64]) -> None:
        ends = torch.as_tensor(boundary_E23, dtype=torch.float64)
        self.a, self.b = (ends[:, k].T.contiguous() for k in range(2))  # (3, E)
        self.way = self.b - self.a
        self.length_E = self.way.norm(dim=0)
        self.squared_E = self.way.square().sum(0) + TINY
        self.flat_E = self.way[:2].norm(dim=0)

    def are_clear(self, index_C3: torch.Tensor, level: int) -> torch.Tensor:
        """Which cells (C,) of a grid of so many along each axis lie under no edge, nor around one."""
        low, high = torch.minimum(self.a, self.b), torch.maximum(self.a, self.b)
        first = ((low[:2] - BORDER + 0.5) * level).floor().long().clamp(0, level - 1)
        last = ((high[:2] + BORDER + 0.5) * level).floor().long().clamp(0, level - 1)
        # The highest edge over each column of cells, by the boxes of the edges.
        top = torch.full((level * level,), -torch.inf, dtype=torch.float64)
        width = last[1] - first[1] + 1
        for edge, offset in expand_ranges((last[0] - first[0] + 1) * width):
            step = offset.div(width[edge], rounding_mode="floor")
            column = (first[0][edge] + step) * level + first[1][edge] + offset - step * width[edge]
            top.scatter_reduce_(0, column, high[2][edge], "amax")
        return index_C3[:, 2] / level - 0.5 > top[index_C3[:, 0] * level + index_C3[:, 1]] + BORDER

    def turns(self, points_N3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the boundary adds to the count of faces above each point (N,), and where that cannot be told (N,) bool.

        Straight below an edge the count jumps by one, and what is added with it.
        """
        parts = [self._turns(block) for block in self._blocks(points_N3)]
        turn_N = torch.cat([points_N3.new_empty(0), *(part[0] for part in parts)])
        return turn_N, torch.cat([torch.empty(0, dtype=torch.bool), *(part[1] for part in parts)])

    def changes(self, points_N3: torch.Tensor, reach: float) -> torch.Tensor:
        """A bound (N,) on how far the number changes within `reach` of each point."""
        parts = [self._changes(block, reach) for block in self._blocks(points_N3)]
        return torch.cat([points_N3.new_empty(0), *parts])

    def _blocks(self, points_N3: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return points_N3.split(max(1, PAIRS // max(1, len(self.length_E)))) if len(points_N3) else ()

    def _turns(self, points_M3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ax, ay, az = (self.a[k] - points_M3[:, k, None] for k in range(3))
        bx, by, bz = (self.b[k] - points_M3[:, k, None] for k in range(3))
        a, b = (ax * ax).addcmul_(ay, ay).addcmul_(az, az).sqrt_(), (bx * bx).addcmul_(by, by).addcmul_(bz, bz).sqrt_()
        # As in solid_angles.exact_number, its factors taken together: (a - az) (b - bz) + ax bx + ay by.
        real = (a - az).mul_(b - bz).addcmul_(ax, bx).addcmul_(ay, by)
        imaginary = ay.mul_(bx).addcmul_(ax, by, value=-1)
        # Straight below it, an edge that runs down itself included: that has no width, and rounding no bound but this.
        weak = (imaginary.abs() <= BESIDE * (self.flat_E + BESIDE)) & (real <= BESIDE * (a + b))
        return torch.atan2(imaginary, real).sum(1) / (2 * torch.pi), weak.any(1)

    def _changes(self, points_M3: torch.Tensor, reach: float) -> torch.Tensor:
        ax, ay, az = (points_M3[:, k, None] - self.a[k] for k in range(3))
        ux, uy, uz = self.way
        along = (ax * ux).addcmul_(ay, uy).addcmul_(az, uz)
        share = (along / self.squared_E).clamp_(0, 1)
        squared = (ax - share * ux).square_().add_((ay - share * uy).square_()).add_((az - share * uz).square_())
        apart = squared.sqrt_().sub_(reach).clamp_(min=1e-9)
        # Biot and Savart: an edge of this length, and one without end. Near edges count by how steep they can be, far
        # ones by how steep they are, which is little where two of them run against each other, and how that changes.
        far = apart > FAR * reach
        near_M = torch.minimum(self.length_E / (4 * torch.pi * apart * apart), 1 / (2 * torch.pi * apart))
        near_M = near_M.masked_fill_(far, 0).sum(1)
        bend = torch.minimum(self.length_E / (2 * torch.pi * apart**3), 1 / (torch.pi * apart * apart))
        bend_M = bend.masked_fill_(~far, 0).sum(1)
        a_squared = (ax * ax).addcmul_(ay, ay).addcmul_(az, az)
        ab = a_squared - along
        a, b = a_squared.sqrt(), (ab - along).add_(self.squared_E).clamp_(min=0).sqrt_()
        product = a * b
        weight = a.add_(b).div_(product.mul_(ab.add_(product)).clamp_(min=TINY)).masked_fill_(~far, 0)
        slope_3M = [
            (weight * (ax * vz - az * vx)).sum(1)
            for ax, az, vx, vz in ((ay, az, uy, uz), (az, ax, uz, ux), (ax, ay, ux, uy))
        ]
        slope_M = torch.stack(slope_3M).norm(dim=0) / (4 * torch.pi)
        return reach * (slope_M + near_M) + reach * reach / 2 * bend_M
