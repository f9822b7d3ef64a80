"""IF-Net's encoder: a volume to a pyramid of feature volumes (Chibane et al. 2020, section 3.1).

B shapes, R grid resolution.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from isofield.ops.convolution import convolve
from isofield.ops.pyramid_level import pyramid_level

Padding = Literal["zeros", "replicate"]


class Encoder(nn.Module):
    """Stages of 3^3 convolutions with max-pooling between them; feature 0 is the input itself."""

    def __init__(self, *, resolution: int, channels: int, stages: Sequence[Sequence[int]], padding: Padding) -> None:
        super().__init__()
        self.resolution, self.channels = resolution, channels
        widths = [channels, *(channels[-1] for channels in stages)]
        self.stages = nn.ModuleList(
            EncoderStage(before, channels, padding=padding) for before, channels in zip(widths, stages, strict=False)
        )

    def forward(self, inputs_BCRRR: torch.Tensor, *, is_padding: bool = False) -> list[torch.Tensor]:
        """(B, C, R, R, R) to volumes (B, C_s, R_s, R_s, R_s), float32, channels last in memory; R_s is halved.

        `is_padding`: the shapes only keep the collectives of other ranks company. ValueError for another size.
        """
        expected = (self.channels, *(self.resolution,) * 3)
        if tuple(inputs_BCRRR.shape[1:]) != expected:
            wanted, got = (" x ".join(map(str, shape)) for shape in (expected, inputs_BCRRR.shape[1:]))
            named = "model.resolution"
            if inputs_BCRRR.shape[1] != self.channels:
                named = "model.offsets and data.input.offsets have to be alike"
            raise ValueError(f"this model takes inputs of B x {wanted} ({named}), got B x {got}")
        x, volumes = inputs_BCRRR, [inputs_BCRRR]
        for number, stage in enumerate(self.stages):
            volume, x = stage(x, pooled=number + 1 < len(self.stages), is_padding=is_padding)
            volumes.append(volume)
        return volumes


class EncoderStage(nn.Module):
    """Convolution and rectifier, once or more; then batch normalisation, and pooling for the next stage."""

    def __init__(self, before: int, channels: Sequence[int], *, padding: Padding) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(a, b, 3, padding=1, padding_mode=padding) for a, b in itertools.pairwise([before, *channels])
        )
        self.norm = nn.BatchNorm3d(channels[-1])

    def forward(
        self, x_BCRRR: torch.Tensor, *, pooled: bool, is_padding: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, C, R, R, R) to the feature volume (B, C', R, R, R) and, where pooled, the next stage's input."""
        for number, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, nn.Conv3d) and convolution.bias is not None
            # The rectifier behind the last convolution is part of the operator that follows: it normalises what it
            # rectifies in one pass.
            x_BCRRR, padding = F.relu(x_BCRRR) if number else x_BCRRR, 1
            if convolution.padding_mode == "replicate":
                x_BCRRR, padding = F.pad(x_BCRRR, (1,) * 6, mode="replicate"), 0
            x_BCRRR = convolve(x_BCRRR, convolution.weight, convolution.bias, padding=padding)
        return pyramid_level(x_BCRRR, self.norm, training=self.training, pooled=pooled, is_padding=is_padding)
