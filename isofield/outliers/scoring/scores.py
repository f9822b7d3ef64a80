"""One number for how strange a mask is, fitted on clean training masks alone.

A mask is measured (`measure`): shape, surface, slices, what is left over by linear components of signed distances, and
what its prior disagrees with. Each group of numbers has a Mahalanobis distance with shrunk correlations, and so have
all of them but the prior's together. Distances become deviations above what clean masks that were left out of the fit
show (`statistics.Tail`), so that groups can be compared. The score is how strange the mask is in itself, in any way or
in the way of a fault, whichever is more. Single groups say what is strange. What its prior disagrees with is such a
group, and all that judges a mask which the field of view cuts off; it is no part of the score of a whole mask, as it
made that worse more often than better.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.mahalanobis import Mahalanobis, Tail, fit_mahalanobis, fit_tail, held_out
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.disagreement import box_around, disagreement_features
from isofield.outliers.scoring.fault_directions import (
    FAULT_ARRAYS,
    KINDS,
    OFTEN,
    FaultDirections,
    directions,
    fault_arrays,
    faults_of,
    fit_levels,
)
from isofield.outliers.scoring.features import shape_features, slice_features, surface_features
from isofield.outliers.scoring.known_drawings import (
    DRAWING_ARRAYS,
    KnownDrawings,
    drawing_arrays,
    drawing_columns,
    drawings_of,
    fit_known_drawings,
)
from isofield.outliers.scoring.one_sided import at_least
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.outliers.scoring.shape_space import Components, SdfGrid, fit_components, overlap, signed_distance

Array = NDArray[np.float64]
ITSELF, PRIOR, FAULTS = "itself", "prior", "faults"
GROUPS: dict[str, tuple[str, ...]] = {  # by the beginnings of names
    "shape": ("shape_",),
    "surface": ("surface_",),
    "slices": ("slices_",),
    "space": ("space_",),
    ITSELF: ("shape_", "surface_", "slices_", "space_"),
    PRIOR: ("prior_",),
}
WITH_PRIOR = "with_prior"  # in stored arrays; files of versions whose score always had its prior in it lack it
VISIBLE = PRIOR  # what still means something of a mask that the field of view cuts off
LEAST = 8  # masks to fit on
NEAR = 1.5  # cells from a surface
BLUR = 1.5  # cells
SMALL = 1e-3
CHANGES = 4.0  # what redrawing changes counts as so many times its variance: sources differ by more than is drawn here


@dataclass(frozen=True, eq=False)
class Measured:
    """A mask as numbers: named ones, and signed distances (D,) of shape_space.Frame."""

    numbers: dict[str, float]
    distances_D: NDArray[np.float32]


def measure(mask: CubeMask, sdf_grid: SdfGrid, reconstruction: Reconstruction | None) -> Measured:
    """Numbers of a mask that is not empty; without a reconstruction those of its prior are left out."""
    # Only the part of the cube that holds both, and one distance transform for all that asks for distances.
    box, spacing = box_around(mask, reconstruction), mask.spacing
    inside = mask.occupancy_RRR[box]
    distance = signed_distance(inside)
    numbers = {f"shape_{name}": value for name, value in shape_features(inside, spacing, distance).items()}
    numbers |= {f"surface_{name}": value for name, value in surface_features(inside).items()}
    numbers |= {f"slices_{name}": value for name, value in slice_features(inside).items()}
    if reconstruction is not None:
        numbers |= disagreement_features(reconstruction, box, distance)
    return Measured(numbers, sdf_grid.distances(inside, spacing, distance))


@dataclass(frozen=True, eq=False)
class Scorer:
    """What is kept of the training masks: small arrays.

    `drawings`: None where no training mask was redrawn. `faults`: None where none was damaged. `with_prior`: whether
    the score adds how far the prior disagrees beyond what is usual, as older versions did.
    """

    names: tuple[str, ...]  # of the numbers, the left-over ones of `components` last
    sdf_grid: SdfGrid
    components: Components
    groups: dict[str, tuple[Mahalanobis, Tail]]
    drawings: KnownDrawings | None = None
    faults: FaultDirections | None = None
    with_prior: bool = False

    def strangeness(self, measured: Sequence[Measured]) -> dict[str, Array]:
        """(N,) of each group, in deviations above the median of clean masks."""
        values_NF = np.concatenate([_numbers(measured), _left_over(self.components, _distances(measured))], axis=1)
        strangeness = {
            group: tail.strangeness(mahalanobis.distances(self._values(values_NF, group)))
            for group, (mahalanobis, tail) in self.groups.items()
        }
        if self.faults is not None:
            usual, _ = self.groups[ITSELF]
            strangeness[FAULTS] = self.faults.strangeness(usual.standardise(self._values(values_NF, ITSELF)))
        return strangeness

    def _values(self, values_NF: Array, group: str) -> Array:
        """The numbers of a group. The scores of older calibrations know no number that is strange on one side alone."""
        columns = _columns(self.names, group)
        if self.with_prior:
            return values_NF[:, columns]
        return at_least(values_NF[:, columns], [self.names[column] for column in columns], self.groups[group][0])

    def scores(self, measured: Sequence[Measured]) -> Array:
        """(N,); larger is stranger."""
        strangeness = self.strangeness(measured)
        itself = np.maximum(strangeness[ITSELF], strangeness.get(FAULTS, -np.inf))
        if self.with_prior:  # one that agrees takes nothing back
            itself = itself + np.maximum(strangeness.get(PRIOR, 0.0), 0.0)
        return np.asarray(itself)

    def drawing_p(self, measured: Sequence[Measured]) -> Array | None:
        """(N,): the share of known drawings as unusual as this mask's; None of a scorer that knows none."""
        if self.drawings is None:
            return None
        return self.drawings.p_values(_numbers(measured)[:, drawing_columns(self.names)])

    def visible_scores(self, measured: Sequence[Measured]) -> Array:
        """(N,): by the disagreement with the prior alone. ValueError of a scorer without a prior."""
        if VISIBLE not in self.groups:
            raise ValueError("only a prior can judge what is visible of a mask")
        return self.strangeness(measured)[VISIBLE]


def fit_scorer(
    measured: Sequence[Measured],
    sdf_grid: SdfGrid,
    redrawn: Sequence[Sequence[Measured]] | None = None,
    damaged: Sequence[Mapping[str, Measured]] | None = None,
) -> Scorer:
    """Of clean training masks. ValueError when there are too few to know what is usual.

    `redrawn`: each of them as other sources draw it, equally often. How a mask changes from one source to another says
    nothing of its shape: along such changes deviations count the less, the larger the changes are. `damaged`: each of
    them damaged, by kind; what these numbers are where a prior was asked does not count.
    """
    if len(measured) < LEAST:
        raise ValueError(f"expected at least {LEAST} clean training masks, got {len(measured)}")
    others = redrawn if redrawn is not None else [[] for _ in measured]
    times = sorted({len(row) for row in others})
    if len(others) != len(measured) or len(times) > 1:
        raise ValueError(
            f"expected each of {len(measured)} training masks redrawn equally often, got {len(others)} of them {times}"
        )
    # One row for each mask, and in it the mask itself and then what others make of it: R of them; then it damaged.
    spoilt = damaged if damaged is not None else [{} for _ in measured]
    kinds_NJ = [list(row) for row in spoilt]
    rows = [
        [one, *drawn, *worse.values(), *[one] * (OFTEN - len(worse))]
        for one, drawn, worse in zip(measured, others, spoilt, strict=True)
    ]
    distances_NRD = np.stack([_distances(row) for row in rows])
    numbers_NRF = np.stack([_numbers(row, measured[0].numbers) for row in rows])
    # Of a training mask only components that did not see it, or it redrawn, may say what is left over.
    left_over = held_out(distances_NRD, _left_over_unseen)
    # Each group gets two things: what is usual, fitted on all masks; and how far clean masks lie off it that were left
    # out of the fit, as a new clean mask is.
    all_NRF = np.concatenate([numbers_NRF, left_over], axis=2)
    values_NRF, damaged_NJF = np.split(all_NRF, [1 + times[0]], axis=1)
    names = (*measured[0].numbers, *LEFT_OVER)
    groups: dict[str, tuple[Mahalanobis, Tail]] = {}
    for group in GROUPS:
        columns = _columns(names, group)
        chosen = values_NRF[:, :, columns]
        if len(columns):
            own = tuple(names[column] for column in columns)
            unseen = held_out(chosen, functools.partial(_distances_unseen, own))
            groups[group] = _fit_group(chosen), fit_tail(unseen)
    drawings = fit_known_drawings(values_NRF[:, :, drawing_columns(names)]) if times != [0] else None
    chosen = _columns(names, ITSELF)
    faults = _fit_faults(values_NRF[:, :, chosen], damaged_NJF[:, :, chosen], kinds_NJ) if any(kinds_NJ) else None
    return Scorer(names, sdf_grid, fit_components(distances_NRD[:, 0]), groups, drawings, faults)


def _fit_group(values_NRF: Array) -> Mahalanobis:
    """What is usual of masks as they are; and what changes where they are redrawn."""
    changes = (values_NRF[:, 1:] - values_NRF[:, :1]) * CHANGES**0.5
    return fit_mahalanobis(values_NRF[:, 0], nuisance_MD=changes.reshape(-1, changes.shape[2]))


def _distances_unseen(names: Sequence[str], others_NRD: Array, rows_NRD: Array) -> Array:
    usual = _fit_group(others_NRD)
    return usual.distances(at_least(rows_NRD[:, 0], names, usual))


def _fit_faults(values_NRF: Array, damaged_NJF: Array, kinds_NJ: Sequence[Sequence[str]]) -> FaultDirections:
    """Directions of all damaged masks; levels of clean masks along directions that were found without them."""

    def found(chosen: NDArray[np.int64]) -> tuple[Mahalanobis, Array]:
        usual = _fit_group(values_NRF[chosen])
        places = [(n, place) for n in chosen for place in range(len(kinds_NJ[n]))]
        changes = np.stack([damaged_NJF[n, place] - values_NRF[n, 0] for n, place in places])
        return usual, directions(usual, changes, [kinds_NJ[n][place] for n, place in places])

    def along(others: NDArray[np.int64], rows: NDArray[np.int64]) -> Array:
        usual, weights_KD = found(others)
        return np.asarray(usual.standardise(values_NRF[rows]) @ weights_KD.T)

    everything = np.arange(len(values_NRF))
    return fit_levels(found(everything)[1], held_out(everything, along))


def _left_over_unseen(others_NRD: NDArray[np.floating], rows_NRD: NDArray[np.floating]) -> Array:
    components = fit_components(others_NRD[:, 0])
    count, drawings, cells = rows_NRD.shape
    return _left_over(components, rows_NRD.reshape(-1, cells)).reshape(count, drawings, -1)


LEFT_OVER = tuple(f"space_{name}" for name in ("unlike", "rms", "extra", "missing", "lean", "far", "far_first"))
FIRST = 20  # components that describe what is common


def _left_over(components: Components, distances_ND: NDArray[np.floating]) -> Array:
    """(N, 7): what the nearest shape of the components lacks, and how unusual that shape is among them."""
    cells = round(distances_ND.shape[1] ** (1 / 3))
    rows = []
    for distances_D in distances_ND:
        nearest_D = components.project(distances_D)
        rest_D = distances_D - nearest_D
        # Far from both surfaces distances are large and say nothing: only a band around them counts.
        near_D = np.minimum(np.abs(distances_D), np.abs(nearest_D)) < NEAR
        blurred = scipy.ndimage.gaussian_filter((rest_D * near_D).reshape((cells,) * 3), BLUR)
        # How unusual the nearest shape is among clean ones: its weights in their own standard deviations.
        weights = ((components.modes_MD @ (distances_D - components.mean_D)) / components.spread_M) ** 2
        rest = rest_D[near_D] if near_D.any() else np.ones(1)
        rows.append(
            [
                np.log(1 - overlap(distances_D, nearest_D) + SMALL),
                np.log(np.sqrt((rest**2).mean()) + SMALL),
                np.log(max(0.0, -blurred.min()) + SMALL),
                np.log(max(0.0, blurred.max()) + SMALL),
                rest.mean(),
                np.log(weights.mean() + SMALL) / 2,
                np.log(weights[:FIRST].mean() + SMALL) / 2,
            ]
        )
    return np.array(rows, dtype=np.float64)


def _columns(names: Sequence[str], group: str) -> NDArray[np.int64]:
    return np.array([i for i, name in enumerate(names) if name.startswith(GROUPS[group])], dtype=np.int64)


def _numbers(measured: Sequence[Measured], names: Mapping[str, float] | None = None) -> Array:
    """(N, F). `names`: those of all numbers; 0 where a mask was not shown to its prior."""
    if names is None:
        return np.array([list(one.numbers.values()) for one in measured], dtype=np.float64)
    return np.array([[one.numbers.get(name, 0.0) for name in names] for one in measured], dtype=np.float64)


def _distances(measured: Sequence[Measured]) -> NDArray[np.float32]:
    return np.stack([one.distances_D for one in measured])


def scorer_arrays(scorer: Scorer) -> dict[str, NDArray[Any]]:
    """Flat arrays to be stored without pickle."""
    arrays: dict[str, NDArray[Any]] = {
        "names": np.array(scorer.names),
        "frame": np.array([scorer.sdf_grid.cell, scorer.sdf_grid.cells]),
        "components/mean": scorer.components.mean_D,
        "components/modes": scorer.components.modes_MD,
        "components/spread": scorer.components.spread_M,
        WITH_PRIOR: np.array(scorer.with_prior),
    }
    for group, (mahalanobis, tail) in scorer.groups.items():
        arrays[f"groups/{group}/mean"] = mahalanobis.mean_D
        arrays[f"groups/{group}/spread"] = mahalanobis.spread_D
        arrays[f"groups/{group}/inverse"] = mahalanobis.inverse_DD
        arrays[f"groups/{group}/tail"] = np.array([tail.middle, tail.spread])
    if scorer.drawings is not None:
        arrays |= {f"drawings/{key}": array for key, array in drawing_arrays(scorer.drawings).items()}
    if scorer.faults is not None:
        arrays |= {f"faults/{key}": array for key, array in fault_arrays(scorer.faults).items()}
    return arrays


def scorer_of(arrays: Mapping[str, NDArray[Any]]) -> Scorer:
    """The inverse of `scorer_arrays`. ValueError for arrays that are no scorer, or do not fit each other."""
    try:
        sdf_grid = _sdf_grid_of(arrays["frame"])
        names = tuple(str(name) for name in arrays["names"].ravel())
        groups: dict[str, tuple[Mahalanobis, Tail]] = {}
        for group in (name.split("/")[1] for name in arrays if name.endswith("/tail")):
            # The arrays may be a stranger's: every size follows from the names and the grid, and is compared before it
            # is used.
            size = len(_columns(names, group))
            part = {key: arrays[f"groups/{group}/{key}"] for key in ("mean", "spread", "inverse", "tail")}
            _refuse_misfit(part, {"mean": (size,), "spread": (size,), "inverse": (size, size), "tail": (2,)})
            _refuse_no_spread(part["spread"], part["tail"][1:])
            mahalanobis = Mahalanobis(part["mean"], part["spread"], part["inverse"])
            groups[group] = mahalanobis, Tail(float(part["tail"][0]), float(part["tail"][1]))
        parts = {key: arrays[f"components/{key}"] for key in ("mean", "modes", "spread")}
        modes, cells = len(parts["spread"].ravel()), sdf_grid.cells**3
        _refuse_misfit(parts, {"mean": (cells,), "modes": (modes, cells), "spread": (modes,)})
        _refuse_no_spread(parts["spread"])
        groups[ITSELF]  # no score without
        drawings = _drawings_of(arrays, len(drawing_columns(names)))
        faults = _faults_of(arrays, len(_columns(names, ITSELF)))
        with_prior = _with_prior_of(arrays)
    except (KeyError, IndexError) as error:
        raise ValueError(f"the arrays of a detector lack {error.args[0] if error.args else 'one'}") from error
    components = Components(parts["mean"], parts["modes"], parts["spread"])
    return Scorer(names, sdf_grid, components, groups, drawings, faults, with_prior)


def _with_prior_of(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """True of files of versions that did not ask: the scores of their calibration have the prior in them."""
    value = arrays.get(WITH_PRIOR, np.array(True))
    if value.shape != () or value.dtype != bool:
        raise ValueError(f"the arrays of a judge do not fit each other: {WITH_PRIOR} is {value.dtype} {value.shape}")
    return bool(value)


def _faults_of(arrays: Mapping[str, NDArray[Any]], size: int) -> FaultDirections | None:
    """None in files of versions that knew no faults."""
    if not any(name.startswith("faults/") for name in arrays):
        return None
    part, kinds = {key: arrays[f"faults/{key}"] for key in FAULT_ARRAYS}, len(KINDS)
    _refuse_misfit(part, {"weights": (kinds, size), "middle": (kinds,), "spread": (kinds,), "level": (2,)})
    _refuse_no_spread(part["spread"], part["level"][1:])
    return faults_of(part)


def _drawings_of(arrays: Mapping[str, NDArray[Any]], size: int) -> KnownDrawings | None:
    """None in files of versions that did not ask how a mask is drawn."""
    if not any(name.startswith("drawings/") for name in arrays):
        return None
    part = {key: arrays[f"drawings/{key}"] for key in DRAWING_ARRAYS}
    count = part["distances"].size
    _refuse_misfit(part, {"mean": (size,), "spread": (size,), "inverse": (size, size), "distances": (count,)})
    _refuse_no_spread(part["spread"])
    return drawings_of(part)


MAX_CELLS = 256  # along an edge


def _sdf_grid_of(values: NDArray[Any]) -> SdfGrid:
    if values.shape != (2,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError("the arrays of a judge have no frame of distances")
    cell, cells = float(values[0]), int(values[1])
    if not (cell > 0 and 1 < cells <= MAX_CELLS):
        raise ValueError(f"the arrays of a judge have a frame of {cells} cells of {cell:g}")
    return SdfGrid(cell, cells)


def _refuse_no_spread(*spreads: NDArray[Any]) -> None:
    if any((spread <= 0).any() for spread in spreads):
        raise ValueError("the arrays of a judge have numbers that never vary")


def _refuse_misfit(arrays: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    for key, shape in wanted.items():
        array = arrays[key]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"the arrays of a judge do not fit each other: {key} is {array.dtype} {array.shape}")
