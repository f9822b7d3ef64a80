"""Marching cubes over the cells that cross the level: one torch code for CPU and CUDA, no copied table.

The triangles of the 256 sign patterns are derived here. On each of the six faces of a cell the crossed edges are joined
by a rule that looks at the four signs of that face only (of an ambiguous face, with inside corners across one diagonal
and outside corners across the other, the inside corners are joined), so the two cells of a face draw the same segments.
The segments close to loops; each loop is cut into triangles without a diagonal that lies in a face. Hence every edge of
the mesh has exactly two triangles, with opposite directions: the surface is a closed, consistently oriented 2-manifold,
whatever the field, as long as no inside sample lies on the border of the array. `pad_outside` sees to that.

Inside is where the value is greater than the level. Triangles are counter-clockwise seen from outside.
Sampling a field, and sampling only the part of it that matters, is in `isofield/extraction/isosurface.py`.
"""

import functools
from typing import NamedTuple

import torch

from isofield.runtime.device_tensors import constant

Edge = tuple[int, int]  # (axis, low corner); corner number: 4 dx + 2 dy + dz
CORNERS = [(c >> 2 & 1, c >> 1 & 1, c & 1) for c in range(8)]
AXIS_BIT = (4, 2, 1)
EDGES: list[Edge] = [(axis, c) for axis in range(3) for c in range(8) if not c & AXIS_BIT[axis]]
OUTSIDE = -torch.inf  # the value of a sample beyond the border: never a number that interpolation could lean on
NEAREST = 2.0**-10  # a vertex keeps this part of an edge away from its ends: equal vertices would collapse triangles


class CaseTable(NamedTuple):
    """Triangles of the 256 cases; bit c of a case is set where corner c is inside."""

    count_256: torch.Tensor  # int64: triangles of the case
    start_256: torch.Tensor  # int64: its first row in triangles_T3
    triangles_T3: torch.Tensor  # int64: indices into EDGES
    crossed_faces_256_6: torch.Tensor  # bool: signs differ on the face; faces in the order -x +x -y +y -z +z


def _face_corners(axis: int, side: int) -> list[int]:
    """The four corners of a face, counter-clockwise seen from outside the cell."""
    first, second = AXIS_BIT[(axis + 1) % 3], AXIS_BIT[(axis + 2) % 3]
    # The axis and the two after it are right-handed: counter-clockwise as seen from the positive side, so the other
    # side is walked backwards.
    around = [0, first, first | second, second]
    base = AXIS_BIT[axis] if side else 0
    return [base | corner for corner in (around if side else around[::-1])]


FACES = [_face_corners(axis, side) for axis in range(3) for side in (0, 1)]


@functools.cache
def _edge_number(a: int, b: int) -> int:
    return EDGES.index((AXIS_BIT.index(a ^ b), min(a, b)))


def _segments(case: int) -> dict[int, int]:
    """Crossed edge -> next crossed edge, over all faces of the cell.

    Walking around a face, every run of outside corners is cut off by a segment from the edge where the run ends to the
    edge where it began. The neighbour walks the shared edge the other way, so that begin and end swap: loops close.
    """
    following: dict[int, int] = {}
    for corners in FACES:
        inside = [bool(case >> corner & 1) for corner in corners]
        for k in range(4):
            if not inside[k] and inside[k - 1]:
                end = next(m for m in range(k, k + 4) if inside[(m + 1) % 4])
                enter = _edge_number(corners[end % 4], corners[(end + 1) % 4])
                following[enter] = _edge_number(corners[k - 1], corners[k])
    return following


def _loops(case: int) -> list[list[int]]:
    following, loops = _segments(case), []
    while following:
        first, edge = next(iter(following.items()))
        del following[first]
        loop = [first]
        while edge != first:
            loop.append(edge)
            edge = following.pop(edge)
        loops.append(loop)
    return loops


def _in_one_face(a: int, b: int) -> bool:
    """Whether two edges of the cell lie in a common face."""
    ends = [{low, low | AXIS_BIT[axis]} for axis, low in (EDGES[a], EDGES[b])]
    return any(ends[0] | ends[1] <= set(corners) for corners in FACES)


@functools.cache
def _diagonal_cost(a: int, b: int) -> float:
    """Length between the middles of two edges of the cell; prohibitive in a face, where the neighbour may draw too."""
    middles = []
    for axis, low in (EDGES[a], EDGES[b]):
        middles.append([CORNERS[low][k] + 0.5 * (k == axis) for k in range(3)])
    length = sum((p - q) ** 2 for p, q in zip(*middles, strict=True)) ** 0.5
    return length + 100.0 * _in_one_face(a, b)


def _triangulate(loop: list[int]) -> list[tuple[int, int, int]]:
    """Cut a loop into triangles with the least total length of diagonals; the loop's direction is kept."""

    @functools.cache
    def best(i: int, j: int) -> tuple[float, tuple[tuple[int, int, int], ...]]:
        if j - i < 2:
            return 0.0, ()
        # Every choice of a third corner for the edge (i, j), the cheapest kept: loops have at most 12 edges, and each
        # case is cut once in a process.
        options = []
        for k in range(i + 1, j):
            (cost_a, cut_a), (cost_b, cut_b) = best(i, k), best(k, j)
            cost = sum(_diagonal_cost(loop[p], loop[q]) for p, q in ((i, k), (k, j)) if q - p > 1)
            options.append((cost_a + cost_b + cost, (*cut_a, (loop[i], loop[k], loop[j]), *cut_b)))
        return min(options)

    return list(best(0, len(loop) - 1)[1])


@functools.cache
def case_table(device: torch.device | str = "cpu") -> CaseTable:
    """The derived table on `device`: built once in the process, copied once to each device."""
    if torch.device(device).type != "cpu":
        return CaseTable(*(part.to(device) for part in case_table("cpu")))
    triangles = [[triangle for loop in _loops(case) for triangle in _triangulate(loop)] for case in range(256)]
    count = torch.tensor([len(rows) for rows in triangles])
    crossed = [[len({case >> corner & 1 for corner in corners}) > 1 for corners in FACES] for case in range(256)]
    flat = torch.tensor([triangle for rows in triangles for triangle in rows])
    return CaseTable(count, count.cumsum(0) - count, flat, torch.tensor(crossed))


def pad_outside(values_XYZ: torch.Tensor) -> torch.Tensor:
    """A layer of OUTSIDE around a grid: (X+2, Y+2, Z+2), the same dtype.

    An edge from an inside sample of the border to that layer has its vertex exactly half-way, that is on the face of
    the cube: a shape that touches the border is closed there by a flat cap. Padding with a number (a logit of 0) would
    bulge.
    """
    return torch.nn.functional.pad(values_XYZ, (1, 1, 1, 1, 1, 1), value=OUTSIDE)


def crossing_cells(values_XYZ: torch.Tensor, *, iso_level: float) -> torch.Tensor:
    """Cells with corners on both sides of the level: sorted flat indices of their low corners, (C,) int64."""
    # "Any" and "all" of eight corners, folded axis by axis: six operations over the grid instead of fourteen.
    any_inside = all_inside = values_XYZ > iso_level
    for axis in range(3):
        length = any_inside.shape[axis] - 1
        any_inside = any_inside.narrow(axis, 0, length) | any_inside.narrow(axis, 1, length)
        all_inside = all_inside.narrow(axis, 0, length) & all_inside.narrow(axis, 1, length)
    cells_C3 = (any_inside & ~all_inside).nonzero()
    return (cells_C3 * constant(strides(tuple(values_XYZ.shape)), cells_C3.device)).sum(1)


def strides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Steps of the flat index along the three axes of a C-ordered array."""
    return shape[1] * shape[2], shape[2], 1


def corner_offsets(shape: tuple[int, ...]) -> list[int]:
    """Flat offsets of the eight corners of a cell from its low corner, in the order of CORNERS."""
    return [sum(d * s for d, s in zip(corner, strides(shape), strict=True)) for corner in CORNERS]


def cells_corners(cells: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Flat indices (8, C) of the corners of cells, which are named by the flat index of their low corner."""
    return cells + constant(corner_offsets(shape), cells.device)[:, None]


def cell_cases(values: torch.Tensor, corners_8C: torch.Tensor, iso_level: float) -> torch.Tensor:
    """The sign patterns (C,) uint8 of cells; `values` flat, `corners_8C` indices into them."""
    bit_81 = constant([1 << number for number in range(8)], values.device, torch.uint8)[:, None]
    return ((values[corners_8C] > iso_level) * bit_81).sum(0, dtype=torch.uint8)


def marching_cubes(
    values_XYZ: torch.Tensor, *, iso_level: float, cells: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (V, 3) float64 in index units of the array, and faces (F, 3) int64.

    `values_XYZ`: float, finite or OUTSIDE; at most 2^31 samples or so. `cells`: sorted flat indices of the low corners
    of all cells that cross the level (values elsewhere are not looked at); None finds them. Vertices are in the order
    of their edges (low end, then axis), triangles in the order of their cells: the same mesh whoever found the cells.
    Raises ValueError when an inside sample lies on the border of the array (see `pad_outside`), and when a corner that
    matters is not finite and not OUTSIDE.
    """
    shape, values = tuple(values_XYZ.shape), values_XYZ.reshape(-1)
    cells = crossing_cells(values_XYZ, iso_level=iso_level) if cells is None else cells
    corners_8C = cells_corners(cells, shape)
    _refuse_unsound(values_XYZ, values[corners_8C], iso_level)
    cases = cell_cases(values, corners_8C, iso_level)
    edge_keys, vertices_V3 = _vertices(values, shape, cells, cases, iso_level)
    return vertices_V3, _faces(shape, cells, cases, edge_keys)


def _refuse_unsound(values_XYZ: torch.Tensor, at_corners: torch.Tensor, iso_level: float) -> None:
    """ValueError where the border is inside or a corner that matters is no number: the device is waited for once."""
    # Both counts travel in one transfer: each would make the device wait.
    layers = [values_XYZ.select(axis, end).flatten() for axis in range(3) for end in (0, -1)]
    inside = (torch.cat(layers) > iso_level).sum()
    not_finite = (~(at_corners < torch.inf)).sum()  # NaN and +inf; OUTSIDE is -inf
    open_border, bad = torch.stack([inside, not_finite]).tolist()
    if open_border:
        raise ValueError(
            f"{open_border} samples on the border are inside, so the surface would be open: pad_outside first"
        )
    if bad:
        raise ValueError(f"{bad} corners of crossing cells are NaN or infinite: marching cubes needs finite values")


def _vertices(
    values: torch.Tensor, shape: tuple[int, ...], cells: torch.Tensor, cases: torch.Tensor, iso_level: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted keys of the crossed edges (3 * low end + axis) and their vertices.

    Each edge is kept by the cell at its low end. That cell crosses the level too, so the three edges at the low corners
    of `cells` are all there are, each once.
    """
    # Bit 0 is the low corner, the bits of AXIS_BIT its neighbours: where one differs, that edge is crossed.
    inside_C3 = cases[:, None] >> constant(AXIS_BIT, cases.device, torch.uint8) & 1
    cell, axis = (inside_C3 != (cases & 1)[:, None]).nonzero(as_tuple=True)
    low = cells[cell]
    ends = values[low].double(), values[low + constant(strides(shape), low.device)[axis]].double()
    beyond = torch.isinf(ends[0]) | torch.isinf(ends[1])
    # Linear along the edge; towards OUTSIDE there is nothing to interpolate, and half-way is the face of the cube.
    part = torch.where(beyond, 0.5, (iso_level - ends[0]) / (ends[1] - ends[0]))
    vertices_V3 = torch.stack([low // strides(shape)[0], low // shape[2] % shape[1], low % shape[2]], 1).double()
    vertices_V3.scatter_add_(1, axis[:, None], part.clamp(NEAREST, 1 - NEAREST)[:, None])
    return low * 3 + axis, vertices_V3


def _faces(shape: tuple[int, ...], cells: torch.Tensor, cases: torch.Tensor, edge_keys: torch.Tensor) -> torch.Tensor:
    table = case_table(cells.device)
    count = table.count_256[cases.long()]
    # A cell's triangles are a run of the table: its row is the start of the case plus the place within the run.
    cell = torch.repeat_interleave(torch.arange(len(cells), device=cells.device), count)
    row = torch.arange(len(cell), device=cells.device) - (count.cumsum(0) - count)[cell]
    edges_F3 = table.triangles_T3[table.start_256[cases.long()][cell] + row]
    offsets = corner_offsets(shape)
    # Keys of crossed edges are sorted, so that the place of a key is the number of its vertex: no table of all edges is
    # needed.
    key_offset = constant([3 * offsets[low] + axis for axis, low in EDGES], edge_keys.device)
    return torch.searchsorted(edge_keys, 3 * cells[cell][:, None] + key_offset[edges_F3])
