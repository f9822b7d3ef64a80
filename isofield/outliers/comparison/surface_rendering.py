"""The surface of a mask by ray casting, coloured by its signed distance to the reconstruction's surface in mm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.ray_casting import Eye, RayScene
from data_processing.geometry.rendering import ViewBall
from isofield.outliers.comparison.drawing import colour_bar
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.reports.canvas import PAPER, SOFT, Picture, write_words
from isofield.reports.disagreement import SignedSurface, colour_limit, signed_colours, signed_surfaces

FINE = 2  # rays along the edge of a pixel
VIEW = 15.0  # degrees between the middle and the border of the picture
STEEPEST = 0.75  # of a view from above or below, as the sine
DEFAULT = (-0.5, 0.8, 0.35)  # from the left front
DIRECTIONS = (("left", "right"), ("behind", "the front"), ("below", "above"))  # low and high end of RAS axes


@dataclass(frozen=True, eq=False)
class OrganView:
    """The surfaces of a mask and its reconstruction in RAS mm, and how both are shown.

    `limit`: mm at the ends of the colours. `look_from`: unit vector (3,) to where the camera stands. `ball`: what is
    seen.
    """

    mask: SignedSurface
    reconstruction: SignedSurface
    limit: float
    look_from: NDArray[np.float64]
    ball: ViewBall


def view_of(mask: CubeMask, rebuilt: Reconstruction, *, towards: tuple[float, float, float] | None) -> OrganView:
    """Seen from the side where the place `towards` (RAS mm) lies."""
    cells = len(mask.occupancy_RRR)
    index_to_cube = np.diag([1 / cells] * 3 + [1.0])
    index_to_cube[:3, 3] = 0.5 / cells - 0.5
    surfaces = signed_surfaces(mask.occupancy_RRR, rebuilt.occupancy_RRR, mask.to_world @ index_to_cube)
    vertices = surfaces[0].mesh.vertices
    if not len(vertices):
        return OrganView(*surfaces, colour_limit(*surfaces), _direction(None, 1.0), ViewBall(np.zeros(3), 1.0))
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    look_from = _direction(None if towards is None else np.array(towards) - centre, radius)
    return OrganView(*surfaces, colour_limit(*surfaces), look_from, ViewBall(centre, radius))


def render_distance(view: OrganView, *, size: int) -> Picture:
    """The mask in colours: (size, size + a colour bar, 3). White where there is no mask."""
    vertices, faces = view.mask.mesh.vertices, view.mask.mesh.faces
    if not len(faces):
        return np.full((size, size, 3), 255, np.uint8)
    colours_F3 = signed_colours(view.mask.distance_V[faces].mean(axis=1), view.limit)
    seen = (vertices - view.ball.centre_3) / view.ball.radius
    picture = _rays(seen, faces, colours_F3, view.look_from, size=size)
    write_words(picture, f"from {_in_words(view.look_from)}", (8, size - 10), size=0.38, colour=SOFT)
    return np.concatenate([picture, colour_bar(size, view.limit)], axis=1)


def _direction(towards: NDArray[np.float64] | None, radius: float) -> NDArray[np.float64]:
    """A unit vector to where the camera stands."""
    if towards is None or np.linalg.norm(towards) < 0.05 * radius:
        towards = np.array(DEFAULT)
    direction = towards / np.linalg.norm(towards)
    # Never right from above or below: there is no upright then, and people lose track of left and right.
    height = float(np.clip(direction[2], -STEEPEST, STEEPEST))
    flat = direction[:2] if np.linalg.norm(direction[:2]) > 1e-3 else np.array(DEFAULT[:2])
    return np.array([*flat / np.linalg.norm(flat) * np.sqrt(1 - height**2), height])


def _rays(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    colours_F3: NDArray[np.float64],
    look_from: NDArray[np.float64],
    *,
    size: int,
) -> Picture:
    """A unit ball seen from a direction (RAS; z is up), lit from the upper left."""
    # A camera that looks at the middle, upright.
    forward = -look_from
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    count = size * FINE
    slope = np.tan(np.radians(VIEW))
    ticks = ((np.arange(count) + 0.5) / count * 2 - 1) * slope
    slopes = np.stack(np.broadcast_arrays(ticks[None], -ticks[:, None]), axis=-1).reshape(-1, 2)
    # One ray for each fine pixel; both sides of a face are lit, as masks may be open at the border of a scan.
    scene = RayScene(vertices, faces)
    eye = Eye(look_from * 1.03 / np.sin(np.radians(VIEW)), right, up, forward)
    face = scene.view(eye).cast(slopes).face_N
    seen = face >= 0
    directions = forward + slopes[seen, :1] * right + slopes[seen, 1:] * up
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    normals = scene.normals(face[seen])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    facing = -np.einsum("nc,nc->n", normals, directions)
    normals = np.where(facing[:, None] < 0, -normals, normals)
    light = -0.5 * right + 0.8 * up - 0.5 * forward
    bright = 0.45 + 0.35 * np.abs(facing) + 0.3 * np.clip(normals @ (light / np.linalg.norm(light)), 0, None)
    picture = np.empty((count * count, 3))
    picture[:] = PAPER
    picture[seen] = np.clip(colours_F3[face[seen]] * bright[:, None], 0, 255)
    # Averages over fine pixels smooth the edges.
    fine = picture.reshape(size, FINE, size, FINE, 3).mean(axis=(1, 3))
    return np.rint(fine).astype(np.uint8)


def _in_words(direction: NDArray[np.float64]) -> str:
    """ "the front and left", the strongest first."""
    order = np.argsort(-np.abs(direction))
    words = [DIRECTIONS[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > 0.45]
    return " and ".join(words[:2])
