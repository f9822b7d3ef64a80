"""Trilinear interpolation of channels-last rows on a GPU, as two Triton kernels.

Import this module where a kernel is about to run: it needs Triton. The gradient of the rows is added up by atomics:
exact to rounding, but in an order that changes from run to run; where torch is told to be deterministic, the torch
operator runs instead. The points get no gradient here.
"""

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 32  # samples of one program


class Interpolate(torch.autograd.Function):
    """apply(rows_VC, coordinates_M3, resolution): (M, C). Float32 and double."""

    @staticmethod
    def forward(ctx: Any, rows_VC: torch.Tensor, coordinates_M3: torch.Tensor, resolution: int) -> torch.Tensor:
        rows_VC, coordinates_M3 = rows_VC.contiguous(), coordinates_M3.contiguous()
        ctx.save_for_backward(coordinates_M3)
        ctx.shape, ctx.resolution = rows_VC.shape, resolution
        samples_MC = rows_VC.new_empty(len(coordinates_M3), rows_VC.shape[1])
        _launch(_gather, rows_VC, coordinates_M3, samples_MC, resolution)
        return samples_MC

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_MC: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (coordinates_M3,) = ctx.saved_tensors
        gradient_VC = gradient_MC.new_zeros(ctx.shape)
        _launch(_scatter, gradient_VC, coordinates_M3, gradient_MC.contiguous(), ctx.resolution)
        return gradient_VC, None, None


def _launch(kernel: Any, rows_VC: torch.Tensor, coordinates_M3: torch.Tensor, samples_MC: torch.Tensor, r: int) -> None:
    count, channels = samples_MC.shape
    if count and channels:
        width = min(128, triton.next_power_of_2(channels))
        programs = triton.cdiv(count, BLOCK), triton.cdiv(channels, width)
        kernel[programs](rows_VC, coordinates_M3, samples_MC, count, channels, r, BLOCK=BLOCK, WIDTH=width)


@triton.jit
def _end(x, floor, end: tl.constexpr, resolution):  # type: ignore[no-untyped-def]
    """Index and weight of the grid line below x (end 0) or above it (1); outside the grid weight 0, index inside."""
    at = floor + end
    weight = (x - floor) if end == 1 else (floor + 1) - x
    inside = (at >= 0) & (at <= resolution - 1)
    return tl.where(inside, at, 0).to(tl.int64), tl.where(inside, weight, 0)


@triton.jit
def _gather(rows, coordinates, samples, count, channels, resolution, BLOCK: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x = tl.load(coordinates + 3 * m, mask=m < count, other=0)
    y = tl.load(coordinates + 3 * m + 1, mask=m < count, other=0)
    z = tl.load(coordinates + 3 * m + 2, mask=m < count, other=0)
    x_floor, y_floor, z_floor = tl.floor(x), tl.floor(y), tl.floor(z)
    mask = (m < count)[:, None] & (c < channels)[None, :]
    total = tl.zeros([BLOCK, WIDTH], dtype=samples.dtype.element_ty)
    for corner in tl.static_range(8):
        i, wx = _end(x, x_floor, corner % 2, resolution)
        j, wy = _end(y, y_floor, corner // 2 % 2, resolution)
        k, wz = _end(z, z_floor, corner // 4, resolution)
        row = (k * resolution + j) * resolution + i
        values = tl.load(rows + row[:, None] * channels + c[None, :], mask=mask, other=0)
        total += (wz * wy * wx)[:, None] * values
    tl.store(samples + m[:, None] * channels + c[None, :], total, mask=mask)


@triton.jit
def _scatter(rows, coordinates, samples, count, channels, resolution, BLOCK: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x = tl.load(coordinates + 3 * m, mask=m < count, other=0)
    y = tl.load(coordinates + 3 * m + 1, mask=m < count, other=0)
    z = tl.load(coordinates + 3 * m + 2, mask=m < count, other=0)
    x_floor, y_floor, z_floor = tl.floor(x), tl.floor(y), tl.floor(z)
    mask = (m < count)[:, None] & (c < channels)[None, :]
    gradient = tl.load(samples + m[:, None] * channels + c[None, :], mask=mask, other=0)
    for corner in tl.static_range(8):
        i, wx = _end(x, x_floor, corner % 2, resolution)
        j, wy = _end(y, y_floor, corner // 2 % 2, resolution)
        k, wz = _end(z, z_floor, corner // 4, resolution)
        row = (k * resolution + j) * resolution + i
        weight = wz * wy * wx
        tl.atomic_add(
            rows + row[:, None] * channels + c[None, :], weight[:, None] * gradient, mask=mask & (weight != 0)[:, None]
        )
