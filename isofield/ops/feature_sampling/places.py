"""Where the features of a point are read: the seven places in voxels, and how volumes and points lie in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Padding = Literal["zeros", "border"]
PLACES = 7


@dataclass(frozen=True)
class Sampling:
    """The three choices of the operator. `displacement`: of the six places, in units of [-1, 1], half a cube."""

    displacement: float
    padding: Padding
    align_corners: bool

    def __post_init__(self) -> None:
        if self.padding not in ("zeros", "border"):
            raise ValueError(f"padding of feature sampling: expected zeros or border, got {self.padding!r}")

    def coordinates(self, points_BN3: torch.Tensor, resolution: int) -> torch.Tensor:
        """The seven places in voxels of one volume, last array axis first: (B, N, 7, 3).

        Operation by operation as `grid_sample` computes them: in float32 another order moves features by 3e-4.
        """
        return self.voxels(places(points_BN3, self.displacement).transpose(1, 2), resolution)

    def voxels(self, x: torch.Tensor, resolution: int) -> torch.Tensor:
        """Places in [-1, 1] (`places`) in voxels of one volume."""
        x = (x + 1) / 2 * (resolution - 1) if self.align_corners else ((x + 1) * resolution - 1) / 2
        return x.clamp(0, resolution - 1) if self.padding == "border" else x


def places(points_BN3: torch.Tensor, displacement: float) -> torch.Tensor:
    """The seven places of each point as `grid_sample` takes them, last array axis first: (B, 7, N, 3) in [-1, 1]."""
    # The published order: the point itself, then minus and plus along the last array axis, the middle one, the first.
    steps_73 = points_BN3.new_zeros(PLACES, 3)
    for axis in range(3):
        steps_73[1 + 2 * axis, axis], steps_73[2 + 2 * axis, axis] = -displacement, displacement
    return 2 * points_BN3.flip(-1)[:, None] + steps_73[:, None]


def corners(coordinates_M3: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The eight voxels around each place (index in C order) and their weights: (M, 8) int64 and (M, 8).

    Voxels outside the volume get weight 0 and the index of one inside; so do all eight of a place that is not a number.
    """
    # A place that is no number lies at -2: both ends are outside, all its weights are 0.
    lower_M3 = coordinates_M3.detach().floor().nan_to_num(nan=-2.0)
    ends_M32 = torch.stack([lower_M3, lower_M3 + 1], dim=-1)
    weights_M32 = torch.stack([ends_M32[..., 1] - coordinates_M3, coordinates_M3 - ends_M32[..., 0]], dim=-1)
    weights_M32 = weights_M32.masked_fill((ends_M32 < 0) | (ends_M32 > resolution - 1), 0)
    x, y, z = ends_M32.clamp(0, resolution - 1).long().unbind(1)
    wx, wy, wz = weights_M32.unbind(1)
    index = (z[:, :, None, None] * resolution + y[:, None, :, None]) * resolution + x[:, None, None, :]
    weight = wz[:, :, None, None] * wy[:, None, :, None] * wx[:, None, None, :]
    return index.flatten(1), weight.flatten(1)


def rows_of(volume_CRRR: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A volume as channels-last rows (R^3, C): a view where it lies so in memory already, else a copy."""
    rows_VC = volume_CRRR.to(dtype).movedim(0, -1).contiguous()
    return rows_VC.view(-1, len(volume_CRRR))


def rows_of_batch(volume_BCRRR: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The volumes of B shapes as channels-last rows (B R^3, C): a view where they lie so in memory already."""
    rows_BRRRC = volume_BCRRR.to(dtype).movedim(1, -1).contiguous()
    return rows_BRRRC.view(-1, volume_BCRRR.shape[1])


def order_by_cell(points_N3: torch.Tensor) -> torch.Tensor:
    """Points in Morton order of 64^3 cells, so that neighbours in the order read the same voxels: (N,) int64."""
    cells_N3 = ((points_N3.detach() + 0.5) * 64).nan_to_num().clamp(0, 63).long()
    key = torch.zeros_like(cells_N3[:, 0])
    for bit in range(6):
        for axis in range(3):
            # Morton order interleaves the bits of the three coordinates.
            key |= ((cells_N3[:, axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return torch.argsort(key, stable=True)


def first_columns(channels: Sequence[int]) -> list[int]:
    """The first column of every scale in a row of features."""
    return [PLACES * sum(channels[:scale]) for scale in range(len(channels))]


def column_slices(channels: Sequence[int]) -> list[slice]:
    """The columns of every scale in a row of features."""
    firsts = first_columns(channels)
    return [slice(first, first + PLACES * count) for first, count in zip(firsts, channels, strict=True)]


def working_dtype(volumes: Sequence[torch.Tensor], points_BN3: torch.Tensor) -> torch.dtype:
    """Features are interpolated in double where something is double, else in float32 (also from bfloat16 volumes)."""
    dtypes = {points_BN3.dtype, *(volume.dtype for volume in volumes)}
    return torch.float64 if torch.float64 in dtypes else torch.float32


# How many multiply-adds of a matrix product take as long as one of an interpolation, by the type of the device. With
# the tensor cores of a GPU products are so fast that nothing is worth a second interpolation.
INTERPOLATION_COST = {"cpu": 5, "cuda": 400}


def pays_to_fold(channels: int, resolution: int, *, outputs: int, points: int, device: torch.device | str) -> bool:
    """Whether to multiply a grid's voxels by its columns of the layer, and sample the products, for N points.

    linear(sample(V)) = sum over places of sample(V W_place): exact but for rounding. Multiply-adds a point, those of
    the interpolation counted as often as the device makes them dearer (as on a CPU, of devices nobody knows).
    """
    cost = INTERPOLATION_COST.get(torch.device(device).type, INTERPOLATION_COST["cpu"])
    # Folded, a point interpolates as many channels as the layer has outputs, and the product is paid per voxel; else it
    # interpolates the grid's own channels, and the product is paid per point.
    interpolation, product = cost * 8 * PLACES, PLACES * channels * outputs
    folded = interpolation * outputs + product * resolution**3 / max(points, 1)
    return folded < interpolation * channels + product
