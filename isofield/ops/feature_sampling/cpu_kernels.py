"""Trilinear gathering and scattering of channels-last rows on a CPU: numba kernels, compiled at first use.

Additions have a fixed order whatever the number of threads: gathering writes every row once; in scattering a thread
owns a range of grid lines and walks all points in their order, so no voxel is shared and none needs an atomic.

Import this module where a kernel is about to run: it needs numba. The kernels are serial and release the interpreter's
lock; plain threads run them. Call them rarely, with many points: for milliseconds after each of its operators torch's
idle threads spin on these cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.ops.bfloat16_loops import as_array, narrow, wide
from isofield.runtime.jit import compile_vectorised
from isofield.runtime.threads import in_parallel, share


@dataclass(frozen=True)
class Grid:
    """One scale as the kernels take it.

    `rows_VC`: its R^3 voxels in C order; of a `folded` grid 7 rows a voxel, one for each place, summed over the places.
    `coordinates_N73`: of the points' places in voxels, last array axis first; of the rows' dtype.
    `column`: the first of its columns in a row of features; of a folded grid 0.
    """

    rows_VC: torch.Tensor
    coordinates_N73: torch.Tensor
    resolution: int
    column: int = 0
    folded: bool = False


def gather(grids: Sequence[Grid], target_N: torch.Tensor, features: torch.Tensor) -> None:
    """Write 7 C columns of each grid into row target_N[n] of the features (M, F); add C columns of a folded one.

    Features may be bfloat16, also of float32 grids, unless a grid is folded.
    """
    targets, written, arrays = target_N.numpy(), as_array(features), [_arrays(grid) for grid in grids]

    def part(number: int, parts: int) -> None:
        first, last = share(len(targets), number, parts)
        for of_grid in arrays:
            _gather(*of_grid, first, last, targets, written)

    in_parallel(part)


def scatter(grids: Sequence[Grid], target_N: torch.Tensor, gradient: torch.Tensor) -> None:
    """The transpose of `gather`: add to the rows of the grids what stands in row target_N[n] of the gradient (M, F).

    The gradient may be bfloat16, also of float32 grids.
    """
    targets, read, arrays = target_N.numpy(), as_array(gradient), [_arrays(grid) for grid in grids]
    bounds = [_shares_of_lines(grid, torch.get_num_threads()) for grid in grids]

    def part(number: int, parts: int) -> None:
        for of_grid, lines in zip(arrays, bounds, strict=True):
            _scatter(*of_grid, targets, read, lines[number], lines[number + 1])

    in_parallel(part)


def _arrays(grid: Grid) -> tuple[NDArray, NDArray, int, int, bool]:
    return grid.rows_VC.detach().numpy(), grid.coordinates_N73.numpy(), grid.resolution, grid.column, grid.folded


def _shares_of_lines(grid: Grid, parts: int) -> list[int]:
    """Bounds of ranges of grid lines (z R + y) with about equal work, from every eighth point."""
    # Points gather at the surface, so that equal ranges of lines would be unequal work: quantiles of a sample balance
    # it.
    yz = np.clip(np.nan_to_num(grid.coordinates_N73.numpy()[::8, :, 1:]), 0, grid.resolution - 1).astype(np.int64)
    lines = np.sort((yz[..., 1] * grid.resolution + yz[..., 0]).ravel())
    middle = [int(lines[len(lines) * part // parts]) if len(lines) else 0 for part in range(1, parts)]
    return [0, *middle, grid.resolution**2]


@compile_vectorised
def _ends(x, resolution, one):  # type: ignore[no-untyped-def]
    """The grid lines on both sides of x and their weights; one outside gets weight 0 and an index inside."""
    floor = np.floor(x)
    first = int(floor)
    upper, lower = x - floor, (floor + one) - x
    # One is written as `one - one` and the like: constants of Python would make the arithmetic double in float32 grids.
    if first < 0 or first >= resolution:
        lower = one - one
    if first < -1 or first >= resolution - 1:
        upper = one - one
    last = resolution - 1
    return min(max(first, 0), last), min(max(first + 1, 0), last), lower, upper


@compile_vectorised
def _gather(rows, coordinates, resolution, column, folded, first, last, target, features):  # type: ignore[no-untyped-def]
    channels, one = rows.shape[1], coordinates.dtype.type(1)
    for n in range(first, last):
        for place in range(7):
            # The eight cells around a place, and the weight of each end along each axis.
            x0, x1, ax, bx = _ends(coordinates[n, place, 0], resolution, one)
            y0, y1, ay, by = _ends(coordinates[n, place, 1], resolution, one)
            z0, z1, az, bz = _ends(coordinates[n, place, 2], resolution, one)
            step, shift = (7, place) if folded else (1, 0)
            # Of a folded grid every place has a row of its own with all outputs, which add up in the same columns.
            start = 0 if folded else column + place * channels
            line00, line01 = (z0 * resolution + y0) * resolution, (z0 * resolution + y1) * resolution
            line10, line11 = (z1 * resolution + y0) * resolution, (z1 * resolution + y1) * resolution
            r0, r1 = rows[(line00 + x0) * step + shift], rows[(line00 + x1) * step + shift]
            r2, r3 = rows[(line01 + x0) * step + shift], rows[(line01 + x1) * step + shift]
            r4, r5 = rows[(line10 + x0) * step + shift], rows[(line10 + x1) * step + shift]
            r6, r7 = rows[(line11 + x0) * step + shift], rows[(line11 + x1) * step + shift]
            w0, w1, w2, w3 = az * ay * ax, az * ay * bx, az * by * ax, az * by * bx
            w4, w5, w6, w7 = bz * ay * ax, bz * ay * bx, bz * by * ax, bz * by * bx
            out = features[target[n], start : start + channels]
            # Eight rows in one loop: it vectorises over channels and writes each feature once.
            if folded:
                for c in range(channels):
                    sample = (
                        w0 * r0[c] + w1 * r1[c] + w2 * r2[c] + w3 * r3[c]
                        + w4 * r4[c] + w5 * r5[c] + w6 * r6[c] + w7 * r7[c]
                    )  # fmt: skip
                    out[c] += sample
            else:
                for c in range(channels):
                    sample = (
                        w0 * r0[c] + w1 * r1[c] + w2 * r2[c] + w3 * r3[c]
                        + w4 * r4[c] + w5 * r5[c] + w6 * r6[c] + w7 * r7[c]
                    )  # fmt: skip
                    out[c] = narrow(sample, out[c])


@compile_vectorised
def _scatter(  # type: ignore[no-untyped-def]
    rows, coordinates, resolution, column, folded, target, gradient, first_line, last_line
):
    channels, one = rows.shape[1], coordinates.dtype.type(1)
    read = np.empty(channels, coordinates.dtype)
    for n in range(len(target)):
        for place in range(7):
            y0, y1, ay, by = _ends(coordinates[n, place, 1], resolution, one)
            z0, z1, az, bz = _ends(coordinates[n, place, 2], resolution, one)
            # Each thread writes its own lines alone: no two add to one row, and sums have one order.
            if z1 * resolution + y1 < first_line or z0 * resolution + y0 >= last_line:
                continue
            x0, x1, ax, bx = _ends(coordinates[n, place, 0], resolution, one)
            step, shift = (7, place) if folded else (1, 0)
            start = 0 if folded else column + place * channels
            row = gradient[target[n], start : start + channels]
            for c in range(channels):
                read[c] = wide(row[c])
            for corner in range(4):
                z, wz = (z0, az) if corner < 2 else (z1, bz)
                y, wy = (y0, ay) if corner % 2 == 0 else (y1, by)
                line, w = z * resolution + y, wz * wy
                if w == 0 or line < first_line or line >= last_line:
                    continue
                r0, r1 = rows[(line * resolution + x0) * step + shift], rows[(line * resolution + x1) * step + shift]
                w0, w1 = w * ax, w * bx
                for c in range(channels):
                    r0[c] += w0 * read[c]
                for c in range(channels):
                    r1[c] += w1 * read[c]
