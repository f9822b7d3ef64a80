"""Where faults move the numbers of a mask: directions learnt from training masks that were damaged on purpose.

How far a mask lies from clean ones, in dozens of numbers, drowns a fault that moves all of them a little in one
direction. Along the directions in which damage moves clean masks (Fisher's linear discriminants, one a kind), it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.loading.mask_damage import CHANGES, DamageConfig
from isofield.metrics.mahalanobis import SMALLEST, Mahalanobis
from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.runtime.seeds import numpy_generator

Array = NDArray[np.float64]
KINDS = tuple(CHANGES)
OFTEN = 3  # kinds that each training mask is damaged by
ALIKE = (0.88, 0.97)  # Dice to the mask itself
HALVINGS = 7  # of the range of strengths
FAULT_ARRAYS = ("weights", "middle", "spread", "level")


@dataclass(frozen=True, eq=False)
class FaultDirections:
    """`weights_KD`: of standardised numbers, for each kind. `middle_K`, `spread_K`: of clean masks along them, redrawn
    ones too; `level`: median of the largest of these deviations, and how far it lies above that.
    """

    weights_KD: Array
    middle_K: Array
    spread_K: Array
    level: tuple[float, float]

    def strangeness(self, scaled_ND: Array) -> Array:
        """(N,): the largest deviation along a direction, in deviations above the median clean mask."""
        return (self._largest(scaled_ND @ self.weights_KD.T) - self.level[0]) / self.level[1]

    def _largest(self, along_NK: Array) -> Array:
        return np.asarray(((along_NK - self.middle_K) / self.spread_K).max(axis=1))


def directions(usual: Mahalanobis, changes_MD: Array, kinds_M: Sequence[str]) -> Array:
    """(K, D): along these weights the mean change of each kind stands out most of what clean masks vary in.

    `changes_MD`: what damage changed of the numbers, each by one kind. Of a kind that is not there weights are 0.
    """
    weights_KD = np.zeros((len(KINDS), changes_MD.shape[1]))
    # Numbers beyond the limit of strangeness count as at it, as they do in distances.
    scaled_MD = usual.standardise(usual.mean_D + changes_MD)
    for number, kind in enumerate(KINDS):
        of_kind = [place for place, one in enumerate(kinds_M) if one == kind]
        if of_kind:
            mean_D = scaled_MD[of_kind].mean(axis=0)
            towards_D = usual.inverse_DD @ mean_D
            weights_KD[number] = towards_D / np.sqrt(max(float(mean_D @ towards_D), SMALLEST))
    return weights_KD


def fit_levels(weights_KD: Array, along_NRK: Array) -> FaultDirections:
    """Of clean masks that were left out, as they are and redrawn, along directions that others gave."""
    flat_MK = along_NRK.reshape(-1, along_NRK.shape[2])
    middle_K, spread_K = _upper(flat_MK)
    rough = FaultDirections(weights_KD, middle_K, spread_K, (0.0, 1.0))
    middle, spread = _upper(rough._largest(flat_MK)[:, None])
    return FaultDirections(weights_KD, middle_K, spread_K, (float(middle[0]), float(spread[0])))


def _upper(values_MK: Array) -> tuple[Array, Array]:
    """Medians (K,), and deviations of the upper halves, which decide what a high number means."""
    middle_K = np.median(values_MK, axis=0)
    above_MK = np.maximum(values_MK - middle_K, 0)
    count_K = np.maximum((values_MK >= middle_K).sum(axis=0), 1)
    return middle_K, np.maximum(np.sqrt((above_MK**2).sum(axis=0) / count_K), SMALLEST)


def damaged_masks(mask: CubeMask, number: int) -> dict[str, CubeMask]:
    """A training mask damaged by some kinds, each by itself: always the same for a number; neighbours get other kinds.

    How strong is searched, so that the Dice to the mask is a random one of ALIKE as nearly as the kind can.
    """
    found = {}
    for time in range(OFTEN):
        kind = KINDS[(number * OFTEN + time) % len(KINDS)]
        generator = numpy_generator(0, "damaged", number, time)
        wanted, key = float(generator.uniform(*ALIKE)), int(generator.integers(1 << 62))
        occupancy = damaged_to(mask.occupancy_RRR, kind, wanted, key)
        if occupancy.any():
            found[kind] = CubeMask(occupancy, mask.to_world)
    return found


def damaged_to(occupancy_RRR: NDArray[np.bool_], kind: str, wanted: float, key: int) -> NDArray[np.bool_]:
    """A mask damaged by a kind to about a Dice to itself; as strongly as training does at most."""
    masks, keys = torch.from_numpy(occupancy_RRR.astype(np.uint8))[None], torch.tensor([key])
    low, high = 0.0, float(getattr(DamageConfig(), kind))
    best, nearest = occupancy_RRR, 1.0 - wanted
    for _ in range(HALVINGS):
        strength = (low + high) / 2
        damaged = CHANGES[kind](masks, torch.tensor([strength], dtype=torch.float32), keys)[0].numpy().astype(bool)
        alike = dice(damaged, occupancy_RRR)
        if abs(alike - wanted) < nearest:
            best, nearest = damaged, abs(alike - wanted)
        low, high = (strength, high) if alike > wanted else (low, strength)
    return best


def fault_arrays(faults: FaultDirections) -> dict[str, NDArray[Any]]:
    """To be stored, by FAULT_ARRAYS."""
    parts = faults.weights_KD, faults.middle_K, faults.spread_K, np.array(faults.level)
    return dict(zip(FAULT_ARRAYS, parts, strict=True))


def faults_of(arrays: Mapping[str, NDArray[Any]]) -> FaultDirections:
    """The inverse of `fault_arrays`; sizes and spreads are the caller's to check."""
    level = arrays["level"]
    return FaultDirections(arrays["weights"], arrays["middle"], arrays["spread"], (float(level[0]), float(level[1])))
