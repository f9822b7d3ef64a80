"""Generated shapes against real ones, set against set: coverage, matching distance, 1-NN accuracy, JSD.

Published tables of these metrics differ by factors through points, normalisation and definition alone, so all of it is
in the settings and ends beside the numbers. Formulas: set_scores.py; distances: set_distances.py. Light
field distances need meshes, not points: evaluation/set_rows.py.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.metrics.earth_mover import LAST_SHARE
from isofield.metrics.normalisations import NORMALISATIONS, Normalisation
from isofield.metrics.set_distances import Kind, Solver
from isofield.metrics.set_scores import SetDistances, choose_equal_sizes, jensen_shannon, nearest, scores
from isofield.runtime.json_files import Row
from isofield.runtime.reasons import reason_of

MEANINGS = {
    "chamfer": "mean squared distance to the nearest point, the sum of both directions",
    "emd": "mean distance in the best one-to-one matching",
    "cov": "share of references that are nearest to some sample; of equally near ones the first counts",
    "mmd": "mean over references of the distance to the nearest sample",
    "mmd_of_samples": "mean over samples of the distance to the nearest reference",
    "1nna": "share of shapes whose nearest other shape is of their own set, over equally many of both; "
    "0.5 is best, 1 apart, 0 copies; equally near shapes share",
    "jsd": "Jensen-Shannon divergence in bits (0 to 1) of all points of both sets, each at its nearest grid node",
}


@dataclass(frozen=True)
class GenerativeConfig:
    """Everything that moves the numbers.

    points: drawn of each shape. emd_points: the first of these for the earth mover's distance; none: all of them. On
    two CPU cores a thousand pairs cost 0.6 s at 512 points, 2 s at 1,024 and 12 s at 2,048 (Chamfer at 2,048: 0.1 s).
    emd_tolerance: of the auction, by what share an EMD may be above the exact one; measured, it is a tenth of that.
    jsd_side: of the cube of grid nodes around the origin; none: 2 for "box", 1 for the others. jsd_domain: the nodes of
    that cube, or only those of the ball in it, as published for shapes inside a sphere; "auto": the ball for "sphere"
    and "diagonal", the cube for the others, which reach into its corners.
    """

    points: int = 2048
    seed: int = 0
    normalisation: Normalisation = "as_is"
    distances: tuple[Kind, ...] = ("chamfer",)
    emd_points: int | None = None
    emd_solver: Literal["auction", "exact"] = "auction"
    emd_tolerance: float = 0.01
    jsd_resolution: int = 28
    jsd_domain: Literal["auto", "ball", "cube"] = "auto"
    jsd_side: float | None = None

    def __post_init__(self) -> None:
        if self.points < 2 or not 2 <= self.points_of_emd <= self.points:
            raise ValueError(
                f"points: expected at least 2, and emd_points from 2 to points; got {self.points} and {self.emd_points}"
            )
        if not 0 < self.emd_tolerance < 1:
            raise ValueError(f"emd_tolerance: expected a share between 0 and 1, got {self.emd_tolerance}")
        if self.jsd_resolution < 2 or not self.side > 0:
            raise ValueError(
                f"jsd: expected 2 nodes or more and a positive side, got {self.jsd_resolution}, {self.side}"
            )
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation: expected one of {', '.join(NORMALISATIONS)}, got {self.normalisation!r}")

    @property
    def points_of_emd(self) -> int:
        return self.points if self.emd_points is None else self.emd_points

    @property
    def side(self) -> float:
        """Of the cube of grid nodes."""
        return self.jsd_side if self.jsd_side is not None else 2.0 if self.normalisation == "box" else 1.0

    @property
    def unit(self) -> str:
        """What a distance of 1 is."""
        units = {"as_is": "unit of the frame", "box": "half of each shape's longest edge"}
        return (units | {"sphere": "each shape's diameter", "diagonal": "each shape's diagonal"})[self.normalisation]

    @property
    def in_ball(self) -> bool:
        """Whether only nodes of the ball count."""
        return self.jsd_domain == "ball" or (self.jsd_domain == "auto" and self.normalisation in ("sphere", "diagonal"))

    def describe(self) -> Row:
        """All of it, and what the words mean, for the JSON."""
        solver = (
            "exact: assignment by shortest augmenting paths (Jonker and Volgenant, scipy)"
            if self.emd_solver == "exact"
            else "auction with epsilon scaling (Bertsekas); each distance proved, by its dual prices, to be above the "
            f"exact one by at most {self.emd_tolerance:g} of it or {LAST_SHARE:g} of the clouds' largest distance"
        )
        meanings = {key: text for key, text in MEANINGS.items() if key not in ("chamfer", "emd")}
        return dataclasses.asdict(self) | {
            "distances": list(self.distances),
            "emd_points": self.points_of_emd,
            "emd_solver": solver,
            "jsd_domain": "ball" if self.in_ball else "cube",
            "jsd_side": self.side,
            "normalisation_means": NORMALISATIONS[self.normalisation],
            "unit": self.unit,
            "means": {kind: MEANINGS[kind] for kind in self.distances} | meanings,
        }


def normalise(points_N3: NDArray[np.floating], how: Normalisation) -> NDArray[np.float64]:
    """A cloud in the frame that is compared. ValueError for a cloud without size, unless nothing is to be scaled."""
    cloud_N3: NDArray[np.float64] = np.asarray(points_N3, dtype=np.float64)
    if how == "as_is":
        return cloud_N3
    # The middle of the box and not the mean of the points, which moves with how they were drawn.
    lower_3, upper_3 = cloud_N3.min(axis=0), cloud_N3.max(axis=0)
    cloud_N3 = cloud_N3 - (lower_3 + upper_3) / 2
    sizes = {
        "box": (upper_3 - lower_3).max() / 2,
        "sphere": np.linalg.norm(cloud_N3, axis=1).max() * 2,
        "diagonal": np.linalg.norm(upper_3 - lower_3),
    }
    if not sizes[how] > 0:
        raise ValueError("a cloud whose points all coincide cannot be brought to one size")
    return cloud_N3 / float(sizes[how])


def judge_sets(
    samples: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.floating]],
    settings: GenerativeConfig,
    *,
    device: torch.device | str = "cpu",
    progress: bool = True,
    workers: int = 0,
    sample_names: Sequence[str] | None = None,
    reference_names: Sequence[str] | None = None,
) -> Row:
    """All metrics of clouds (points, 3) of samples against those of references, as plain data, ready for JSON.

    Of each sample the nearest reference (name, distance), of each reference the nearest sample, in their order.
    `workers`: threads on a CPU; 0 takes as many as there are cores. Raises ValueError when a set is empty, a cloud has
    another number of points than the settings say, or a coordinate is not finite.
    """
    names_s = _names(sample_names, len(samples), "sample")
    names_r = _names(reference_names, len(references), "reference")
    clouds_s, clouds_r = stack_clouds(samples, names_s, settings), stack_clouds(references, names_r, settings)
    # All distances once; every score below is read off these matrices.
    matrices = {}
    for kind in settings.distances:
        # Only the earth mover's distance has a choice of solvers.
        exact = kind == "emd" and settings.emd_solver == "exact"
        solver = Solver(kind, exact, settings.emd_tolerance, torch.device(device), workers, progress)
        matrices[kind] = _distances(solver, clouds_s, clouds_r, settings)
    grid: Row = {"resolution": settings.jsd_resolution, "side": settings.side, "ball": settings.in_ball}
    jsd = jensen_shannon(clouds_s, clouds_r, **grid)
    return {
        "samples": len(samples),
        "references": len(references),
        "scores": {name: scores(distances, seed=settings.seed) for name, distances in matrices.items()},
        "jsd": jsd,
        "nearest_reference": {name: nearest(of.between_SR, names_r) for name, of in matrices.items()},
        "nearest_sample": {name: nearest(of.between_SR.transpose_sets(), names_s) for name, of in matrices.items()},
        "settings": settings.describe(),
    }


def _distances(
    solver: Solver, samples_SN3: NDArray[np.float64], references_RN3: NDArray[np.float64], settings: GenerativeConfig
) -> SetDistances:
    """Between the sets, and within those parts of both that 1-NNA looks at."""
    if solver.kind == "emd":  # points are independent draws: the first ones are draws of the surface too
        samples_SN3, references_RN3 = (x[:, : settings.points_of_emd] for x in (samples_SN3, references_RN3))
    in_s, in_r = choose_equal_sizes(len(samples_SN3), len(references_RN3), seed=settings.seed)
    between = solver.between(samples_SN3, references_RN3, what="samples to references")
    if len(in_s) < 2:
        return SetDistances(between)
    return SetDistances(
        between,
        solver.within(samples_SN3[in_s], what="among samples"),
        solver.within(references_RN3[in_r], what="among references"),
    )


def stack_clouds(
    clouds: Sequence[NDArray[np.floating]], names: Sequence[str], settings: GenerativeConfig
) -> NDArray[np.float64]:
    """Normalised clouds (S, points, 3). ValueError for one that cannot be compared; it is named."""
    normalised = []
    for name, cloud in zip(names, clouds, strict=True):
        if np.shape(cloud) != (settings.points, 3) or not np.isfinite(cloud).all():
            raise ValueError(f"{name}: expected {settings.points} finite points, (N, 3); got {np.shape(cloud)}")
        try:
            normalised.append(normalise(cloud, settings.normalisation))
        except ValueError as error:
            raise ValueError(f"{name}: {reason_of(error)}") from error
    return np.stack(normalised)


def _names(names: Sequence[str] | None, count: int, what: str) -> tuple[str, ...]:
    if count == 0:
        raise ValueError(f"no {what}s: both sets need at least one shape")
    if names is None:
        return tuple(f"{what} {number}" for number in range(count))
    if len(names) != count:
        raise ValueError(f"expected a name for each of {count} {what}s, got {len(names)}")
    return tuple(names)
