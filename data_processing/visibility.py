"""Which points of a surface a camera sees: a ray from each to the camera meets nothing. On the CPU, with Embree.

Decides nothing about pictures (views.py) nor about networks.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.meshes import TriangleMesh
from data_processing.views import ray_scene

# Cube units. Rays start this far off the surface, on the side of it that the camera is on: the surface does not hide
# itself, and from the back of a solid the way leads through the solid. 300 times the rounding of single precision.
STEP = 2e-5


def visible_from(
    mesh: TriangleMesh, points_N3: NDArray[np.float64], normals_N3: NDArray[np.float64], cameras_V3: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(N, V): whether camera v sees point n of the mesh, whose face there has the normal n, of either sign.

    All in cube coordinates. A surface seen exactly edge-on is not visible.
    """
    scene = ray_scene(mesh.vertices, mesh.faces)
    visible = np.zeros((len(points_N3), len(cameras_V3)), dtype=bool)
    for view, camera_3 in enumerate(cameras_V3):
        side_N = np.sign(np.einsum("nc,nc->n", camera_3 - points_N3, normals_N3))
        start_N3 = points_N3 + STEP * side_N[:, None] * normals_N3
        way_N3 = camera_3 - start_N3
        distance_N = np.linalg.norm(way_N3, axis=1)
        hit_N = scene.run(
            start_N3.astype(np.float32),
            (way_N3 / distance_N[:, None]).astype(np.float32),
            dists=distance_N.astype(np.float32),
            query="OCCLUDED",
        )
        visible[:, view] = (hit_N < 0) & (side_N != 0)
    return visible
