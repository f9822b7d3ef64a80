"""Samples of the surface that bounds a solid, without what is modelled inside of it.

Meshes of shapes are put together of parts that run into each other, and cabinets have an inside: a sixth of the area of
55 pieces of furniture, up to three fifths of one, lies in what counts as solid. No scanner sees it, and no closed
surface that bounds the solid comes near it. The practice with ShapeNet is the same: the field's ground truth is meshes
made watertight from what is seen from outside (Mescheder et al. 2019, Occupancy Networks, appendix, after Stutz and
Geiger 2018).
"""

import math

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.occupancy.inside_outside import InsideTest

MOST = 100  # times as many samples are drawn: one in so many is an outer one, of shapes full of inner parts


class OuterSurface:
    """The part of a mesh's surface that does not have its solid on both sides, in the frame of the mesh.

    `inside`: what is inside of it, for which its settings count.
    """

    def __init__(self, mesh: TriangleMesh, inside: InsideTest) -> None:
        self.mesh, self.inside = mesh, inside

    def sample(self, count: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`count` points (N, 3) uniform over it, independent draws, and the unit normals (N, 3) of their faces.

        ValueError for a mesh without area, and where hardly any of the surface is an outer one.
        """
        points, normals = np.empty((0, 3)), np.empty((0, 3))
        drawn, wanted = 0, count
        while drawn < MOST * count:
            points_N3, normals_N3 = sample_surface(self.mesh, wanted, generator)
            outer_N, drawn = self.holds(points_N3, normals_N3), drawn + wanted
            points = np.concatenate([points, points_N3[outer_N]])
            normals = np.concatenate([normals, normals_N3[outer_N]])
            if len(points) >= count:
                return points[:count], normals[:count]
            # As many as are likely to be enough, by the share of those before.
            wanted = min(count, math.ceil(1.1 * (count - len(points)) * drawn / max(1, len(points))) + 16)
        raise ValueError(
            f"only {len(points)} of {drawn} samples of the surface bound the solid (inside.surface=outer); "
            "inside.surface=all samples all of it"
        )

    def holds(self, points_N3: NDArray[np.float64], normals_N3: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (N, 3) of the surface, with the unit normals (N, 3) there, belong to it: (N,)."""
        # Where voids are filled, places are looked up in voxels, whose centres lie at most 0.87 edges from them: one
        # edge off a plane they are on the right side of it. Slits narrower than that are not seen as slits.
        lower, upper = self.mesh.bounds()
        step_N3 = normals_N3 * (float((upper - lower).max()) / (self.inside.settings.lookup_resolution - 3))
        outer_N = ~self.inside(points_N3 + step_N3)
        # The other side is asked only where the first one does not tell.
        rest = np.flatnonzero(~outer_N)
        outer_N[rest] = ~self.inside(points_N3[rest] - step_N3[rest])
        return outer_N
