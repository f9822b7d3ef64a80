"""Shaded grey pictures of a mesh by casting rays on the CPU: no display, no system library.

Cameras stand on a ring (or anywhere) around a ball, look at its middle in perspective, and see either facing of a
triangle: real meshes have flipped faces. White is "nothing there". `render` frames what it shows, for reports;
`photographs` are smooth pictures from cameras at given distances, for data sets. Decides nothing about networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.ray_casting import Eye, RayScene, SceneView
from data_processing.geometry.triangle_mesh import TriangleMesh

Up = Literal["y", "z"]
Shading = Literal["normal", "depth"]
BACKGROUND = 255
MARGIN = 0.03  # between the ball and the border of the picture
DARKEST, BRIGHTEST = 38.0, 236.0  # of a lit surface: never the background's white
CONTRAST = 12.0  # between neighbours; above it a pixel of a photograph gets 12 rays instead of one
PASSES = 3  # of looking for such pixels: what a pass finds may differ from neighbours that looked alike
STAGGER = (np.array([0, 2, 1, 3]) + 0.5) / 4  # of the first ray, in pixels
# As rooks on a board that threaten nobody: edges along rows and columns come out in steps of a twelfth (with a grid of
# 16 in steps of a quarter), and the error is that of the grid.
RAYS_AT_EDGES_K2 = (np.stack([np.arange(12), np.array([4, 9, 1, 6, 11, 3, 8, 0, 5, 10, 2, 7])], axis=1) + 0.5) / 12


@dataclass(frozen=True)
class Camera:
    """Degrees. Azimuth 0 stands in front (+z where y is up, -y where z is up), 90 at +x; elevation lifts the camera.

    The distance follows from the field of view: the ball just fits, with a small margin.
    """

    azimuth: float
    elevation: float
    field_of_view: float = 30.0


@dataclass(frozen=True)
class ViewBall:
    """The ball that a picture shows: two meshes rendered in one ball can be compared by eye."""

    centre_3: NDArray[np.float64]
    radius: float


THREE_QUARTER = Camera(azimuth=35.0, elevation=22.0)  # the fixed view of reports


def camera_ring(count: int, *, elevation: float = 25.0, start: float = 0.0) -> list[Camera]:
    """`count` cameras evenly around the shape."""
    return [Camera(azimuth=start + 360.0 * index / count, elevation=elevation) for index in range(count)]


def camera_sphere(count: int, *, start: float = 0.0) -> list[Camera]:
    """`count` cameras all around the shape, below too: a spiral from bottom to top in steps of equal area."""
    # Steps of the golden angle never line up, so that no two cameras look along one meridian.
    turn = 180.0 * (3 - 5**0.5)  # the golden angle
    heights = [(2 * index + 1) / count - 1 for index in range(count)]
    return [
        Camera(azimuth=(start + turn * index) % 360.0, elevation=float(np.degrees(np.arcsin(height))))
        for index, height in enumerate(heights)
    ]


def camera_positions(cameras: Sequence[Camera], *, distance: float, up: Up = "y") -> NDArray[np.float64]:
    """Where cameras stand that look at the origin from a distance: (V, 3)."""
    return np.stack([-distance * _axes(camera, up)[2] for camera in cameras])


def view_ball_around(lower: NDArray[np.floating], upper: NDArray[np.floating]) -> ViewBall:
    """The ball around a box given by its corners (3,), (3,)."""
    lower, upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    return ViewBall((lower + upper) / 2, max(float(np.linalg.norm(upper - lower)) / 2, 1e-12))


def render(
    mesh: TriangleMesh,
    cameras: Sequence[Camera],
    *,
    size: int,
    view_ball: ViewBall | None = None,
    shading: Shading = "normal",
    up: Up = "y",
    supersampling: int = 1,
) -> NDArray[np.uint8]:
    """Pictures (V, size, size) uint8, one per camera; row 0 is the top. The ray structure is built once for all.

    `view_ball` defaults to the mesh's own box. `supersampling` n casts n*n rays a pixel.
    """
    view_ball = view_ball_around(*mesh.bounds()) if view_ball is None else view_ball
    # The mesh moved so that the view ball is the unit ball: single precision is enough there.
    scene = RayScene((mesh.vertices - view_ball.centre_3) / view_ball.radius, mesh.faces)
    pictures = [_picture(scene, camera, size * supersampling, shading, up) for camera in cameras]
    fine = np.stack(pictures).reshape(len(pictures), size, supersampling, size, supersampling)
    return np.rint(fine.mean(axis=(2, 4))).astype(np.uint8)


def photographs(
    mesh: TriangleMesh, cameras: Sequence[Camera], distances: Sequence[float], *, size: int, up: Up = "y"
) -> NDArray[np.uint8]:
    """Smooth pictures (V, size, size) uint8 from cameras that look at the origin from distances beyond the mesh.

    A grey surface on white: grey * alpha + 255 * (1 - alpha), rounded, with alpha the share of a pixel that is covered.
    """
    scene = RayScene(mesh.vertices, mesh.faces)
    bounds_23 = np.stack(mesh.bounds())
    corners_83 = np.stack(np.meshgrid(*bounds_23.T), axis=-1).reshape(-1, 3)
    pictures = [
        _photograph(scene, camera, distance, size, up, corners_83)
        for camera, distance in zip(cameras, distances, strict=True)
    ]
    return np.rint(np.stack(pictures)).astype(np.uint8)


def splats(
    points_N3: NDArray[np.floating], normals_N3: NDArray[np.floating] | None, *, most: int = 20_000
) -> TriangleMesh:
    """A cloud as a mesh for pictures: a small square across the normal at each point (at most `most` of them).

    Without normals each point is three squares across the axes.
    """
    # Every n-th point, with n rounded up: at most `most`.
    step = -(-len(points_N3) // most)
    centres_N3 = np.asarray(points_N3[::step], dtype=np.float64)
    half = float(0.7 * np.linalg.norm(np.ptp(centres_N3, axis=0)) / np.sqrt(len(centres_N3)))
    if normals_N3 is None:
        axes = np.repeat(np.eye(3), len(centres_N3), axis=0)
        return _squares(np.tile(centres_N3, (3, 1)), axes, half)
    return _squares(centres_N3, np.asarray(normals_N3[::step], dtype=np.float64), half)


def _squares(centres_N3: NDArray[np.float64], normals_N3: NDArray[np.float64], half: float) -> TriangleMesh:
    # Crossing with the axis that the normal leans on least is never degenerate.
    least_N3 = np.eye(3)[np.abs(normals_N3).argmin(axis=1)]
    first_N3 = np.cross(normals_N3, least_N3)
    first_N3 *= half / np.maximum(np.linalg.norm(first_N3, axis=1, keepdims=True), 1e-12)
    second_N3 = np.cross(normals_N3, first_N3)
    second_N3 *= half / np.maximum(np.linalg.norm(second_N3, axis=1, keepdims=True), 1e-12)
    corners = [centres_N3 + a * first_N3 + b * second_N3 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    base_N1 = 4 * np.arange(len(centres_N3))[:, None]
    faces_F3 = np.concatenate([base_N1 + np.array([0, 1, 2]), base_N1 + np.array([0, 2, 3])])
    return TriangleMesh(np.stack(corners, axis=1).reshape(-1, 3), faces_F3)


def _picture(scene: RayScene, camera: Camera, size: int, shading: Shading, up: Up) -> NDArray[np.float32]:
    """One picture (size, size) of grey values before averaging."""
    # The cone of view touches the ball: its half angle has the sine radius over distance.
    distance = (1 + MARGIN) / np.sin(np.radians(camera.field_of_view) / 2)
    ticks = (np.arange(size) + 0.5) / size * 2 - 1
    places_HW2 = np.stack(np.broadcast_arrays(ticks[None], -ticks[:, None]), axis=-1)
    view = scene.view(_eye(camera, distance, up))
    grey_N = _grey_at(places_HW2.reshape(-1, 2), view, camera.field_of_view, shading=shading)
    return grey_N.reshape(size, size)


def _photograph(
    scene: RayScene, camera: Camera, distance: float, size: int, up: Up, corners_83: NDArray[np.float64]
) -> NDArray[np.float32]:
    """One smooth picture (size, size): a ray for each pixel that the shape's box covers, 12 where neighbours differ."""
    picture = np.full((size, size), BACKGROUND, dtype=np.float32)
    # Only pixels that the shape's box can cover are worth a ray.
    rows, columns = _covered(corners_83, camera, distance, size, up)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return picture
    pixel_HW2 = np.stack(np.broadcast_arrays(np.arange(size), np.arange(size)[:, None]), axis=-1)[rows, columns]
    view = scene.view(_eye(camera, distance, up))

    def grey_at(places_N2: NDArray[np.float64]) -> NDArray[np.float32]:
        """Of places in pixels (column, row) from the upper left corner."""
        places_N2 = (places_N2 / size * 2 - 1) * np.array([1.0, -1.0])
        return _grey_at(places_N2, view, camera.field_of_view, shading="normal")

    # Neighbours along a row differ in height, along a column in width: a rod thinner than a pixel cannot hide between
    # the rays of a whole row.
    window = grey_at((pixel_HW2 + STAGGER[pixel_HW2[..., ::-1] % len(STAGGER)]).reshape(-1, 2))
    window = window.reshape(pixel_HW2.shape[:2])
    refined = np.zeros(window.shape, dtype=bool)
    # Where neighbours differ there is an edge: many rays a pixel there, one elsewhere.
    for _ in range(PASSES):
        edge = _differs(window) & ~refined
        if not edge.any():
            break
        places_NK2 = pixel_HW2[edge][:, None] + RAYS_AT_EDGES_K2
        window[edge] = grey_at(places_NK2.reshape(-1, 2)).reshape(-1, len(RAYS_AT_EDGES_K2)).mean(axis=1)
        refined |= edge
    picture[rows, columns] = window
    return picture


def _differs(window_HW: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a pixel and its eight neighbours are not about the same."""
    square = np.ones((3, 3), dtype=np.uint8)
    return cv2.dilate(window_HW, square) - cv2.erode(window_HW, square) > CONTRAST


def _covered(
    corners_83: NDArray[np.float64], camera: Camera, distance: float, size: int, up: Up
) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box before the camera covers, a pixel more on every side."""
    right_3, up_3, forward_3 = _axes(camera, up)
    depth_8 = distance + corners_83 @ forward_3
    # A corner behind the eye has no place in the picture: all of it may be covered.
    if depth_8.min() <= 0:
        return slice(0, size), slice(0, size)
    scale_8 = size / 2 / (depth_8 * np.tan(np.radians(camera.field_of_view) / 2))
    column_8, row_8 = size / 2 + corners_83 @ right_3 * scale_8, size / 2 - corners_83 @ up_3 * scale_8
    rows, columns = (
        slice(max(int(np.floor(at.min())) - 1, 0), min(int(np.ceil(at.max())) + 1, size)) for at in (row_8, column_8)
    )
    return rows, columns


def _grey_at(
    places_N2: NDArray[np.float64], view: SceneView, field_of_view: float, *, shading: Shading
) -> NDArray[np.float32]:
    """Grey values (N,) of places in the picture, -1 to 1 to the right and upwards: a ray for each."""
    _, right_3, up_3, forward_3 = view.eye
    # A place of 1 lies on the border of the picture, where the ray leaves at half the field of view.
    slope_N2 = places_N2 * np.tan(np.radians(field_of_view) / 2)
    face_N, depth_N = view.cast(slope_N2)
    # Rays that meet nothing keep the background.
    grey_N = np.full(len(places_N2), BACKGROUND, dtype=np.float32)
    seen_N = face_N >= 0
    directions_N3 = forward_3 + slope_N2[seen_N, :1] * right_3 + slope_N2[seen_N, 1:] * up_3
    length_N = np.sqrt(np.einsum("nc,nc->n", directions_N3, directions_N3))
    if shading == "depth":
        nearest = np.linalg.norm(view.eye.position_3) - 1  # of the view ball, whose radius is 1
        value_N = np.clip((depth_N[seen_N] * length_N - nearest) / 2, 0, 1)
    else:
        normals_N3 = view.scene.normals(face_N[seen_N])
        value_N = _lit(normals_N3, directions_N3 / length_N[:, None], right_3, up_3, forward_3)
    grey_N[seen_N] = DARKEST + (BRIGHTEST - DARKEST) * value_N
    return grey_N


def _lit(
    normals_N3: NDArray[np.float32],
    directions_N3: NDArray[np.float64],
    right_3: NDArray[np.float64],
    up_3: NDArray[np.float64],
    forward_3: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Brightness 0 to 1: a key light from the upper left that moves with the camera, and a weaker light at the eye."""
    normals_N3 = normals_N3 / np.maximum(np.linalg.norm(normals_N3, axis=1, keepdims=True), 1e-30)
    # Files do not agree which way faces look: the side that is seen is lit.
    facing_N = -np.einsum("nc,nc->n", normals_N3, directions_N3)
    normals_N3 = np.where(facing_N[:, None] < 0, -normals_N3, normals_N3)
    key_3 = -0.45 * right_3 + 0.9 * up_3 - 0.35 * forward_3
    key_N = np.clip(normals_N3 @ (key_3 / np.linalg.norm(key_3)), 0, None)
    return 0.6 * key_N + 0.4 * np.abs(facing_N)


def _eye(camera: Camera, distance: float, up: Up) -> Eye:
    """Where a camera stands that looks at the origin from a distance."""
    right_3, up_3, forward_3 = _axes(camera, up)
    return Eye(-distance * forward_3, right_3, up_3, forward_3)


def _axes(camera: Camera, up: Up) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Right, up and forward of the camera in the frame of the file."""
    azimuth, elevation = np.radians(camera.azimuth), np.radians(camera.elevation)
    # With y up, then turned into the file's frame.
    # The direction from the camera to the origin, of spherical coordinates with y up; right stays level, so the horizon
    # does.
    forward_3 = -np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    right_3 = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    up_3 = np.cross(right_3, forward_3)
    if up == "y":
        return right_3, up_3, forward_3
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # x, y up, z front -> x, z up, -y front
    return turn @ right_3, turn @ up_3, turn @ forward_3
