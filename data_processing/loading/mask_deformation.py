"""Masks as a careless segmentation might have drawn them: cells added or removed where smooth noise is high.

Gradient noise (Perlin 2002) on a lattice of a few hills along each axis over the shape's own box, as in the published
organ variant of IF-Net, but with unit, isotropic gradients, and drawn anew wherever the key is new. All B shapes of a
batch at once, on the device they are on; the same mask on every device and in every batch (`draws`).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch

from data_processing.loading.mask_damage import DamageConfig, damage
from isofield.runtime.counter_random import derive_keys, directions, integers, uniforms
from isofield.runtime.device_tensors import constant

CACHED = 1 << 17  # numbers that a core keeps close


@dataclass(frozen=True)
class DeformationConfig:
    """The `data.input.deform:` section. Margins are in cells of the grid that is deformed."""

    hills: int = 3  # cells of the noise's lattice along each axis of the box
    threshold: tuple[float, float] = (0.65, 1.0)  # of noise in [0, 1]; drawn uniformly for each sample
    add_margin: int = 10  # the box around the shape grown by this, when cells are added
    remove_margin: int = 2  # when cells are removed
    modes: tuple[Literal["add", "remove", "both", "none"], ...] = ("add", "remove")  # one of them for each sample
    damage: DamageConfig = field(default_factory=DamageConfig)  # before that; nothing unless it names a share

    def __post_init__(self) -> None:
        low, high = self.threshold
        if self.hills < 1 or min(self.add_margin, self.remove_margin) < 0 or not self.modes:
            raise ValueError("deform: hills must be at least 1, margins at least 0, and at least one mode named")
        if not 0 <= low <= high <= 1:
            raise ValueError(f"deform: threshold must be a range within [0, 1], got [{low}, {high}]")


def deform(masks_BRRR: torch.Tensor, section: DeformationConfig, keys_B: torch.Tensor) -> torch.Tensor:
    """Masks (B, R, R, R) uint8 0/1, deformed: the same type and shape. An empty mask stays empty."""
    if section.damage.share:
        masks_BRRR = damage(masks_BRRR, section.damage, derive_keys(keys_B, "damage"))
    chosen_B = integers(derive_keys(keys_B, "mode"), 1, len(section.modes))[:, 0]
    adds, removes = (
        constant([mode in (name, "both") for mode in section.modes], chosen_B.device)[chosen_B]
        for name in ("add", "remove")
    )
    margin_B = torch.where(adds, section.add_margin, section.remove_margin)
    added = removed = _high_noise(masks_BRRR, section, derive_keys(keys_B, "first"), margin_B)
    if "both" in section.modes:  # else one noise serves: a sample does one thing only
        removed = _high_noise(masks_BRRR, section, derive_keys(keys_B, "second"), margin_B * 0 + section.remove_margin)
    return (masks_BRRR | (added & adds[:, None, None, None])) & ~(removed & removes[:, None, None, None])


def span(noise_BXYZ: torch.Tensor, box_BXYZ: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest and the largest value (B,) over the cells of `box_BXYZ` (bool), which are 0 and 1 of the noise."""
    low = torch.where(box_BXYZ, noise_BXYZ, torch.inf).amin((1, 2, 3))
    return low, torch.where(box_BXYZ, noise_BXYZ, -torch.inf).amax((1, 2, 3))


def perlin(gradients_BLLL3: torch.Tensor, places: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Gradient noise (B, X, Y, Z) float32 at a grid of places, of gradients at the L^3 nodes of a lattice.

    `places`: (B, X), (B, Y), (B, Z), where along each axis the grid lies, node n at n; places beyond 0 and L - 1 have
    no meaning. Perlin's improved noise: quintic fade. The noise is linear in the gradients and its weights are products
    over the axes, so that it is summed axis by axis: 4 L operations a cell.
    """
    nodes = gradients_BLLL3.shape[1]
    (wx, rx), (wy, ry), (wz, rz) = (_weights(place.double(), nodes) for place in places)
    gx, gy, gz = gradients_BLLL3.float().unbind(-1)  # (B, L, L, L)
    # Along z: (B, L, L, Z). Then along y: (B, L, Y, Z). Only the last sum is over whole volumes.
    x_z, y_z, z_z = _sum_along(gx, wz), _sum_along(gy, wz), _sum_along(gz, rz)
    plane_x = _sum_along(x_z.transpose(2, 3), wy).transpose(2, 3)
    plane_yz = (_sum_along(y_z.transpose(2, 3), ry) + _sum_along(z_z.transpose(2, 3), wy)).transpose(2, 3)
    planes = torch.stack([plane_x, plane_yz], 2).flatten(1, 2)  # (B, 2 L, Y, Z)
    weights_BXN = torch.stack([rx, wx], 3).flatten(2)
    noise = torch.empty(len(wx), wx.shape[1], *planes.shape[2:], device=wx.device)
    step = _planes_at_once(noise)
    for part, weights in zip(noise.split(step, 1), weights_BXN.split(step, 1), strict=True):
        _weighted_sum(planes, weights, out=part)
    return noise


def _high_noise(
    masks_BRRR: torch.Tensor, section: DeformationConfig, keys_B: torch.Tensor, margin_B: torch.Tensor
) -> torch.Tensor:
    """Cells (B, R, R, R) uint8 0/1 of each shape's grown box where the noise is above the sample's threshold."""
    nodes = section.hills + 1
    gradients = directions(derive_keys(keys_B, "gradients"), nodes**3).view(-1, nodes, nodes, nodes, 3)
    occupied_BXY, occupied_BYZ = masks_BRRR.amax(3), masks_BRRR.amax(1)
    occupied = occupied_BXY.amax(2), occupied_BXY.amax(1), occupied_BYZ.amax(1)
    x, y, z = (_axis(occupied_BR.bool(), section.hills, margin_B) for occupied_BR in occupied)
    noise_BRRR = perlin(gradients, (x[0], y[0], z[0]))
    # A few planes at once, within the grown box of each mask: temporaries of whole grids would leave the cache.
    step = _planes_at_once(noise_BRRR)
    box_BRR = y[1][:, None, :, None] & z[1][:, None, None, :]
    parts = [
        (n, b[:, :, None, None] & box_BRR) for n, b in zip(noise_BRRR.split(step, 1), x[1].split(step, 1), strict=True)
    ]
    spans = [span(noise, box) for noise, box in parts]
    low_B, high_B = torch.stack([s[0] for s in spans]).amin(0), torch.stack([s[1] for s in spans]).amax(0)
    # The threshold is a share of the span that the noise has in the box: hills of a size, however the noise fell out.
    least, most = section.threshold
    threshold_B = least + (most - least) * uniforms(derive_keys(keys_B, "threshold"), 1)[:, 0]
    cut_B111 = (low_B + (high_B - low_B) * threshold_B)[:, None, None, None]
    return torch.cat([((noise > cut_B111) & box).to(masks_BRRR.dtype) for noise, box in parts], 1)


def _axis(occupied_BR: torch.Tensor, hills: int, margin_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Along one axis: where the cells lie on the lattice (B, R), and which are in the grown box (B, R) bool.

    The lattice spans the whole grown box, also where that reaches beyond the grid.
    """
    index_R = torch.arange(occupied_BR.shape[1], device=occupied_BR.device)
    low_B1 = torch.where(occupied_BR, index_R, len(index_R)).amin(1, keepdim=True) - margin_B[:, None]
    high_B1 = torch.where(occupied_BR, index_R, -1).amax(1, keepdim=True) + margin_B[:, None] + 1
    place_BR = (index_R + 0.5 - low_B1).double() * hills / (high_B1 - low_B1)
    return place_BR, (index_R >= low_B1) & (index_R < high_B1) & occupied_BR.any(1, keepdim=True)


def _weights(place_BX: torch.Tensor, nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight of each node at each place, and weight times the way from the node: (B, X, L) float32 each."""
    # Places right on the last node belong to the cell before it.
    cell_BX = place_BX.floor().clamp(0, nodes - 2)
    way_BX = (place_BX - cell_BX).clamp(0, 1)
    # 6 t^5 - 15 t^4 + 10 t^3: first and second derivative are 0 at both nodes, so that no crease shows there.
    fade_BX = way_BX * way_BX * way_BX * (way_BX * (way_BX * 6 - 15) + 10)
    node_L = torch.arange(nodes, device=place_BX.device)
    low, high = node_L == cell_BX[..., None], node_L == cell_BX[..., None] + 1
    weight = torch.where(low, (1 - fade_BX)[..., None], torch.where(high, fade_BX[..., None], 0.0))
    way = torch.where(low, way_BX[..., None], way_BX[..., None] - 1)
    return weight.float(), (weight * way).float()


def _planes_at_once(volume_BXYZ: torch.Tensor) -> int:
    """How many planes (y, z) of a volume to work on: on a CPU few, so that they stay in cache."""
    return volume_BXYZ.shape[1] if volume_BXYZ.is_cuda else max(1, CACHED // volume_BXYZ[:, 0].numel())


def _weighted_sum(planes_BNYZ: torch.Tensor, weights_BXN: torch.Tensor, *, out: torch.Tensor) -> None:
    """Sum of planes under weights into (B, X, Y, Z), term after term."""
    torch.mul(weights_BXN[..., 0, None, None], planes_BNYZ[:, None, 0], out=out)
    product = torch.empty_like(out)
    for term in range(1, planes_BNYZ.shape[1]):
        out += torch.mul(weights_BXN[..., term, None, None], planes_BNYZ[:, None, term], out=product)


def _sum_along(values_BKLM: torch.Tensor, weight_BXM: torch.Tensor) -> torch.Tensor:
    """The last axis summed under the weights: (B, K, L, X). Node by node: products have no order of their own then."""
    terms = [values_BKLM[..., node, None] * weight_BXM[:, None, None, :, node] for node in range(values_BKLM.shape[-1])]
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result
