"""The cases of the benchmark: clean masks of patients the prior never saw, corrupted ones, and real faults; measured.

What is measured of a case is all that detectors need, and what is known of the truth: how far the reconstruction is
from the clean mask, and how well the disagreement finds the cells that were corrupted.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.npy import read_npz
from data_processing.medical.masks import read_structure
from data_processing.preparation.config import DataConfig
from data_processing.preparation.sources import list_sources
from isofield.metrics.masks import dice
from isofield.outliers.benchmark.corruptions import TARGETS, UNMATCHED, corrupt
from isofield.outliers.benchmark.ranking import average_precision
from isofield.outliers.benchmark.sources import OWN, drawn_by
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, box_of_cells, centring, cube_mask, shift_mask
from isofield.outliers.scoring.detector import MaskPrior, measured_masks
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.outliers.scoring.scores import Measured
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.runtime.atomic_files import replacing
from isofield.runtime.commandline import say
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.reasons import reason_of

Mask = NDArray[np.bool_]
CLEAN = "clean"
NO_CELLS: Mask = np.empty((0, 0, 0), dtype=bool)
ROOM = 24  # cells around a mask in which families may add, as far as the cube has them
NEAR = 6  # cells around the masks within which cells are ranked
MAX_BYTES = 1 << 32
VERSION = 5  # of what is measured: older files are made again


class MaskShape:
    """A clean mask or a real fault (`family`), and whose it is.

    Hundreds wait to be measured, so a mask is kept as the bits of its box (some ten kB instead of 2 MB).
    """

    def __init__(self, name: str, subject: str, mask: CubeMask, family: str = CLEAN) -> None:
        self.name, self.subject, self.family = name, subject, family
        # The mask itself is packed, what belongs to it (place, faces that it touches) stays as it is.
        self._box, self._place = box_of_cells(mask.occupancy_RRR), dataclasses.replace(mask, occupancy_RRR=NO_CELLS)
        inner = mask.occupancy_RRR[self._box]
        self._shape, self._size, self._bits = mask.occupancy_RRR.shape, inner.shape, np.packbits(inner)

    @property
    def mask(self) -> CubeMask:
        """The mask, unpacked anew at each call."""
        occupancy_RRR = np.zeros(self._shape, dtype=bool)
        inside = np.unpackbits(self._bits, count=int(np.prod(self._size)))
        occupancy_RRR[self._box] = inside.reshape(self._size)
        return dataclasses.replace(self._place, occupancy_RRR=occupancy_RRR)


@dataclass(frozen=True, eq=False)
class Case:
    """A measured mask. `truth`: known of corrupted masks and clean ones, for the table of reconstruction."""

    name: str
    subject: str
    family: str
    severity: str
    measured: Measured
    truth: dict[str, float]
    source: str = OWN


@dataclass(frozen=True, eq=False)
class CorruptedMask:
    """A mask to be judged, its clean one on the same grid (None of real faults), and what was done to it."""

    mask: CubeMask
    clean_RRR: Mask | None
    family: str
    severity: str
    dice: float
    matched: bool


def measured_cases(
    shape: MaskShape,
    prior: MaskPrior,
    sdf_grid: SdfGrid,
    *,
    families: Sequence[str],
    draw: int,
    source: str = OWN,
) -> Iterator[Case]:
    """A clean mask, and it corrupted by each family in both severities; of a real fault only itself.

    `source`: all of them as this source draws them.
    """
    corrupted = list(corrupted_masks(shape, families=families, draw=draw))
    if source != OWN:
        corrupted = list(redrawn_masks(corrupted, source, prior.preparation, name=shape.name, draw=draw))
    measurements = measured_masks(prior, [one.mask for one in corrupted], sdf_grid)
    for one, (measured, rebuilt) in zip(corrupted, measurements, strict=True):
        truth = known_truth(one, rebuilt)
        yield Case(shape.name, shape.subject, one.family, one.severity, measured, truth, source)


def redrawn_masks(
    corrupted: Iterable[CorruptedMask], source: str, config: DataConfig, *, name: str, draw: int
) -> Iterator[CorruptedMask]:
    """The same masks as a source draws them; what no longer fits into the cube is said and left out."""
    for one in corrupted:
        try:
            mask, alike = drawn_by(source, one.mask, one.clean_RRR, config, seed=draw, name=name)
        except ValueError as error:
            say(f"{name}, {one.family} in {source}: left out: {reason_of(error)}")
            continue
        # Where it lies in the cube is decided anew: there is no clean mask on its grid to compare a map with.
        yield dataclasses.replace(one, mask=mask, clean_RRR=None, dice=alike)


def corrupted_masks(shape: MaskShape, *, families: Sequence[str], draw: int) -> Iterator[CorruptedMask]:
    """The mask itself and, of a clean one, what each family makes of it, each put into the middle of the cube again."""
    occupancy = shape.mask.occupancy_RRR
    if shape.family != CLEAN:
        yield CorruptedMask(shape.mask, None, shape.family, "real", float("nan"), False)
        return
    yield CorruptedMask(shape.mask, occupancy, CLEAN, CLEAN, 1.0, True)
    grid = _with_room(occupancy)
    for family in families:
        for severity in TARGETS:
            if family in UNMATCHED and severity != next(iter(TARGETS)):
                continue  # they have one severity
            made = corrupt(grid, family, severity=severity, seed=draw, name=shape.name)
            if made.mask_RRR.any():
                # A real mask of this shape would lie in the middle of its cube: that its clean one lay elsewhere must
                # not give it away.
                shift = centring(made.mask_RRR)
                mask = CubeMask(shift_mask(made.mask_RRR, shift), shape.mask.to_world)
                yield CorruptedMask(mask, shift_mask(grid, shift), family, severity, made.dice, made.matched)


def known_truth(corrupted: CorruptedMask, rebuilt: Reconstruction) -> dict[str, float]:
    """Dice to the clean mask of the mask, of its reconstruction and of the repaired mask; precision of the map."""
    if corrupted.clean_RRR is None:
        known = np.isfinite(corrupted.dice)
        return {"dice": corrupted.dice, "matched": float(corrupted.matched)} if known else {}
    clean, mask = corrupted.clean_RRR, corrupted.mask.occupancy_RRR
    truth = {
        "dice": corrupted.dice,
        "matched": float(corrupted.matched),
        "rebuilt_dice": dice(rebuilt.occupancy_RRR, clean),
        "repaired_dice": dice(rebuilt.repaired_RRR, clean),
    }
    if corrupted.family not in (CLEAN, *UNMATCHED):
        # Cells far from all three are right in any map, and would only make it look precise.
        box = box_of_cells(clean | mask | rebuilt.occupancy_RRR, margin=NEAR)
        strength = np.abs(rebuilt.disagreement_RRR[box]).ravel()
        wrong = (clean ^ mask)[box].ravel()
        truth["precision"] = average_precision(strength.astype(np.float64), wrong)
        truth["chance"] = float(wrong.mean())
    return truth


def _with_room(occupancy: Mask) -> Mask:
    """The box of a mask with room around it, no larger than the cube."""
    inner = occupancy[box_of_cells(occupancy)]
    return np.pad(inner, [(min(ROOM, (GRID - size) // 2),) * 2 for size in inner.shape])


def kept_cases(folder: Path, name: str, key: dict[str, Any], make: Callable[[], Iterable[Case]]) -> list[Case]:
    """The cases in `folder` that were made under this key; else they are made and written."""
    file = folder / f"{fingerprint({**key, 'name': name, 'version': VERSION}, size=12)}.npz"
    if file.is_file():
        return _read(file)
    cases = list(make())
    if not cases:
        return []
    with replacing(file) as temporary:
        np.savez_compressed(
            temporary,
            about=np.array([[c.name, c.subject, c.family, c.severity, json.dumps(c.truth), c.source] for c in cases]),
            names=np.array(list(cases[0].measured.numbers)),
            numbers=np.array([list(c.measured.numbers.values()) for c in cases]),
            distances=np.stack([c.measured.distances_D for c in cases]).astype(np.float16),
        )
    return _read(file)


def _read(file: Path) -> list[Case]:
    arrays = read_npz(file, most=MAX_BYTES, names=("about", "names", "numbers", "distances"))
    about, names, numbers, distances = (arrays[key] for key in ("about", "names", "numbers", "distances"))
    called, cases = [str(name) for name in names], []
    for row, values, distance_D in zip(about, numbers, distances, strict=True):
        name, subject, family, severity, truth, source = map(str, row)
        measured = Measured(dict(zip(called, values.tolist(), strict=True)), distance_D.astype(np.float32))
        cases.append(Case(name, subject, family, severity, measured, json.loads(truth), source))
    return cases


def folder_masks(folder: Path, config: DataConfig) -> Iterator[tuple[str, CubeMask]]:
    """Name and mask of every part of every scan, as the run's preparation finds them; what cannot be read is said.

    ValueError when the run was not trained on labelled scans; FileNotFoundError when nothing is there.
    """
    if config.labels is None:
        raise ValueError(f"{folder} is no data set, and the run was not trained on labelled scans: prepare it first")
    settings = dataclasses.replace(config, input=folder)
    for source in list_sources(settings.input, kind="labels", labels=config.labels).sources:
        try:
            yield source.name, cube_mask(read_structure(folder / source.file, source.part, config.labels), settings)
        except (ValueError, OSError) as error:
            say(f"{source.name}: left out: {reason_of(error)}")
