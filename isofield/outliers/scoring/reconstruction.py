"""What a prior makes of a mask: its field on the judged grid, found coarse to fine, and where the two disagree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import voxel_centres
from isofield.contract import Model
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, network_input
from isofield.registry import LoadedRun

COARSE = 4  # cells of the grid along an edge of the first lattice's cells
BATCH_POINTS = 1 << 16
BATCH = 8  # masks in one pass of the encoder, whose features of all of them lie in memory
CPU_CELLS = BATCH * 64**3  # of their grids on a CPU
REACH = 2  # coarse cells around a mask in which the prior is asked at all
SURE = 0.8  # probability above which the prior is believed against the mask
SATURATED = 12.0  # value of the field where it was not asked: surely outside, or surely inside

Field = Callable[[torch.Tensor], torch.Tensor]


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
    def probability_RRR(self) -> NDArray[np.float32]:
        """In [0, 1], of values that are logits."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.values_RRR - self.iso_level, -30, 30))), dtype=np.float32)

    @property
    def disagreement_RRR(self) -> NDArray[np.float32]:
        """In [-1, 1]: positive where the mask has what the prior does not believe, negative where it lacks something.

        0 beyond the field of view.
        """
        signed = self.mask.occupancy_RRR.astype(np.float32) - self.probability_RRR
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
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cube coordinates beyond which nothing is inside: a cell around the reconstruction."""
        boxes = scipy.ndimage.find_objects(self.occupancy_RRR.view(np.uint8))
        if not boxes:
            return np.zeros(3), np.zeros(3)
        low = np.array([side.start - 1 for side in boxes[0]]) / GRID - 0.5
        high = np.array([side.stop + 1 for side in boxes[0]]) / GRID - 0.5
        return low, high


def at_once(loaded: LoadedRun, device: torch.device | str) -> int:
    """How many masks go through the encoder in one pass; one where features of two would take a CPU's gigabytes."""
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
            code = model.encode(torch.stack(shown).to(device))
        for number, mask in enumerate(part):
            field = _field_of(model, _code_of(code, number))
            yield Reconstruction(_on_grid(field, model.iso_level, mask, device), model.iso_level, field, mask)


def _field_of(model: Model, code: Any) -> Field:
    def field(points_N3: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.decode(points_N3[None], code)[0]

    return field


def _code_of(code: Any, number: int) -> Any:
    """The code of one shape out of those of a batch: a tensor, or a sequence or mapping of them."""
    if isinstance(code, torch.Tensor):
        return code[number : number + 1]
    if isinstance(code, dict):
        return {key: _code_of(part, number) for key, part in code.items()}
    return type(code)(_code_of(part, number) for part in code)


def _on_grid(field: Field, iso_level: float, mask: CubeMask, device: torch.device | str) -> NDArray[np.float32]:
    """Values on the judged grid: of a coarse lattice near the mask, then of cells with a face where signs change."""
    step = COARSE
    near = mask.occupancy_RRR.reshape(GRID // step, step, GRID // step, step, GRID // step, step).any(axis=(1, 3, 5))
    asked = scipy.ndimage.binary_dilation(near, np.ones((3, 3, 3)), iterations=REACH)
    values = np.full(asked.shape, iso_level - SATURATED, dtype=np.float32)
    values[asked] = _evaluated(field, asked, device)
    while step > 1:
        step //= 2
        signs = values > iso_level
        mixed = scipy.ndimage.binary_dilation(signs) & ~scipy.ndimage.binary_erosion(signs, border_value=1)
        values, mixed = (_doubled(part) for part in (values, mixed))
        values = np.where(values > iso_level, iso_level + SATURATED, iso_level - SATURATED).astype(np.float32)
        values[mixed] = _evaluated(field, mixed, device)
    return values


def _doubled(cells: NDArray[Any]) -> NDArray[Any]:
    for axis in range(3):
        cells = np.repeat(cells, 2, axis=axis)
    return cells


def _evaluated(field: Field, asked: NDArray[np.bool_], device: torch.device | str) -> NDArray[np.float32]:
    """Values at the centres of the marked cells of a lattice over the cube."""
    points = voxel_centres(torch.from_numpy(np.argwhere(asked)), len(asked))
    parts = [field(part.to(device)).float().cpu().numpy() for part in points.split(BATCH_POINTS)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
