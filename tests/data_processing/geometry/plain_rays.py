"""Rays against every triangle (Moeller and Trumbore, 1997), in double precision: what ray casting is compared with."""

import numpy as np
from numpy.typing import NDArray


def first_hits(
    corners_F33: NDArray[np.float64], origin_3: NDArray[np.float64], directions_N3: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The face (-1: none) that each ray from the origin meets first, how many directions far, and how surely.

    The last: how far the ray passes from the nearest side of any triangle, in barycentric coordinates.
    """
    a_F3, b_F3, c_F3 = corners_F33[:, 0], corners_F33[:, 1], corners_F33[:, 2]
    first_F3, second_F3, from_F3 = b_F3 - a_F3, c_F3 - a_F3, origin_3 - a_F3
    face_N, far_N, margin_N = (np.zeros(len(directions_N3), dtype) for dtype in (np.int64, float, float))
    for n, direction_3 in enumerate(directions_N3):
        across_F3 = np.cross(direction_3, second_F3)
        with np.errstate(all="ignore"):
            scale_F = 1 / np.einsum("fc,fc->f", first_F3, across_F3)
            u_F = np.einsum("fc,fc->f", from_F3, across_F3) * scale_F
            turned_F3 = np.cross(from_F3, first_F3)
            v_F = turned_F3 @ direction_3 * scale_F
            t_F = np.einsum("fc,fc->f", second_F3, turned_F3) * scale_F
            inside_F = np.minimum(np.minimum(u_F, v_F), 1 - u_F - v_F)
            met_F = (inside_F >= 0) & (t_F > 0) & np.isfinite(t_F)
        far_F = np.where(met_F, t_F, np.inf)
        face_N[n] = far_F.argmin() if met_F.any() else -1
        far_N[n], margin_N[n] = far_F.min(), np.nanmin(np.abs(inside_F))
    return face_N, far_N, margin_N
