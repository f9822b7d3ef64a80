"""Predictions against ground truths under named protocols: a row for every shape.

A shape without a usable mesh is a row with its reason; means are taken in tables.py. The same numbers come out
whatever the number of processes: every draw is keyed by seed, shape and purpose.
"""

import functools
import itertools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.occupancy_samples import OccupancySamples
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from data_processing.medical.advice import COMMAND_OPTIONS, worded
from data_processing.medical.crops import Crop, mask_crop, place_on
from data_processing.occupancy.inside_outside import inside_points
from isofield.evaluation.doubts import doubts_in_words, suspect_sides
from isofield.evaluation.ground_truth import GroundTruth, SampleTruth
from isofield.evaluation.mask_labels import FileMask, MaskPair
from isofield.evaluation.mask_pairs import compare_crops, without
from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import AnyProtocol, LightFieldProtocol, MaskProtocol, Protocol
from isofield.metrics import surfaces as metrics
from isofield.metrics.light_field import descriptor_of_mesh, distance_matrix
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime import seeds
from isofield.runtime.atomic_files import WriteError
from isofield.runtime.json_files import Row
from isofield.runtime.processes import in_order
from isofield.runtime.progress import Progress
from isofield.runtime.reasons import reason_of

BLOCK = 8192  # points that stay in the cache

Draw = Callable[[Any, Any], dict[str, str | None]]  # prediction and ground truth, as loaded, to addresses of pictures


@dataclass(frozen=True)
class SampleCounts:
    """How many points, and which. None: as many as the protocol says."""

    seed: int = 0
    points: int | None = None
    iou_points: int | None = None

    def __post_init__(self) -> None:
        for what, count in (("--points", self.points), ("--iou-points", self.iou_points)):
            if count is not None and count < 1:
                raise ValueError(f"{what}: expected at least 1, got {count}")

    def surface_count(self, protocol: Protocol) -> int:
        return self.points or protocol.points

    def iou_count(self, protocol: Protocol) -> int:
        return self.iou_points or protocol.iou_points


def each_pair(
    pairs: Sequence[Pair],
    protocols: Sequence[AnyProtocol],
    draws: SampleCounts,
    *,
    workers: int = 0,
    light_fields: Path | None = None,
    draw: Draw | None = None,
    progress: bool = True,
) -> Generator[list[Row]]:
    """The rows of one shape after the other, in the order of the pairs; of each one for each protocol.

    `workers`: processes; 0 takes as many as there are cores, but none for a few shapes. `light_fields`: folder in which
    light field descriptors are kept; None keeps none. `draw` makes the pictures of a shape from what was loaded of it:
    they stand in its first row, under `pictures`, so that no file is read a second time for the report.
    """
    # Work goes to other processes: what it needs travels along, pictures are drawn there, and rows come back.
    work = functools.partial(_evaluate_together, protocols=protocols, draws=draws, light_fields=light_fields, draw=draw)
    together = _together(pairs)
    with Progress(len(pairs), what="evaluate", unit="shape", shown=progress) as bar:
        # Workers may finish in any order; rows come in that of the pairs.
        for rows in in_order(work, together, workers=workers):
            for _ in rows:
                bar.update()
            yield from rows


@dataclass(frozen=True)
class _Together:
    """Pairs that are read from the same files: one process looks at them, one after the other."""

    name: str
    pairs: tuple[Pair, ...]


def _together(pairs: Sequence[Pair]) -> list[_Together]:
    """Labels of one case side by side; all other pairs alone."""
    keys = (pair.case if isinstance(pair, MaskPair) else number for number, pair in enumerate(pairs))
    grouped = itertools.groupby(zip(keys, pairs, strict=True), key=lambda item: item[0])
    groups = [tuple(pair for _, pair in group) for _, group in grouped]
    return [_Together(group[0].name, group) for group in groups]


def _evaluate_together(
    together: _Together, protocols: Sequence[AnyProtocol], draws: SampleCounts, **options: Any
) -> list[list[Row]]:
    return [evaluate_pair(pair, protocols, draws, **options) for pair in together.pairs]


def by_protocol(rows: Sequence[list[Row]], protocols: Sequence[AnyProtocol]) -> dict[str, list[Row]]:
    """Rows of shapes, turned into rows of protocols."""
    return {protocol.name: [shape[number] for shape in rows] for number, protocol in enumerate(protocols)}


def evaluate_pair(
    pair: Pair,
    protocols: Sequence[AnyProtocol],
    draws: SampleCounts,
    *,
    light_fields: Path | None = None,
    draw: Draw | None = None,
) -> list[Row]:
    """One row for each protocol. What is wrong with this shape becomes the reason of its rows, not an error."""
    masks = [protocol for protocol in protocols if isinstance(protocol, MaskProtocol)]
    surfaces = [protocol for protocol in protocols if not isinstance(protocol, MaskProtocol)]
    assert not (masks and surfaces), "masks are judged on other files"
    if masks:
        return [evaluate_masks(pair, protocol, draw) for protocol in masks]
    return _evaluate_surfaces(pair, surfaces, draws, light_fields, draw)


def evaluate_masks(pair: Pair, protocol: MaskProtocol, draw: Draw | None = None) -> Row:
    """The row of two masks of one scan: numbers of their labels, metrics, and in `note` what a reader has to know."""
    told = _labels_told(pair)
    try:
        predicted, true = load_masks(pair)
        values, notes = compare_crops(predicted, true, protocol)
    except (ValueError, OSError) as error:
        return failed_row(pair, worded(error, COMMAND_OPTIONS)) | told
    notes = [*(pair.notes if isinstance(pair, MaskPair) else ()), *notes]
    row = {"name": pair.name, "category": pair.category, "status": "done", "reason": "", **values, **told}
    row |= {"suspect": doubts_in_words({"ground truth": pair.doubt})}
    pictures = {} if draw is None else {"pictures": draw(predicted, true)}
    return row | {"ground_truth": "mask", "note": "; ".join(notes), **pictures}


def _labels_told(pair: Pair) -> Row:
    """Numbers of the labels on both sides, such as 2 or 1+2; "" where a side has none or nobody asked for one."""
    if not isinstance(pair, MaskPair):
        return {"label": "", "predicted_label": ""}
    sides = (pair.truth if isinstance(pair.truth, FileMask) else None, pair.predicted)
    label, predicted = ("" if side is None else "+".join(map(str, side.labels or ())) for side in sides)
    return {"label": label, "predicted_label": predicted}


def load_masks(pair: Pair) -> tuple[Crop, Crop]:
    """Both masks of a pair, the predicted one first. ValueError that says which side is at fault."""
    if pair.reason or pair.prediction is None or pair.truth is None:
        raise ValueError(pair.reason or "no prediction")
    try:
        true = pair.truth.load()  # first: the scan may be in memory from the shape before
    except (ValueError, OSError) as error:
        raise ValueError(f"ground truth: {reason_of(error)}") from error
    try:
        predicted = pair.predicted if isinstance(pair, MaskPair) else None
        crop = mask_crop(pair.prediction) if predicted is None else predicted.load()
        if isinstance(pair.truth, FileMask) and pair.truth.ignored:
            crop = without(place_on(crop, true)[0], pair.truth.load_ignored())
        return crop, true
    except (ValueError, OSError) as error:
        raise ValueError(f"prediction: {reason_of(error)}") from error


def _evaluate_surfaces(
    pair: Pair,
    protocols: Sequence[Protocol | LightFieldProtocol],
    draws: SampleCounts,
    light_fields: Path | None,
    draw: Draw | None,
) -> list[Row]:
    try:
        prediction, truth = load_pair(pair)
        watertight = is_watertight(prediction)
    except (ValueError, OSError) as error:
        return [failed_row(pair, reason_of(error))] * len(protocols)
    asks_inside = any("iou" in protocol.metrics for protocol in protocols)
    suspect = suspect_sides(pair, prediction, truth, asks_inside=asks_inside, watertight=watertight)
    rows: list[Row] = []
    # A metric that cannot be told must not cost the others: each protocol fails alone. A full disk ends them all.
    for protocol in protocols:
        try:
            values = _metrics(prediction, truth, protocol, draws, pair.name, watertight, light_fields)
            done = {"name": pair.name, "category": pair.category, "status": "done", "reason": "", "suspect": suspect}
            rows.append(done | values | {"ground_truth": truth.kind} | _note_of(truth))
        except WriteError:
            raise
        except (ValueError, OSError) as error:
            rows.append(failed_row(pair, reason_of(error)))
    if draw is not None:
        rows[0] = rows[0] | {"pictures": draw(prediction, truth)}
    return rows


def surface_metrics(
    prediction: TriangleMesh,
    truth: GroundTruth,
    protocol: Protocol | LightFieldProtocol,
    draws: SampleCounts,
    *,
    name: str,
) -> Row:
    """The metrics of one shape that is in memory, and what its row says of the truth; `name` keys its draws.

    ValueError where they cannot be told.
    """
    values = _metrics(prediction, truth, protocol, draws, name, is_watertight(prediction), None)
    return values | {"ground_truth": truth.kind} | _note_of(truth)


def _metrics(
    prediction: TriangleMesh,
    truth: GroundTruth,
    protocol: Protocol | LightFieldProtocol,
    draws: SampleCounts,
    name: str,
    watertight: bool,
    light_fields: Path | None,
) -> Row:
    if isinstance(protocol, LightFieldProtocol):
        return {"lfd": light_field_distance(prediction, truth, light_fields)}
    numbers = compare(prediction, truth, protocol, draws, name=name, watertight=watertight)
    # None where a metric cannot be told.
    values = {key: None if math.isnan(value) else float(value) for key, value in numbers.items()}
    return values | {"watertight": watertight}


def _note_of(truth: GroundTruth) -> Row:
    """What a reader should know of the file of the ground truth."""
    note = getattr(truth, "note", "")
    return {"note": f"ground truth: {note}"} if note else {}


def load_pair(pair: Pair) -> tuple[TriangleMesh, GroundTruth]:
    """Both sides of a pair. ValueError or FileNotFoundError that says which side is at fault."""
    if pair.reason or pair.prediction is None or pair.truth is None:
        raise ValueError(pair.reason or "no prediction")
    try:
        prediction = read_mesh(pair.prediction)
    except (ValueError, OSError) as error:
        raise ValueError(f"prediction: {reason_of(error)}") from error
    try:
        return prediction, pair.truth.load()
    except (ValueError, OSError) as error:
        raise ValueError(f"ground truth: {reason_of(error)}") from error


def compare(
    prediction: TriangleMesh,
    truth: GroundTruth,
    protocol: Protocol,
    draws: SampleCounts,
    *,
    name: str,
    watertight: bool,
) -> dict[str, float]:
    """All metrics of one shape, both sides in one frame of their files; NaN where a metric cannot be told.

    `watertight`: whether the prediction is; then nobody has to ask how its inside is told.
    """
    box, samples = truth.bounds(), getattr(truth, "samples", None)
    # Points anywhere have no surface: what is inside of both is all that can be compared.
    if isinstance(truth, SampleTruth):
        only: dict[str, float] = dict.fromkeys(protocol.metrics, float("nan"))
        return only | {"iou": _iou_of_samples(prediction, truth.samples, watertight)}
    matrix = protocol.normalising(*box)
    count = draws.surface_count(protocol)
    # Each side is drawn by its own key: neither depends on the other, nor on the order of shapes.
    predicted = SurfaceSamples(*sample_surface(prediction, count, _generator(draws, name, "prediction")))
    true = truth.surface(count, _generator(draws, name, "ground truth"))
    distances = metrics.compare(_moved(predicted, matrix), _moved(true, matrix))
    values = {
        "chamfer": protocol.factor * metrics.chamfer(distances, power=protocol.power, combine=protocol.combine),
        "chamfer_l1": metrics.chamfer(distances, power=1, combine=protocol.combine),
        "chamfer_l2": metrics.chamfer(distances, power=2, combine=protocol.combine),
        "normal_consistency": metrics.normal_consistency(distances),
        "signed_normal_agreement": metrics.signed_normal_agreement(distances),
        "f_score": metrics.f_score(distances, threshold=protocol.f_threshold),
        "iou": _iou(prediction, truth, _iou_points(prediction, box, protocol, draws, matrix, name), watertight)
        if samples is None
        else _iou_of_samples(prediction, samples, watertight),
    }
    if not all(math.isfinite(values[key]) for key in ("chamfer", "chamfer_l1", "chamfer_l2")):
        raise ValueError(f"the Chamfer distance is {values['chamfer']}: coordinates are too large to compare")
    return values


def light_field_distance(prediction: TriangleMesh, truth: GroundTruth, cache: Path | None) -> float:
    """Both in one frame; see isofield/metrics/light_field. `cache`: folder in which descriptors are kept.

    Raises ValueError for a ground truth that has no surface to look at.
    """
    descriptors = [descriptor_of_mesh(mesh, cache) for mesh in (prediction, truth.solid())]
    return float(distance_matrix(descriptors[:1], descriptors[1:], device="cpu")[0, 0])


def failed_row(pair: Pair, reason: str) -> Row:
    """The row of a shape that has no numbers."""
    return {"name": pair.name, "category": pair.category, "status": "failed", "reason": reason}


def _iou(prediction: TriangleMesh, truth: GroundTruth, points_N3: NDArray[np.float64], watertight: bool) -> float:
    true_N = truth.inside(points_N3)
    if true_N is None:
        return float("nan")
    return metrics.iou(inside_points(prediction, points_N3, method="scan" if watertight else "auto"), true_N)


def _iou_of_samples(prediction: TriangleMesh, samples: OccupancySamples, watertight: bool) -> float:
    """IoU over the points of a file, all of them, as Occupancy Networks takes it."""
    inside_N = inside_points(prediction, samples.points_N3, method="scan" if watertight else "auto")
    return metrics.iou(inside_N, samples.inside_N)


def _iou_points(
    prediction: TriangleMesh,
    box: tuple[NDArray, NDArray],
    protocol: Protocol,
    draws: SampleCounts,
    matrix: NDArray,
    name: str,
) -> NDArray[np.float64]:
    """Uniform points (N, 3) of the protocol's domain, in the frame of the files; `box` of the ground truth."""
    if protocol.iou_domain == "cube":
        # The cube lies in the protocol's frame; points are drawn in that of the files, where both sides are.
        half = protocol.iou_side / 2
        corners = transform_points(np.array([[-half] * 3, [half] * 3]), np.linalg.inv(matrix))
    else:
        corners = np.stack([*box, *prediction.bounds()])
    lower_3 = corners.min(axis=0)
    sides_3 = corners.max(axis=0) - lower_3
    # Scaled in place, axis by axis and some points at once: a million of them would go to memory and back each time.
    points_N3 = _generator(draws, name, "iou").random((draws.iou_count(protocol), 3))
    for start in range(0, len(points_N3), BLOCK):
        for axis in range(3):
            points_N = points_N3[start : start + BLOCK, axis]
            points_N *= sides_3[axis]
            points_N += lower_3[axis]
    return points_N3


def _generator(draws: SampleCounts, name: str, purpose: str) -> np.random.Generator:
    return seeds.numpy_generator(draws.seed, name, "evaluate", purpose)


def _moved(samples: SurfaceSamples, matrix: NDArray) -> SurfaceSamples:
    """Samples in the protocol's frame; it only scales and shifts, so normals stay."""
    # A product with a 3x3 matrix would wake the threads of the linear algebra, which then wait in a loop.
    return SurfaceSamples(samples.points_N3 * matrix.diagonal()[:3] + matrix[:3, 3], samples.normals_N3)
