"""Predictions against ground truths under named protocols: a row for every shape.

A shape without a usable mesh is a row with its reason; means are taken in tables.py. The same numbers come out
whatever the number of processes: every draw is keyed by seed, shape and purpose.
"""

import functools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight, sample_surface
from data_processing.medical.crops import Crop, mask_crop
from data_processing.occupancy.inside_outside import inside_points
from isofield.evaluation.ground_truth import GroundTruth
from isofield.evaluation.mask_pairs import compare_crops
from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import AnyProtocol, LightFieldProtocol, MaskProtocol, Protocol
from isofield.metrics import surfaces as metrics
from isofield.metrics.light_field import descriptor_of_mesh, distance_matrix
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime import seeds
from isofield.runtime.atomic_files import WriteError
from isofield.runtime.json_files import Row
from isofield.runtime.processes import in_order
from isofield.runtime.progress import with_progress


@dataclass(frozen=True)
class SampleCounts:
    """How many points, and which. None: as many as the protocol says."""

    seed: int = 0
    points: int | None = None
    iou_points: int | None = None

    def __post_init__(self) -> None:
        for what, count in (("points", self.points), ("iou points", self.iou_points)):
            if count is not None and count < 1:
                raise ValueError(f"{what}: expected at least 1, got {count}")

    def surface_count(self, protocol: Protocol) -> int:
        return self.points or protocol.points

    def iou_count(self, protocol: Protocol) -> int:
        return self.iou_points or protocol.iou_points


def evaluate_pairs(
    pairs: Sequence[Pair], protocols: Sequence[AnyProtocol], draws: SampleCounts, **options: Any
) -> dict[str, list[Row]]:
    """Rows of all shapes for each protocol, in the order of the pairs. `options`: those of `each_pair`."""
    return by_protocol(list(each_pair(pairs, protocols, draws, **options)), protocols)


def each_pair(
    pairs: Sequence[Pair],
    protocols: Sequence[AnyProtocol],
    draws: SampleCounts,
    *,
    workers: int = 0,
    light_fields: Path | None = None,
    progress: bool = True,
) -> Generator[list[Row]]:
    """The rows of one shape after the other, in the order of the pairs; of each one for each protocol.

    `workers`: processes; 0 takes as many as there are cores, but none for a few shapes. `light_fields`: folder in which
    light field descriptors are kept; None keeps none.
    """
    work = functools.partial(evaluate_pair, protocols=protocols, draws=draws, light_fields=light_fields)
    rows = in_order(work, pairs, workers=workers)
    yield from with_progress(rows, total=len(pairs), what="evaluate", unit="shape", shown=progress)


def by_protocol(rows: Sequence[list[Row]], protocols: Sequence[AnyProtocol]) -> dict[str, list[Row]]:
    """Rows of shapes, turned into rows of protocols."""
    return {protocol.name: [shape[number] for shape in rows] for number, protocol in enumerate(protocols)}


def evaluate_pair(
    pair: Pair, protocols: Sequence[AnyProtocol], draws: SampleCounts, *, light_fields: Path | None = None
) -> list[Row]:
    """One row for each protocol. What is wrong with this shape becomes the reason of its rows, not an error."""
    masks = [protocol for protocol in protocols if isinstance(protocol, MaskProtocol)]
    surfaces = [protocol for protocol in protocols if not isinstance(protocol, MaskProtocol)]
    assert not (masks and surfaces), "masks are judged on other files"
    return [evaluate_masks(pair, p) for p in masks] or _evaluate_surfaces(pair, surfaces, draws, light_fields)


def evaluate_masks(pair: Pair, protocol: MaskProtocol) -> Row:
    """The row of two masks on the grid of a scan."""
    try:
        values = compare_crops(*load_masks(pair), protocol)
    except (ValueError, OSError) as error:
        return failed_row(pair, str(error))
    return {"name": pair.name, "category": pair.category, "status": "done", "reason": "", **values} | {
        "ground_truth": "mask"
    }


def load_masks(pair: Pair) -> tuple[Crop, Crop]:
    """Both masks of a pair, the predicted one first. ValueError that says which side is at fault."""
    if pair.reason or pair.prediction is None or pair.truth is None:
        raise ValueError(pair.reason or "no prediction")
    try:
        true = pair.truth.load()  # first: the scan may be in memory from the shape before
    except (ValueError, OSError) as error:
        raise ValueError(f"ground truth: {error}") from error
    try:
        return mask_crop(pair.prediction), true
    except (ValueError, OSError) as error:
        raise ValueError(f"prediction: {error}") from error


def _evaluate_surfaces(
    pair: Pair, protocols: Sequence[Protocol | LightFieldProtocol], draws: SampleCounts, light_fields: Path | None
) -> list[Row]:
    try:
        prediction, truth = load_pair(pair)
        watertight = is_watertight(prediction)
    except (ValueError, OSError) as error:
        return [failed_row(pair, str(error))] * len(protocols)
    rows = []
    for protocol in protocols:
        values: Row
        try:
            if isinstance(protocol, LightFieldProtocol):
                values = {"lfd": light_field_distance(prediction, truth, light_fields)}
            else:
                values = _defined(compare(prediction, truth, protocol, draws, name=pair.name, watertight=watertight))
                values["watertight"] = watertight
            done = {"name": pair.name, "category": pair.category, "status": "done", "reason": ""}
            rows.append(done | values | {"ground_truth": truth.kind})
        except WriteError:
            raise
        except (ValueError, OSError) as error:
            rows.append(failed_row(pair, str(error)))
    return rows


def _defined(values: dict[str, float]) -> Row:
    """None where a metric cannot be told."""
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def load_pair(pair: Pair) -> tuple[TriangleMesh, GroundTruth]:
    """Both sides of a pair. ValueError or FileNotFoundError that says which side is at fault."""
    if pair.reason or pair.prediction is None or pair.truth is None:
        raise ValueError(pair.reason or "no prediction")
    try:
        prediction = read_mesh(pair.prediction)
    except (ValueError, OSError) as error:
        raise ValueError(f"prediction: {error}") from error
    try:
        return prediction, pair.truth.load()
    except (ValueError, OSError) as error:
        raise ValueError(f"ground truth: {error}") from error


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
    # The ground truth's box decides the scale: both shapes move alike.
    box = truth.bounds()
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
        "iou": _iou(prediction, truth, _iou_points(prediction, box, protocol, draws, matrix, name), watertight),
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
        half = protocol.iou_side / 2
        corners = transform_points(np.array([[-half] * 3, [half] * 3]), np.linalg.inv(matrix))
    else:
        corners = np.stack([*box, *prediction.bounds()])
    lower_3 = corners.min(axis=0)
    points_N3 = _generator(draws, name, "iou").random((draws.iou_count(protocol), 3))
    points_N3 *= corners.max(axis=0) - lower_3
    points_N3 += lower_3
    return points_N3


def _generator(draws: SampleCounts, name: str, purpose: str) -> np.random.Generator:
    return seeds.numpy_generator(draws.seed, name, "evaluate", purpose)


def _moved(samples: SurfaceSamples, matrix: NDArray) -> SurfaceSamples:
    """Samples in the protocol's frame; it only scales and shifts, so normals stay."""
    return SurfaceSamples(transform_points(samples.points_N3, matrix), samples.normals_N3)
