"""Noise of a cloud of points: noticed by how far they lie off planes of neighbours, and taken out along their normals.

A network that learned from clean points takes both sides of a noisy surface for a thin part. Moving points onto planes
fitted to their neighbours is the first step of a projection onto a moving least squares surface (Levin 2003; Alexa et
al. 2003, section 4).
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEIGHBOURS = 14  # of a plane, at least: with fewer the noise stays, with more edges are rounded
MOST_NEIGHBOURS = 64
REACH = 4.5  # deviations of the noise that the neighbours of a plane should span
TIMES = 2
LOOKED_AT = 256  # points
FEWEST = 2000  # points; of fewer a surface bends between neighbours as much as noise would move them
# Of clean clouds of furniture a tenth of the points lies 0.006 (median of 21 shapes; 0.06 of nine in ten) of the
# distance between neighbours off its plane or less, with noise of 0.5 % of the longest edge 0.12 or more.
NOTICED = 0.1
LEAST = 0.003  # of the longest edge: less than a fifth of a cell of 64^3 is no harm
# Points of the two sides of a thin sheet lie all about as far from the plane between them, noisy ones at any distance:
# mean distance by root mean square, of a normal distribution 0.8, of two sides 1; a quarter of the points has more.
TWO_SIDES = 0.865
TO_SIGMA = 1.4  # a plane follows its own few points: a quarter of them lie off it by less than the noise


def estimated_noise(points_N3: Array) -> float:
    """The standard deviation of points (N, 3) across their surface, in their unit; 0.0 where none is noticed.

    An estimate, some 20 % off, of noise that is alike everywhere; 0.0 also of clouds too sparse to tell.
    """
    if len(points_N3) < FEWEST:
        return 0.0
    edge = float(np.ptp(points_N3, axis=0).max())
    at_S3 = points_N3[np.linspace(0, len(points_N3) - 1, LOOKED_AT).astype(np.int64)]
    # Few against all: faster than to load and build a tree.
    squared_SN = np.zeros((len(at_S3), len(points_N3)))
    for axis in range(3):
        squared_SN += (at_S3[:, axis, None] - points_N3[None, :, axis]) ** 2
    nearest_SK = np.argpartition(squared_SN, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    distance_SK = np.sqrt(np.take_along_axis(squared_SN, nearest_SK, axis=1))
    spacing_S = np.sort(distance_SK, axis=1)[:, 1:5].mean(axis=1)
    if not edge > 0 or not (spacing_S > 0).all():  # points that are given several times say nothing
        return 0.0
    neighbours_SK3 = points_N3[nearest_SK]
    middle_S3, normal_S3, deviation_S = _planes(neighbours_SK3, distance_SK)
    off_SK = ((neighbours_SK3 - middle_S3[:, None]) * normal_S3[:, None]).sum(axis=2)
    off_SK -= off_SK.mean(axis=1, keepdims=True)
    evenness_S = np.abs(off_SK).mean(axis=1) / np.maximum(np.sqrt((off_SK**2).mean(axis=1)), 1e-30)
    sigma = TO_SIGMA * float(np.quantile(deviation_S, 0.25))
    is_noisy = (
        float(np.quantile(deviation_S / spacing_S, 0.1)) > NOTICED
        and float(np.quantile(evenness_S, 0.75)) < TWO_SIDES
        and sigma > LEAST * edge
    )
    return sigma if is_noisy else 0.0


def without_noise(points_N3: Array, sigma: float) -> Array:
    """Points (N, 3) moved along normals onto the planes of their neighbours; `sigma` as `estimated_noise` has it."""
    from scipy.spatial import cKDTree  # takes a tenth of a second to import

    for _ in range(TIMES):
        tree = cKDTree(points_N3)
        spacing = float(np.median(tree.query(points_N3, k=5)[0][:, 1:].mean(axis=1)))
        wide = math.ceil(math.pi * (REACH * sigma / max(spacing, 1e-30)) ** 2)
        count = min(max(wide, NEIGHBOURS), MOST_NEIGHBOURS, len(points_N3))
        distance_NK, nearest_NK = tree.query(points_N3, k=count)
        middle_N3, normal_N3, _ = _planes(points_N3[nearest_NK], distance_NK)
        by_N3 = normal_N3 * ((middle_N3 - points_N3) * normal_N3).sum(axis=1, keepdims=True)
        # Where a surface bends all neighbours move to the same side, which is no noise: that is given back.
        together_N1 = (by_N3[nearest_NK].mean(axis=1) * normal_N3).sum(axis=1, keepdims=True)
        points_N3 = points_N3 + by_N3 - normal_N3 * together_N1
    return points_N3


def _planes(neighbours_NK3: Array, distance_NK: Array) -> tuple[Array, Array, Array]:
    """Middles (N, 3), unit normals (N, 3) and deviations (N,) of planes through neighbours, near ones counting more."""
    width_N1 = np.maximum(distance_NK.max(axis=1, keepdims=True) / 1.5, 1e-30)
    weight_NK = np.exp(-((distance_NK / width_N1) ** 2))
    weight_NK /= weight_NK.sum(axis=1, keepdims=True)
    middle_N3 = (neighbours_NK3 * weight_NK[:, :, None]).sum(axis=1)
    around_NK3 = neighbours_NK3 - middle_N3[:, None]
    values_N3, vectors_N33 = np.linalg.eigh(np.einsum("nk,nki,nkj->nij", weight_NK, around_NK3, around_NK3))
    return middle_N3, vectors_N33[:, :, 0], np.sqrt(np.maximum(values_N3[:, 0], 0))
