"""How good the reconstructions of a validation are: IoU and Chamfer distance against the stored voxels, in the cube.

Cheap, so that each validation can have them; the tables of a paper are those of `isofield evaluate`. What is drawn is
keyed by seed and name: nothing here moves a generator that training uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.geometry.voxel_grid import VoxelGrid, cube_frame
from data_processing.occupancy.scan_conversion import scan_grid
from data_processing.store.shape_set import ShapeSet
from isofield.evaluation.ground_truth import VoxelTruth, stored_grid
from isofield.metrics import surfaces
from isofield.metrics.surfaces import SurfaceSamples
from isofield.runtime import seeds

POINTS = 2048  # of each surface


@dataclass(frozen=True)
class ShapeScore:
    """Of one reconstruction. `iou`: at the centres of the voxels. `chamfer`: half sum of mean distances; 1 is the cube.

    Where the reconstruction has no surface `iou` is 0 and `chamfer` None.
    """

    iou: float
    chamfer: float | None


def means(scores: Sequence[ShapeScore]) -> dict[str, float]:
    """Numbers to track: means, and how many reconstructions have no surface, which have no distance either."""
    if not scores:
        return {}
    distances = [score.chamfer for score in scores if score.chamfer is not None]
    iou, without = float(np.mean([score.iou for score in scores])), float(len(scores) - len(distances))
    values = {"iou": iou, "without_surface": without}
    return values | ({"chamfer": float(np.mean(distances))} if distances else {})


class ScoredShapes:
    """The stored voxels of some shapes, each read once."""

    def __init__(self, shapes: ShapeSet, *, seed: int) -> None:
        self._shapes, self._seed = shapes, seed
        self._truths: dict[int, tuple[NDArray[np.bool_], SurfaceSamples] | None] = {}
        layout = shapes.layout
        self.has_voxels = bool(layout.grids or layout.voxel_resolution)  # else there is nothing to compare with

    def score(self, mesh: TriangleMesh, index: int) -> ShapeScore | None:
        """Of a closed mesh in cube coordinates; None where no voxel of the shape is inside, and nothing can be told."""
        if not self.has_voxels or (known := self._truth(index)) is None:
            return None
        occupancy, surface = known
        # A model that draws nothing must not score better than one that draws something wrong.
        if not len(mesh.faces):
            return ShapeScore(0.0, None)
        # The mesh is cut at the centres of the stored voxels, where the truth is known: no resolution of its own comes
        # in.
        inside = scan_grid(torch.from_numpy(mesh.triangles()), len(occupancy)).numpy() != 0
        samples = SurfaceSamples(*sample_surface(mesh, POINTS, self._generator(index, "prediction")))
        distances = surfaces.compare(samples, surface)
        return ShapeScore(surfaces.iou(inside, occupancy), surfaces.chamfer(distances, power=1, combine="half_sum"))

    def _truth(self, index: int) -> tuple[NDArray[np.bool_], SurfaceSamples] | None:
        """Which voxels are inside, and points of their surface."""
        if index not in self._truths:
            # Kept: each validation asks for the same shapes again.
            occupancy = stored_grid(self._shapes, index).occupancy
            truth = VoxelTruth(VoxelGrid(occupancy, cube_frame(occupancy.shape)))
            generator = self._generator(index, "ground truth")
            known = (occupancy > 0, truth.surface(POINTS, generator)) if occupancy.any() else None
            self._truths[index] = known
        return self._truths[index]

    def _generator(self, index: int, side: str) -> np.random.Generator:
        return seeds.numpy_generator(self._seed, self._shapes.names[index], "validation", side)
