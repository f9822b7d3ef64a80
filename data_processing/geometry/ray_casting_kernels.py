"""Which triangle a ray from an eye meets first, on a CPU, compiled by numba: triangles are drawn over the rays.

All rays of a picture come from one eye. So nothing is searched for each ray: each triangle is tried on the rays of the
cells of the picture that it covers ("Triangle Scan Conversion using 2D Homogeneous Coordinates", Olano and Greer,
1997). A picture is the plane at depth 1 before the eye; a ray is a place (x, y) in it.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NEAR = 1e-6  # depth below which a corner counts as beside or behind the eye
ROUNDING = 1e-12
WIDE = 8  # columns; of wider triangles those are taken that each row needs


@compile_exact
def face_boxes(
    vertices_V3: NDArray[np.float32], faces_F3: Integers, eye_43: Floats, corners_V3: Floats, boxes_5F: Floats
) -> None:
    """Write the vertices as the eye has them: to the right, upwards, away. And where each face is in the picture.

    `eye`: its place, right, up and forward. Of a face: left, right, lower and upper end, and a depth before which it is
    not met. One that reaches beside or behind the eye may be seen anywhere; one that is behind is seen nowhere.
    """
    for v in range(vertices_V3.shape[0]):
        x, y, z = vertices_V3[v, 0] - eye_43[0, 0], vertices_V3[v, 1] - eye_43[0, 1], vertices_V3[v, 2] - eye_43[0, 2]
        for axis in range(3):
            corners_V3[v, axis] = eye_43[axis + 1, 0] * x + eye_43[axis + 1, 1] * y + eye_43[axis + 1, 2] * z
    for face in range(faces_F3.shape[0]):
        left, right, low, high, nearest, farthest = np.inf, -np.inf, np.inf, -np.inf, np.inf, 0.0
        for corner in range(3):
            v = faces_F3[face, corner]
            z = corners_V3[v, 2]
            nearest, farthest = min(nearest, z), max(farthest, z)
            x, y = corners_V3[v, 0] / z, corners_V3[v, 1] / z
            # A ray through a corner is rounded elsewhere.
            across, upwards = ROUNDING * (1 + abs(x)), ROUNDING * (1 + abs(y))
            left, right = min(left, x - across), max(right, x + across)
            low, high = min(low, y - upwards), max(high, y + upwards)
        # The plane of the picture has no finite place for a corner beside or behind the eye: such a face is tried on
        # all rays, and the test of the sides decides.
        if nearest <= NEAR:
            left, right, low, high, nearest = -np.inf, np.inf, -np.inf, np.inf, 0.0
        if farthest <= 0:
            left, right = np.inf, -np.inf
        boxes_5F[0, face], boxes_5F[1, face], boxes_5F[2, face], boxes_5F[3, face] = left, right, low, high
        boxes_5F[4, face] = nearest * (1 - NEAR)  # the depth that is computed of a ray is rounded


@compile_exact
def sort_places(
    places_N2: Floats, columns: int, rows: int, places_2N: Floats, order_N: Integers, first_C: Integers, grid_6: Floats
) -> None:
    """Sort rays by the cells of a grid around them, in rows; a ray keeps its place among those of its cell.

    `first_C`, zeros (cells + 1,), gets where each cell begins; `grid`: columns and rows, where they begin (x, y), and
    how many there are in a unit.
    """
    low_x = high_x = places_N2[0, 0]
    low_y = high_y = places_N2[0, 1]
    for n in range(places_N2.shape[0]):
        x, y = places_N2[n, 0], places_N2[n, 1]
        low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    # All rays may lie on one line: no division by its width of 0.
    per_x, per_y = columns / max(high_x - low_x, 1e-12), rows / max(high_y - low_y, 1e-12)
    grid_6[0], grid_6[1], grid_6[2], grid_6[3], grid_6[4], grid_6[5] = columns, rows, low_x, low_y, per_x, per_y
    cell_N = np.empty(places_N2.shape[0], np.int64)
    for n in range(places_N2.shape[0]):
        column = min(int((places_N2[n, 0] - low_x) * per_x), columns - 1)
        cell_N[n] = min(int((places_N2[n, 1] - low_y) * per_y), rows - 1) * columns + column
        first_C[cell_N[n] + 1] += 1
    # A counting sort: sums of the counts are where each cell begins, and a second pass puts every ray in its place.
    for cell in range(1, first_C.shape[0]):
        first_C[cell] += first_C[cell - 1]
    next_C = first_C.copy()
    for n in range(places_N2.shape[0]):
        at = next_C[cell_N[n]]
        next_C[cell_N[n]] += 1
        order_N[at] = n
        places_2N[0, at], places_2N[1, at] = places_N2[n, 0], places_N2[n, 1]


@compile_exact
def first_faces(
    corners_V3: Floats,
    faces_F3: Integers,
    boxes_5F: Floats,
    places_2N: Floats,
    first_C: Integers,
    grid_6: Floats,
    depth_N: Floats,
    face_N: Integers,
) -> None:
    """Write the face (or -1) that each ray meets first within `depth_N`, and its depth there.

    Rays `first_C[c]` to `first_C[c + 1]` lie in cell c of a grid, in rows; `grid`: as sort_places makes it. Of faces at
    the same depth the first one is met.
    """
    columns, rows, low_x, low_y, per_x, per_y = (
        int(grid_6[0]),
        int(grid_6[1]),
        grid_6[2],
        grid_6[3],
        grid_6[4],
        grid_6[5],
    )
    # Compared as floating numbers first: an infinite end fits into no integer. `edge` is for rounding, in cells.
    right_end, upper_end, edge = float(columns), float(rows), 1e-9
    for face in range(faces_F3.shape[0]):
        # The cells of the triangle's box. An infinite one covers all of them.
        left, right = boxes_5F[0, face], boxes_5F[1, face]
        low, high, nearest = boxes_5F[2, face], boxes_5F[3, face], boxes_5F[4, face]
        left_cell, right_cell = (left - low_x) * per_x - edge, (right - low_x) * per_x + edge
        low_cell, high_cell = (low - low_y) * per_y - edge, (high - low_y) * per_y + edge
        if right_cell < 0 or left_cell >= right_end or high_cell < 0 or low_cell >= upper_end:
            continue
        first_column, last_column = int(max(left_cell, 0.0)), int(min(right_cell, right_end - 1.0))
        first_row, last_row = int(max(low_cell, 0.0)), int(min(high_cell, upper_end - 1.0))
        # A long slanted triangle leaves most of its box empty: row by row only the columns that it reaches are tried.
        wide = last_column - first_column >= WIDE and right_cell < np.inf
        i, j, k = faces_F3[face, 0], faces_F3[face, 1], faces_F3[face, 2]
        az, bz, cz = corners_V3[i, 2], corners_V3[j, 2], corners_V3[k, 2]
        ready = False
        u0 = u1 = u2 = v0 = v1 = v2 = w0 = w1 = w2 = 0.0
        for row in range(first_row, last_row + 1):
            start, stop = first_column, last_column
            if wide:
                bottom, top = low_y + (row - edge) / per_y, low_y + (row + 1 + edge) / per_y
                left, right = _extent(
                    corners_V3[i, 0] / az,
                    corners_V3[i, 1] / az,
                    corners_V3[j, 0] / bz,
                    corners_V3[j, 1] / bz,
                    corners_V3[k, 0] / cz,
                    corners_V3[k, 1] / cz,
                    bottom,
                    top,
                )
                start = max(start, int(max((left - low_x) * per_x - edge, 0.0)))
                stop = min(stop, int(min(max((right - low_x) * per_x + edge, -1.0), right_end - 1.0)))
                left, right = boxes_5F[0, face], boxes_5F[1, face]
                if stop < start:
                    continue
            for at in range(first_C[row * columns + start], first_C[row * columns + stop + 1]):
                x, y = places_2N[0, at], places_2N[1, at]
                # Bitwise: five cheap comparisons in one branch. Who already met something nearer than the face's
                # nearest corner needs no test.
                if (x < left) | (x > right) | (y < low) | (y > high) | (nearest >= depth_N[at]):
                    continue
                # Through the eye and each side goes a plane; of (x, y, 1) they make the weights of the corners.
                if not ready:
                    ax, ay, bx, by = corners_V3[i, 0], corners_V3[i, 1], corners_V3[j, 0], corners_V3[j, 1]
                    cx, cy = corners_V3[k, 0], corners_V3[k, 1]
                    u0, u1, u2 = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
                    v0, v1, v2 = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
                    w0, w1, w2 = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
                    ready = True
                # The ray passes the three sides on one hand. Neighbours compute a side with the sign turned and nothing
                # else changed, so that no ray slips through between them.
                u, v, w = u0 * x + u1 * y + u2, v0 * x + v1 * y + v2, w0 * x + w1 * y + w2
                if ((u < 0) | (v < 0) | (w < 0)) & ((u > 0) | (v > 0) | (w > 0)):
                    continue
                # Weights over their sum make the point of the face that the ray meets, and so its depth.
                total = u + v + w
                depth = (u * az + v * bz + w * cz) / total
                if 0 < depth < depth_N[at]:  # a triangle seen edge-on has no depth, which is not a number
                    depth_N[at], face_N[at] = depth, face


@compile_exact
def _extent(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, low: float, high: float
) -> tuple[float, float]:
    """The least and the largest x of a triangle between two heights; an empty range where there is none."""
    a0, a1 = _side(ax, ay, bx, by, low, high)
    b0, b1 = _side(bx, by, cx, cy, low, high)
    c0, c1 = _side(cx, cy, ax, ay, low, high)
    return min(a0, b0, c0), max(a1, b1, c1)


@compile_exact
def _side(ax: float, ay: float, bx: float, by: float, low: float, high: float) -> tuple[float, float]:
    """The same of a side."""
    # From the lower end to the higher, so that both faces of a side round it alike.
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    if by < low or ay > high:
        return np.inf, -np.inf
    from_x = ax if ay >= low else ax + (bx - ax) * ((low - ay) / (by - ay))
    to_x = bx if by <= high else ax + (bx - ax) * ((high - ay) / (by - ay))
    return min(from_x, to_x), max(from_x, to_x)


@compile_exact
def face_normals(
    vertices_V3: NDArray[np.float32], faces_F3: Integers, face_N: Integers, normals_N3: NDArray[np.float32]
) -> None:
    """Write the normals of faces, of the length of twice their areas, all in single precision."""
    for n in range(face_N.shape[0]):
        a, b, c = faces_F3[face_N[n], 0], faces_F3[face_N[n], 1], faces_F3[face_N[n], 2]
        # No division and no root: whoever shades divides by the length.
        ux, vx = vertices_V3[b, 0] - vertices_V3[a, 0], vertices_V3[c, 0] - vertices_V3[a, 0]
        uy, vy = vertices_V3[b, 1] - vertices_V3[a, 1], vertices_V3[c, 1] - vertices_V3[a, 1]
        uz, vz = vertices_V3[b, 2] - vertices_V3[a, 2], vertices_V3[c, 2] - vertices_V3[a, 2]
        normals_N3[n, 0], normals_N3[n, 1], normals_N3[n, 2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
