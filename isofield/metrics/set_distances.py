"""Distances of every shape of one set to every shape of another, or of its own: where the time of the metrics goes.

On a CPU a few pairs at a time go to threads that run compiled kernels; on a GPU a few hundred pairs at a time fill the
device. Distances within a set are computed once for a pair.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.metrics import cloud_distance, earth_mover
from isofield.runtime.cores import usable_cores
from isofield.runtime.memory import free_memory
from isofield.runtime.progress import Progress

Kind = Literal["chamfer", "emd"]
Pairs = NDArray[np.int64]  # (P, 2): a shape of the first set, a shape of the second
OfPairs = Callable[[Pairs], NDArray[np.float64]]  # (P, 2): lower bound and distance
PAIRS_OF_A_THREAD = {"chamfer": 256, "emd": 16}  # some tens of milliseconds
DEVICE_BYTES = 1 << 30  # of distances between points, at once on a GPU
AUCTION_COPIES = 4  # of these distances: what an auction holds


@dataclass(frozen=True)
class Bounded:
    """Distances (S, R), and what they are known not to be below; equal where the distance is exact."""

    distance_SR: NDArray[np.float64]
    lower_SR: NDArray[np.float64]

    @classmethod
    def exact(cls, distance_SR: NDArray[np.number]) -> "Bounded":
        """A matrix from anywhere, without doubt about its values. ValueError when it is none."""
        matrix = np.asarray(distance_SR, dtype=np.float64)
        if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all() or matrix.min() < 0:
            raise ValueError(f"expected a matrix of finite distances, at least 0, got {matrix.shape} {matrix.dtype}")
        return cls(matrix, matrix)

    def transpose_sets(self) -> "Bounded":
        """The same distances, seen from the other set."""
        return Bounded(self.distance_SR.T, self.lower_SR.T)

    @property
    def largest_error(self) -> float:
        """By what a distance may be too large at most."""
        return float((self.distance_SR - self.lower_SR).max())


@dataclass(frozen=True)
class Solver:
    """Which distance between clouds, and by what.

    `tolerance`: of the auction, see earth_mover.py. `workers`: threads on a CPU, 0 takes as many as there are cores.
    """

    kind: Kind
    exact: bool = False
    tolerance: float = 0.01
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    workers: int = 0
    progress: bool = True

    def between(self, x_SN3: NDArray[np.floating], y_RN3: NDArray[np.floating], *, what: str) -> Bounded:
        """All pairs of two sets of clouds (S, N, 3) and (R, N, 3)."""
        # Row by row: numbers of pairs, divided by the length of a row, are its row and its place in it.
        pairs_P2 = np.stack(np.divmod(np.arange(len(x_SN3) * len(y_RN3)), len(y_RN3)), axis=1)
        values_P2 = self._of_pairs(x_SN3, y_RN3, pairs_P2, what)
        lower_SR, distance_SR = values_P2.T.reshape(2, len(x_SN3), len(y_RN3))
        return Bounded(distance_SR, lower_SR)

    def within(self, x_SN3: NDArray[np.floating], *, what: str) -> Bounded:
        """All pairs of one set, each computed once: symmetric, zeros in the diagonal."""
        pairs_P2 = np.stack(np.triu_indices(len(x_SN3), k=1), axis=1)
        values_P2 = self._of_pairs(x_SN3, x_SN3, pairs_P2, what)
        both = np.zeros((2, len(x_SN3), len(x_SN3)))
        both[:, pairs_P2[:, 0], pairs_P2[:, 1]] = values_P2.T
        lower_SS, distance_SS = both + both.transpose(0, 2, 1)
        return Bounded(distance_SS, lower_SS)

    def _of_pairs(self, x: NDArray[np.floating], y: NDArray[np.floating], pairs_P2: Pairs, what: str) -> NDArray:
        """Lower bounds and distances (P, 2)."""
        # Distances do not change when both sets move; near the origin float32 coordinates are finest.
        middle_3 = y.reshape(-1, 3).mean(axis=0)
        x_SN3, y_RN3 = (np.asarray(clouds - middle_3, dtype=np.float32) for clouds in (x, y))
        # An auction is thousands of rounds of small operators, each with seven waits for a device: cores are faster.
        if self.device.type == "cpu" or self.kind == "emd":
            values = self._in_threads(self._on_cpu(x_SN3, y_RN3), pairs_P2)
        else:
            values = self._on_device(x_SN3, y_RN3, pairs_P2)
        bounds_P2 = np.empty((len(pairs_P2), 2))
        done = 0
        with Progress(len(pairs_P2), what=f"{self.kind}, {what}", unit="pair", shown=self.progress) as progress:
            for part in values:
                bounds_P2[done : done + len(part)] = part
                done += len(part)
                progress.update(len(part))
        return bounds_P2

    def _on_cpu(self, x_SN3: NDArray[np.float32], y_RN3: NDArray[np.float32]) -> OfPairs:
        x_S3N, y_R3N = (np.ascontiguousarray(clouds.transpose(0, 2, 1)) for clouds in (x_SN3, y_RN3))
        if self.kind == "chamfer":
            return lambda pairs_P2: _chamfer_on_cpu(x_S3N, y_R3N, pairs_P2)
        if self.exact:
            return lambda pairs_P2: np.array(
                [[earth_mover.exact_transport(x_SN3[s], y_RN3[r])] * 2 for s, r in pairs_P2]
            )
        return lambda pairs_P2: earth_mover.auction_on_cpu(x_S3N, y_R3N, pairs_P2, tolerance=self.tolerance)

    def _in_threads(self, of_pairs: OfPairs, pairs_P2: Pairs) -> Iterator[NDArray[np.float64]]:
        """Parts of the result, in order."""
        size = PAIRS_OF_A_THREAD[self.kind]
        parts = [pairs_P2[i : i + size] for i in range(0, len(pairs_P2), size)]
        with ThreadPoolExecutor(self.workers or usable_cores()) as pool:
            try:
                yield from pool.map(of_pairs, parts)
            finally:
                # After an error or Ctrl-C nobody wants the parts that have not begun.
                pool.shutdown(cancel_futures=True)

    def _on_device(
        self, x_SN3: NDArray[np.float32], y_RN3: NDArray[np.float32], pairs_P2: Pairs
    ) -> Iterator[NDArray[np.float64]]:
        """Parts of the result, in order."""
        x, y = (torch.from_numpy(clouds).to(self.device) for clouds in (x_SN3, y_RN3))
        # An auction's rounds cost the same time for few pairs as for many: as many as the memory takes.
        room = DEVICE_BYTES if self.kind == "chamfer" else free_memory(self.device) // (2 * AUCTION_COPIES)
        size = max(1, room // (4 * x.shape[1] * y.shape[1]))
        for first in range(0, len(pairs_P2), size):
            s_P, r_P = torch.from_numpy(pairs_P2[first : first + size].T.copy()).to(self.device)
            if self.kind == "chamfer":
                chamfer_P = cloud_distance.chamfer_of_pairs(x[s_P], y[r_P])
                yield torch.stack([chamfer_P, chamfer_P], 1).cpu().numpy()
            else:
                yield earth_mover.auction(x[s_P], y[r_P], tolerance=self.tolerance).cpu().numpy()


def _chamfer_on_cpu(x_S3N: NDArray[np.float32], y_R3N: NDArray[np.float32], pairs_P2: Pairs) -> NDArray[np.float64]:
    from isofield.metrics.cloud_distance_kernels import chamfer_of_pairs  # numba, on first use

    chamfer_P = np.empty(len(pairs_P2))
    chamfer_of_pairs(x_S3N, y_R3N, pairs_P2, chamfer_P)
    return np.stack([chamfer_P, chamfer_P], axis=1)
