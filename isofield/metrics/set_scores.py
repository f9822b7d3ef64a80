"""How well a set of samples S covers, resembles and hides among a set of references R: the one owner of the formulas.

Distances come in as matrices (Chamfer, earth mover's, light field, any other), numbers go out. Achlioptas et al.,
Learning Representations and Generative Models for 3D Point Clouds (2018); 1-NNA as in Yang et al., PointFlow (2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import rel_entr

from isofield.metrics.set_distances import Bounded
from isofield.runtime import seeds
from isofield.runtime.json_files import Row


@dataclass(frozen=True)
class SetDistances:
    """All that the scores of one distance need.

    The two matrices within a set are of the shapes that `choose_equal_sizes` names, equally many of both sets; None:
    no 1-NNA, which sets of one shape cannot have.
    """

    between_SR: Bounded
    samples_KK: Bounded | None = None
    references_KK: Bounded | None = None


def choose_equal_sizes(samples: int, references: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which shapes of both sets take part in 1-NNA: all of the smaller, as many at random of the larger, sorted."""
    size = min(samples, references)

    def choose(count: int, which: str) -> NDArray[np.int64]:
        if count == size:
            return np.arange(count)
        return np.sort(seeds.numpy_generator(seed, "1-nna", which).choice(count, size, replace=False))

    return choose(samples, "samples"), choose(references, "references")


def scores(distances: SetDistances, *, seed: int) -> Row:
    """Coverage, minimum matching distance and 1-NN accuracy under one distance, as plain data.

    cov: share of references that are nearest to some sample; of equally near references the first counts.
    mmd: mean over references of the distance to the nearest sample; mmd_lower_bound: the same of the lower bounds.
    mmd_of_samples: the reverse mean, which PointFlow's code reports beside it.
    largest_error: by what a distance may be too large at most. undecided: samples whose nearest reference
    might be another one within the bounds; tied: samples with more than one nearest.
    """
    between = distances.between_SR
    nearest_S = between.distance_SR.argmin(axis=1)
    ties_S = (between.distance_SR == between.distance_SR.min(axis=1, keepdims=True)).sum(axis=1)
    # Coverage, and the distances that it and mmd are made of.
    row: Row = {
        "cov": float(len(np.unique(nearest_S)) / between.distance_SR.shape[1]),
        "mmd": float(between.distance_SR.min(axis=0).mean()),
        "mmd_lower_bound": float(between.lower_SR.min(axis=0).mean()),
        "mmd_of_samples": float(between.distance_SR.min(axis=1).mean()),
        "largest_error": between.largest_error,
        "undecided": _undecided(between, nearest_S),
        "tied": int((ties_S > 1).sum()),
    }
    # 1-NNA wants sets of equal size: else the larger one wins by its number.
    if distances.samples_KK is not None and distances.references_KK is not None:
        in_s, in_r = choose_equal_sizes(*between.distance_SR.shape, seed=seed)
        in_both = np.ix_(in_s, in_r)
        kept_KK = Bounded(between.distance_SR[in_both], between.lower_SR[in_both])
        row |= nearest_neighbour_accuracy(kept_KK, distances.samples_KK, distances.references_KK)
    return row


def nearest_neighbour_accuracy(between_KK: Bounded, samples_KK: Bounded, references_KK: Bounded) -> Row:
    """How often the nearest other shape of both sets together is of one's own set: 0.5 cannot be told apart.

    1 is apart; well below 0.5 are copies: two equal sets score 0, for everyone's nearest is its twin on the other side.
    Of equally near shapes each has its share: exact duplicates neither help nor harm by their order in the list.
    Raises ValueError when the sets are not equally large: chance would not be 0.5.
    """
    shapes = [matrix.distance_SR.shape for matrix in (between_KK, samples_KK, references_KK)]
    if shapes != [(len(between_KK.distance_SR),) * 2] * 3:
        raise ValueError(f"1-NNA compares two sets of one size, got matrices {shapes} (between, samples, references)")
    of_samples = _votes(samples_KK, between_KK)
    of_references = _votes(references_KK, between_KK.transpose_sets())
    return {
        "1nna": (of_samples.own + of_references.own) / 2,
        "1nna_of_samples": of_samples.own,
        "1nna_of_references": of_references.own,
        "1nna_size": shapes[0][0],
        "1nna_tied": of_samples.tied + of_references.tied,
        "1nna_undecided": of_samples.undecided + of_references.undecided,
    }


def nearest(between: Bounded, names: Sequence[str]) -> list[tuple[str, float]]:
    """For each row the name of its nearest column, of equally near ones the first, and the distance."""
    column_S = between.distance_SR.argmin(axis=1)
    return [(names[column], float(row[column])) for row, column in zip(between.distance_SR, column_S, strict=True)]


def nearness(samples_S: NDArray[np.floating], references_R: NDArray[np.floating]) -> Row:
    """Distances of samples to their nearest training shape beside those of references, which nobody trained on.

    nearer: how often a sample drawn at random is nearer to the training shapes than a reference drawn at random, ties
    half: 0.5 is alike, 1 means that all samples are nearer. below_all_references: samples nearer than any reference.
    """
    # Mann-Whitney's U: how many references are farther, those equally far counted half.
    below_S, upto_S = (np.searchsorted(np.sort(references_R), samples_S, side=side) for side in ("left", "right"))
    farther_S = len(references_R) - (below_S + upto_S) / 2
    return {
        "nearer": float(farther_S.mean() / len(references_R)),
        "median_of_samples": float(np.median(samples_S)),
        "median_of_references": float(np.median(references_R)),
        "below_all_references": int((samples_S < references_R.min()).sum()),
    }


def jensen_shannon(
    samples_SN3: NDArray[np.floating], references_RN3: NDArray[np.floating], *, resolution: int, side: float, ball: bool
) -> Row:
    """Divergence in bits, 0 to 1, of where the points of the two sets lie on a grid of nodes.

    resolution^3 nodes in a cube `side` long around the origin, first and last ON its faces; `ball`: only those within
    side / 2 of the origin. Every point counts at its nearest node. outside: share of the points beyond the grid's half
    width (in the ball: its radius); they count at the border, so it should be small.
    """
    axis = np.linspace(-side / 2, side / 2, resolution)
    nodes_G3 = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    if ball:
        nodes_G3 = nodes_G3[np.linalg.norm(nodes_G3, axis=1) <= side / 2]
    # A point counts at its nearest node; how many lie beyond the grid is told beside the number.
    tree = cKDTree(nodes_G3)
    counts, outside = [], []
    for clouds in (samples_SN3, references_RN3):
        points_M3 = clouds.reshape(-1, 3)
        size_M = np.linalg.norm(points_M3, axis=1) if ball else np.abs(points_M3).max(axis=1)
        outside.append(float((size_M > side / 2).mean()))
        counts.append(np.bincount(tree.query(points_M3, workers=-1)[1], minlength=len(nodes_G3)))
    return {
        "jsd": divergence(*counts),
        "nodes": len(nodes_G3),
        "outside_of_samples": outside[0],
        "outside_of_references": outside[1],
    }


def divergence(first_G: NDArray[np.integer], second_G: NDArray[np.integer]) -> float:
    """Jensen-Shannon divergence of two histograms, in bits."""
    p_G, q_G = first_G / first_G.sum(), second_G / second_G.sum()
    # scipy's jensenshannon is the root of this, and NaN where rounding leaves equal histograms a hair below 0.
    nats = rel_entr([p_G, q_G], (p_G + q_G) / 2).sum() / 2
    return max(0.0, float(nats / math.log(2)))


def _undecided(between: Bounded, nearest_S: NDArray[np.int64]) -> int:
    """Rows whose winner's distance is above the lower bound of some other."""
    # A winner is safe when even its upper bound is below every other's lower one; its own lower bound does not count.
    won_S = np.take_along_axis(between.distance_SR, nearest_S[:, None], axis=1)
    could_S = (between.lower_SR < won_S).sum(axis=1)
    own_S = np.take_along_axis(between.lower_SR, nearest_S[:, None], axis=1) < won_S
    return int((could_S > own_S[:, 0]).sum())


@dataclass(frozen=True)
class _Votes:
    own: float  # mean over shapes of the share of own shapes among the nearest
    tied: int  # shapes with equally near ones on both sides
    undecided: int  # shapes whose nearest might be on the other side, within the bounds


def _votes(own_KK: Bounded, others_KK: Bounded) -> _Votes:
    """Of the shapes of one set; rows are its shapes in both matrices."""
    # A shape is not its own neighbour.
    itself_KK = np.where(np.eye(len(own_KK.distance_SR), dtype=bool), np.inf, 0)
    own, others = own_KK.distance_SR + itself_KK, others_KK.distance_SR
    own_K, others_K = own.min(axis=1), others.min(axis=1)
    nearest_K1 = np.minimum(own_K, others_K)[:, None]
    own_count_K, others_count_K = (own == nearest_K1).sum(axis=1), (others == nearest_K1).sum(axis=1)
    own_lower_K, others_lower_K = (own_KK.lower_SR + itself_KK).min(axis=1), others_KK.lower_SR.min(axis=1)
    decided_K = (own_K <= others_lower_K) | (others_K <= own_lower_K)
    return _Votes(
        float((own_count_K / (own_count_K + others_count_K)).mean()),
        int(((own_count_K > 0) & (others_count_K > 0)).sum()),
        int((~decided_K).sum()),
    )
