"""Cells of a grid taken away, emptiest first, until what is left is one cell thick: no hole opens, nothing falls apart.

A cell may go when it is a simple point (its neighbourhood stays in one piece, for the solid with 26 neighbours and for
the space around with 6; Bertrand and Malandain 1994), when a neighbour along an axis in which the part is thin holds
more, and when every cell that was there keeps one that is left within a step. So sheets are not eaten from their
borders, nor rods from their ends.
"""

import torch

from isofield.runtime.device_tensors import send

LEVELS = 4  # of emptiness: cells of the lowest level go first
SWEEPS = 2
STEPS = 8  # within a 3x3x3 neighbourhood: no path in it is longer
ROD = 0.3  # spread across a rod, against that along it: a sheet's border has a third
EQUALLY_THIN, ABOUT_THIN = 1.25, 0.3  # spread along an axis, against the least: factor, and addition in cells^2
CELLS_AT_ONCE = 1 << 18  # whose surroundings are looked at: a kilobyte each
SPACING = 3  # cells looked at together are this far apart: no cell is next to two of them


def thin_cells(candidates_CCC: torch.Tensor, *, fixed_CCC: torch.Tensor, weight_CCC: torch.Tensor) -> torch.Tensor:
    """The candidates (C, C, C) bool that stay beside the `fixed` cells, which are solid too; lighter ones go first.

    `weight` (C, C, C) float: how much of the shape a cell holds.
    """
    return thin_cells_of_all(candidates_CCC[None], fixed_BCCC=fixed_CCC[None], weight_BCCC=weight_CCC[None])[0]


def thin_cells_of_all(
    candidates_BCCC: torch.Tensor, *, fixed_BCCC: torch.Tensor, weight_BCCC: torch.Tensor
) -> torch.Tensor:
    """The same of B shapes at once, each by itself: as many operators as for one of them."""
    # A border of two cells spares every look at neighbours a test of the grid's sides.
    shapes, size = candidates_BCCC.shape[:2]
    pad, width = (2,) * 6, size + 4
    there = torch.nn.functional.pad(candidates_BCCC | fixed_BCCC, pad).view(-1)
    weight = torch.nn.functional.pad(weight_BCCC, pad).view(-1)
    kept = there.clone()
    index_N4 = candidates_BCCC.nonzero()
    shape, i, j, k = index_N4.unbind(1)
    cells_N = ((shape * width + i + 2) * width + j + 2) * width + k + 2
    around = _Neighbourhood(width, candidates_BCCC.device)
    thin_N3, rod_N = around.thin_axes(cells_N, weight)
    # Cells of a group do not touch, so they may go at once. A second sweep meets what the first one freed.
    for group in _groups(index_N4, weight[cells_N], shapes) * SWEEPS:
        cells, thin, rod = cells_N[group], thin_N3[group], rod_N[group]
        if cells.device.type != "cpu":
            # To leave out what has gone, or stays, would be a wait for the device: all of them are asked everything.
            goes = around.has_heavier_neighbour(cells, thin, rod, kept, weight)
            goes &= around.keeps_cover(cells, kept, there) & around.is_simple(cells, kept)
            kept[cells] = kept[cells] & ~goes
            continue
        left = kept[cells]
        cells, thin, rod = cells[left], thin[left], rod[left]
        if len(cells) == 0:
            continue
        cells = cells[around.has_heavier_neighbour(cells, thin, rod, kept, weight)]
        cells = cells[around.keeps_cover(cells, kept, there)]
        cells = cells[around.is_simple(cells, kept)]
        kept[cells] = False
    result = kept.view(shapes, width, width, width)[:, 2:-2, 2:-2, 2:-2]
    return result & candidates_BCCC


def _groups(index_N4: torch.Tensor, weight_N: torch.Tensor, shapes: int) -> list[torch.Tensor]:
    """Positions of cells that do not touch each other, light ones first; `index`: shape and place of each."""
    # By rank and not by weight: levels hold equal numbers of a shape's cells, however the weights are spread.
    shape_N, *places = index_N4.unbind(1)
    order = weight_N.argsort(stable=True)
    order = order[shape_N[order].argsort(stable=True)]
    count_B = torch.zeros(shapes, dtype=torch.int64, device=order.device)
    count_B.scatter_add_(0, shape_N, torch.ones_like(shape_N))
    before_N = (count_B.cumsum(0) - count_B)[shape_N]
    rank_N = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device)) - before_N
    level_N = rank_N * LEVELS // count_B[shape_N]
    i, j, k = (place % SPACING for place in places)
    key_N = level_N * SPACING**3 + (i * SPACING + j) * SPACING + k
    sizes = torch.zeros(LEVELS * SPACING**3, dtype=torch.int64, device=order.device)
    sizes.scatter_add_(0, key_N, torch.ones_like(key_N))
    groups = key_N.argsort(stable=True).split(sizes.tolist())
    return [group for group in groups if len(group)]


class _Neighbourhood:
    """Flat offsets to the cells around a cell, and which of those are neighbours of each other."""

    def __init__(self, width: int, device: torch.device) -> None:
        near, far = (torch.cartesian_prod(*[torch.arange(-n, n + 1)] * 3) for n in (1, 2))
        strides = torch.tensor([width * width, width, 1])
        self.near = send((near * strides).sum(1), device)  # (27,)
        self.far = send((far * strides).sum(1), device)  # (125,)
        steps = (near[:, None] - near[None]).abs()
        off_centre, order = near.abs().sum(1) > 0, near.abs().sum(1)
        sides = (off_centre & (order <= 2)).nonzero()[:, 0]  # across a face or an edge
        self.is_face_27 = send(order == 1, device)
        self.sides = send(sides, device)
        self.is_face = send((order == 1)[sides], device)
        self.axes_of_side = send(near[sides].abs().float().T.contiguous(), device)  # (3, 18)
        # One matrix product gives the mass, its first and its second moments of all cells' surroundings at once.
        products = (far[:, :, None] * far[:, None]).flatten(1)
        self.moments = send(torch.cat([torch.ones(len(far), 1), far, products], 1).float(), device)  # (125, 13)
        self.others = send(off_centre, device)
        self.within_18 = send(off_centre & (order <= 2), device)
        # (2, 27, 27): neighbours of solid cells, which touch, and of free ones, which share a face.
        self.joined = send(torch.stack([steps.amax(2) <= 1, steps.sum(2) <= 1]).float(), device)
        self.windows = send(((far[:, None] - near[None]).abs().amax(2) <= 1).float(), device)  # (125, 27)

    def thin_axes(self, cells_N: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Axes (N, 3) along which what lies in the 5x5x5 cells around spreads least, and whether (N,) it is a rod."""
        parts = [self._thin_axes(cells, weight) for cells in cells_N.split(CELLS_AT_ONCE)]
        thin, rod = zip(*parts, strict=True)
        return torch.cat(thin), torch.cat(rod)

    def _thin_axes(self, cells_N: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        moments = weight[cells_N[:, None] + self.far] @ self.moments
        mean_N3 = moments[:, 1:4] / moments[:, :1]
        # Second moments about the mean: how far the mass around the cell spreads along each axis.
        spread_N33 = (moments[:, 4:] / moments[:, :1]).view(-1, 3, 3) - mean_N3[:, :, None] * mean_N3[:, None]
        along_N3 = spread_N33.diagonal(dim1=1, dim2=2)
        thin_N3 = along_N3 <= EQUALLY_THIN * along_N3.amin(1, keepdim=True) + ABOUT_THIN
        principal_N3 = torch.linalg.eigvalsh(spread_N33.double())  # ascending
        rod_N = principal_N3[:, 1] < ROD * principal_N3[:, 2]
        return thin_N3, rod_N

    def has_heavier_neighbour(
        self,
        cells_N: torch.Tensor,
        thin_N3: torch.Tensor,
        rod_N: torch.Tensor,
        kept: torch.Tensor,
        mass: torch.Tensor,
    ) -> torch.Tensor:
        """(N,): a cell that is kept holds more, across a face of a thin axis; of equal cells the first counts as such.

        Across thin axes equal cells may share an edge only: a rod right between four cells. Of a rod any neighbour will
        do, as its ends are covered.
        """
        index = cells_N[:, None] + self.near[self.sides]
        own, other = mass[cells_N][:, None], mass[index]
        thin = (~thin_N3).float() @ self.axes_of_side == 0
        more = (other > own) & (rod_N[:, None] | (thin & self.is_face))
        first = (other == own) & (index < cells_N[:, None]) & thin
        return (kept[index] & (more | first)).any(1)

    def keeps_cover(self, cells_N: torch.Tensor, kept: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(N,): each cell around that was there would have another kept one within a step."""
        # How many kept cells each of the 27 around sees within a step; the cell itself is one of them, so that two must
        # be there for one to remain.
        count = kept[cells_N[:, None] + self.far].float() @ self.windows
        return ((count > 1.5) | ~there[cells_N[:, None] + self.near]).all(1)

    def is_simple(self, cells_N: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """(N,): taking the cell away changes no topology."""
        solid = kept[cells_N[:, None] + self.near]
        space = ~solid & self.within_18
        solid = solid & self.others
        # Simple: what is solid around the cell stays one piece without it, and so does the space that it opens into.
        at_face = space & self.is_face_27
        in_piece, in_space = _reachable(torch.stack([solid, space]), torch.stack([solid, at_face]), self.joined).unbind(
            0
        )
        open_side = (in_space | ~at_face).all(1)
        return (in_piece == solid).all(1) & open_side & at_face.any(1)


def _reachable(passable: torch.Tensor, start: torch.Tensor, joined: torch.Tensor) -> torch.Tensor:
    """Cells (2, N, 27) on a path through `passable` from the first of `start`; `joined` (2, 27, 27): neighbours."""
    # A flood from one cell: what is in one piece with it is reached, in as many steps as the longest path has.
    first = start.float().argmax(2, keepdim=True)
    may_pass = passable.float()
    reached = torch.zeros_like(may_pass).scatter_(2, first, start.any(2, keepdim=True).float())
    for _ in range(STEPS):
        # Numbers of reached neighbours: one is enough.
        reached = torch.minimum(torch.bmm(reached, joined), may_pass)
    return reached > 0.5
