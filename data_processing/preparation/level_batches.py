"""Labelled points of many shapes at once: those of `level_points.sample_levels`, by as many launches as for one.

For devices. Points must not depend on the device, so the draws are those of the CPU's generators: what they need to
know of the shapes comes to the host in one piece, the cores draw for all shapes at once, and what was drawn goes back
in one piece that nobody waits for.

B: shapes; P: points of a level; L: cells along an axis of a level.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from data_processing.preparation.level_points import (
    LEVELS,
    Level,
    draw_voxels,
    max_pool,
    mixed_cells,
    random_positions,
    random_words,
)
from isofield.runtime.cores import own_cores
from isofield.runtime.device_tensors import send
from isofield.runtime.seeds import torch_generator

FINE_TO_COARSE = sorted(LEVELS, reverse=True)  # each level is pooled from the one before


@dataclass(frozen=True)
class ShapeGrid:
    """A grid (256, 256, 256) uint8 on a device, and what keys its draws."""

    grid_RRR: torch.Tensor
    seed: int
    name: str


def sample_levels_of_all(shapes: Sequence[ShapeGrid]) -> list[dict[int, Level]]:
    """Points of all LEVELS of each shape, on the one device of all grids."""
    grid_BRRR = torch.stack([shape.grid_RRR for shape in shapes])
    cells, cells_of, order_of, mixed = grid_BRRR, {}, {}, []
    for resolution in FINE_TO_COARSE:
        cells = max_pool(cells, resolution)
        mixed_BC = mixed_cells(cells).flatten(1)
        # Mixed cells first, then the others, each as they are numbered: without asking how many there are of each.
        cells_of[resolution] = cells.flatten(1)
        order_of[resolution] = mixed_BC.byte().argsort(dim=1, descending=True, stable=True)
        mixed.append(mixed_BC.sum(1))
    mixed_BL = torch.stack(mixed, dim=1).tolist()  # here the host waits
    position_of, word_of = _drawn(shapes, mixed_BL, grid_BRRR.device)
    first_B1 = torch.arange(len(shapes), device=grid_BRRR.device)[:, None] * grid_BRRR[0].numel()
    levels: list[dict[int, Level]] = [{} for _ in shapes]
    for number, resolution in enumerate(FINE_TO_COARSE):
        chosen_BP = order_of[resolution].gather(1, position_of[resolution])
        values_BP = cells_of[resolution].gather(1, chosen_BP)
        first_P = first_B1.expand_as(chosen_BP).reshape(-1)
        words_P = word_of[resolution].reshape(-1)
        points_P3 = draw_voxels(grid_BRRR, chosen_BP.view(-1), values_BP.view(-1), resolution, words_P, first_P)
        points_BP3 = points_P3.view(len(shapes), -1, 3)
        for shape, found in enumerate(levels):
            near = mixed_BL[shape][number]
            dropped = max(0, near - LEVELS[resolution])
            found[resolution] = Level(points_BP3[shape], values_BP[shape], near, dropped)
    return [{resolution: found[resolution] for resolution in LEVELS} for found in levels]


def _drawn(
    shapes: Sequence[ShapeGrid], mixed_BL: list[list[int]], device: torch.device
) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
    """Positions among a level's cells and random words, (B, P) int64 each, by resolution."""

    def of_shape(shape: ShapeGrid, mixed_L: list[int]) -> torch.Tensor:
        positions, words = [], []
        for resolution, mixed in zip(FINE_TO_COARSE, mixed_L, strict=True):
            generator, count = torch_generator(shape.seed, shape.name, f"level-{resolution}"), LEVELS[resolution]
            positions.append(random_positions(mixed, resolution**3, count, generator))
            words.append(random_words(count, generator))
        return torch.stack([torch.cat(positions), torch.cat(words)])

    # A permutation of a level's cells is a millisecond, and leaves the interpreter's lock alone.
    with ThreadPoolExecutor(min(own_cores(), len(shapes))) as pool:
        drawn_2BP = torch.stack(list(pool.map(of_shape, shapes, mixed_BL)), dim=1)
    counts = [LEVELS[resolution] for resolution in FINE_TO_COARSE]
    position_BP, word_BP = send(drawn_2BP, device).unbind(0)
    return (
        dict(zip(FINE_TO_COARSE, position_BP.split(counts, dim=1), strict=True)),
        dict(zip(FINE_TO_COARSE, word_BP.split(counts, dim=1), strict=True)),
    )
