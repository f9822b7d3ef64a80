"""Convolution of one channel by 3^3 weights, and the gradient of the weights: numba kernels, compiled at first use.

Rows are channels-last, float32, or bfloat16 as uint16; inside, lines of voxels channel by channel are what becomes
vectors. The input has a border of zeros around it. Sums go by plane of voxels: the same with any number of threads.

Import this module where a kernel is about to run: it needs numba.
"""

import numpy as np
import torch
import torch.nn.functional as F

from isofield.ops import memory
from isofield.ops.bfloat16_loops import as_array, narrow, wide
from isofield.runtime.jit import compile_reassociating, compile_vectorised
from isofield.runtime.threads import in_parallel, share


def forward(x_B1RRR: torch.Tensor, weight_C27: torch.Tensor, bias_C: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, C, R, R, R) of `dtype`, channels last in memory."""
    padded, weight, bias = _padded(x_B1RRR), weight_C27.detach().numpy(), bias_C.detach().numpy()
    out_BRRRC = memory.empty(len(x_B1RRR), *x_B1RRR.shape[2:], len(bias), dtype=dtype)
    out = as_array(out_BRRRC)
    planes = out.shape[0] * out.shape[1]
    in_parallel(lambda *part: _forward(padded, weight, bias, *share(planes, *part), out))
    return out_BRRRC.movedim(-1, 1)


def backward(x_B1RRR: torch.Tensor, gradient_BCRRR: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the weights (C, 27) and of the bias (C,)."""
    padded, gradient = _padded(x_B1RRR), as_array(gradient_BCRRR.movedim(1, -1))
    planes = gradient.shape[0] * gradient.shape[1]
    # Each plane has its own sums, in double, added up in their order: the number of threads changes no bit. 27 weights
    # and the bias.
    of_plane = np.zeros((planes, gradient.shape[-1], 28))
    in_parallel(lambda *part: _backward(padded, gradient, *share(planes, *part), of_plane))
    sums = torch.from_numpy(of_plane.sum(0)).float()
    return sums[:, :27], sums[:, 27]


def _padded(x_B1RRR: torch.Tensor) -> np.ndarray:
    return F.pad(x_B1RRR[:, 0].detach(), (1,) * 6).numpy()


@compile_vectorised
def _forward(padded, weight, bias, first, last, out):  # type: ignore[no-untyped-def]
    _, depth, height, width, channels = out.shape
    line = np.empty((channels, width), np.float32)
    for plane in range(first, last):
        b, z = plane // depth, plane % depth
        for y in range(height):
            for c in range(channels):
                sums, w = line[c], weight[c]
                sums[:] = 0
                # Nine taps in nine registers: the line is read once for all of them.
                for k in range(3):
                    r0, r1, r2 = padded[b, z + k, y], padded[b, z + k, y + 1], padded[b, z + k, y + 2]
                    w0, w1, w2, w3, w4 = w[9 * k], w[9 * k + 1], w[9 * k + 2], w[9 * k + 3], w[9 * k + 4]
                    w5, w6, w7, w8 = w[9 * k + 5], w[9 * k + 6], w[9 * k + 7], w[9 * k + 8]
                    for x in range(width):
                        sums[x] = (
                            sums[x] + w0 * r0[x] + w1 * r0[x + 1] + w2 * r0[x + 2]
                            + w3 * r1[x] + w4 * r1[x + 1] + w5 * r1[x + 2]
                            + w6 * r2[x] + w7 * r2[x + 1] + w8 * r2[x + 2]
                        )  # fmt: skip
            # Channel by channel in the line, side by side in memory: turned round here, once a line.
            for x in range(width):
                row = out[b, z, y, x]
                for c in range(channels):
                    row[c] = narrow(line[c, x] + bias[c], row[c])


@compile_reassociating
def _backward(padded, gradient, first, last, of_plane):  # type: ignore[no-untyped-def]
    _, depth, height, width, channels = gradient.shape
    line = np.empty((channels, width), np.float32)
    for plane in range(first, last):
        b, z, sums = plane // depth, plane % depth, of_plane[plane]
        for y in range(height):
            for x in range(width):
                # Channels first within the line: the loops over x below then vectorise.
                row = gradient[b, z, y, x]
                for c in range(channels):
                    line[c, x] = wide(row[c])
            for c in range(channels):
                g, total = line[c], np.float64(0)  # sums of these nearly cancel
                for x in range(width):
                    total += np.float64(g[x])
                sums[c, 27] += total
                for k in range(3):
                    r0, r1, r2 = padded[b, z + k, y], padded[b, z + k, y + 1], padded[b, z + k, y + 2]
                    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = np.float32(0)
                    for x in range(width):
                        s0 += g[x] * r0[x]
                        s1 += g[x] * r0[x + 1]
                        s2 += g[x] * r0[x + 2]
                        s3 += g[x] * r1[x]
                        s4 += g[x] * r1[x + 1]
                        s5 += g[x] * r1[x + 2]
                        s6 += g[x] * r2[x]
                        s7 += g[x] * r2[x + 1]
                        s8 += g[x] * r2[x + 2]
                    for tap, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8)):
                        sums[c, 9 * k + tap] += np.float64(s)
