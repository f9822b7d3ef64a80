"""Pieces of a reconstruction that no point of its input is near.

Where a network was shown points of the whole surface, a piece of its answer far from all of them is nothing that was
seen: fields are free where no training point ever was. One such piece, a few cells wide, can be most of a Chamfer
distance.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.connected import connected_pieces
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.network_inputs import InputConfig

NEAR = 1 / 32  # of the cube's edge: two cells of a grid of 64
NEAR_SPACINGS = 3  # of sparse clouds: median distances of a point to its nearest neighbour


def drops_islands(section: InputConfig) -> bool:
    """Whether what a run is shown is the whole surface, so that nothing is to be where no point is."""
    return section.kind == "points" and section.crop[1] == 0


def without_islands(mesh: TriangleMesh, points_N3: NDArray[np.floating]) -> tuple[TriangleMesh, str]:
    """The mesh without pieces that no point is near, and what was left out, in words; "" where nothing was.

    Mesh and points (N, 3) in cube coordinates. A piece hangs together by its faces; it stays where any of its vertices
    has a point within NEAR, or within three times the usual distance between points. Where no piece has one, all stay.
    What is closed stays closed.
    """
    first, second, third = mesh.faces.T
    piece_V = connected_pieces(np.concatenate([first, second]), np.concatenate([second, third]), len(mesh.vertices))
    count = int(piece_V.max(initial=-1)) + 1
    if count < 2 or len(points_N3) < 2:
        return mesh, ""
    from scipy.spatial import cKDTree  # only where there is more than one piece

    points = np.unique(np.asarray(points_N3, dtype=np.float64), axis=0)
    cloud, near = cKDTree(points), NEAR
    if len(points) > 1:
        near = max(NEAR, NEAR_SPACINGS * float(np.median(cloud.query(points, k=2)[0][:, 1])))
    distance_V = np.asarray(cloud.query(mesh.vertices)[0])
    nearest_P = np.full(count, np.inf)
    np.minimum.at(nearest_P, piece_V, distance_V)
    kept_P = nearest_P <= near
    if kept_P.all() or not kept_P.any():
        return mesh, ""
    kept_V = kept_P[piece_V]
    number_V = np.cumsum(kept_V) - 1
    faces_F3 = number_V[mesh.faces[kept_V[first]]]
    left = count - int(kept_P.sum())
    share = 1 - len(faces_F3) / len(mesh.faces)
    note = (
        f"left out {left} piece{'s' * (left > 1)} of the surface ({share:.1%} of the faces) that no shown point is near"
    )
    return TriangleMesh(mesh.vertices[kept_V], faces_F3), note
