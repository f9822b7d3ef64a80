"""Features of several grids at each point and at six places around it (IF-Net, section 3), and the layer behind them.

Here are the operators and their plain twins. A row of features is laid out [scale][place][channel]; the published
layout is [channel][place] over the concatenated channels (`published_columns`). Places: 0, -x, +x, -y, +y, -z, +z,
where x is the *last* array axis, as in `grid_sample`; points come as cube coordinates, first array axis first.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F

Padding = Literal["zeros", "border"]
PLACES = 7


def sample_features(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    *,
    displacement: float,
    padding: Padding,
    align_corners: bool,
) -> torch.Tensor:
    """Trilinear features of all volumes (B, C_s, R_s, R_s, R_s) at seven places a point: (B, N, 7 * sum of C_s).

    `points_BN3`: cube coordinates. `displacement`: of the six places, in units of [-1, 1], half a cube.
    """
    return sample_features_plain(
        volumes, points_BN3, displacement=displacement, padding=padding, align_corners=align_corners
    )


def sampled_linear(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    weight_OF: torch.Tensor,
    bias_O: torch.Tensor,
    *,
    displacement: float,
    padding: Padding,
    align_corners: bool,
) -> torch.Tensor:
    """linear(sample_features(...), weight, bias): (B, N, O). The weight's columns follow `sample_features`."""
    return sampled_linear_plain(
        volumes,
        points_BN3,
        weight_OF,
        bias_O,
        displacement=displacement,
        padding=padding,
        align_corners=align_corners,
    )


def sample_features_plain(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    *,
    displacement: float,
    padding: Padding,
    align_corners: bool,
) -> torch.Tensor:
    """The plain twin: seven `grid_sample`s of every volume, concatenated."""
    grid_B7N13 = places(points_BN3, displacement)[..., None, :]
    features = []
    for volume in volumes:
        for place in range(PLACES):
            sampled_BCN11 = F.grid_sample(
                volume, grid_B7N13[:, place, :, None], padding_mode=padding, align_corners=align_corners
            )
            features.append(sampled_BCN11[..., 0, 0].transpose(1, 2))
    return torch.cat(features, dim=-1)


def sampled_linear_plain(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    weight_OF: torch.Tensor,
    bias_O: torch.Tensor,
    *,
    displacement: float,
    padding: Padding,
    align_corners: bool,
) -> torch.Tensor:
    """The plain twin of `sampled_linear`."""
    features_BNF = sample_features_plain(
        volumes, points_BN3, displacement=displacement, padding=padding, align_corners=align_corners
    )
    return F.linear(features_BNF, weight_OF, bias_O)


def places(points_BN3: torch.Tensor, displacement: float) -> torch.Tensor:
    """The seven places of each point as `grid_sample` takes them, last array axis first: (B, 7, N, 3) in [-1, 1]."""
    steps_73 = points_BN3.new_zeros(PLACES, 3)
    for axis in range(3):
        steps_73[1 + 2 * axis, axis], steps_73[2 + 2 * axis, axis] = -displacement, displacement
    return 2 * points_BN3.flip(-1)[:, None] + steps_73[:, None]


def published_columns(channels: Sequence[int]) -> torch.Tensor:
    """The published column (channel * 7 + place) of each of ours, int64: `ours = published_weight[:, columns]`."""
    firsts = [sum(channels[:scale]) for scale in range(len(channels))]
    scales = [
        torch.arange(PLACES)[:, None] + PLACES * torch.arange(first, first + count)
        for first, count in zip(firsts, channels, strict=True)
    ]
    return torch.cat([scale_7C.flatten() for scale_7C in scales])
