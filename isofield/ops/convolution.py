"""Convolutions of 3^3 voxels on a CPU: channels last, and without torch's slow path for one shape.

There torch unfolds the one channel of the input, and in backward those of small grids: here a numba kernel convolves
the one channel, and oneDNN takes the others. Everywhere else, and in double, the plain twin runs. Values are those of
the plain twin, bit for bit in float32; gradients equal up to the order of sums.
"""

from typing import Any

import torch
import torch.nn.functional as F

from isofield.ops import memory
from isofield.ops.feature_sampling.cpu import HAS_NUMBA

SMALL = 20480  # shapes * channels * two sides: up to here torch's backward takes its slow convolution
ONES = [1, 1, 1]


def convolve(x_BCRRR: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, padding: int) -> torch.Tensor:
    """conv3d with kernels of 3^3, stride 1 and zeros around: (B, C', R', R', R'). Follows autocast.

    Differentiable once; the plain twin any number of times.
    """
    if not _served(x_BCRRR):
        return F.conv3d(x_BCRRR, weight, bias, padding=padding)
    # An operator of one's own is not seen by autocast: its choice is made here.
    dtype = x_BCRRR.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    if _has_kernel(x_BCRRR, weight, padding):
        return _ConvolveOne.apply(x_BCRRR, weight, bias, dtype)
    return _Convolve.apply(x_BCRRR.to(dtype), weight.to(dtype), bias.to(dtype), padding)


def _served(x_BCRRR: torch.Tensor) -> bool:
    known = x_BCRRR.device.type == "cpu" and x_BCRRR.dtype in (torch.float32, torch.bfloat16) and x_BCRRR.numel() > 0
    return known and not torch.compiler.is_compiling() and torch.backends.mkldnn.is_available()


def _has_kernel(x_BCRRR: torch.Tensor, weight: torch.Tensor, padding: int) -> bool:
    # The kernel has no gradient for its input: the first layer's is data, whoever asks for more takes the general way.
    wants_input = torch.is_grad_enabled() and x_BCRRR.requires_grad
    fits = x_BCRRR.shape[1] == 1 and padding == 1
    return HAS_NUMBA and fits and not wants_input and x_BCRRR.dtype == weight.dtype == torch.float32


class _Convolve(torch.autograd.Function):
    """apply(x_BCRRR, weight, bias, padding), all of one dtype."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = [padding] * 3
        # In float32, channels-last sums of oneDNN are half as far again from the exact ones.
        order = torch.contiguous_format if x.dtype == torch.float32 else torch.channels_last_3d
        x, weight = x.contiguous(memory_format=order), weight.contiguous(memory_format=order)
        return memory.channels_last(F.conv3d(x, weight, bias, padding=padding))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        unfolds = x.dtype == torch.float32 and x.shape[:4].numel() <= SMALL
        of_bias = None
        if unfolds:
            # A bias before normalisation has a gradient of terms that nearly cancel. Where torch unfolds it adds them
            # up with care; where it takes oneDNN, float32 sums are off by up to a percent, there and here.
            of_bias = gradient.sum((0, 2, 3, 4), dtype=torch.float64).to(weight.dtype) if wants_bias else None
            gradient, x, wants_bias = gradient.to_mkldnn(), x.to_mkldnn(), False
        else:
            gradient, x = memory.channels_last(gradient), memory.channels_last(x)
            weight = weight.contiguous(memory_format=torch.channels_last_3d)
        wanted = [wants_x, wants_weight, wants_bias]
        gradients = torch.ops.aten.convolution_backward(
            gradient, x, weight, [len(weight)], ONES, ctx.padding, ONES, False, [0] * 3, 1, wanted
        )
        of_x, of_weight, found_bias = (of.to_dense() if of is not None and of.is_mkldnn else of for of in gradients)
        return of_x, of_weight, of_bias if unfolds else found_bias, None


class _ConvolveOne(torch.autograd.Function):
    """apply(x_B1RRR, weight_C1333, bias_C, dtype): one input channel, which wants no gradient; numba kernels."""

    @staticmethod
    def forward(
        ctx: Any, x_B1RRR: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        from isofield.ops import convolution_kernels as kernels

        ctx.save_for_backward(x_B1RRR)
        # The kernel computes in float32; weights are rounded as autocast would have rounded them, so that values agree.
        rounded = weight.to(dtype).float()
        return kernels.forward(x_B1RRR, rounded.flatten(1), bias.to(dtype).float(), dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BCRRR: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from isofield.ops import convolution_kernels as kernels

        (x_B1RRR,) = ctx.saved_tensors
        of_weight_C27, of_bias_C = kernels.backward(x_B1RRR, memory.channels_last(gradient_BCRRR))
        return None, of_weight_C27.reshape(-1, 1, 3, 3, 3), of_bias_C, None
