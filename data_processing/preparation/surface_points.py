"""Points uniform on the surface of a shape, as stored, and from which cameras each is seen.

Point clouds and one-sided scans are drawn from them at training: any number of points, all sides or one view.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.coordinates import to_fixed
from data_processing.geometry.rendering import camera_positions, camera_ring, camera_sphere
from data_processing.geometry.triangle_mesh import sample_surface
from data_processing.preparation.contents import SurfaceSettings
from data_processing.preparation.cube_shape import CubeShape
from data_processing.preparation.visibility import visible_from
from data_processing.store.shards import Row
from isofield.runtime.seeds import numpy_generator


def surface_row(shape: CubeShape, settings: SurfaceSettings, *, seed: int, name: str) -> Row:
    """surface_points (P, 3) int16 and, with views, surface_visible (P, V/8) uint8: independent draws, any prefix fair.

    Visibility is that of the point on the surface; as stored it is moved by up to 1.5e-5 along each axis.
    """
    mesh = shape.surface()
    points_P3, normals_P3 = sample_surface(mesh, settings.points, numpy_generator(seed, name, "surface"))
    row: Row = {"surface_points": to_fixed(points_P3)}
    if settings.views:
        visible_PV = visible_from(mesh, points_P3, normals_P3, view_positions(settings))
        row["surface_visible"] = np.packbits(visible_PV, axis=1)
    return row


def view_positions(settings: SurfaceSettings) -> NDArray[np.float64]:
    """Where the cameras stand, in cube coordinates: (V, 3)."""
    if settings.placement == "sphere":
        cameras = camera_sphere(settings.views, start=settings.azimuth)
    else:
        cameras = camera_ring(settings.views, elevation=settings.elevation, start=settings.azimuth)
    return camera_positions(cameras, distance=settings.distance, up=settings.up)
