"""Masks of scans in the cube: linear interpolation between voxel centres, inside where it is above 0.5.

Cube axes are world axes (RAS; x turned round when the shape is mirrored), whatever the axes of the scan: oblique and
sheared scans are resampled once, exactly. Where the cube's voxels are larger than the scan's, the mask is smoothed
first, by a Gaussian whose variance makes up for the larger voxel (a box of width f has f^2 / 12). Outside is 0.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import Normalisation, normalising_to_world
from data_processing.medical.scan_mask import ScanMask

Device = torch.device | str
INSIDE = 0.5
STEPS = 1 << 16  # of an index coordinate: rounding of the affine cannot turn a voxel, weights are exact in float32
ALIGNED = 1e-4  # voxels by which axes may stray from the world's over the whole crop and count as aligned
CHUNK = 1 << 20
TRUNCATE = 4  # standard deviations


def mask_to_cube(
    mask: ScanMask, resolution: int, *, by: Normalisation, length: float, device: Device = "cpu"
) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """The share of the shape at the voxel centres of the cube, (R, R, R) float32 in [0, 1], and `to_world` (4, 4).

    The box of the occupied voxels along the world's axes is normalised as `normalising_to_world` says, then mirrored
    if the mask is. Raises ValueError where the result would leave the cube, and for `by` none.
    """
    if by == "none":
        raise ValueError("normalisation: none has no meaning for scans: choose longest_edge, diagonal or fixed (mm)")
    to_world = normalising_to_world(*mask.world_box(), by=by, length=length)
    # Mirrored in the cube, not in the world: one side of a pair looks like the other, and to_world leads back.
    if mask.mirrored:
        to_world = to_world @ np.diag([-1.0, 1.0, 1.0, 1.0])
    to_index = np.linalg.inv(mask.index_to_world) @ to_world
    deviations = _deviations(mask, to_world, resolution)
    # Along the scan's own axes interpolation is a product of three one-dimensional ones; others go point by point.
    stray = np.abs(to_index[:3, :3] - np.diag(to_index.diagonal()[:3])).max()
    if stray <= ALIGNED:
        return _separable(mask.occupancy, to_index, deviations, resolution, device), to_world
    return _everywhere(_Field(mask.occupancy, deviations, device), to_index, resolution), to_world


def inside_mask(
    mask: ScanMask,
    to_world: NDArray[np.floating],
    points_N3: NDArray[np.floating],
    *,
    resolution: int | None = None,
    device: Device = "cpu",
) -> NDArray[np.bool_]:
    """Which cube points (N, 3) are inside, by the same interpolation: (N,).

    `resolution`: of a grid of `mask_to_cube` that this is to agree with; none: the scan's own detail, unsmoothed.
    """
    to_index = np.linalg.inv(mask.index_to_world) @ to_world
    deviations = np.zeros(3) if resolution is None else _deviations(mask, to_world, resolution)
    field = _Field(mask.occupancy, deviations, device)
    inside = np.zeros(len(points_N3), dtype=bool)
    for start in range(0, len(points_N3), CHUNK):
        points = torch.from_numpy(np.asarray(points_N3[start : start + CHUNK], np.float64)).to(device)
        index = points @ field.tensor(to_index[:3, :3]).T + field.tensor(to_index[:3, 3])
        inside[start : start + CHUNK] = (field.at(index) > INSIDE).cpu().numpy()
    return inside


def _deviations(mask: ScanMask, to_world: NDArray[np.floating], resolution: int) -> NDArray[np.float64]:
    """Standard deviations (3,) of the smoothing along the crop's axes, in its voxels; 0 where nothing shrinks."""
    spacing = np.linalg.norm(mask.index_to_world[:3, :3], axis=0)
    # How many voxels of the scan go into one of the cube along each axis. A box of width f has variance f^2 / 12, one
    # voxel of the scan 1 / 12 of it already.
    factors = np.linalg.norm(to_world[:3, 0]) / resolution / spacing
    return np.sqrt(np.maximum(factors**2 - 1, 0) / 12)


def _smoothing(size: int, deviation: float) -> NDArray[np.float64]:
    """Matrix (size + 2r, size) from an axis to the same axis, smoothed and r voxels longer at both ends."""
    reach = math.ceil(TRUNCATE * deviation)
    distance = np.arange(-reach, size + reach)[:, None] - np.arange(size)
    if reach == 0:
        return np.eye(size)
    # Divided by the sum of a whole bell, also at the ends: beyond the crop there is 0, and the mask fades into it.
    weights = np.where(np.abs(distance) <= reach, np.exp(-0.5 * (distance / deviation) ** 2), 0.0)
    return weights / np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2).sum()


class _Field:
    """The interpolated mask on a device, with a voxel of 0 around it."""

    def __init__(self, occupancy: NDArray[np.uint8], deviations: NDArray[np.float64], device: Device) -> None:
        values = torch.from_numpy(occupancy).to(device)
        self.margin = [1, 1, 1]
        for axis, deviation in enumerate(deviations):
            if deviation > 0:
                matrix = _smoothing(values.shape[axis], float(deviation))
                self.margin[axis] += (len(matrix) - values.shape[axis]) // 2
                values = _along(values, torch.from_numpy(matrix).float().to(device), axis)
        self.values = torch.nn.functional.pad(values, (1,) * 6)
        self._limits = torch.tensor(self.values.shape, device=device) - 1

    def tensor(self, values: NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float64)).to(self.values.device)

    def at(self, index_N3: torch.Tensor) -> torch.Tensor:
        """Values (N,) float32 at index coordinates (N, 3) float64 of the crop; 0 outside."""
        margin = torch.tensor(self.margin, dtype=index_N3.dtype, device=index_N3.device)
        # On steps of 2^-16 voxels: points that agree up to rounding get the same value, on every device.
        place = ((index_N3 + margin) * STEPS).round_().div_(STEPS)
        place = torch.minimum(place.clamp_(min=0), self._limits.to(place.dtype))
        # A place on the last voxel counts to the cell before it, so that its upper neighbour exists.
        cell = torch.minimum(place.floor().long(), self._limits - 1)
        share = (place - cell).float()
        strides = torch.tensor(self.values.stride(), device=cell.device)
        base, flat = (cell * strides).sum(dim=1), self.values.reshape(-1)
        result = torch.zeros(len(base), device=base.device)
        for corner in np.ndindex(2, 2, 2):
            weight = torch.ones_like(result)
            for axis, high in enumerate(corner):
                weight *= share[:, axis] if high else 1 - share[:, axis]
            result += weight * flat[base + int(np.dot(corner, self.values.stride()))]
        return result


def _everywhere(field: _Field, to_index: NDArray[np.float64], resolution: int) -> torch.Tensor:
    """The field at all voxel centres; only those near the crop are asked."""
    device = field.values.device
    grid = torch.zeros((resolution,) * 3, device=device)
    axes = (np.arange(resolution) + 0.5) / resolution - 0.5
    low, high = _reached(field, to_index, resolution)
    columns = [field.tensor(axes[low[a] : high[a], None] * to_index[:3, a]) for a in range(3)]
    plane = (columns[1][:, None] + columns[2][None]).reshape(-1, 3) + field.tensor(to_index[:3, 3])
    for number, shift in enumerate(columns[0], start=low[0]):
        values = torch.cat([field.at(part + shift) for part in plane.split(CHUNK)]) if len(plane) else plane[:, 0]
        grid[number, low[1] : high[1], low[2] : high[2]] = values.reshape(len(columns[1]), len(columns[2]))
    return grid


def _reached(field: _Field, to_index: NDArray[np.float64], resolution: int) -> tuple[list[int], list[int]]:
    """The voxels of the cube (lower, upper of three axes) in the box around the field."""
    margin, sizes = np.array(field.margin), np.array(field.values.shape)
    # The eight corners of the field in the cube: nothing outside of their box can be anything but 0.
    corners = np.array(list(np.ndindex(2, 2, 2))) * (sizes - 1) - margin
    cube = np.linalg.inv(to_index) @ np.concatenate([corners, np.ones((8, 1))], axis=1).T
    place = (cube[:3] + 0.5) * resolution - 0.5
    low = np.clip(np.floor(place.min(axis=1)), 0, resolution).astype(int)
    high = np.clip(np.ceil(place.max(axis=1)) + 1, 0, resolution).astype(int)
    return low.tolist(), high.tolist()


def _separable(
    occupancy: NDArray[np.uint8],
    to_index: NDArray[np.float64],
    deviations: NDArray[np.float64],
    resolution: int,
    device: Device,
) -> torch.Tensor:
    """The same along one axis after the other, for a crop whose axes are the world's."""
    values = torch.from_numpy(occupancy).to(device)
    matrices = [
        _sampling(values.shape[axis], float(to_index[axis, axis]), float(to_index[axis, 3]), resolution)
        if deviations[axis] == 0
        else _smoothed_sampling(values.shape[axis], to_index, axis, float(deviations[axis]), resolution)
        for axis in range(3)
    ]
    for axis in np.argsort([-size for size in values.shape]):  # what shrinks most goes first: less work for the rest
        values = _along(values, torch.from_numpy(matrices[axis]).float().to(device), int(axis))
    return values


def _smoothed_sampling(
    size: int, to_index: NDArray[np.float64], axis: int, deviation: float, resolution: int
) -> NDArray[np.float64]:
    smoothing = _smoothing(size, deviation)
    reach = (len(smoothing) - size) // 2
    scale, offset = float(to_index[axis, axis]), float(to_index[axis, 3]) + reach
    return _sampling(len(smoothing), scale, offset, resolution) @ smoothing


def _sampling(size: int, scale: float, offset: float, resolution: int) -> NDArray[np.float64]:
    """Matrix (R, size) of linear interpolation along an axis, where index = scale * (cube coordinate) + offset."""
    # Linear interpolation is a hat function of width one around each voxel: the weights of a row of the matrix.
    place = np.round((((np.arange(resolution) + 0.5) / resolution - 0.5) * scale + offset) * STEPS) / STEPS
    return np.maximum(1 - np.abs(place[:, None] - np.arange(size)), 0)


def _along(values: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """A matrix (M, N) applied to an axis of N: bytes become floats slab by slab, never as a whole."""
    shape = [*values.shape]
    shape[axis] = len(matrix)
    result = torch.empty(shape, device=values.device)
    other = 0 if axis else 1
    step = max(1, CHUNK // max(1, values.numel() // values.shape[other]))
    for start in range(0, values.shape[other], step):
        slab = values.narrow(other, start, min(step, values.shape[other] - start)).float()
        product = torch.tensordot(matrix, slab, dims=([1], [axis])).movedim(0, axis)
        result.narrow(other, start, slab.shape[other]).copy_(product)
    return result
