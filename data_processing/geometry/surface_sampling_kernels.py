"""Samples of a surface on a CPU, compiled by numba: the same draws give the same points, to the last bit."""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact


@compile_exact
def cumulative_area(
    vertices_V3: NDArray[np.float64], faces_F3: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas in some unit, summed up to each face (F,), and unit normals (F, 3), 0 where there is no area."""
    scale = 2.2250738585072014e-308  # areas neither under- nor overflow in units of the longest coordinate of an edge
    # The unit first: meshes come in metres and in nanometres.
    for face in range(len(faces_F3)):
        a, b, c = faces_F3[face, 0], faces_F3[face, 1], faces_F3[face, 2]
        for d in range(3):
            here = vertices_V3[a, d]
            scale = max(scale, abs(vertices_V3[b, d] - here), abs(vertices_V3[c, d] - here))
    total, sum_F, normals_F3 = 0.0, np.empty(len(faces_F3)), np.empty((len(faces_F3), 3))
    for face in range(len(faces_F3)):
        a, b, c = faces_F3[face, 0], faces_F3[face, 1], faces_F3[face, 2]
        ux = (vertices_V3[b, 0] - vertices_V3[a, 0]) / scale
        uy = (vertices_V3[b, 1] - vertices_V3[a, 1]) / scale
        uz = (vertices_V3[b, 2] - vertices_V3[a, 2]) / scale
        vx = (vertices_V3[c, 0] - vertices_V3[a, 0]) / scale
        vy = (vertices_V3[c, 1] - vertices_V3[a, 1]) / scale
        vz = (vertices_V3[c, 2] - vertices_V3[a, 2]) / scale
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        doubled = np.sqrt(x * x + y * y + z * z)
        total += doubled / 2
        divisor = doubled if doubled > 0 else 1.0
        sum_F[face] = total
        normals_F3[face, 0], normals_F3[face, 1], normals_F3[face, 2] = x / divisor, y / divisor, z / divisor
    return sum_F, normals_F3


@compile_exact
def place(
    vertices_V3: NDArray[np.float64],
    faces_F3: NDArray[np.int64],
    sum_F: NDArray[np.float64],
    normals_F3: NDArray[np.float64],
    draws_3N: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 3) and their normals (N, 3) from three uniform draws for each: face, root and place along it."""
    faces, count, total = len(faces_F3), draws_3N.shape[1], sum_F[-1]
    first = np.empty(faces + 1, dtype=np.int64)  # of the faces whose sum is above a share of the total
    face = 0
    # A table of where each share of the area begins: a draw then looks at few faces instead of all.
    for share in range(faces + 1):
        while face < faces - 1 and sum_F[face] <= share / faces * total:
            face += 1
        first[share] = face
    points_N3, found_N3 = np.empty((count, 3)), np.empty((count, 3))
    for n in range(count):
        at = draws_3N[0, n] * total
        face = first[max(int(draws_3N[0, n] * faces) - 1, 0)]  # a share earlier: rounding
        while face < faces - 1 and sum_F[face] <= at:
            face += 1
        # The root makes the points uniform over the triangle (Osada et al. 2002, section 4.2).
        root, along = np.sqrt(draws_3N[1, n]), draws_3N[2, n]
        a, b, c = faces_F3[face, 0], faces_F3[face, 1], faces_F3[face, 2]
        for d in range(3):
            points_N3[n, d] = (
                vertices_V3[a, d] * (1 - root)
                + vertices_V3[b, d] * root * (1 - along)
                + vertices_V3[c, d] * root * along
            )
            found_N3[n, d] = normals_F3[face, d]
    return points_N3, found_N3
