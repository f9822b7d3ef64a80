"""The light field distance between descriptors.

Two views differ by the sum of absolute differences of their 8-bit numbers, those of the contour and circularity twice.
Every set of one shape is laid onto every set of the other in all 60 rotations of a dodecahedron: the least of these
6,000 sums over ten pairs of views is the distance. Integers from 0 (the same views) to 147,900; other meshes of one
class lie some thousands apart. Source: Chen et al., Eurographics 2003, and 3DRetrieval v1.8, whose numbers these are;
a later packaging of that program leaves out the second shape's eccentricity and differs by up to a fifth.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.metrics.light_field.descriptors import FOURIER, LENGTH, Descriptor
from isofield.metrics.light_field.radial import ART
from isofield.metrics.light_field.tables import SETS, VIEWS, rotations
from isofield.runtime.threads import map_in_threads

WEIGHTS = (1,) * ART + (2,) * FOURIER + (2, 1)  # ART, Fourier, circularity, eccentricity
PAIRS_AT_ONCE = 128  # pairs of shapes whose view differences the torch path holds at once: 0.12 GB


def distance_matrix(
    first: Sequence[Descriptor],
    second: Sequence[Descriptor],
    *,
    device: torch.device | str,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.int64]:
    """Distances (A, B) int64 between all shapes of two sequences: the same integers on every device.

    `progress` is called with the number of rows that are new (as tqdm's `update` wants it).
    """
    result_AB = np.zeros((len(first), len(second)), dtype=np.int64)
    if result_AB.size == 0:
        return result_AB
    compiled = torch.device(device).type == "cpu"
    rows = _rows_compiled(first, second) if compiled else rows_plain(first, second, device=device)
    for row, distances_B in enumerate(rows):
        result_AB[row] = distances_B
        if progress is not None:
            progress(1)
    return result_AB


def _rows_compiled(first: Sequence[Descriptor], second: Sequence[Descriptor]) -> Iterator[NDArray[np.int64]]:
    from isofield.metrics.light_field import distance_kernels as kernels

    # Sums of 47 weighted bytes, ten times, stay far below 2^24: float32 holds them exactly, and its arithmetic runs in
    # vectors.
    first_AKL = _weighted(first).astype(np.float32)
    second_BLK = np.ascontiguousarray(_weighted(second).transpose(0, 2, 1), dtype=np.float32)
    return map_in_threads(lambda first_KL: kernels.least_costs(first_KL, second_BLK, rotations()), first_AKL)


def rows_plain(
    first: Sequence[Descriptor], second: Sequence[Descriptor], *, device: torch.device | str
) -> Iterator[NDArray[np.int64]]:
    """Row after row (B,) of the matrix by plain torch operators, on any device; as distance_kernels.py."""
    first_AKL = torch.as_tensor(_weighted(first), device=device)
    second_BKL = torch.as_tensor(_weighted(second), device=device)
    # A pair of views as one number: the view of one shape, in each of the 60 rotations, and that of the other.
    view_pairs_PM = torch.as_tensor(rotations() * VIEWS + np.arange(VIEWS), device=device)
    for first_KL in first_AKL:
        parts = [_least(first_KL, part_BKL, view_pairs_PM) for part_BKL in second_BKL.split(PAIRS_AT_ONCE)]
        yield torch.cat(parts).cpu().numpy()


def _weighted(descriptors: Sequence[Descriptor]) -> NDArray[np.int16]:
    """Numbers (N, 100 views, 47), times their weights: |w a - w b| = w |a - b|."""
    values = np.stack([descriptor.values for descriptor in descriptors]).astype(np.int16)
    return (values * np.array(WEIGHTS, dtype=np.int16)).reshape(-1, SETS * VIEWS, LENGTH)


def _least(first_KL: torch.Tensor, second_BKL: torch.Tensor, view_pairs_PM: torch.Tensor) -> torch.Tensor:
    """Distances (B,) int64 of one shape to B others."""
    # All 100 x 100 pairs of views once; the 60 rotations only choose ten of them each.
    cost_BKK = (first_KL[None, :, None] - second_BKL[:, None]).abs_().sum(dim=-1, dtype=torch.int32)
    cost_BSMSM = cost_BKK.unflatten(2, (SETS, VIEWS)).unflatten(1, (SETS, VIEWS))
    cost_BSSN = cost_BSMSM.transpose(2, 3).flatten(3)  # sets of both, then pairs of their views
    return cost_BSSN[..., view_pairs_PM].sum(dim=-1).amin(dim=(1, 2, 3))
