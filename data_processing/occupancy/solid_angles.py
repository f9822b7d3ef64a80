"""What a surface and its boundary make of the winding number, on a CPU, compiled by numba.

Between two places the number changes by whole crossings of the surface, and smoothly by what the boundary turns as it
is seen from one place and from the other: w(p) = w(r) - count_crossings(r, p) + turn(r, p). The boundary, the
edges that faces walk more often one way than the other, also gives the number up to an integer at any place ("One-shot
method for computing generalized winding numbers", Martens and Bessmeltsev, 2025). Soups of furniture have some hundred
such edges beside ten thousands of faces. Why this holds: docs/explanation/winding-number.md.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact, compile_inner, compile_inner_sums

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


@compile_inner
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


@compile_inner
def half_turns(room_KE: Floats, row: int, size: int) -> float:
    """The sum of the angles of complex numbers, in turns of pi. Pairs are multiplied until one is left.

    Real and imaginary parts are in `row` and the next, and the one behind is used. Where two angles of one sign add up
    to more than pi, the product's sign says so: whole turns are counted.
    """
    # Halves are multiplied onto each other: as quick as one pass, and vectorised.
    re, im, turns = row, row + 1, row + 2
    for e in range(size):
        room_KE[turns, e] = 0.0
    while size > 1:
        half = (size + 1) // 2
        for e in range(size - half):
            first, second = room_KE[im, e], room_KE[im, half + e]
            real = room_KE[re, e] * room_KE[re, half + e] - first * second
            imaginary = room_KE[re, e] * second + first * room_KE[re, half + e]
            over = 2.0 if (first > 0) & (second > 0) & (imaginary < 0) else 0.0
            under = 2.0 if (first < 0) & (second < 0) & (imaginary > 0) else 0.0
            room_KE[turns, e] += room_KE[turns, half + e] + over - under
            scale = 1.0 / (np.abs(real) + np.abs(imaginary) + 1e-300)
            room_KE[re, e], room_KE[im, e] = real * scale, imaginary * scale
        size = half
    return room_KE[turns, 0] + np.arctan2(room_KE[im, 0], room_KE[re, 0]) / np.pi


@compile_inner
def exact_number(edges_6E: Floats, factors_3E: Floats, x: float, y: float, z: float, w: float) -> float:
    """The number at a place: what the boundary makes it up to an integer, nearest to `w`.

    Each edge and the direction (0, 0, -1) span a spherical triangle. An edge that counts twice is there twice.
    Straight below an end of an edge two sides of that triangle have no direction: there it is spanned with another one.
    Loops without dependencies: they become vector instructions.
    """
    size = edges_6E.shape[1]
    if size == 0:
        return np.rint(w)
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = edges_6E[0], edges_6E[1], edges_6E[2], edges_6E[3], edges_6E[4], edges_6E[5]
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
        _set_factors_aside(edges_6E, factors_3E, x, y, z)
    # The boundary knows the fraction exactly, `w` is close enough to tell the whole turns.
    turn = half_turns(factors_3E, 0, size) / 2
    return turn + np.rint(w - turn)


@compile_inner
def _set_factors_aside(edges_6E: Floats, factors_3E: Floats, x: float, y: float, z: float) -> None:
    """The complex numbers of exact_number for the direction ASIDE. An edge through the place itself turns nothing."""
    for e in range(edges_6E.shape[1]):
        ax, ay, az = edges_6E[0, e] - x, edges_6E[1, e] - y, edges_6E[2, e] - z
        bx, by, bz = edges_6E[3, e] - x, edges_6E[4, e] - y, edges_6E[5, e] - z
        a, b = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        along_a = ax * ASIDE[0] + ay * ASIDE[1] + az * ASIDE[2]
        along_b = bx * ASIDE[0] + by * ASIDE[1] + bz * ASIDE[2]
        re = a * b + ax * bx + ay * by + az * bz + along_a * b + along_b * a
        im = (ay * bz - az * by) * ASIDE[0] + (az * bx - ax * bz) * ASIDE[1] + (ax * by - ay * bx) * ASIDE[2]
        length = np.abs(re) + np.abs(im)
        factors_3E[0, e], factors_3E[1, e] = (re / length, im / length) if length > 0 else (1.0, 0.0)


@compile_exact
def see_edges(edges_6E: Floats, r: Floats, seen_9E: Floats) -> None:
    """Edges as they are seen from r, into the first columns: a and b from r to their ends, |a|, |b|, and a . b."""
    ax_E, ay_E, az_E, bx_E, by_E, bz_E = edges_6E[0], edges_6E[1], edges_6E[2], edges_6E[3], edges_6E[4], edges_6E[5]
    x, y, z = r[0], r[1], r[2]
    for e in range(edges_6E.shape[1]):
        ax, ay, az, bx, by, bz = ax_E[e] - x, ay_E[e] - y, az_E[e] - z, bx_E[e] - x, by_E[e] - y, bz_E[e] - z
        seen_9E[0, e], seen_9E[1, e], seen_9E[2, e], seen_9E[3, e], seen_9E[4, e], seen_9E[5, e] = (
            ax,
            ay,
            az,
            bx,
            by,
            bz,
        )
        seen_9E[6, e], seen_9E[7, e] = np.sqrt(ax * ax + ay * ay + az * az), np.sqrt(bx * bx + by * by + bz * bz)
        seen_9E[8, e] = ax * bx + ay * by + az * bz


@compile_inner
def turn_edges(seen_9K: Floats, e0: int, e1: int, x: float, y: float, z: float, room_KE: Floats) -> float:
    """What the edges seen_9K[:, e0:e1] add to the number on the way (x, y, z) from where they are seen.

    Each sweeps a parallelogram. How they are seen from the end of the way is left in rows 0 to 8 of `room_KE`; the
    three rows behind those are used. Two loops: with more rows in one, none of them becomes vector instructions.
    """
    size = e1 - e0
    if size == 0:
        return 0.0
    for e in range(size):
        k = np.uint64(e0 + e)
        dx, dy, dz = seen_9K[0, k] - x, seen_9K[1, k] - y, seen_9K[2, k] - z
        cx, cy, cz = seen_9K[3, k] - x, seen_9K[4, k] - y, seen_9K[5, k] - z
        room_KE[0, e], room_KE[1, e], room_KE[2, e], room_KE[3, e], room_KE[4, e], room_KE[5, e] = (
            dx,
            dy,
            dz,
            cx,
            cy,
            cz,
        )
        room_KE[6, e], room_KE[7, e] = np.sqrt(dx * dx + dy * dy + dz * dz), np.sqrt(cx * cx + cy * cy + cz * cz)
        room_KE[8, e] = cx * dx + cy * dy + cz * dz
    for e in range(size):
        k = np.uint64(e0 + e)
        ax, ay, az, bx, by, bz, a, b, ab = (
            seen_9K[0, k],
            seen_9K[1, k],
            seen_9K[2, k],
            seen_9K[3, k],
            seen_9K[4, k],
            seen_9K[5, k],
            seen_9K[6, k],
            seen_9K[7, k],
            seen_9K[8, k],
        )
        dx, dy, dz, cx, cy, cz, d, c, cd = (
            room_KE[0, e],
            room_KE[1, e],
            room_KE[2, e],
            room_KE[3, e],
            room_KE[4, e],
            room_KE[5, e],
            room_KE[6, e],
            room_KE[7, e],
            room_KE[8, e],
        )
        nx, ny, nz = ay * cz - az * cy, az * cx - ax * cz, ax * cy - ay * cx  # the diagonal's, for both triangles
        ac = ax * cx + ay * cy + az * cz
        first_re = a * b * c + ab * c + (bx * cx + by * cy + bz * cz) * a + ac * b
        second_re = a * c * d + ac * d + cd * a + (dx * ax + dy * ay + dz * az) * c
        first_im, second_im = -(nx * bx + ny * by + nz * bz), nx * dx + ny * dy + nz * dz
        # The parallelogram is less than half of the sphere, so the sum of both half angles is one angle.
        re, im = first_re * second_re - first_im * second_im, first_re * second_im + first_im * second_re
        scale = 1.0 / (np.abs(re) + np.abs(im) + 1e-300)
        room_KE[9, e], room_KE[10, e] = re * scale, im * scale
    return -half_turns(room_KE, 9, size) / 2


@compile_exact
def add_field(room_19E: Floats, size: int, limit: float, field_12: Floats) -> None:
    """Add what those of the first edges whose row 9 is below the limit make of the number's gradient, and its change.

    The gradient (3), where the edges are seen from, is the field of a current along them, over 4 pi; a row of its
    derivative (3, 3) is how one component changes along the axes. `room_19E`: the edges as seen (9), row 9, and from
    row 12 on seven that are used.
    """
    _set_terms(room_19E, size, limit)
    _add_terms(room_19E, size, field_12)


@compile_inner
def _set_terms(room_19E: Floats, size: int, limit: float) -> None:
    """Of each edge with ends a and b: a x b, the factor f that makes it the gradient, and grad f; 0 of the others."""
    for e in range(size):
        ax, ay, az, bx, by, bz, a, b, dot = (
            room_19E[0, e],
            room_19E[1, e],
            room_19E[2, e],
            room_19E[3, e],
            room_19E[4, e],
            room_19E[5, e],
            room_19E[6, e],
            room_19E[7, e],
            room_19E[8, e],
        )
        far, ab = room_19E[9, e] < limit, a * b
        by_a, by_b, by_m = 1 / (a + 1e-300), 1 / (b + 1e-300), 1 / (ab * (ab + dot) + 1e-300)
        factor = (a + b) * by_m
        # The factor's gradient is a sum of a and b, as those of |a|, |b| and a.b are.
        along_a = (factor * (b * by_a * (2 * ab + dot) + ab) - by_a) * by_m / (4 * np.pi)
        along_b = (factor * (a * by_b * (2 * ab + dot) + ab) - by_b) * by_m / (4 * np.pi)
        # Close to a near edge these overflow; they are left out before anything is multiplied.
        vx, vy, vz = along_a * ax + along_b * bx, along_a * ay + along_b * by, along_a * az + along_b * bz
        room_19E[12, e], room_19E[13, e], room_19E[14, e] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        room_19E[15, e], room_19E[16, e] = vx if far else 0.0, vy if far else 0.0
        room_19E[17, e], room_19E[18, e] = vz if far else 0.0, factor / (4 * np.pi) if far else 0.0


@compile_inner_sums
def _add_terms(room_19E: Floats, size: int, field_12: Floats) -> None:
    """Sums of some edges together: f a x b, and its derivative (a x b) (grad f)^T + f [a - b] as a cross product."""
    gx, gy, gz, wx, wy, wz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for e in range(size):
        cx, cy, cz, vx, vy, vz, f = (
            room_19E[12, e],
            room_19E[13, e],
            room_19E[14, e],
            room_19E[15, e],
            room_19E[16, e],
            room_19E[17, e],
            room_19E[18, e],
        )
        gx, gy, gz = gx + f * cx, gy + f * cy, gz + f * cz
        wx += f * (room_19E[0, e] - room_19E[3, e])
        wy += f * (room_19E[1, e] - room_19E[4, e])
        wz += f * (room_19E[2, e] - room_19E[5, e])
        xx, xy, xz = xx + cx * vx, xy + cx * vy, xz + cx * vz
        yx, yy, yz = yx + cy * vx, yy + cy * vy, yz + cy * vz
        zx, zy, zz = zx + cz * vx, zy + cz * vy, zz + cz * vz
    field_12[0], field_12[1], field_12[2] = field_12[0] + gx, field_12[1] + gy, field_12[2] + gz
    field_12[3], field_12[4], field_12[5] = field_12[3] + xx, field_12[4] + xy + wz, field_12[5] + xz - wy
    field_12[6], field_12[7], field_12[8] = field_12[6] + yx - wz, field_12[7] + yy, field_12[8] + yz + wx
    field_12[9], field_12[10], field_12[11] = field_12[9] + zx + wy, field_12[10] + zy - wx, field_12[11] + zz


@compile_inner
def count_crossings(
    corners_F9: Floats, planes_F4: Floats, faces: Integers, f0: int, f1: int, r: Floats, x: float, y: float, z: float
) -> int:
    """Faces crossed from r to (x, y, z): +1 where the way leaves a face in front of it, -1 the other way."""
    # Only faces whose plane the way passes, and whose three sides it passes on one hand, are crossed.
    rx, ry, rz, count = r[0], r[1], r[2], 0
    sx, sy, sz = x - rx, y - ry, z - rz
    for at in range(f0, f1):
        # Numbers one by one: a row taken out is counted by atomic operations, which cost as much as the test.
        face = np.uint64(faces[at])
        from_r = planes_F4[face, 0] * rx + planes_F4[face, 1] * ry + planes_F4[face, 2] * rz - planes_F4[face, 3]
        from_p = planes_F4[face, 0] * x + planes_F4[face, 1] * y + planes_F4[face, 2] * z - planes_F4[face, 3]
        # Both ends on one side of the plane, a plane without area included: nothing is crossed.
        if (from_r > 0) == (from_p > 0):
            continue
        ax, ay, az = corners_F9[face, 0] - rx, corners_F9[face, 1] - ry, corners_F9[face, 2] - rz
        bx, by, bz = corners_F9[face, 3] - rx, corners_F9[face, 4] - ry, corners_F9[face, 5] - rz
        cx, cy, cz = corners_F9[face, 6] - rx, corners_F9[face, 7] - ry, corners_F9[face, 8] - rz
        # Each side's product only changes its sign with the side's direction: neighbours agree, to the last bit.
        ab = sx * (ay * bz - az * by) + sy * (az * bx - ax * bz) + sz * (ax * by - ay * bx)
        bc = sx * (by * cz - bz * cy) + sy * (bz * cx - bx * cz) + sz * (bx * cy - by * cx)
        if (ab > 0) != (bc > 0):
            continue
        ca = sx * (cy * az - cz * ay) + sy * (cz * ax - cx * az) + sz * (cx * ay - cy * ax)
        if (bc > 0) == (ca > 0):
            count += 1 if from_p > 0 else -1
    return count
