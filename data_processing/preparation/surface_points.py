"""Points uniform on the surface of a shape, as stored, and from which cameras each is seen.

Point clouds and one-sided scans are drawn from them at training: any number of points, all sides or one view.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.coordinates import to_fixed
from data_processing.geometry.ray_casting import RayScene, eye_towards
from data_processing.geometry.rendering import camera_positions, camera_ring, camera_sphere
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.preparation.contents import SurfaceConfig
from data_processing.preparation.cube_shape import CubeShape, CubeSurface
from data_processing.store.shards import PackedRow
from isofield.runtime.seeds import numpy_generator

# Cube units. Rays start this far off the surface, on the side of it that the camera is on: the surface does not hide
# itself, and from the back of a solid the way leads through the solid. 300 times the rounding of single precision.
STEP = 2e-5


def surface_row(shape: CubeShape | CubeSurface, settings: SurfaceConfig, *, seed: int, name: str) -> PackedRow:
    """surface_points (P, 3) int16 and, with views, surface_visible (P, V/8) uint8: independent draws, any prefix fair.

    Visibility is that of the point on the surface; as stored it is moved by up to 1.5e-5 along each axis.
    """
    points_P3, normals_P3 = shape.sample(settings.points, numpy_generator(seed, name, "surface"))
    row: PackedRow = {"surface_points": to_fixed(points_P3)}
    if settings.views:
        visible_PV = visible_from(shape.surface(), points_P3, normals_P3, view_positions(settings))
        row["surface_visible"] = np.packbits(visible_PV, axis=1)
    return row


def view_positions(settings: SurfaceConfig) -> NDArray[np.float64]:
    """Where the cameras stand, in cube coordinates: (V, 3)."""
    if settings.placement == "sphere":
        cameras = camera_sphere(settings.views, start=settings.azimuth)
    else:
        cameras = camera_ring(settings.views, elevation=settings.elevation, start=settings.azimuth)
    return camera_positions(cameras, distance=settings.distance, up=settings.up)


def visible_from(
    mesh: TriangleMesh, points_N3: NDArray[np.float64], normals_N3: NDArray[np.float64], cameras_V3: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(N, V): whether camera v sees point n of the mesh, whose face there has the normal n, of either sign.

    All in cube coordinates. A surface seen exactly edge-on is not visible.
    """
    scene = RayScene(mesh.vertices, mesh.faces)
    visible = np.zeros((len(points_N3), len(cameras_V3)), dtype=bool)
    for view, camera_3 in enumerate(cameras_V3):
        # Sheets are seen from both sides: the ray starts on the camera's, a step off the face that it would hit.
        side_N = np.sign(np.einsum("nc,nc->n", camera_3 - points_N3, normals_N3))
        start_N3 = points_N3 + STEP * side_N[:, None] * normals_N3
        # The ray is followed the other way, from the camera to where it would start.
        eye = eye_towards(camera_3, np.zeros(3))
        depth_N = (start_N3 - camera_3) @ eye.forward_3
        places_N2 = (start_N3 - camera_3) @ np.stack([eye.right_3, eye.up_3], axis=1) / depth_N[:, None]
        visible[:, view] = (scene.view(eye).cast(places_N2, within_N=depth_N).face_N < 0) & (side_N != 0)
    return visible
