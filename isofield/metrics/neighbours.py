"""Exact nearest neighbours of two clouds, both ways: compiled kernels, or scipy where numba is missing."""

from functools import partial
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from isofield.runtime.compiled import compiled_module

compiled_kernels = partial(compiled_module, "isofield.metrics.neighbour_kernels")


class Neighbours:
    """A cloud that finds, and is asked for, nearest neighbours."""

    def __init__(self, points_N3: NDArray[np.floating]) -> None:
        """Raises ValueError when there is no point, or a coordinate is not finite."""
        if len(points_N3) == 0:
            raise ValueError("nearest neighbours need points on both sides, got none on one")
        if not np.isfinite(points_N3).all():
            raise ValueError("nearest neighbours need finite coordinates, got NaN or infinite ones")
        cloud_N3: NDArray[np.float64] = np.ascontiguousarray(points_N3, dtype=np.float64)
        kernels = compiled_kernels()
        self._tree = CompiledTree(kernels, cloud_N3) if kernels else ScipyTree(cloud_N3)

    def nearest_in(self, target: "Neighbours") -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance from each point to its nearest target and that target's index: (N,), (N,)."""
        # Asked in the order of the leaves of its own tree, neighbours meet the same part of the other: twice as fast.
        order_N = self._tree.order_N
        distance_N, index_N = np.empty(len(order_N)), np.empty(len(order_N), dtype=np.int64)
        distance_N[order_N], index_N[order_N] = target._tree.nearest(self._tree.sorted_N3)
        return distance_N, index_N


class CompiledTree:
    """Points in an order in which those that follow one another are near each other."""

    def __init__(self, kernels: ModuleType, points_N3: NDArray[np.float64]) -> None:
        self._kernels = kernels
        self.order_N, self.sorted_N3, self._boxes = kernels.build(points_N3)

    def nearest(self, queries_Q3: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances (Q,) to the nearest points and their numbers (Q,) in the cloud."""
        squared, index = self._kernels.nearest(queries_Q3, self.order_N, self.sorted_N3, self._boxes)
        return np.sqrt(squared), index


class ScipyTree:
    """The same by scipy."""

    def __init__(self, points_N3: NDArray[np.float64]) -> None:
        # Compact nodes make points that are far from every target three times slower, and the others no faster.
        self._tree = cKDTree(points_N3, leafsize=32, balanced_tree=False, compact_nodes=False)
        self.order_N = self._tree.indices
        self.sorted_N3 = points_N3[self.order_N]

    def nearest(self, queries_Q3: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return self._tree.query(queries_Q3, workers=-1)
