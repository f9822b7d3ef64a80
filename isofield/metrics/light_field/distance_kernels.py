"""The best of all alignments of light fields on a CPU, compiled by numba; distance.py has it as torch operators.

float32 holds every number here exactly (at most 10 views x 255 x 58 < 2^24), and compilers make vectors of it.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

SETS, VIEWS = 10, 10


@compile_exact
def least_costs(
    first_KL: NDArray[np.float32], others_BLK: NDArray[np.float32], rotations_PM: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Distances (B,) of one shape, 100 views of weighted numbers, to B others, whose views lie along the last axis."""
    pairs = SETS * SETS
    costs_MMS = np.empty((VIEWS, VIEWS, pairs), dtype=np.float32)  # views of one, of the other, pairs of their sets
    cost_K = np.empty(SETS * VIEWS, dtype=np.float32)
    total_S = np.empty(pairs, dtype=np.float32)
    result_B = np.empty(len(others_BLK), dtype=np.int64)
    for b in range(len(others_BLK)):
        # All views against all views once: 6,000 alignments then only add up what is there.
        for k in range(SETS * VIEWS):
            cost_K[:] = 0
            for n in range(first_KL.shape[1]):
                value = first_KL[k, n]
                for j in range(SETS * VIEWS):
                    cost_K[j] += abs(value - others_BLK[b, n, j])
            for j in range(SETS * VIEWS):
                costs_MMS[k % VIEWS, j % VIEWS, (k // VIEWS) * SETS + j // VIEWS] = cost_K[j]
        best = np.float32(np.inf)
        # The best alignment: a rotation of the dodecahedron and a pair of the ten sets of views.
        for p in range(len(rotations_PM)):
            total_S[:] = 0
            for m in range(VIEWS):
                for s in range(pairs):
                    total_S[s] += costs_MMS[rotations_PM[p, m], m, s]
            best = min(best, total_S.min())
        result_B[b] = np.int64(best)
    return result_B
