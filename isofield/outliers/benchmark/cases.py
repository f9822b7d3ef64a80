"""The cases of the benchmark: clean masks of patients the prior never saw, the same spoilt, and real faults; measured.

What is measured of a case is all that detectors need, and what is known of the truth: how far the reconstruction is
from the clean mask, and how well the disagreement finds the cells that were spoilt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from data_processing.preparation.shape import DataConfig
from isofield.outliers.benchmark.corruptions import FLIP, TARGETS, corrupt
from isofield.outliers.benchmark.ranking import average_precision
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, centring, shifted
from isofield.outliers.scoring.detector import measured_masks
from isofield.outliers.scoring.mask_distances import dice
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.outliers.scoring.scores import Measured
from isofield.outliers.scoring.shape_space import Frame
from isofield.registry import LoadedRun

Mask = NDArray[np.bool_]
CLEAN = "clean"
ROOM = 24  # cells around a mask in which families may add, as far as the cube has them
NEAR = 6  # cells around the masks within which cells are ranked


@dataclass(frozen=True, eq=False)
class Shape:
    """A clean mask or a real fault (`family`), and whose it is."""

    name: str
    subject: str
    mask: CubeMask
    family: str = CLEAN


@dataclass(frozen=True, eq=False)
class Case:
    """A measured mask. `truth`: known of spoilt masks and clean ones, for the table of reconstruction."""

    name: str
    subject: str
    family: str
    severity: str
    measured: Measured
    truth: dict[str, float]


@dataclass(frozen=True, eq=False)
class Spoilt:
    """A mask to be judged, its clean one on the same grid (None of real faults), and what was done to it."""

    mask: CubeMask
    clean_RRR: Mask | None
    family: str
    severity: str
    dice: float
    matched: bool


def measured_cases(
    shape: Shape, loaded: LoadedRun, frame: Frame, preparation: DataConfig, *, families: Sequence[str], draw: int
) -> Iterator[Case]:
    """A clean mask, and it spoilt by each family in both severities; of a real fault only itself."""
    spoilt = list(spoilt_masks(shape, families=families, draw=draw))
    found = measured_masks(loaded, [one.mask for one in spoilt], frame, preparation)
    for one, (measured, rebuilt) in zip(spoilt, found, strict=True):
        truth = known_truth(one, rebuilt)
        yield Case(shape.name, shape.subject, one.family, one.severity, measured, truth)


def spoilt_masks(shape: Shape, *, families: Sequence[str], draw: int) -> Iterator[Spoilt]:
    """The mask itself and, of a clean one, what each family makes of it, each put into the middle of the cube again."""
    occupancy = shape.mask.occupancy_RRR
    if shape.family != CLEAN:
        yield Spoilt(shape.mask, None, shape.family, "real", float("nan"), False)
        return
    yield Spoilt(shape.mask, occupancy, CLEAN, CLEAN, 1.0, True)
    grid = _with_room(occupancy)
    for family in families:
        for severity in TARGETS:
            if family == FLIP and severity != next(iter(TARGETS)):
                continue  # it has one severity
            made = corrupt(grid, family, severity=severity, seed=draw, name=shape.name)
            if made.mask_RRR.any():
                shift = centring(made.mask_RRR)
                mask = CubeMask(shifted(made.mask_RRR, shift), shape.mask.to_world)
                yield Spoilt(mask, shifted(grid, shift), family, severity, made.dice, made.matched)


def known_truth(spoilt: Spoilt, rebuilt: Reconstruction) -> dict[str, float]:
    """Dice to the clean mask of the mask, of its reconstruction and of the repaired mask; precision of the map."""
    if spoilt.clean_RRR is None:
        return {}
    clean, mask = spoilt.clean_RRR, spoilt.mask.occupancy_RRR
    truth = {
        "dice": spoilt.dice,
        "matched": float(spoilt.matched),
        "rebuilt_dice": dice(rebuilt.occupancy_RRR, clean),
        "repaired_dice": dice(rebuilt.repaired_RRR, clean),
    }
    if spoilt.family not in (CLEAN, FLIP):
        box = _around(clean | mask | rebuilt.occupancy_RRR, NEAR)
        strength = np.abs(rebuilt.disagreement_RRR[box]).ravel()
        wrong = (clean ^ mask)[box].ravel()
        truth["precision"] = average_precision(strength.astype(np.float64), wrong)
        truth["chance"] = float(wrong.mean())
    return truth


def _with_room(occupancy: Mask) -> Mask:
    """The box of a mask with room around it, no larger than the cube."""
    (box,) = scipy.ndimage.find_objects(occupancy.view(np.uint8))
    inner = occupancy[box]
    return np.pad(inner, [(min(ROOM, (GRID - size) // 2),) * 2 for size in inner.shape])


def _around(mask: Mask, margin: int) -> tuple[slice, ...]:
    (box,) = scipy.ndimage.find_objects(mask.view(np.uint8))
    return tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
