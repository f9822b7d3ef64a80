"""IF-Net's encoder: a volume to a pyramid of feature volumes (Chibane et al. 2020, section 3.1).

B shapes, R grid resolution.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from engine.ops.batch_statistics import batch_norm

Padding = Literal["zeros", "replicate"]


class Encoder(nn.Module):
    """Stages of 3^3 convolutions with max-pooling between them; feature 0 is the input itself."""

    def __init__(self, *, resolution: int, stages: Sequence[Sequence[int]], padding: Padding) -> None:
        super().__init__()
        self.resolution = resolution
        widths = [1, *(channels[-1] for channels in stages)]
        self.stages = nn.ModuleList(
            Stage(before, channels, padding=padding) for before, channels in zip(widths, stages, strict=False)
        )

    def forward(self, inputs_B1RRR: torch.Tensor, *, real: bool = True) -> list[torch.Tensor]:
        """(B, 1, R, R, R) to volumes (B, C_s, R_s, R_s, R_s), float32, channels last in memory; R_s is halved.

        `real` False: the shapes only keep the collectives of other ranks company. ValueError for another size.
        """
        expected = (1, *(self.resolution,) * 3)
        if tuple(inputs_B1RRR.shape[1:]) != expected:
            wanted, got = (" x ".join(map(str, shape)) for shape in (expected, inputs_B1RRR.shape[1:]))
            raise ValueError(f"this model takes inputs of B x {wanted} (model.resolution), got B x {got}")
        x, volumes = inputs_B1RRR, [inputs_B1RRR]
        for number, stage in enumerate(self.stages):
            # Channels-last volumes are pooled nine times faster, but convolved with up to 1.5 times the rounding error.
            x = _ForSampling.apply(stage(F.max_pool3d(x, 2).contiguous() if number else x, real=real))
            volumes.append(x)
        return volumes


class Stage(nn.Module):
    """Convolution and rectifier, once or more; then batch normalisation."""

    def __init__(self, before: int, channels: Sequence[int], *, padding: Padding) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(a, b, 3, padding=1, padding_mode=padding) for a, b in itertools.pairwise([before, *channels])
        )
        self.norm = nn.BatchNorm3d(channels[-1])

    def forward(self, x_BCRRR: torch.Tensor, *, real: bool) -> torch.Tensor:
        """(B, C, R, R, R) to (B, C', R, R, R)."""
        for convolution in self.convolutions:
            x_BCRRR = F.relu_(convolution(x_BCRRR))
        return batch_norm(x_BCRRR, self.norm, training=self.training, real=real)


class _ForSampling(torch.autograd.Function):
    """The same volume laid out for sampling: a point's channels side by side, float32 (double stays).

    Sampling computes in float32, and gradients of points add up there. They go back as the volume was: NCDHW, its type.
    """

    @staticmethod
    def forward(ctx: Any, x_BCRRR: torch.Tensor) -> torch.Tensor:
        ctx.dtype = x_BCRRR.dtype
        dtype = torch.promote_types(x_BCRRR.dtype, torch.float32)
        return x_BCRRR.to(dtype, memory_format=torch.channels_last_3d)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.to(ctx.dtype, memory_format=torch.contiguous_format)
