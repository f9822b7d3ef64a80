"""Which side of a pair is suspect: its numbers may say more of a file than of a reconstruction."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import named_space
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.occupancy.inside_outside import doubt_of_solid
from isofield.evaluation.ground_truth import GroundTruth, MeshTruth
from isofield.evaluation.pairs import FileTruth, Pair

Corners = Sequence[NDArray[np.float64]] | NDArray[np.float64]  # the lower and the upper one
OWN_BOX = 0.5  # intersection over union of the boxes of a shape and of its reconstruction, at least


def suspect_sides(
    pair: Pair, prediction: TriangleMesh, truth: GroundTruth, *, asks_inside: bool, watertight: bool
) -> str:
    """Which sides are suspect and why; "" for none.

    `asks_inside`: whether a metric needs an inside; what has none is told then. `watertight`: the prediction is.
    """
    doubts = {"ground truth": pair.doubt, "prediction": _of_frame(prediction, truth) or _of_space(pair)}
    # Preparation has judged the shapes of a data set; files of a folder nobody has.
    if asks_inside and isinstance(truth, MeshTruth) and isinstance(pair.truth, FileTruth):
        doubts["ground truth"] = doubt_of_solid(truth.mesh)
    if asks_inside and not watertight:
        doubts["prediction"] = doubts["prediction"] or doubt_of_solid(prediction)
    return doubts_in_words(doubts)


def doubts_in_words(doubts: Mapping[str, str]) -> str:
    """One text of the doubts of each side; "" for none."""
    return "; ".join(f"{side}: {doubt}" for side, doubt in doubts.items() if doubt)


def _of_frame(prediction: TriangleMesh, truth: GroundTruth) -> str:
    """Whether the prediction lies where `loc` and `scale` of the ground truth lead; "" where it does not.

    Boxes of one shape hardly overlap in two frames.
    """
    matrix = getattr(truth, "source", None)
    if matrix is None:
        return ""
    corners_23, own = np.stack(truth.bounds()), prediction.bounds()
    here, there = (_overlap(own, transform_points(corners_23, frame)) for frame in (np.eye(4), matrix))
    if there < OWN_BOX or here > there / 2:
        return ""
    return (
        "it lies where loc and scale of the ground truth's file lead, not where its points are: bring it into the "
        "frame of the points, (x - loc) / scale"
    )


def _of_space(pair: Pair) -> str:
    """Whether the headers of two files name different spaces, or one of them none; "" where they do not."""
    if not isinstance(pair.truth, FileTruth) or pair.prediction is None:
        return ""
    own, other = named_space(pair.prediction), named_space(pair.truth.path)
    if own == other:
        return ""
    own, other = (f"in {space}" if space else "in no space by name" for space in (own, other))
    return f"its file is {own}, that of the ground truth {other}: between LPS and RAS x and y change their signs"


def _overlap(first: Corners, second: Corners) -> float:
    """Intersection over union of two boxes, each of two corners."""
    edges = np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])
    both = float(np.prod(np.maximum(edges, 0)))
    union = float(np.prod(first[1] - first[0]) + np.prod(second[1] - second[0])) - both
    return both / union if union > 0 else 0.0
