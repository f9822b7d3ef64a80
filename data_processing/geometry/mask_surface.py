"""The surface of a mask of cells as a smooth mesh, and how far points lie outside of it."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside
from data_processing.geometry.triangle_mesh import TriangleMesh, face_crosses

Cells = NDArray[np.bool_]
SMOOTH = 1.0  # cells, of a surface that is shown
MARGIN = 4  # cells around it, as far as smoothing reaches
NEAR = 1.5  # cells, within which the surface beside a vertex counts as flat


def smooth_surface(mask: Cells, index_to_world: NDArray[np.floating]) -> TriangleMesh:
    """The surface of cells (X, Y, Z), smoothed by one cell, in the world; no faces where there are no cells.

    `index_to_world`: 4x4, from indices of cells, whose centres are whole, to the world.
    """
    soft = scipy.ndimage.gaussian_filter(np.pad(mask, MARGIN).astype(np.float32), SMOOTH)
    vertices_V3, faces_F3 = (
        part.numpy() for part in marching_cubes(pad_outside(torch.from_numpy(soft)), iso_level=0.5)
    )
    surface = TriangleMesh(vertices_V3.astype(np.float64) - 1 - MARGIN, faces_F3)  # pad_outside adds a cell
    return surface.transform(index_to_world)


def isotropic_cells(
    masks: Sequence[NDArray[np.uint8]], index_to_world: NDArray[np.floating], *, most: int
) -> tuple[list[Cells], NDArray[np.float64]]:
    """Masks of one box (X, Y, Z) in cells of equal edges, at most `most` along the longest side, and their 4x4.

    Thick slices are interpolated, small voxels averaged. No cell has a shorter edge than a voxel's shortest.
    """
    shape = np.array(masks[0].shape)
    spacing = np.linalg.norm(index_to_world[:3, :3], axis=0)
    edge = max(float(spacing.min()), float((shape * spacing).max()) / most)
    coarser = np.maximum(1, np.floor(edge / spacing).astype(int))
    # A box of whole averages: with a rest of voxels at its end all the others would be stretched over it.
    beyond = -shape % coarser
    shape = shape + beyond
    sizes = np.clip(np.rint(shape * spacing / edge).astype(int), 1, most)
    cells: list[Cells] = []
    for mask in masks:
        # An average over whole voxels first: interpolation alone would skip those between.
        whole = np.pad(mask > 0, [(0, int(voxels)) for voxels in beyond])
        share = torch.from_numpy(whole).float()[None, None]
        if (coarser > 1).any():
            share = torch.nn.functional.avg_pool3d(share, tuple(int(n) for n in coarser))
        wanted = tuple(int(n) for n in sizes)
        share = torch.nn.functional.interpolate(share, size=wanted, mode="trilinear", align_corners=False)
        cells.append((share[0, 0] > 0.5).numpy())
    # Both grids fill the same box: its corner is half a cell before the first centre.
    step = shape / sizes
    to_index = np.diag([*step, 1.0])
    to_index[:3, 3] = step / 2 - 0.5
    return cells, np.asarray(index_to_world @ to_index, dtype=np.float64)


def distance_outside(
    points_N3: NDArray[np.float64], surface: TriangleMesh, inside_N: NDArray[np.bool_], *, edge: float
) -> NDArray[np.float64]:
    """How far points lie outside of a smooth surface of cells, negative inside: (N,), in the unit of the mesh.

    Near it (NEAR cells) it is the distance to the plane of the nearest vertex, whose neighbours are less than a cell
    away; farther off the distance to that vertex, with the sign that `inside_N` says. `edge`: of a cell.
    """
    # Neither balanced nor compact: such a tree is built faster, and is asked once.
    distance_N, nearest_N = KDTree(surface.vertices, balanced_tree=False, compact_nodes=False).query(points_N3)
    towards_N3 = points_N3 - surface.vertices[nearest_N]
    along_N = np.einsum("nc,nc->n", towards_N3, _vertex_normals(surface)[nearest_N])
    return np.where(distance_N <= NEAR * edge, along_N, np.where(inside_N, -distance_N, distance_N))


def is_inside(cells: Cells, points_N3: NDArray[np.float64], index_to_world: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether the cells (X, Y, Z) that points of the world lie in are set: (N,); beyond the array none is."""
    index_N3 = np.rint(transform_points(points_N3, np.linalg.inv(index_to_world))).astype(np.int64)
    within_N = ((index_N3 >= 0) & (index_N3 < cells.shape)).all(axis=1)
    inside_N = np.zeros(len(points_N3), dtype=bool)
    inside_N[within_N] = cells[tuple(index_N3[within_N].T)]
    return inside_N


def _vertex_normals(mesh: TriangleMesh) -> NDArray[np.float64]:
    """Unit normals (V, 3) to the outside: of the faces around, weighted by their areas."""
    normals_F3 = face_crosses(mesh.triangles())
    # Crosses are as long as twice the area: adding them weighs each face by it.
    corners, count = mesh.faces.T.ravel(), len(mesh.vertices)
    normals_V3 = np.stack([np.bincount(corners, np.tile(part, 3), count) for part in normals_F3.T], axis=1)
    return normals_V3 / np.maximum(np.linalg.norm(normals_V3, axis=1, keepdims=True), 1e-30)
