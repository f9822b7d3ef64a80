"""What a surface and its boundary make of the winding number, on a CPU, compiled by numba.

Between two places the number changes by whole crossings of the surface, and smoothly by what the boundary turns as it
is seen from one place and from the other: w(p) = w(r) - count_crossings(r, p) + boundary_turn(r, p). The boundary, the
edges that faces walk more often one way than the other, also gives the number up to an integer at any place ("One-shot
method for computing generalized winding numbers", Martens and Bessmeltsev, 2025). Soups of furniture have some hundred
such edges beside ten thousands of faces. Why this holds: docs/explanation/winding-number.md.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_part

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
WEAK = 1e-7  # of the product of both lengths; a smaller complex number has an angle that is mostly rounding
ASIDE = (0.48, 0.6, -0.64)  # a direction of length 1 in which no modeller puts one thing above another


@compile_exact
def planes(corners_F9: Floats) -> Floats:
    """Unit normal and offset (F, 4) of triangles; all 0 where there is no area."""
    planes_F4 = np.zeros((len(corners_F9), 4))
    for face in range(len(corners_F9)):
        c = corners_F9[face]
        ux, uy, uz, vx, vy, vz = c[3] - c[0], c[4] - c[1], c[5] - c[2], c[6] - c[0], c[7] - c[1], c[8] - c[2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0:
            x, y, z = x / length, y / length, z / length
            planes_F4[face, 0], planes_F4[face, 1], planes_F4[face, 2] = x, y, z
            planes_F4[face, 3] = x * c[0] + y * c[1] + z * c[2]
    return planes_F4


@compile_exact
def half_solid_angle(
    ax: float, ay: float, az: float, bx: float, by: float, bz: float, cx: float, cy: float, cz: float
) -> float:
    """Half the solid angle of a triangle seen from the origin (van Oosterom and Strackee, 1983)."""
    a = np.sqrt(ax * ax + ay * ay + az * az)
    b = np.sqrt(bx * bx + by * by + bz * bz)
    c = np.sqrt(cx * cx + cy * cy + cz * cz)
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    ab, bc, ca = ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az
    return np.arctan2(volume, a * b * c + ab * c + bc * a + ca * b)


@compile_exact
def sum_over_faces(corners_F9: Floats, x: float, y: float, z: float) -> float:
    """The winding number at a place, as the sum of the solid angles of all faces: slow, and exact."""
    total = 0.0
    for face in range(len(corners_F9)):
        c = corners_F9[face]
        total += half_solid_angle(
            c[0] - x, c[1] - y, c[2] - z, c[3] - x, c[4] - y, c[5] - z, c[6] - x, c[7] - y, c[8] - z
        )
    return total / (2 * np.pi)


@compile_exact
def half_turns(factors_3E: Floats, size: int) -> float:
    """The sum of the angles of complex numbers, in turns of pi. Pairs are multiplied until one is left.

    Where two angles of one sign add up to more than pi, the product's sign says so: whole turns are counted.
    """
    # Halves are multiplied onto each other: as quick as one pass, and vectorised.
    re_E, im_E, turns_E = factors_3E[0], factors_3E[1], factors_3E[2]
    turns_E[:size] = 0.0
    while size > 1:
        half = (size + 1) // 2
        for e in range(size - half):
            first, second = im_E[e], im_E[half + e]
            re = re_E[e] * re_E[half + e] - first * second
            im = re_E[e] * second + first * re_E[half + e]
            over = 2.0 if (first > 0) & (second > 0) & (im < 0) else 0.0
            under = 2.0 if (first < 0) & (second < 0) & (im > 0) else 0.0
            turns_E[e] += turns_E[half + e] + over - under
            scale = 1.0 / (np.abs(re) + np.abs(im) + 1e-300)
            re_E[e], im_E[e] = re * scale, im * scale
        size = half
    return turns_E[0] + np.arctan2(im_E[0], re_E[0]) / np.pi


@compile_exact
def exact_number(edges_7E: Floats, factors_3E: Floats, x: float, y: float, z: float, w: float) -> float:
    """The number at a place: what the boundary makes it up to an integer, nearest to `w`.

    Each edge and the direction (0, 0, -1) span a spherical triangle. An edge that counts twice is there twice.
    Straight below an end of an edge two sides of that triangle have no direction: there it is spanned with another one.
    Loops without dependencies: they become vector instructions.
    """
    size = edges_7E.shape[1]
    if size == 0:
        return np.rint(w)
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = edges_7E[0], edges_7E[1], edges_7E[2], edges_7E[3], edges_7E[4], edges_7E[5]
    re_E, im_E, weak = factors_3E[0], factors_3E[1], 0
    # Van Oosterom and Strackee's formula with the pole (0, 0, -1) for the third corner: half the solid angle is the
    # angle of re + i im. Only the angle counts, so each number is scaled to avoid overflow in the product of many.
    for e in range(size):
        ax, ay, az = ax_E[e] - x, ay_E[e] - y, az_E[e] - z
        bx, by, bz = bx_E[e] - x, by_E[e] - y, bz_E[e] - z
        a, b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        re = a * b + ax * bx + ay * by + az * bz - az * b - bz * a
        im = ay * bx - ax * by
        length = np.abs(re) + np.abs(im)
        weak += 1 if length <= WEAK * a * b else 0
        scale = 1.0 / (length + 1e-300)
        re_E[e], im_E[e] = re * scale, im * scale
    if weak:
        _set_factors_aside(edges_7E, factors_3E, x, y, z)
    # The boundary knows the fraction exactly, `w` is close enough to tell the whole turns.
    turn = half_turns(factors_3E, size) / 2
    return turn + np.rint(w - turn)


@compile_exact
def _set_factors_aside(edges_7E: Floats, factors_3E: Floats, x: float, y: float, z: float) -> None:
    """The complex numbers of exact_number for the direction ASIDE. An edge through the place itself turns nothing."""
    for e in range(edges_7E.shape[1]):
        ax, ay, az = edges_7E[0, e] - x, edges_7E[1, e] - y, edges_7E[2, e] - z
        bx, by, bz = edges_7E[3, e] - x, edges_7E[4, e] - y, edges_7E[5, e] - z
        a, b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        along_a = ax * ASIDE[0] + ay * ASIDE[1] + az * ASIDE[2]
        along_b = bx * ASIDE[0] + by * ASIDE[1] + bz * ASIDE[2]
        re = a * b + ax * bx + ay * by + az * bz + along_a * b + along_b * a
        im = (ay * bz - az * by) * ASIDE[0] + (az * bx - ax * bz) * ASIDE[1] + (ax * by - ay * bx) * ASIDE[2]
        length = np.abs(re) + np.abs(im)
        factors_3E[0, e], factors_3E[1, e] = (re / length, im / length) if length > 0 else (1.0, 0.0)


@compile_part
def copy_edges(edges_7E: Floats, chosen: Integers, e0: int, e1: int, target_KE: Floats) -> None:
    """Put chosen[e0:e1] of the edges side by side: loops over neighbours in memory become vector instructions."""
    for at in range(e1 - e0):
        e = chosen[e0 + at]
        for d in range(7):
            target_KE[d, at] = edges_7E[d, e]


@compile_exact
def boundary_turn(ends_KE: Floats, factors_3E: Floats, size: int, r: Floats, x: float, y: float, z: float) -> float:
    """What edges add to the number on the way from r to (x, y, z): each sweeps a parallelogram seen from r."""
    if size == 0:
        return 0.0
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = ends_KE[0], ends_KE[1], ends_KE[2], ends_KE[3], ends_KE[4], ends_KE[5]
    re_E, im_E, rx, ry, rz = factors_3E[0], factors_3E[1], r[0], r[1], r[2]
    for e in range(size):
        ax, ay, az, bx, by, bz = ax_E[e] - rx, ay_E[e] - ry, az_E[e] - rz, bx_E[e] - rx, by_E[e] - ry, bz_E[e] - rz
        cx, cy, cz, dx, dy, dz = bx_E[e] - x, by_E[e] - y, bz_E[e] - z, ax_E[e] - x, ay_E[e] - y, az_E[e] - z
        a, b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        c, d = np.sqrt(cx * cx + cy * cy + cz * cz), np.sqrt(dx * dx + dy * dy + dz * dz)
        nx, ny, nz = ay * cz - az * cy, az * cx - ax * cz, ax * cy - ay * cx  # the diagonal's, for both triangles
        ac = ax * cx + ay * cy + az * cz
        first_re = a * b * c + (ax * bx + ay * by + az * bz) * c + (bx * cx + by * cy + bz * cz) * a + ac * b
        second_re = a * c * d + ac * d + (cx * dx + cy * dy + cz * dz) * a + (dx * ax + dy * ay + dz * az) * c
        first_im, second_im = -(nx * bx + ny * by + nz * bz), nx * dx + ny * dy + nz * dz
        # The parallelogram is less than half of the sphere, so the sum of both half angles is one angle.
        re, im = first_re * second_re - first_im * second_im, first_re * second_im + first_im * second_re
        scale = 1.0 / (np.abs(re) + np.abs(im) + 1e-300)
        re_E[e], im_E[e] = re * scale, im * scale
    return -half_turns(factors_3E, size) / 2


@compile_exact
def add_field(
    edges_7E: Floats,
    room_KE: Floats,
    chosen: Integers,
    e0: int,
    e1: int,
    without: Integers,
    r: Floats,
    field_12: Floats,
) -> None:
    """Add what chosen[e0:e1] of the edges make of the number's gradient at r (3), and its derivative (3, 3) row by row.

    The gradient is the field of a current along the edges, over 4 pi; a row of the derivative is how one component
    changes along the axes. `without`: numbers of edges that are left out, only where all edges are chosen. `room_KE`:
    14 rows.
    """
    size, every = e1 - e0, e1 - e0 == edges_7E.shape[1]
    if not every:
        copy_edges(edges_7E, chosen, e0, e1, room_KE[7:])
    _set_terms(edges_7E if every else room_KE[7:], room_KE, size, r)
    for e in without:
        for d in range(7):
            room_KE[d, e] = 0.0
    _add_terms(edges_7E if every else room_KE[7:], room_KE, size, field_12)


@compile_part
def _set_terms(ends_KE: Floats, room_KE: Floats, size: int, r: Floats) -> None:
    """Of each edge, with a and b from r to its ends: a x b, the factor f that makes it the gradient, and grad f."""
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = ends_KE[0], ends_KE[1], ends_KE[2], ends_KE[3], ends_KE[4], ends_KE[5]
    cx_E, cy_E, cz_E, vx_E, vy_E, vz_E = room_KE[0], room_KE[1], room_KE[2], room_KE[3], room_KE[4], room_KE[5]
    f_E, x, y, z = room_KE[6], r[0], r[1], r[2]
    for e in range(size):
        ax, ay, az, bx, by, bz = ax_E[e] - x, ay_E[e] - y, az_E[e] - z, bx_E[e] - x, by_E[e] - y, bz_E[e] - z
        a, b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        ab, dot = a * b, ax * bx + ay * by + az * bz
        by_a, by_b, by_m = 1 / (a + 1e-300), 1 / (b + 1e-300), 1 / (ab * (ab + dot) + 1e-300)
        factor = (a + b) * by_m
        # The factor's gradient is a sum of a and b, as those of |a|, |b| and a.b are.
        along_a = (factor * (b * by_a * (2 * ab + dot) + ab) - by_a) * by_m / (4 * np.pi)
        along_b = (factor * (a * by_b * (2 * ab + dot) + ab) - by_b) * by_m / (4 * np.pi)
        cx_E[e], cy_E[e], cz_E[e] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        vx_E[e] = along_a * ax + along_b * bx
        vy_E[e] = along_a * ay + along_b * by
        vz_E[e] = along_a * az + along_b * bz
        f_E[e] = factor / (4 * np.pi)


@compile_part
def _add_terms(ends_KE: Floats, room_KE: Floats, size: int, field_12: Floats) -> None:
    """Sums in the order of the edges: f a x b, and its derivative (a x b) (grad f)^T + f [a - b] as a cross product."""
    gx, gy, gz, wx, wy, wz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for e in range(size):
        cx, cy, cz, vx, vy, vz = (
            room_KE[0, e],
            room_KE[1, e],
            room_KE[2, e],
            room_KE[3, e],
            room_KE[4, e],
            room_KE[5, e],
        )
        f = room_KE[6, e]
        gx, gy, gz = gx + f * cx, gy + f * cy, gz + f * cz
        wx += f * (ends_KE[0, e] - ends_KE[3, e])
        wy += f * (ends_KE[1, e] - ends_KE[4, e])
        wz += f * (ends_KE[2, e] - ends_KE[5, e])
        xx, xy, xz = xx + cx * vx, xy + cx * vy, xz + cx * vz
        yx, yy, yz = yx + cy * vx, yy + cy * vy, yz + cy * vz
        zx, zy, zz = zx + cz * vx, zy + cz * vy, zz + cz * vz
    field_12[0], field_12[1], field_12[2] = field_12[0] + gx, field_12[1] + gy, field_12[2] + gz
    field_12[3], field_12[4], field_12[5] = field_12[3] + xx, field_12[4] + xy + wz, field_12[5] + xz - wy
    field_12[6], field_12[7], field_12[8] = field_12[6] + yx - wz, field_12[7] + yy, field_12[8] + yz + wx
    field_12[9], field_12[10], field_12[11] = field_12[9] + zx + wy, field_12[10] + zy - wx, field_12[11] + zz


@compile_exact
def count_crossings(
    corners_F9: Floats, planes_F4: Floats, faces: Integers, f0: int, f1: int, r: Floats, x: float, y: float, z: float
) -> int:
    """Faces crossed from r to (x, y, z): +1 where the way leaves a face in front of it, -1 the other way."""
    # Only faces whose plane the way passes, and whose three sides it passes on one hand, are crossed.
    sx, sy, sz, count = x - r[0], y - r[1], z - r[2], 0
    for at in range(f0, f1):
        face = faces[at]
        p, c = planes_F4[face], corners_F9[face]
        from_r = p[0] * r[0] + p[1] * r[1] + p[2] * r[2] - p[3]
        from_p = p[0] * x + p[1] * y + p[2] * z - p[3]
        # Both ends on one side of the plane, a plane without area included: nothing is crossed.
        if (from_r > 0) == (from_p > 0):
            continue
        ax, ay, az = c[0] - r[0], c[1] - r[1], c[2] - r[2]
        bx, by, bz = c[3] - r[0], c[4] - r[1], c[5] - r[2]
        cx, cy, cz = c[6] - r[0], c[7] - r[1], c[8] - r[2]
        # Each side's product only changes its sign with the side's direction: neighbours agree, to the last bit.
        ab = sx * (ay * bz - az * by) + sy * (az * bx - ax * bz) + sz * (ax * by - ay * bx)
        bc = sx * (by * cz - bz * cy) + sy * (bz * cx - bx * cz) + sz * (bx * cy - by * cx)
        if (ab > 0) != (bc > 0):
            continue
        ca = sx * (cy * az - cz * ay) + sy * (cz * ax - cx * az) + sz * (cx * ay - cy * ax)
        if (bc > 0) == (ca > 0):
            count += 1 if from_p > 0 else -1
    return count
