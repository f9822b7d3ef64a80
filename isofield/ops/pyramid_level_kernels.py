"""Rectifier, normalisation and pooling of channels-last rows on a CPU: numba kernels, compiled at first use.

Rows are (voxels, channels), float32, or bfloat16 as uint16. A block is two by two by two voxels: `side` voxels along
each axis of a volume, an even number; a slab is two planes of voxels along the first axis. Sums go by slab, so that
they are the same with any number of threads.

Import this module where a kernel is about to run: it needs numba.
"""

import numpy as np

from isofield.ops.bfloat16_loops import narrow, wide
from isofield.runtime.jit import compile_vectorised


@compile_vectorised
def sums(rows, side, first, last, of_slab):  # type: ignore[no-untyped-def]
    """of_slab[slab] = sums of the rectified rows of each slab, for every channel."""
    channels, plane = rows.shape[1], 2 * side * side
    for slab in range(first, last):
        total = of_slab[slab]
        for v in range(slab * plane, (slab + 1) * plane):
            for c in range(channels):
                x = wide(rows[v, c])
                total[c] += np.float64(x if not x <= 0 else np.float32(0))


@compile_vectorised
def squares(rows, mean, side, first, last, of_slab):  # type: ignore[no-untyped-def]
    """of_slab[slab] = sums of squared distances of the rectified rows to the mean."""
    channels, plane = rows.shape[1], 2 * side * side
    for slab in range(first, last):
        total = of_slab[slab]
        for v in range(slab * plane, (slab + 1) * plane):
            for c in range(channels):
                x = wide(rows[v, c])
                distance = (x if not x <= 0 else np.float32(0)) - mean[c]
                total[c] += np.float64(distance * distance)


@compile_vectorised
def normalise(rows, scale, shift, first, last, out):  # type: ignore[no-untyped-def]
    """out = rectified rows * scale + shift, for the rows from `first` to `last`."""
    for v in range(first, last):
        for c in range(rows.shape[1]):
            x = wide(rows[v, c])
            out[v, c] = (x if not x <= 0 else np.float32(0)) * scale[c] + shift[c]


@compile_vectorised
def pool(rows, side, first, last, pooled, winners):  # type: ignore[no-untyped-def]
    """The largest of each block, and which of its eight voxels it was: the first of equals; NaN is the largest."""
    channels, half = rows.shape[1], side // 2
    for slab in range(first, last):
        for j in range(half):
            for i in range(half):
                v = (2 * slab * side + 2 * j) * side + 2 * i
                p = (slab * half + j) * half + i
                # The eight voxels written out: a loop over them would keep the channels from becoming vectors.
                r0, r1, r2, r3 = rows[v], rows[v + 1], rows[v + side], rows[v + side + 1]
                v += side * side
                r4, r5, r6, r7 = rows[v], rows[v + 1], rows[v + side], rows[v + side + 1]
                largest, winner = pooled[p], winners[p]
                for c in range(channels):
                    best, which = r0[c], np.int32(0)
                    best, which = (r1[c], np.int32(1)) if r1[c] > best or r1[c] != r1[c] else (best, which)
                    best, which = (r2[c], np.int32(2)) if r2[c] > best or r2[c] != r2[c] else (best, which)
                    best, which = (r3[c], np.int32(3)) if r3[c] > best or r3[c] != r3[c] else (best, which)
                    best, which = (r4[c], np.int32(4)) if r4[c] > best or r4[c] != r4[c] else (best, which)
                    best, which = (r5[c], np.int32(5)) if r5[c] > best or r5[c] != r5[c] else (best, which)
                    best, which = (r6[c], np.int32(6)) if r6[c] > best or r6[c] != r6[c] else (best, which)
                    best, which = (r7[c], np.int32(7)) if r7[c] > best or r7[c] != r7[c] else (best, which)
                    largest[c] = narrow(best, largest[c])
                    winner[c] = np.uint8(which)


@compile_vectorised
def gradient_sums(  # type: ignore[no-untyped-def]
    rows, gradient, has_pool, pooled_gradient, winners, mean, side, first, last, plain_of_slab, weighted_of_slab
):
    """Sums by slab of the gradient, and of the gradient times the rectified rows' distance to the mean."""
    channels, half = rows.shape[1], side // 2
    plain, weighted = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for slab in range(first, last):
        for plane in range(2):
            for j in range(side):
                # Sums of one line in float32, of a slab in float64: exact enough, and the inner loop stays narrow.
                plain[:] = 0
                weighted[:] = 0
                line = ((2 * slab + plane) * side + j) * side
                for i in range(side):
                    z, g = rows[line + i], gradient[line + i]
                    # The winner of a pooled block has the gradient of the block as well.
                    if has_pool:
                        p, voxel = (slab * half + j // 2) * half + i // 2, np.uint8(4 * plane + 2 * (j % 2) + i % 2)
                        of_pool, winner = pooled_gradient[p], winners[p]
                        for c in range(channels):
                            x = wide(z[c])
                            x = (x if not x <= 0 else np.float32(0)) - mean[c]
                            d = g[c] + (wide(of_pool[c]) if winner[c] == voxel else np.float32(0))
                            plain[c] += d
                            weighted[c] += d * x
                    else:
                        for c in range(channels):
                            x = wide(z[c])
                            x = (x if not x <= 0 else np.float32(0)) - mean[c]
                            plain[c] += g[c]
                            weighted[c] += g[c] * x
                for c in range(channels):
                    plain_of_slab[slab, c] += np.float64(plain[c])
                    weighted_of_slab[slab, c] += np.float64(weighted[c])


@compile_vectorised
def gradient_of_rows(  # type: ignore[no-untyped-def]
    rows, gradient, has_pool, pooled_gradient, winners, mean, k, mean_d, inverse, weight, side, first, last, out
):
    """out = (gradient - mean_d - (rows - mean) * k) * inverse * weight where the rows are positive, else 0."""
    channels, half = rows.shape[1], side // 2
    for slab in range(first, last):
        for plane in range(2):
            for j in range(side):
                line = ((2 * slab + plane) * side + j) * side
                for i in range(side):
                    z, g, o = rows[line + i], gradient[line + i], out[line + i]
                    if has_pool:
                        # The gradient of a pooled cell goes to the one voxel of its eight that was the largest.
                        p, voxel = (slab * half + j // 2) * half + i // 2, np.uint8(4 * plane + 2 * (j % 2) + i % 2)
                        of_pool, winner = pooled_gradient[p], winners[p]
                        for c in range(channels):
                            x = wide(z[c])
                            d = g[c] + (wide(of_pool[c]) if winner[c] == voxel else np.float32(0))
                            d = (d - mean_d[c] - (x - mean[c]) * k[c]) * inverse[c] * weight[c]
                            o[c] = narrow(d if not x <= 0 else np.float32(0), o[c])
                    else:
                        for c in range(channels):
                            x = wide(z[c])
                            d = (g[c] - mean_d[c] - (x - mean[c]) * k[c]) * inverse[c] * weight[c]
                            o[c] = narrow(d if not x <= 0 else np.float32(0), o[c])
