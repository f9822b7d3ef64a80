"""Closed parts that procedural shapes are put together from: boxes, rods, turned shells, bent boards, cushions."""

from collections.abc import Sequence

import numpy as np
import trimesh
from numpy.random import Generator

Part = trimesh.Trimesh
THINNEST, THICKEST = 0.005, 0.08  # of the parts of a shape about 1 in size; 1/256 is a voxel of the solid


def thickness(draw: Generator, thickest: float = THICKEST) -> float:
    """Log-uniform: as many parts between 1 and 2 voxels as between 8 and 16."""
    return float(np.exp(draw.uniform(np.log(THINNEST), np.log(thickest))))


def box(centre: Sequence[float], size: Sequence[float]) -> Part:
    """An upright box."""
    part = trimesh.creation.box(extents=size)
    part.apply_translation(centre)
    return part


def rod(
    first: Sequence[float], last: Sequence[float], radius: float, end: float | None = None, sides: int = 16
) -> Part:
    """A round or edged rod between two points; `end`: its radius at the second, where it tapers."""
    first_3, last_3 = np.asarray(first, dtype=float), np.asarray(last, dtype=float)
    length = float(np.linalg.norm(last_3 - first_3))
    part = trimesh.creation.cylinder(radius=1.0, height=length, sections=sides)
    share = part.vertices[:, 2] / length + 0.5
    part.vertices[:, :2] *= (radius + ((radius if end is None else end) - radius) * share)[:, None]
    part.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], last_3 - first_3))
    part.apply_translation((first_3 + last_3) / 2)
    return part


def turned(radii_K: np.ndarray, heights_K: np.ndarray, wall: float, *, solid: bool = False, sides: int = 32) -> Part:
    """A turned solid, or a shell of that wall open at the top (and, without a floor, at the bottom)."""
    outer = np.stack([radii_K, heights_K], axis=1)
    if solid:
        profile = np.concatenate([[[0.0, heights_K[0]]], outer, [[0.0, heights_K[-1]]]])
    else:
        inner = np.stack([np.maximum(radii_K - wall, 1e-4), heights_K], axis=1)[::-1]
        profile = np.concatenate([outer, inner, outer[:1]])
    part = trimesh.creation.revolve(profile, sections=sides)
    part.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    return part


def board(width: float, height: float, thick: float, bend: float, pieces: int = 12) -> Part:
    """A board in the xy plane, bent about the y axis: its middle lies `bend` behind its ends."""
    x_K = np.linspace(-0.5, 0.5, pieces + 1)
    z_K = bend * (4 * x_K**2 - 1)
    ring = np.concatenate(
        [np.stack([x_K * width, z_K + thick / 2], 1), np.stack([x_K * width, z_K - thick / 2], 1)[::-1]]
    )
    part = _extruded(ring, height)
    part.apply_translation([0, -height / 2, 0])
    return part


def cushion(centre: Sequence[float], size: Sequence[float], power: float) -> Part:
    """A superellipsoid: power 2 is an ellipsoid, 8 nearly a box."""
    part = trimesh.creation.icosphere(subdivisions=3)
    at_V3 = np.asarray(part.vertices)
    norm_V = (np.abs(at_V3) ** power).sum(axis=1) ** (1 / power)
    part.vertices = at_V3 / norm_V[:, None] * np.asarray(size) / 2 + np.asarray(centre)
    return part


def _extruded(ring_K2: np.ndarray, height: float) -> Part:
    """A ring in (x, z), first half and second half facing each other, drawn up along y and closed."""
    count = len(ring_K2)
    low = np.stack([ring_K2[:, 0], np.zeros(count), ring_K2[:, 1]], axis=1)
    vertices = np.concatenate([low, low + np.array([0, height, 0])])
    i, j = np.arange(count), (np.arange(count) + 1) % count
    sides = np.concatenate([np.stack([i, j, j + count], 1), np.stack([i, j + count, i + count], 1)])
    k = np.arange(count // 2 - 1)
    strip = np.concatenate([np.stack([k, k + 1, count - 2 - k], 1), np.stack([k, count - 2 - k, count - 1 - k], 1)])
    faces = np.concatenate([sides, strip[:, ::-1], strip + count])
    part = trimesh.Trimesh(vertices, faces, process=False)
    if part.volume < 0:
        part.invert()
    return part


def corners(width: float, depth: float) -> list[tuple[float, float]]:
    """(x, z) of the four corners of a rectangle about the middle."""
    return [(x, z) for x in (-width / 2, width / 2) for z in (-depth / 2, depth / 2)]


def tilted(parts: list[Part], angle: float, at: Sequence[float]) -> list[Part]:
    """The parts turned about the x axis, then moved."""
    turn = trimesh.transformations.rotation_matrix(angle, [1, 0, 0])
    for part in parts:
        part.apply_transform(turn)
        part.apply_translation(at)
    return parts
