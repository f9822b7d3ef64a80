"""The winding number of a soup by a tree over its faces, on a CPU, compiled by numba.

From afar the faces of a node count as one: three terms of the Taylor series of their solid angle around the node's
middle, from exact moments of each triangle (Barill et al., "Fast Winding Numbers for Soups and Clouds", SIGGRAPH 2018).
Near faces count exactly. A place is asked by itself: no matter how many there are, or in which order.
"""

import numpy as np
from numpy.typing import NDArray

from data_processing.occupancy.solid_angles import half_solid_angle
from isofield.runtime.jit import compile_exact

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LEAF = 8  # faces of a node that is not split further, at most
FAR = 2.4  # radii of a node from its middle, beyond which its series counts
STACK = 128  # nodes that wait on the way down: two a level, and each level halves the faces
MOMENTS = 26  # see _set_moments


@compile_exact
def build_tree(corners_F9: Floats) -> tuple[Integers, Integers, Floats]:
    """Order of the faces (F,), nodes (M, 4): first face, end, first and second child or -1, and moments (M, 26).

    A node is split at the middle of the longest side of the box of its faces' middles, in two equal halves.
    """
    count = corners_F9.shape[0]
    order_F, middle_F3 = np.arange(count), np.empty((count, 3))
    for f in range(count):
        for d in range(3):
            middle_F3[f, d] = (corners_F9[f, d] + corners_F9[f, 3 + d] + corners_F9[f, 6 + d]) / 3
    # A binary tree whose leaves hold one face at least has fewer than twice as many nodes as faces.
    nodes_M4, moments_M = np.empty((2 * count + 1, 4), np.int64), np.empty((2 * count + 1, MOMENTS))
    nodes_M4[0, 0], nodes_M4[0, 1], size, node = 0, count, 1, 0
    # Breadth first: children go to the end of the list, and the walk over it meets them later.
    while node < size:
        first, end = nodes_M4[node, 0], nodes_M4[node, 1]
        _set_moments(corners_F9, order_F[first:end], moments_M[node])
        nodes_M4[node, 2] = nodes_M4[node, 3] = -1
        if end - first > LEAF:
            axis, longest = 0, -1.0
            for d in range(3):
                low, high = np.inf, -np.inf
                for at in range(first, end):
                    low, high = min(low, middle_F3[order_F[at], d]), max(high, middle_F3[order_F[at], d])
                if high - low > longest:
                    axis, longest = d, high - low
            # Halves of equal number keep the tree's depth at log2 of the faces, however they are spread. The sort is
            # stable: equal middles keep the file's order, on every machine.
            part = order_F[first:end].copy()
            order_F[first:end] = part[np.argsort(middle_F3[part, axis], kind="mergesort")]
            half = (first + end) // 2
            nodes_M4[size, 0], nodes_M4[size, 1], nodes_M4[size + 1, 0], nodes_M4[size + 1, 1] = first, half, half, end
            nodes_M4[node, 2], nodes_M4[node, 3] = size, size + 1
            size += 2
        node += 1
    return order_F, nodes_M4[:size].copy(), moments_M[:size].copy()


@compile_exact
def _set_moments(corners_F9: Floats, faces: Integers, m: Floats) -> None:
    """Middle (0 to 2), squared distance from which the series counts (3), and what the series needs of some faces.

    With the area vector n of a face, and d from the middle: n (4 to 6), n d, symmetric (7 to 12), and of n d d what two
    equal axes leave (13 to 15) and the cubic form (16 to 25); d d with what the face spreads about its own middle.
    """
    # The middle of the node is that of its area.
    m[:] = 0.0
    total = 0.0
    for at in range(faces.shape[0]):
        c = corners_F9[faces[at]]
        x, y, z = _area_vector(c)
        area = np.sqrt(x * x + y * y + z * z) + 1e-300
        total += area
        for d in range(3):
            m[d] += area * (c[d] + c[3 + d] + c[6 + d]) / 3
    m[0], m[1], m[2] = m[0] / total, m[1] / total, m[2] / total
    for at in range(faces.shape[0]):
        c = corners_F9[faces[at]]
        nx, ny, nz = _area_vector(c)
        x, y, z = (c[0] + c[3] + c[6]) / 3 - m[0], (c[1] + c[4] + c[7]) / 3 - m[1], (c[2] + c[5] + c[8]) / 3 - m[2]
        xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
        # The second moment of a triangle about its own middle is exactly the mean over its corners, divided by 4; and
        # the radius of the node is that of its furthest corner.
        for corner in range(0, 9, 3):
            vx, vy, vz = c[corner] - m[0], c[corner + 1] - m[1], c[corner + 2] - m[2]
            m[3] = max(m[3], vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx - x, vy - y, vz - z
            xx, yy, zz = xx + vx * vx / 12, yy + vy * vy / 12, zz + vz * vz / 12
            xy, xz, yz = xy + vx * vy / 12, xz + vx * vz / 12, yz + vy * vz / 12
        m[4], m[5], m[6] = m[4] + nx, m[5] + ny, m[6] + nz
        m[7], m[8], m[9] = m[7] + nx * x, m[8] + ny * y, m[9] + nz * z
        m[10], m[11], m[12] = m[10] + nx * y + ny * x, m[11] + nx * z + nz * x, m[12] + ny * z + nz * y
        # Of the symmetric third-order tensor n d d the series needs contractions and a cubic form: ten numbers and
        # three, instead of eighteen.
        trace = xx + yy + zz
        m[13] += 2 * (xx * nx + xy * ny + xz * nz) + nx * trace
        m[14] += 2 * (xy * nx + yy * ny + yz * nz) + ny * trace
        m[15] += 2 * (xz * nx + yz * ny + zz * nz) + nz * trace
        m[16], m[17], m[18] = m[16] + nx * xx, m[17] + ny * yy, m[18] + nz * zz
        m[19] += ny * xx + 2 * nx * xy  # of x x y
        m[20] += nz * xx + 2 * nx * xz  # of x x z
        m[21] += nx * yy + 2 * ny * xy  # of y y x
        m[22] += nz * yy + 2 * ny * yz  # of y y z
        m[23] += nx * zz + 2 * nz * xz  # of z z x
        m[24] += ny * zz + 2 * nz * yz  # of z z y
        m[25] += 2 * (nx * yz + ny * xz + nz * xy)  # of x y z
    m[3] *= FAR * FAR


@compile_exact
def _area_vector(c: Floats) -> tuple[float, float, float]:
    ux, uy, uz, vx, vy, vz = c[3] - c[0], c[4] - c[1], c[5] - c[2], c[6] - c[0], c[7] - c[1], c[8] - c[2]
    return (uy * vz - uz * vy) / 2, (uz * vx - ux * vz) / 2, (ux * vy - uy * vx) / 2


@compile_exact
def numbers_at(
    corners_F9: Floats,
    order_F: Integers,
    nodes_M4: Integers,
    moments_M: Floats,
    points_N3: Floats,
    first: int,
    end: int,
    number_N: Floats,
) -> None:
    """Write the winding numbers of points first to end."""
    # Depth first with an explicit stack, as recursion is slow in compiled code. The first child is taken first: the sum
    # has one order, whatever the thread.
    stack = np.empty(STACK, np.int64)
    for n in range(first, end):
        px, py, pz, turns, size = points_N3[n, 0], points_N3[n, 1], points_N3[n, 2], 0.0, 1
        stack[0] = 0
        while size:
            size -= 1
            node = stack[size]
            m = moments_M[node]
            x, y, z = m[0] - px, m[1] - py, m[2] - pz
            squared = x * x + y * y + z * z
            # Far enough: the node counts as one. Else its children are asked, and a leaf's faces exactly.
            if squared > m[3]:
                turns += _series(m, x, y, z, squared)
            elif nodes_M4[node, 2] >= 0:
                stack[size], stack[size + 1] = nodes_M4[node, 3], nodes_M4[node, 2]
                size += 2
            else:
                for at in range(nodes_M4[node, 0], nodes_M4[node, 1]):
                    c = corners_F9[order_F[at]]
                    turns += 2 * half_solid_angle(
                        c[0] - px,
                        c[1] - py,
                        c[2] - pz,
                        c[3] - px,
                        c[4] - py,
                        c[5] - pz,
                        c[6] - px,
                        c[7] - py,
                        c[8] - pz,
                    )
        number_N[n] = turns / (4 * np.pi)


@compile_exact
def _series(m: Floats, x: float, y: float, z: float, squared: float) -> float:
    """The solid angle of a node seen from afar; (x, y, z): the way to its middle."""
    inverse = 1 / squared
    dipole = x * m[4] + y * m[5] + z * m[6]
    linear = x * x * m[7] + y * y * m[8] + z * z * m[9] + x * y * m[10] + x * z * m[11] + y * z * m[12]
    contracted = x * m[13] + y * m[14] + z * m[15]
    cubic = x * x * (x * m[16] + y * m[19] + z * m[20]) + y * y * (y * m[17] + x * m[21] + z * m[22])
    cubic += z * z * (z * m[18] + x * m[23] + y * m[24]) + x * y * z * m[25]
    # Taylor terms of r.n / |r|^3 around the node's middle, with |r|^3 taken out: the area vector, its first and its
    # second moments.
    first = m[7] + m[8] + m[9] - 3 * linear * inverse
    second = (-3 * contracted + 15 * cubic * inverse) * inverse / 2
    return (dipole + first + second) * inverse * np.sqrt(inverse)
