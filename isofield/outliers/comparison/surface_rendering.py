"""The surface of a mask by ray casting, coloured by its signed distance to the reconstruction's surface in mm."""

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.ray_casting import Eye, RayScene
from isofield.outliers.comparison.drawing import colour_bar, signed_colours
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.reconstruction import Reconstruction
from isofield.outliers.scoring.shape_space import signed_distance
from isofield.reports.canvas import PAPER, SOFT, Picture, write_words

SMOOTH = 1.0  # cells, of the surface that is shown
FINE = 2  # rays along the edge of a pixel
VIEW = 15.0  # degrees between the middle and the border of the picture
STEEPEST = 0.75  # of a view from above or below, as the sine
DEFAULT = (-0.5, 0.8, 0.35)  # from the left front
LEAST = 2.0  # mm at the ends of the colour bar
DIRECTIONS = (("left", "right"), ("behind", "the front"), ("below", "above"))  # low and high end of RAS axes


def render_distance(
    mask: CubeMask, rebuilt: Reconstruction, *, towards: tuple[float, float, float] | None, size: int
) -> Picture:
    """(size, size + a colour bar, 3): seen from the side where the place `towards` (RAS mm) lies."""
    vertices, faces, distance_V = _surface(mask, rebuilt)
    if not len(faces):
        return np.full((size, size, 3), 255, np.uint8)
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    look_from = _direction(None if towards is None else np.array(towards) - centre, radius)
    limit = _limit(distance_V)
    colours_F3 = signed_colours(distance_V[faces].mean(axis=1), limit)
    picture = _rays((vertices - centre) / radius, faces, colours_F3, look_from, size=size)
    write_words(picture, f"from {_in_words(look_from)}", (8, size - 10), size=0.38, colour=SOFT)
    return np.concatenate([picture, colour_bar(size, limit)], axis=1)


def _surface(
    mask: CubeMask, rebuilt: Reconstruction
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Vertices (V, 3) in RAS mm and faces of the mask, and at each vertex how far outside of the reconstruction."""
    both = mask.occupancy_RRR | rebuilt.occupancy_RRR
    (box,) = scipy.ndimage.find_objects(both.view(np.uint8)) or ((slice(0, 2),) * 3,)
    start = np.array([side.start for side in box])
    margin = 4
    ours, theirs = (np.pad(cells[box], margin) for cells in (mask.occupancy_RRR, rebuilt.occupancy_RRR))
    soft = scipy.ndimage.gaussian_filter(ours.astype(np.float32), SMOOTH)
    vertices, faces = (part.numpy() for part in marching_cubes(pad_outside(torch.from_numpy(soft)), iso_level=0.5))
    index = vertices - 1  # of pad_outside
    # Without a reconstruction everything is extra, as far as the mask is thick.
    field = signed_distance(theirs) if theirs.any() else -signed_distance(ours)
    distance_V = scipy.ndimage.map_coordinates(field, index.T, order=1, mode="nearest") * mask.spacing
    cube = (index - margin + start + 0.5) / len(mask.occupancy_RRR) - 0.5
    return transform_points(cube, mask.to_world), faces, distance_V


def _direction(towards: NDArray[np.float64] | None, radius: float) -> NDArray[np.float64]:
    """A unit vector to where the camera stands."""
    if towards is None or np.linalg.norm(towards) < 0.05 * radius:
        towards = np.array(DEFAULT)
    direction = towards / np.linalg.norm(towards)
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


def _limit(distance_V: NDArray[np.float64]) -> float:
    """The end of the colour bar: a round number of mm."""
    largest = max(LEAST, float(np.percentile(np.abs(distance_V), 99)))
    step = 10.0 ** np.floor(np.log10(largest))
    return float(np.ceil(largest / step * 2) / 2 * step)


def _in_words(direction: NDArray[np.float64]) -> str:
    """ "the front and left", the strongest first."""
    order = np.argsort(-np.abs(direction))
    words = [DIRECTIONS[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > 0.45]
    return " and ".join(words[:2])
