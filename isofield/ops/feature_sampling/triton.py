"""Trilinear features of channels-last rows on a GPU: two Triton kernels, all shapes of a batch in a launch a scale.

Import this module where a kernel is about to run: it needs Triton. The gradient of the rows is added up by atomics:
exact to rounding, but in an order that changes from run to run; where torch is told to be deterministic, the torch
operators run instead. The points get no gradient here.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from isofield.ops.feature_sampling.places import PLACES

ELEMENTS = 1024  # samples times channels of one program: with four times as many, registers spill
WIDEST = 128  # channels of one program


def gather(
    rows: Sequence[torch.Tensor],
    coordinates: Sequence[torch.Tensor],
    resolutions: Sequence[int],
    features_BNF: torch.Tensor,
) -> None:
    """Fill the features of all scales, in the type of `features_BNF`.

    Of each scale the rows (B R^3, C) and the places in voxels (B, N, 7, 3), contiguous, of one floating type.
    """
    start = 0
    for rows_VC, coordinates_BN73, resolution in zip(rows, coordinates, resolutions, strict=True):
        _launch(_gather, rows_VC, coordinates_BN73, features_BNF, resolution, start)
        start += PLACES * rows_VC.shape[1]


def scatter(
    gradient_BNF: torch.Tensor,
    coordinates: Sequence[torch.Tensor],
    resolutions: Sequence[int],
    into: Sequence[torch.Tensor | None],
    channels: Sequence[int],
) -> None:
    """Add the gradients of the features to those of the rows `into`; None: a scale that wants none."""
    start = 0
    for rows_VC, coordinates_BN73, resolution, width in zip(into, coordinates, resolutions, channels, strict=True):
        if rows_VC is not None:
            _launch(_scatter, rows_VC, coordinates_BN73, gradient_BNF, resolution, start)
        start += PLACES * width


def program_size(channels: int) -> tuple[int, int]:
    """Samples and channels of one program: both powers of two."""
    width = min(WIDEST, triton.next_power_of_2(channels))
    return max(4, min(64, ELEMENTS // width)), width


def _launch(
    kernel: Any, rows_VC: torch.Tensor, coordinates_BN73: torch.Tensor, features_BNF: torch.Tensor, r: int, start: int
) -> None:
    shapes, points, places, _ = coordinates_BN73.shape
    channels, samples = rows_VC.shape[1], shapes * points * places
    if samples and channels:
        # A program takes a tile of samples by channels: neighbouring threads read neighbouring channels.
        block, width = program_size(channels)
        programs = triton.cdiv(samples, block), triton.cdiv(channels, width)
        sizes = samples, points * places, channels, features_BNF.shape[2], start, r
        kernel[programs](rows_VC, coordinates_BN73, features_BNF, *sizes, PLACES=places, BLOCK=block, WIDTH=width)


@triton.jit
def _end(x, floor, end: tl.constexpr, resolution):  # type: ignore[no-untyped-def]
    """Index and weight of the grid line below x (end 0) or above it (1); outside the grid weight 0, index inside."""
    at = floor + end
    weight = (x - floor) if end == 1 else (floor + 1) - x
    inside = (at >= 0) & (at <= resolution - 1)
    return tl.where(inside, at, 0).to(tl.int64), tl.where(inside, weight, 0)


@triton.jit
def _gather(  # type: ignore[no-untyped-def]
    rows,
    coordinates,
    features,
    samples,
    of_shape,  # samples of a shape
    channels,
    columns,  # of a row of features
    start,  # the first column of this scale
    resolution,
    PLACES: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    # In 64 bits: samples times columns of a large batch exceed 2^31. What lies beyond the ends is masked.
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x = tl.load(coordinates + 3 * m, mask=m < samples, other=0)
    y = tl.load(coordinates + 3 * m + 1, mask=m < samples, other=0)
    z = tl.load(coordinates + 3 * m + 2, mask=m < samples, other=0)
    x_floor, y_floor, z_floor = tl.floor(x), tl.floor(y), tl.floor(z)
    mask = (m < samples)[:, None] & (c < channels)[None, :]
    first = m // of_shape * resolution * resolution * resolution
    total = tl.zeros([BLOCK, WIDTH], dtype=rows.dtype.element_ty)
    for corner in tl.static_range(8):
        i, wx = _end(x, x_floor, corner % 2, resolution)
        j, wy = _end(y, y_floor, corner // 2 % 2, resolution)
        k, wz = _end(z, z_floor, corner // 4, resolution)
        row = first + (k * resolution + j) * resolution + i
        values = tl.load(rows + row[:, None] * channels + c[None, :], mask=mask, other=0)
        total += (wz * wy * wx)[:, None] * values
    column = m // PLACES * columns + start + m % PLACES * channels
    tl.store(features + column[:, None] + c[None, :], total.to(features.dtype.element_ty), mask=mask)


@triton.jit
def _scatter(  # type: ignore[no-untyped-def]
    rows,
    coordinates,
    features,
    samples,
    of_shape,
    channels,
    columns,
    start,
    resolution,
    PLACES: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x = tl.load(coordinates + 3 * m, mask=m < samples, other=0)
    y = tl.load(coordinates + 3 * m + 1, mask=m < samples, other=0)
    z = tl.load(coordinates + 3 * m + 2, mask=m < samples, other=0)
    x_floor, y_floor, z_floor = tl.floor(x), tl.floor(y), tl.floor(z)
    mask = (m < samples)[:, None] & (c < channels)[None, :]
    first = m // of_shape * resolution * resolution * resolution
    column = m // PLACES * columns + start + m % PLACES * channels
    gradient = tl.load(features + column[:, None] + c[None, :], mask=mask, other=0).to(rows.dtype.element_ty)
    for corner in tl.static_range(8):
        i, wx = _end(x, x_floor, corner % 2, resolution)
        j, wy = _end(y, y_floor, corner // 2 % 2, resolution)
        k, wz = _end(z, z_floor, corner // 4, resolution)
        row = first + (k * resolution + j) * resolution + i
        # Places outside weigh nothing: no atomic is spent on them.
        weight = wz * wy * wx
        # Relaxed: only the sums matter. The default orders all memory around each atomic, by a barrier over the GPU.
        tl.atomic_add(
            rows + row[:, None] * channels + c[None, :],
            weight[:, None] * gradient,
            mask=mask & (weight != 0)[:, None],
            sem="relaxed",
        )
