"""A linear layer and the leaky rectifier behind it as one operator.

On a CPU, oneDNN applies the rectifier while the product's tiles are in registers, and its float32 products are twice as
fast as MKL's on processors MKL does not know well. Where it knows them, the product of the weights' gradient is MKL's:
both its factors lie transposed, which MKL reads as they are and oneDNN copies first. On those that have AMX besides,
so is the product of the inputs' gradient; values are oneDNN's everywhere, one library with and without gradients.
Elsewhere, and where this torch has no such operator, the plain twin runs. Equal to the plain formulation up to the
order of float32 sums.
"""

import os
import platform
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F

from isofield.ops.fallback import warn_once


def linear_leaky(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, slope: float) -> torch.Tensor:
    """leaky_relu(x W^T + b): x (..., I), weight (O, I), bias (O,) to (..., O). Follows autocast.

    Differentiable once; the plain twin any number of times.
    """
    if not _fused(x):
        return plain_linear_leaky(x, weight, bias, slope=slope)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    # As one matrix: one call for all leading dimensions.
    flat = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        y = _LinearLeaky.apply(flat, weight, bias, slope)
    else:
        y = _product(flat, weight, bias, slope)
    return y.view(*x.shape[:-1], -1)


def plain_linear_leaky(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, slope: float) -> torch.Tensor:
    """The plain twin: two operators, any device, differentiable any number of times."""
    return F.leaky_relu(F.linear(x, weight, bias), slope)


def product(a_NI: torch.Tensor, b_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """a b^T (+ bias), (N, O), by the faster library; any strides. Not differentiable: for use inside an operator."""
    with torch.no_grad(), torch.autocast(a_NI.device.type, enabled=False):
        return _product(a_NI, b_OI, bias_O, None) if _fused(a_NI) else F.linear(a_NI, b_OI, bias_O)


def _fused(x: torch.Tensor) -> bool:
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and x.numel() > 0
    served = known and not torch.compiler.is_compiling()
    if served and not HAS_ONEDNN:
        warn_once("linear layers", "this torch has no fused oneDNN layer")
    return served and HAS_ONEDNN


HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, slope: float | None) -> torch.Tensor:
    """a b^T (+ bias), rectified where a slope is given."""
    if bias is None and slope is None and _is_transposed(a) and _is_transposed(b) and _mkl_knows_processor():
        return a.mm(b.t())
    after, scalars = ("none", []) if slope is None else ("leaky_relu", [slope])
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, after, scalars, "")


def _of_inputs(before_NO: torch.Tensor, weight_OI: torch.Tensor) -> torch.Tensor:
    """The gradient (N, I) of the inputs, from that of what is rectified."""
    if before_NO.dtype == torch.float32 and _onednn_lags():
        return before_NO.mm(weight_OI)
    return _product(before_NO, weight_OI.t(), None, None)


def _is_transposed(a: torch.Tensor) -> bool:
    return a.dtype == torch.float32 and a.stride(0) == 1 and a.stride(1) >= a.shape[0] > 1


@cache
def _mkl_knows_processor() -> bool:
    """Whether it was made by Intel, as MKL was; elsewhere MKL takes a slower way. The same for every process here."""
    if not torch.backends.mkl.is_available():
        return False
    if os.name == "nt":
        return "GenuineIntel" in platform.processor()
    if platform.system() == "Darwin":
        return platform.machine() == "x86_64"
    return "GenuineIntel" in _processor()


@cache
def _onednn_lags() -> bool:
    """Whether oneDNN's float32 products are slower than MKL's for factors as they lie too: on Intel's that have AMX.

    A property of the processor and no clock, so that a run that is resumed on its machine keeps its bits.
    """
    return _mkl_knows_processor() and "amx_tile" in _processor().split()


def _processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """What Linux says of the first processor (they are alike); nothing on other systems."""
    return file.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0] if file.exists() else ""


class _LinearLeaky(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x_NI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor,
        slope: float,
    ) -> torch.Tensor:
        y_NO = _product(x_NI, weight_OI, bias_O, slope)
        ctx.save_for_backward(x_NI, weight_OI, y_NO)
        ctx.slope = slope  # type: ignore[attr-defined]
        return y_NO

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient_NO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[no-untyped-def]
        x_NI, weight_OI, y_NO = ctx.saved_tensors
        # The sign of y is the sign of what was rectified.
        before_NO = torch.ops.aten.leaky_relu_backward(gradient_NO.contiguous(), y_NO, ctx.slope, True)
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            _of_inputs(before_NO, weight_OI) if wants_x else None,
            _product(before_NO.t(), x_NI.t(), None, None) if wants_weight else None,
            before_NO.sum(0, dtype=torch.float32).to(before_NO.dtype) if wants_bias else None,
            None,
        )
