"""Feature sampling of torch operators only: any device, any floating dtype, differentiable in the points as well.

A sample is a weighted sum of eight channels-last rows: `embedding_bag`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from isofield.ops.feature_sampling.places import (
    PLACES,
    Sampling,
    column_slices,
    corners,
    pays_to_fold,
    rows_of,
    working_dtype,
)


def sample(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Features (B, N, 7 * sum of C)."""
    dtype = working_dtype(volumes, points_BN3)
    shapes = []
    for shape, points_N3 in enumerate(points_BN3.to(dtype)):
        scales = [points_N3.new_empty(len(points_N3), 0)]
        for volume in volumes:
            rows_VC, resolution = rows_of(volume[shape], dtype), volume.shape[-1]
            coordinates_M3 = sampling.coordinates(points_N3[None], resolution)[0].flatten(0, 1)
            sampled_MC = interpolate(rows_VC, coordinates_M3, resolution)
            scales.append(sampled_MC.view(len(points_N3), PLACES * volume.shape[1]))
        shapes.append(torch.cat(scales, dim=1))
    return torch.stack(shapes)


def sampled_linear(
    volumes: Sequence[torch.Tensor],
    points_BN3: torch.Tensor,
    weight_OF: torch.Tensor,
    bias_O: torch.Tensor,
    sampling: Sampling,
) -> torch.Tensor:
    """linear(sample(...)): (B, N, O), coarse grids folded."""
    outputs, points = len(weight_OF), points_BN3.shape[1]
    columns = column_slices([volume.shape[1] for volume in volumes])
    device = points_BN3.device
    pays = [pays_to_fold(v.shape[1], v.shape[2], outputs=outputs, points=points, device=device) for v in volumes]
    fine = [scale for scale, folds in enumerate(pays) if not folds]
    # Fine scales are sampled first and multiplied then; of coarse ones the products are fewer than the points.
    features_BNG = sample([volumes[scale] for scale in fine], points_BN3, sampling)
    weight_OG = torch.cat([weight_OF[:, :0], *(weight_OF[:, columns[scale]] for scale in fine)], dim=1)
    sums_BNO = F.linear(features_BNG, weight_OG, bias_O)
    dtype = sums_BNO.dtype
    for scale, folds in enumerate(pays):
        if folds:
            weight_POC = weight_OF[:, columns[scale]].unflatten(1, (PLACES, -1)).transpose(0, 1)
            sums_BNO = sums_BNO + _sample_products(volumes[scale], points_BN3, weight_POC, sampling)
    return sums_BNO.to(dtype)


def _sample_products(
    volume: torch.Tensor,
    points_BN3: torch.Tensor,
    weight_POC: torch.Tensor,
    sampling: Sampling,
) -> torch.Tensor:
    """The sum over places of the volume times that place's columns, sampled there: (B, N, O)."""
    dtype, resolution = working_dtype([volume], points_BN3), volume.shape[-1]
    shapes = []
    for shape, points_N3 in enumerate(points_BN3.to(dtype)):
        coordinates_N73 = sampling.coordinates(points_N3[None], resolution)[0]
        rows_VC = rows_of(volume[shape], dtype)
        sampled = [
            interpolate(F.linear(rows_VC, weight_OC).to(dtype), coordinates_N73[:, place], resolution)
            for place, weight_OC in enumerate(weight_POC)
        ]
        shapes.append(torch.stack(sampled).sum(0))
    return torch.stack(shapes)


def interpolate(rows_VC: torch.Tensor, coordinates_M3: torch.Tensor, resolution: int) -> torch.Tensor:
    """Trilinear values (M, C) of a volume (R^3 voxels in C order) at voxel coordinates, last array axis first."""
    index_M8, weight_M8 = corners(coordinates_M3, resolution)
    return F.embedding_bag(index_M8, rows_VC, mode="sum", per_sample_weights=weight_M8)
