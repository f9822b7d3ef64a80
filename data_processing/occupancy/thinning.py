"""Cells of a grid taken away, emptiest first, until what is left is one cell thick: no hole opens, nothing falls apart.

A cell may go when it is a simple point (its neighbourhood stays in one piece, for the solid with 26 neighbours and for
the space around with 6; Bertrand and Malandain 1994), when a neighbour along an axis in which the part is thin holds
more, and when every cell that was there keeps one that is left within a step. So sheets are not eaten from their
borders, nor rods from their ends.
"""

import torch

LEVELS = 4  # of emptiness: cells of the lowest level go first
SWEEPS = 2
STEPS = 8  # within a 3x3x3 neighbourhood: no path in it is longer
ROD = 0.3  # spread across a rod, against that along it: a sheet's border has a third
EQUALLY_THIN, ABOUT_THIN = 1.25, 0.3  # spread along an axis, against the least: factor, and addition in cells^2
SPACING = 3  # cells looked at together are this far apart: no cell is next to two of them


def thin_cells(candidates_CCC: torch.Tensor, *, fixed_CCC: torch.Tensor, weight_CCC: torch.Tensor) -> torch.Tensor:
    """The candidates (C, C, C) bool that stay beside the `fixed` cells, which are solid too; lighter ones go first.

    `weight` (C, C, C) float: how much of the shape a cell holds.
    """
    # A border of two cells spares every look at neighbours a test of the grid's sides.
    size = len(candidates_CCC)
    pad, width = (2,) * 6, size + 4
    there = torch.nn.functional.pad(candidates_CCC | fixed_CCC, pad).view(-1)
    weight = torch.nn.functional.pad(weight_CCC, pad).view(-1)
    kept = there.clone()
    index_N3 = candidates_CCC.nonzero()
    cells_N = ((index_N3[:, 0] + 2) * width + index_N3[:, 1] + 2) * width + index_N3[:, 2] + 2
    around = _Neighbourhood(width, candidates_CCC.device)
    thin_N3, rod_N = around.thin_axes(cells_N, weight)
    # Cells of a group do not touch, so they may go at once. A second sweep meets what the first one freed.
    for group in _groups(index_N3, weight[cells_N]) * SWEEPS:
        group = group[kept[cells_N[group]]]
        if len(group) == 0:
            continue
        cells = cells_N[group]
        cells = cells[around.has_heavier_neighbour(cells, thin_N3[group], rod_N[group], kept, weight)]
        cells = cells[around.keeps_cover(cells, kept, there)]
        cells = cells[around.is_simple(cells, kept)]
        kept[cells] = False
    result = kept.view(width, width, width)[2:-2, 2:-2, 2:-2]
    return result & candidates_CCC


def _groups(index_N3: torch.Tensor, weight_N: torch.Tensor) -> list[torch.Tensor]:
    """Positions of cells that do not touch each other, light ones first."""
    # By rank and not by weight: levels hold equal numbers of cells, however the weights are spread.
    rank_N = weight_N.argsort(stable=True).argsort()
    level_N = rank_N * LEVELS // max(len(rank_N), 1)
    i, j, k = (index_N3 % SPACING).unbind(1)
    key_N = level_N * SPACING**3 + (i * SPACING + j) * SPACING + k
    key_N, order = key_N.sort(stable=True)
    return list(order.split(key_N.unique_consecutive(return_counts=True)[1].tolist()))


class _Neighbourhood:
    """Flat offsets to the cells around a cell, and which of those are neighbours of each other."""

    def __init__(self, width: int, device: torch.device) -> None:
        near, far = (torch.cartesian_prod(*[torch.arange(-n, n + 1)] * 3) for n in (1, 2))
        strides = torch.tensor([width * width, width, 1])
        self.near = (near * strides).sum(1).to(device)  # (27,)
        self.far = (far * strides).sum(1).to(device)  # (125,)
        steps = (near[:, None] - near[None]).abs()
        off_centre, order = near.abs().sum(1) > 0, near.abs().sum(1)
        self.faces = (order == 1).nonzero()[:, 0].to(device)
        self.sides = (off_centre & (order <= 2)).nonzero()[:, 0].to(device)  # across a face or an edge
        self.is_face = (order == 1)[self.sides.cpu()].to(device)
        self.axes_of_side = near[self.sides.cpu()].abs().float().T.to(device)  # (3, 18)
        # One matrix product gives the mass, its first and its second moments of all cells' surroundings at once.
        products = (far[:, :, None] * far[:, None]).flatten(1)
        self.moments = torch.cat([torch.ones(len(far), 1), far, products], 1).float().to(device)  # (125, 13)
        self.others = off_centre.to(device)
        self.within_18 = (off_centre & (order <= 2)).to(device)
        self.touching = (steps.amax(2) <= 1).float().to(device)  # (27, 27): 26-neighbours
        self.sharing_faces = (steps.sum(2) <= 1).float().to(device)  # 6-neighbours
        self.windows = ((far[:, None] - near[None]).abs().amax(2) <= 1).float().to(device)  # (125, 27)

    def thin_axes(self, cells_N: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Axes (N, 3) along which what lies in the 5x5x5 cells around spreads least, and whether (N,) it is a rod."""
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
        one_piece = _reachable(solid, solid, self.touching) == solid
        at_face = torch.zeros_like(space)
        at_face[:, self.faces] = space[:, self.faces]
        open_side = (_reachable(space, at_face, self.sharing_faces) | ~at_face).all(1)
        return one_piece.all(1) & open_side & at_face.any(1)


def _reachable(passable: torch.Tensor, start: torch.Tensor, joined: torch.Tensor) -> torch.Tensor:
    """Cells (N, 27) on a path through `passable` from the first cell of `start`."""
    # A flood from one cell: what is in one piece with it is reached, in as many steps as the longest path has.
    first = start.float().argmax(1, keepdim=True)
    reached = torch.zeros_like(passable).scatter_(1, first, start.any(1, keepdim=True))
    for _ in range(STEPS):
        reached = (reached.float() @ joined > 0.5) & passable
    return reached
