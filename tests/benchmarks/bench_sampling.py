"""Three-level sampling and carving of one 256^3 grid: ours, the plain formulation, and the floor of reading the grid.

python -m tests.benchmarks.bench_sampling
"""

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.preparation.level_points import LEVELS, carve_from_top, max_pool, sample_levels
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Table, Work, timed

BOXES = [  # a chair: seat, back with a gap, four legs, an arm
    ((60, 110, 60), (190, 124, 196)),
    ((60, 124, 184), (190, 170, 196)),
    ((60, 190, 184), (190, 236, 196)),
    ((60, 170, 184), (74, 190, 196)),
    ((176, 170, 184), (190, 190, 196)),
    ((62, 20, 62), (72, 110, 72)),
    ((178, 20, 62), (188, 110, 72)),
    ((62, 20, 184), (72, 110, 194)),
    ((178, 20, 184), (188, 110, 194)),
    ((60, 150, 70), (70, 158, 184)),
]


def main() -> None:
    grid = chair()
    tensor = torch.from_numpy(grid)
    table = Table("one 256^3 chair of boxes", "wall s", "CPU s", label=64)

    def report(name: str, work: Work, repeats: int) -> None:
        table.row(name, *timed(work, repeats)[:2])

    for threads in dict.fromkeys((1, torch.get_num_threads())):
        torch.set_num_threads(threads)
        report(f"floor: grid.any(), {threads} thread(s)", lambda: tensor.any(), 31)
        report(f"floor: sum as 64-bit words, {threads} thread(s)", lambda: grid.view(np.uint64).sum(), 31)
        report(f"three levels, ours, {threads} thread(s)", lambda: sample_levels(tensor, seed=0, name="chair"), 31)
        report(f"carving, ours, {threads} thread(s)", lambda: carve_from_top(tensor), 9)
    report("three levels, plain: a loop over cells, draw until it matches", lambda: plain_levels(grid), 3)
    report("carving, plain: a loop over columns", lambda: plain_carving(grid), 1)
    mixed = {resolution: level.mixed_cells for resolution, level in sample_levels(tensor, seed=0, name="chair").items()}
    same = torch.equal(carve_from_top(tensor), torch.from_numpy(plain_carving(grid)))
    pooled = all(np.array_equal(max_pool(tensor, size), plain_pool(grid, size)) for size in LEVELS)
    say(f"mixed cells {mixed}; carving equal: {same}; pooling equal: {pooled}")


def chair() -> NDArray[np.uint8]:
    grid = np.zeros((256, 256, 256), dtype=np.uint8)
    for lower, upper in BOXES:
        grid[tuple(slice(low, high) for low, high in zip(lower, upper, strict=True))] = 1
    return grid


def plain_pool(grid: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    side = 256 // resolution
    cells = np.zeros((resolution,) * 3, dtype=np.uint8)
    for i, j, k in np.ndindex(cells.shape):
        cells[i, j, k] = grid[_cell(i, side), _cell(j, side), _cell(k, side)].max()
    return cells


def plain_levels(grid: NDArray[np.uint8]) -> dict[int, tuple[NDArray, NDArray]]:
    """The same points, cell by cell."""
    random, levels = np.random.default_rng(0), {}
    for resolution, count in LEVELS.items():
        cells, side = plain_pool(grid, resolution), 256 // resolution
        chosen = list(_mixed(cells))[:count] if resolution > 16 else list(np.ndindex(cells.shape))
        used = set(chosen)
        while len(chosen) < count:
            i, j, k = random.integers(0, resolution, 3).tolist()
            if (i, j, k) not in used:
                used.add((i, j, k))
                chosen.append((i, j, k))
        points, values = np.zeros((count, 3), dtype=np.uint8), np.zeros(count, dtype=np.uint8)
        for row, (i, j, k) in enumerate(chosen):
            block = grid[_cell(i, side), _cell(j, side), _cell(k, side)]
            values[row] = cells[i, j, k]
            place = random.integers(0, side, 3)
            while block[tuple(place)] != values[row]:
                place = random.integers(0, side, 3)
            points[row] = place + np.array([i, j, k]) * side
        levels[resolution] = points, values
    return levels


def plain_carving(grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The definition, column by column."""
    carved, place = grid.copy(), np.arange(256)
    along_i, along_k = _extents(grid, 0), _extents(grid, 2)
    for i, k in np.ndindex(256, 256):
        between = (along_i[0][:, k] < i) & (i < along_i[1][:, k]) & (along_k[0][i] < k) & (k < along_k[1][i])
        filling, column = False, carved[i, :, k]
        if not column.any():
            continue
        for j in place[::-1].tolist():
            if column[j]:
                filling = True
            elif filling:
                filling = bool(between[j])
                column[j] = filling
    return carved


def _extents(grid: NDArray[np.uint8], axis: int) -> tuple[NDArray, NDArray]:
    """First and last occupied index along an axis; 256 and -1 where there is none."""
    found = grid.any(axis=axis)
    first, last = grid.argmax(axis=axis), 255 - np.flip(grid, axis).argmax(axis=axis)
    return np.where(found, first, 256), np.where(found, last, -1)


def _mixed(cells: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    found = []
    for i, j, k in np.ndindex(*[size - 2 for size in cells.shape]):
        block = cells[i : i + 3, j : j + 3, k : k + 3]
        if block.max() != block.min():
            found.append((i + 1, j + 1, k + 1))
    return found


def _cell(index: int, side: int) -> slice:
    return slice(index * side, (index + 1) * side)


if __name__ == "__main__":
    main()
