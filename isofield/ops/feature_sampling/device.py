"""Features of all scales as one operator of torch for devices: `isofield::sampled_features`, and its gradient.

Registered with torch, so that code compiled by it calls the kernels as they are. On a GPU Triton's kernels run where
they agree with torch, elsewhere torch operators; all shapes of a batch at once, each scale written into its columns.
"""

import functools
import importlib.util
import subprocess
from collections.abc import Sequence
from typing import Any

import torch

from isofield.ops.fallback import warn_once
from isofield.ops.feature_sampling.places import PLACES, Sampling, corners, places, rows_of_batch, working_dtype
from isofield.ops.feature_sampling.plain import interpolate

SAMPLING = "feature sampling"
DEVICES = ("cuda",)  # whose features come from this operator


def serves(device: torch.device, *, wants_points: bool) -> bool:
    """Whether features on a device come from this operator: on a GPU, where Triton's kernels do their work.

    Not where the points want a gradient, nor where torch is told to be deterministic (they add by atomics). Code that
    torch compiles asks nothing: the operator decides when it runs.
    """
    if device.type not in DEVICES or wants_points or torch.are_deterministic_algorithms_enabled():
        return False
    return torch.compiler.is_compiling() or triton_agrees(device)


def features_of(
    volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, sampling: Sampling, dtype: torch.dtype
) -> torch.Tensor:
    """Features (B, N, 7 * sum of C) in `dtype`, of volumes (B, C, R, R, R). Differentiable once, in the volumes."""
    working = working_dtype(volumes, points_BN3)
    places_BN73 = places(points_BN3.to(working), sampling.displacement).transpose(1, 2)
    resolutions = [volume.shape[-1] for volume in volumes]
    coordinates = [sampling.voxels(places_BN73, resolution).contiguous() for resolution in resolutions]
    rows = [rows_of_batch(volume, working) for volume in volumes]
    return sampled_features(rows, coordinates, resolutions, dtype)


# Schemas are written out: torch 2.6 cannot read them from types of collections.abc.
@torch.library.custom_op(
    "isofield::sampled_features",
    mutates_args=(),
    schema="(Tensor[] rows, Tensor[] coordinates, SymInt[] resolutions, ScalarType dtype) -> Tensor",
)
def sampled_features(
    rows: Sequence[torch.Tensor], coordinates: Sequence[torch.Tensor], resolutions: Sequence[int], dtype: torch.dtype
) -> torch.Tensor:
    """Of each scale the rows (B R^3, C) and the places in voxels (B, N, 7, 3), of one type: (B, N, 7 * sum of C)."""
    features_BNF = _empty_features(rows, coordinates, dtype)
    if _triton_serves(features_BNF.device):
        from isofield.ops.feature_sampling import triton

        triton.gather(rows, coordinates, resolutions, features_BNF)
    else:
        _gather_by_torch(rows, coordinates, resolutions, features_BNF)
    return features_BNF


def _gather_by_torch(
    rows: Sequence[torch.Tensor],
    coordinates: Sequence[torch.Tensor],
    resolutions: Sequence[int],
    features_BNF: torch.Tensor,
) -> None:
    """What triton.gather does."""
    parts = zip(rows, coordinates, resolutions, features_BNF.split(_widths(rows), dim=2), strict=True)
    for rows_VC, coordinates_BN73, resolution, columns_BNC in parts:
        for shape, rows_of_one in enumerate(rows_VC.view(len(columns_BNC), -1, rows_VC.shape[1])):
            sampled_MC = interpolate(rows_of_one, coordinates_BN73[shape].flatten(0, 1), resolution)
            columns_BNC[shape] = sampled_MC.view(columns_BNC[shape].shape)


@torch.library.custom_op(
    "isofield::sampled_features_backward",
    mutates_args=(),
    schema="(Tensor gradient_BNF, Tensor[] coordinates, SymInt[] resolutions, SymInt[] channels, bool[] wanted)"
    " -> Tensor[]",
)
def sampled_features_backward(
    gradient_BNF: torch.Tensor,
    coordinates: Sequence[torch.Tensor],
    resolutions: Sequence[int],
    channels: Sequence[int],
    wanted: Sequence[bool],
) -> list[torch.Tensor]:
    """The gradients of the rows (B R^3, C) of the wanted scales; (0, C) of the others."""
    # Every wanted scale begins at 0, since atomics only add.
    into = [rows_VC.zero_() for rows_VC in _empty_gradients(coordinates, resolutions, channels, wanted)]
    targets = [rows_VC if wants else None for rows_VC, wants in zip(into, wanted, strict=True)]
    if _triton_serves(gradient_BNF.device):
        from isofield.ops.feature_sampling import triton

        triton.scatter(gradient_BNF, coordinates, resolutions, targets, channels)
    else:
        _scatter_by_torch(gradient_BNF, coordinates, resolutions, targets, channels)
    return into


def _scatter_by_torch(
    gradient_BNF: torch.Tensor,
    coordinates: Sequence[torch.Tensor],
    resolutions: Sequence[int],
    into: Sequence[torch.Tensor | None],
    channels: Sequence[int],
) -> None:
    """What triton.scatter does."""
    columns = gradient_BNF.split([PLACES * width for width in channels], dim=2)
    for rows_VC, coordinates_BN73, resolution, columns_BNC in zip(into, coordinates, resolutions, columns, strict=True):
        if rows_VC is None:
            continue
        for shape, rows_of_one in enumerate(rows_VC.view(len(columns_BNC), -1, rows_VC.shape[1])):
            gradient_MC = columns_BNC[shape].reshape(-1, rows_VC.shape[1]).to(rows_VC.dtype)
            index_M8, weight_M8 = corners(coordinates_BN73[shape].flatten(0, 1), resolution)
            for index_M, weight_M in zip(index_M8.unbind(1), weight_M8.unbind(1), strict=True):
                rows_of_one.index_add_(0, index_M, weight_M[:, None] * gradient_MC)


@sampled_features.register_fake
def _features_without_values(
    rows: Sequence[torch.Tensor], coordinates: Sequence[torch.Tensor], resolutions: Sequence[int], dtype: torch.dtype
) -> torch.Tensor:
    return _empty_features(rows, coordinates, dtype)


@sampled_features_backward.register_fake
def _gradients_without_values(gradient_BNF: torch.Tensor, *described: Any) -> list[torch.Tensor]:
    return _empty_gradients(*described)


def _empty_features(
    rows: Sequence[torch.Tensor], coordinates: Sequence[torch.Tensor], dtype: torch.dtype
) -> torch.Tensor:
    shapes, points = coordinates[0].shape[:2]
    return rows[0].new_empty(shapes, points, sum(_widths(rows)), dtype=dtype)


def _empty_gradients(
    coordinates: Sequence[torch.Tensor], resolutions: Sequence[int], channels: Sequence[int], wanted: Sequence[bool]
) -> list[torch.Tensor]:
    shapes = len(coordinates[0])
    return [
        coordinates[0].new_empty(shapes * resolution**3 if wants else 0, width)
        for resolution, width, wants in zip(resolutions, channels, wanted, strict=True)
    ]


def _widths(rows: Sequence[torch.Tensor]) -> list[int]:
    """Columns of each scale."""
    return [PLACES * rows_VC.shape[1] for rows_VC in rows]


def _note(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    rows, coordinates, ctx.resolutions, _ = inputs
    ctx.channels = [rows_VC.shape[1] for rows_VC in rows]
    ctx.wanted = [rows_VC.requires_grad for rows_VC in rows]
    ctx.save_for_backward(*coordinates)


def _differentiate(ctx: Any, gradient_BNF: torch.Tensor) -> tuple[Any, ...]:
    gradients = sampled_features_backward(
        gradient_BNF.contiguous(), list(ctx.saved_tensors), ctx.resolutions, ctx.channels, ctx.wanted
    )
    of_rows = [one if wants else None for one, wants in zip(gradients, ctx.wanted, strict=True)]
    return of_rows, [None] * len(of_rows), None, None


sampled_features.register_autograd(_differentiate, setup_context=_note)


def _triton_serves(device: torch.device) -> bool:
    return device.type == "cuda" and triton_agrees(device)


@functools.cache
def triton_agrees(device: torch.device) -> bool:
    """Whether Triton is there and its kernels' values and gradients equal those of `interpolate`; asked once a device.

    A warning says why they are not used.
    """
    if importlib.util.find_spec("triton") is None:
        warn_once(SAMPLING, f"no Triton for {device}")
        return False
    try:
        from triton.errors import TritonError
    except ImportError:
        warn_once(SAMPLING, "this Triton is too old")
        return False
    try:
        worst = _worst_difference(device)
    except (
        TritonError,
        ImportError,
        RuntimeError,
        OSError,
        subprocess.SubprocessError,
        TypeError,
        AttributeError,
    ) as e:
        warn_once(SAMPLING, f"Triton fails on {device} ({e})")
        return False
    # A compiler that miscompiles is worse than none: values that differ mean the plain way.
    if worst > 1e-5:
        warn_once(SAMPLING, f"Triton differs by {worst:.1e} on {device}")
    return worst <= 1e-5


def _worst_difference(device: torch.device) -> float:
    """Between the kernels and torch: values and gradients, at places inside, outside and on the edge, of two shapes."""
    from isofield.ops.feature_sampling import triton

    # Widths of one channel, of several, and of more than a program has (WIDEST); every scale has another side.
    generator, channels, resolutions = torch.Generator().manual_seed(0), [1, 16, 130], [5, 4, 3]
    rows = [
        torch.randn(2 * side**3, width, generator=generator).to(device)
        for width, side in zip(channels, resolutions, strict=True)
    ]
    # Up to two voxels beyond the grid on either side, and (below) right on its first and its last voxel.
    places = [torch.rand(2, 15, PLACES, 3, generator=generator).to(device) * (side + 3) - 2 for side in resolutions]
    for coordinates_BN73, side in zip(places, resolutions, strict=True):
        coordinates_BN73[:, 0], coordinates_BN73[:, 1] = 0, side - 1
    ours, plain = (_empty_features(rows, places, torch.float32) for _ in range(2))
    triton.gather(rows, places, resolutions, ours)
    _gather_by_torch(rows, places, resolutions, plain)
    into, plain_into = ([torch.zeros_like(rows_VC) for rows_VC in rows] for _ in range(2))
    triton.scatter(ours, places, resolutions, into, channels)
    _scatter_by_torch(ours, places, resolutions, plain_into, channels)
    pairs = [(ours, plain), *zip(into, plain_into, strict=True)]
    worst = max(float((a - b).abs().max()) for a, b in pairs)
    return worst if worst == worst else float("inf")  # NaN agrees with nothing
