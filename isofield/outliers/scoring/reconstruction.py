"""What a prior makes of a mask: its field on the judged grid, found coarse to fine, and where the two disagree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from isofield.extraction.lattice import Field, field_of
from isofield.extraction.surface_band import values_near_surface
from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, box_of_cells, network_input
from isofield.registry import LoadedRun

HALVINGS = 2  # from the coarse cells in which a prior is first asked to those of the grid
BATCH = 8  # masks in one pass of the encoder, whose features of all of them lie in memory
CPU_CELLS = BATCH * 64**3  # of their grids on a CPU
REACH = 2  # coarse cells around a mask in which the prior is asked at all
SURE = 0.8  # probability above which the prior is believed against the mask


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The field of a prior that was shown a mask.

    `values_RRR`: above `iso_level` is inside. `field`: cube points (N, 3) float32 to values (N,), for other grids.
    """

    values_RRR: NDArray[np.float32]  # (128, 128, 128)
    iso_level: float
    field: Field
    mask: CubeMask

    @property
    def occupancy_RRR(self) -> NDArray[np.bool_]:
        """The reconstructed mask."""
        return self.values_RRR > self.iso_level

    @property
    def disagreement_RRR(self) -> NDArray[np.float32]:
        """In [-1, 1]: positive where the mask has what the prior does not believe, negative where it lacks something.

        0 beyond the field of view.
        """
        signed = self.mask.occupancy_RRR.astype(np.float32) - probability(self.values_RRR, self.iso_level)
        if self.mask.visible_RRR is not None:
            signed[~self.mask.visible_RRR] = 0
        return signed

    @property
    def repaired_RRR(self) -> NDArray[np.bool_]:
        """The mask (128, 128, 128), changed only where the prior is sure of the contrary.

        Everywhere else the prior smooths away what it does not know of this very shape.
        """
        return self.mask.occupancy_RRR ^ (np.abs(self.disagreement_RRR) > SURE)

    @property
    def dice(self) -> float:
        """Of the mask and its reconstruction, of what is visible."""
        seen = slice(None) if self.mask.visible_RRR is None else self.mask.visible_RRR
        return dice(self.mask.occupancy_RRR[seen], self.occupancy_RRR[seen])

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cube coordinates beyond which nothing is inside: a cell around the reconstruction."""
        box = box_of_cells(self.occupancy_RRR)
        if box is None:
            return np.zeros(3), np.zeros(3)
        # A cell on each side: the surface lies between the centre of the last cell inside and that of the first
        # outside.
        low, high = [side.start - 1 for side in box], [side.stop + 1 for side in box]
        return np.array(low) / GRID - 0.5, np.array(high) / GRID - 0.5


def probability(values: NDArray[np.float32], iso_level: float) -> NDArray[np.float32]:
    """In [0, 1], of values that are logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values - iso_level, -30, 30))), dtype=np.float32)


def at_once(loaded: LoadedRun, device: torch.device | str) -> int:
    """How many masks go through the encoder in one pass; one where features of two would take a CPU's gigabytes."""
    # Features grow with the cube of the resolution: as many masks as cells of eight grids of 64^3.
    on_cpu = max(1, CPU_CELLS // loaded.config.data.input.resolution**3)
    return BATCH if torch.device(device).type == "cuda" else min(BATCH, on_cpu)


def reconstruct(
    loaded: LoadedRun, masks: Sequence[CubeMask], *, keep_thin: bool, device: torch.device | str = "cpu"
) -> Iterator[Reconstruction]:
    """One after the other, `at_once` of them encoded together; none may be empty."""
    section, model, step = loaded.config.data.input, loaded.model, at_once(loaded, device)
    kind, resolution, finer = section.kind, section.resolution, section.finer
    for start in range(0, len(masks), step):
        part = masks[start : start + step]
        shown = [network_input(one.occupancy_RRR, kind, resolution, keep_thin=keep_thin, finer=finer) for one in part]
        with torch.no_grad():
            # Encoding is what a GPU does better in batches; the field is asked mask by mask, for each has cells of its
            # own.
            code = model.encode(torch.stack(shown).to(device))
        for number, mask in enumerate(part):
            field, level = field_of(model, _code_of(code, number)), model.iso_level
            values = values_near_surface(field, _near(mask), halvings=HALVINGS, iso_level=level, device=device)
            yield Reconstruction(values, level, field, mask)


def _code_of(code: Any, number: int) -> Any:
    """The code of one shape out of those of a batch: a tensor, or a sequence or mapping of them."""
    if isinstance(code, torch.Tensor):
        return code[number : number + 1]
    if isinstance(code, dict):
        return {key: _code_of(part, number) for key, part in code.items()}
    return type(code)(_code_of(part, number) for part in code)


def _near(mask: CubeMask) -> NDArray[np.bool_]:
    """Coarse cells around a mask: (32, 32, 32)."""
    cells = GRID >> HALVINGS
    # Blocks of the judged grid as axes of their own: any cell of a block marks it.
    occupied = mask.occupancy_RRR.reshape((cells, 1 << HALVINGS) * 3).any(axis=(1, 3, 5))
    return np.asarray(scipy.ndimage.binary_dilation(occupied, np.ones((3, 3, 3)), iterations=REACH))
