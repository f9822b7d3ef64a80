"""The angular radial transform of silhouettes: waves around the centre times waves along the radius.

MPEG-7's ART, which the readme of 3DRetrieval v1.8 calls Zernike. Basis functions are tables of 101 x 101 entries, read
between four of them at each pixel. Here the pixels are spread over the entries instead: the same sum, for all basis
functions at once. The sums are not divided by the one of order (0, 0), as the program meant to and does not.
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.runtime.threads import map_in_threads

ANGULAR, RADIAL = 12, 3  # orders; (0, 0) only counts pixels and is left out
ART = ANGULAR * RADIAL - 1
REACH = 50  # table steps from the middle of the disc to its rim
PI = 3.141592653  # the program's own decimals: what is cut off to 8 bits must not depend on the ones behind them
VIEWS_AT_ONCE = 10


def radial_transform(
    silhouettes_WHH: torch.Tensor, centres_W2: NDArray[np.float64], radius_W: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Magnitudes (W, 35) of silhouettes (W, H, H) uint8 about centres (column, row), summed over pixels.

    Orders (0, 1), (0, 2), (1, 0), ... (11, 2); the disc of each view has the given radius in pixels, and no pixel lies
    beyond. Computed on the device of the silhouettes, in float64.
    """
    if silhouettes_WHH.device.type == "cpu":
        weights_WEE = _weights_compiled(silhouettes_WHH.numpy(), centres_W2, radius_W)
    else:
        weights_WEE = weights_plain(silhouettes_WHH, centres_W2, radius_W)
    sums_WC = weights_WEE.flatten(1) @ _basis().to(weights_WEE.device)
    return torch.linalg.vector_norm(sums_WC.unflatten(1, (2, ART)), dim=1).cpu().numpy()


def _weights_compiled(
    images_WHH: NDArray[np.uint8], centres_W2: NDArray[np.float64], radius_W: NDArray[np.float64]
) -> torch.Tensor:
    from isofield.metrics.light_field import radial_kernels as kernels

    def one(view: int) -> NDArray[np.float64]:
        return kernels.spread_pixels(images_WHH[view], centres_W2[view], float(radius_W[view]), REACH)

    return torch.from_numpy(np.stack(list(map_in_threads(one, range(len(images_WHH))))))


def weights_plain(
    silhouettes_WHH: torch.Tensor, centres_W2: NDArray[np.float64], radius_W: NDArray[np.float64]
) -> torch.Tensor:
    """How many pixels each table entry stands for (W, 101, 101), by matrices along columns and rows, on any device."""
    size = silhouettes_WHH.shape[-1]
    centres, radius = torch.from_numpy(centres_W2), torch.from_numpy(radius_W)
    across_WHE, along_WHE = (_between(centres[:, axis], radius, size).to(silhouettes_WHH.device) for axis in (0, 1))
    parts = zip(*(tensor.split(VIEWS_AT_ONCE) for tensor in (silhouettes_WHH, across_WHE, along_WHE)), strict=True)
    return torch.cat([along.transpose(1, 2) @ (pixels.double() @ across) for pixels, across, along in parts])


def _between(centre_W: torch.Tensor, radius_W: torch.Tensor, size: int) -> torch.Tensor:
    """Shares (W, size, 101) of the two table entries between which each pixel of a line lies."""
    scale_W = REACH / radius_W.clamp(min=1e-9)
    # Pixels to steps of the table: the disc's centre is its middle, the rim its border.
    place_WH = ((torch.arange(size) - centre_W[:, None]) * scale_W[:, None] + REACH).clamp(0, 2 * REACH)
    # The last place counts to the entry before it, so that its upper neighbour exists.
    entry_WH = place_WH.long().clamp(max=2 * REACH - 1)
    shares = torch.zeros(*place_WH.shape, 2 * REACH + 1, dtype=torch.float64)
    shares.scatter_(2, entry_WH[..., None], (1 - (place_WH - entry_WH))[..., None])
    return shares.scatter_(2, entry_WH[..., None] + 1, (place_WH - entry_WH)[..., None])


@functools.cache
def _basis() -> torch.Tensor:
    """Entries (101 * 101, 70) of the basis functions: the real parts of all 35, then the imaginary parts."""
    x = np.arange(-REACH, REACH + 1.0)
    radius, angle = np.hypot(x[None, :], x[:, None]), np.arctan2(x[:, None], x[None, :])
    orders = [(p, r) for p in range(ANGULAR) for r in range(RADIAL)][1:]
    waves = [np.cos(PI * r * radius / REACH) * np.exp(1j * p * angle) * (radius < REACH) for p, r in orders]
    table_EC = np.stack(waves, axis=-1).reshape(-1, ART)
    return torch.from_numpy(np.concatenate([table_EC.real, table_EC.imag], axis=1))
