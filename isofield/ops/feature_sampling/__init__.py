"""Features of several grids at each point and at six places around it (IF-Net, section 3), and the layer behind them.

Here are the operators and their plain twins. A row of features is laid out [scale][place][channel]; the published
layout is [channel][place] over the concatenated channels (`published_columns`). Places: 0, -x, +x, -y, +y, -z, +z,
where x is the *last* array axis, as in `grid_sample`; points come as cube coordinates, first array axis first.

On a CPU, numba kernels run, compiled at their first call; on a GPU Triton where it is installed and agrees with torch;
everywhere else, and where the points want a gradient, torch operators. All of them are equal up to rounding.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from isofield.ops.fallback import warn_once
from isofield.ops.feature_sampling import device, plain
from isofield.ops.feature_sampling.cpu import HAS_NUMBA, SampledLinearOnCPU, SampleOnCPU
from isofield.ops.feature_sampling.places import PLACES, Sampling, places, working_dtype

__all__ = [
    "PLACES",
    "Sampling",
    "published_columns",
    "sample_features",
    "sample_features_plain",
    "sampled_linear",
    "sampled_linear_plain",
]


def sample_features(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Trilinear features of all volumes (B, C_s, R_s, R_s, R_s) at seven places a point: (B, N, 7 * sum of C_s).

    `points_BN3`: cube coordinates. Float32 (double where a volume or the points are), also under autocast and from
    bfloat16 volumes. Fastest where the volumes are channels-last in memory. Differentiable once in the volumes. On a
    CPU, bit for bit the same with any number of threads.
    """
    _check(volumes, points_BN3)
    if _kernels_serve(volumes, points_BN3):
        return SampleOnCPU.apply(points_BN3, sampling, *volumes)
    if device.serves(points_BN3.device, wants_points=_wants_gradient(points_BN3)):
        return device.features_of(volumes, points_BN3, sampling, working_dtype(volumes, points_BN3))
    return plain.sample(volumes, points_BN3, sampling)


def sampled_linear(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    weight_OF: torch.Tensor,
    bias_O: torch.Tensor,
    sampling: Sampling,
) -> torch.Tensor:
    """linear(sample_features(...), weight, bias): (B, N, O). The weight's columns follow `sample_features`.

    On a CPU it never holds the features of all points: give it all points of a shape at once. A GPU holds them, in the
    type that the layer computes in. Follows autocast, like a linear layer behind `sample_features`.
    """
    _check(volumes, points_BN3, weight_OF)
    if _kernels_serve(volumes, points_BN3):
        dtype = _layer_dtype("cpu", weight_OF.dtype)
        return SampledLinearOnCPU.apply(points_BN3, sampling, dtype, weight_OF, bias_O, *volumes)
    if device.serves(points_BN3.device, wants_points=_wants_gradient(points_BN3)):
        working = working_dtype(volumes, points_BN3)
        dtype = working if working == torch.float64 else _layer_dtype(points_BN3.device.type, working)
        return F.linear(device.features_of(volumes, points_BN3, sampling, dtype), weight_OF, bias_O)
    return plain.sampled_linear(volumes, points_BN3, weight_OF, bias_O, sampling)


def _layer_dtype(device_type: str, dtype: torch.dtype) -> torch.dtype:
    """What a linear layer of this type computes in: autocast's type where that is on."""
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else dtype


def _check(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, weight_OF: torch.Tensor | None = None) -> None:
    """ValueError unless shapes fit together."""
    if points_BN3.dim() != 3 or points_BN3.shape[2] != 3:
        raise ValueError(f"points: expected (B, N, 3), got {tuple(points_BN3.shape)}")
    for volume in volumes:
        if volume.dim() != 5 or len(volume) != len(points_BN3) or len({*volume.shape[2:]}) != 1:
            expected = f"({len(points_BN3)}, C, R, R, R) as there are points of {len(points_BN3)} shapes"
            raise ValueError(f"volumes: expected {expected}, got {tuple(volume.shape)}")
    width = PLACES * sum(volume.shape[1] for volume in volumes)
    if weight_OF is not None and weight_OF.shape[1] != width:
        raise ValueError(f"weight: expected (O, {width}) for these volumes, got {tuple(weight_OF.shape)}")


def _kernels_serve(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> bool:
    on_cpu = all(tensor.device.type == "cpu" for tensor in (points_BN3, *volumes))
    served = on_cpu and not _wants_gradient(points_BN3) and not torch.compiler.is_compiling()
    if served and not HAS_NUMBA:
        warn_once("feature sampling", "numba is not installed")
    return served and HAS_NUMBA


def _wants_gradient(points_BN3: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and points_BN3.requires_grad


def sample_features_plain(
    volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, sampling: Sampling
) -> torch.Tensor:
    """The plain twin: `grid_sample` of every volume at the seven places, concatenated."""
    grid_B17N3 = places(points_BN3, sampling.displacement)[:, None]
    features = [points_BN3.new_empty(*points_BN3.shape[:2], 0)]
    for volume in volumes:
        dtype = torch.promote_types(volume.dtype, points_BN3.dtype)
        sampled_BC17N = F.grid_sample(
            volume.to(dtype), grid_B17N3.to(dtype), padding_mode=sampling.padding, align_corners=sampling.align_corners
        )
        features.append(sampled_BC17N[:, :, 0].permute(0, 3, 2, 1).flatten(2))
    return torch.cat(features, dim=-1)


def sampled_linear_plain(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    weight_OF: torch.Tensor,
    bias_O: torch.Tensor,
    sampling: Sampling,
) -> torch.Tensor:
    """The plain twin of `sampled_linear`."""
    return F.linear(sample_features_plain(volumes, points_BN3, sampling), weight_OF, bias_O)


def published_columns(channels: Sequence[int]) -> torch.Tensor:
    """The published column (channel * 7 + place) of each of ours, int64: `ours = published_weight[:, columns]`."""
    firsts = [sum(channels[:scale]) for scale in range(len(channels))]
    scales = [
        torch.arange(PLACES)[:, None] + PLACES * torch.arange(first, first + count)
        for first, count in zip(firsts, channels, strict=True)
    ]
    return torch.cat([scale_7C.flatten() for scale_7C in scales])
