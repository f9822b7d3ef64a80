"""The 100 silhouettes of a shape: which pixel centres its triangles cover, seen from the cameras of tables.py.

Orthographic, both facings, no anti-aliasing: 256 x 256 pixels over the square [-1, 1] around a shape whose longest edge
is 1; row 0 is the lowest. Corners are snapped to 1/256 of a pixel, the rest is integer arithmetic: a pixel centre on a
side belongs to the triangle of which that is a left or a top side, as OpenGL rasterisers have it. Thus every device
gives the same pixels. No picture is shaded here: geometry/rendering.py does that.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field.tables import screen_axes
from isofield.runtime.threads import map_in_threads

PIXELS = 256
STEPS = 256  # lattice steps a pixel
PAIRS_AT_ONCE = 1 << 22  # triangles times views, and rows of triangles, held at once by the torch path


def silhouettes(mesh: TriangleMesh, *, device: torch.device | str) -> torch.Tensor:
    """Pixels (100, 256, 256) uint8, 1 inside, on the device: view after view of set after set.

    Raises ValueError for a mesh without faces, with NaN or infinite vertices, or without an extent.
    """
    device = torch.device(device)
    vertices_V3 = normalise_box(mesh)
    if device.type != "cpu":
        return silhouettes_plain(vertices_V3, mesh.faces, screen_axes(), device=device)
    from isofield.metrics.light_field import silhouette_kernels as kernels

    faces_F3 = np.ascontiguousarray(mesh.faces)
    views = map_in_threads(lambda axes_23: kernels.silhouette(vertices_V3, faces_F3, axes_23, PIXELS), screen_axes())
    return torch.from_numpy(np.stack(list(views)))


def normalise_box(mesh: TriangleMesh) -> NDArray[np.float64]:
    """Vertices (V, 3) with the middle of the box of the used ones at 0 and its longest edge 1; unused ones become 0."""
    faces_F3 = mesh.faces
    if len(faces_F3) == 0:
        raise ValueError("a light field descriptor needs a surface, got a mesh without faces")
    first, last, count = int(faces_F3.min()), int(faces_F3.max()), len(mesh.vertices)
    if first < 0 or last >= count:
        raise ValueError(f"faces refer to vertices {first} to {last}, the mesh has {count}, counted from 0")
    lower_3, upper_3 = mesh.bounds()
    if not (np.isfinite(lower_3).all() and np.isfinite(upper_3).all()):
        raise ValueError("the mesh has NaN or infinite vertices; repair it before describing it")
    edge = float((upper_3 - lower_3).max())
    if not 0 < edge < np.inf:
        raise ValueError(f"the longest edge of the mesh's box is {edge:g}, expected a positive length")
    # Vertices that no face uses may lie anywhere, also at infinity: products with them would be NaN.
    inside_V = np.all((mesh.vertices >= lower_3) & (mesh.vertices <= upper_3), axis=1)
    return np.where(inside_V[:, None], (mesh.vertices - (lower_3 + upper_3) / 2) / edge, 0.0)


def silhouettes_plain(
    vertices_V3: NDArray[np.float64],
    faces_F3: NDArray[np.int64],
    axes_W23: NDArray[np.float64],
    *,
    device: torch.device | str,
) -> torch.Tensor:
    """Pixels (W, 256, 256) uint8 of W views by plain torch operators, on any device; as silhouette_kernels.py."""
    vertices, faces = torch.as_tensor(vertices_V3, device=device), torch.as_tensor(faces_F3, device=device)
    axes = torch.as_tensor(axes_W23, device=device)
    at_once = max(PAIRS_AT_ONCE // len(faces_F3), 1)
    return torch.cat([_filled(_snapped(vertices, part), faces) for part in axes.split(at_once)])


def _snapped(vertices_V3: torch.Tensor, axes_W23: torch.Tensor) -> torch.Tensor:
    """Corners (W, V, 2) on the lattice, int32; products are added one by one: no device may fuse or reorder them."""
    x, y, z = (vertices_V3[:, d, None] * axes_W23[:, None, :, d] for d in range(3))
    return torch.round(((x + y) + z + 1.0) * (PIXELS * STEPS / 2)).int()


def _filled(corners_WV2: torch.Tensor, faces_F3: torch.Tensor) -> torch.Tensor:
    """Spans of pixels of all rows of all triangles, added up as +1 where one begins and -1 behind its end."""
    views = len(corners_WV2)
    change = torch.zeros(views * PIXELS * (PIXELS + 1), dtype=torch.int32, device=corners_WV2.device)
    for view_K, triangles_K32, row_K in _rows(corners_WV2, faces_F3):
        first_K, last_K = _spans(triangles_K32, row_K * STEPS + STEPS // 2)
        at_K = (view_K * PIXELS + row_K) * (PIXELS + 1)
        # A column more than there are pixels takes the end of a span that reaches the border.
        covered_K = (first_K <= last_K).int()
        change.index_add_(0, at_K + first_K.clamp(max=PIXELS), covered_K)
        change.index_add_(0, at_K + (last_K + 1).clamp(min=0), -covered_K)
    depth = change.view(views, PIXELS, PIXELS + 1).cumsum(dim=2)
    return (depth[:, :, :PIXELS] > 0).to(torch.uint8)


def _rows(
    corners_WV2: torch.Tensor, faces_F3: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """View (K,), corners (K, 3, 2) counter-clockwise and pixel row (K,) of all triangles that reach a pixel centre."""
    triangles_N32 = corners_WV2[:, faces_F3].flatten(0, 1)
    # Pixel k has its centre at (k + 1/2) STEPS: the first one not below the lowest corner, the last one not above the
    # highest.
    low_N2, high_N2 = (triangles_N32.amin(1) + STEPS // 2 - 1) // STEPS, (triangles_N32.amax(1) - STEPS // 2) // STEPS
    kept_M = (low_N2 <= high_N2).all(dim=1).nonzero()[:, 0]  # the others lie between pixel centres
    triangles_M32, low_M, high_M = triangles_N32[kept_M].long(), low_N2[kept_M, 1].long(), high_N2[kept_M, 1].long()
    (ab_M2, ac_M2) = triangles_M32[:, 1] - triangles_M32[:, 0], triangles_M32[:, 2] - triangles_M32[:, 0]
    area_M = ab_M2[:, 0] * ac_M2[:, 1] - ab_M2[:, 1] * ac_M2[:, 0]
    # Counter-clockwise, so that inside lies to the left of every side.
    triangles_M32 = torch.where((area_M < 0)[:, None, None], triangles_M32.flip(1), triangles_M32)
    # Where the rows of each triangle end in a list of all; one that is seen from its edge has none.
    view_M, end_M = kept_M // len(faces_F3), ((high_M - low_M + 1) * (area_M != 0)).cumsum(0)
    total = int(end_M[-1]) if len(end_M) else 0
    for start in range(0, total, PAIRS_AT_ONCE):
        row_K = torch.arange(start, min(start + PAIRS_AT_ONCE, total), device=end_M.device)
        which_K = torch.searchsorted(end_M, row_K, right=True)
        begin_K = end_M[which_K - 1].masked_fill(which_K == 0, 0)
        yield view_M[which_K], triangles_M32[which_K], low_M[which_K] + row_K - begin_K


def _spans(triangles_K32: torch.Tensor, y_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last pixel column (K,) that each triangle covers at height y; last < first where there is none."""
    first_K, last_K = torch.zeros_like(y_K), torch.full_like(y_K, PIXELS - 1)
    for corner in range(3):
        start_K2, end_K2 = triangles_K32[:, corner], triangles_K32[:, (corner + 1) % 3]
        dx_K, dy_K = (end_K2 - start_K2).unbind(1)
        # On integers one more turns > into >=: a centre on a side counts where the triangle owns that side.
        owned_K = ((dy_K < 0) | ((dy_K == 0) & (dx_K < 0))).long()
        # The edge function at column c is `edge - slope * c`; inside it is positive.
        slope_K = dy_K * STEPS
        edge_K = dx_K * (y_K - start_K2[:, 1]) - dy_K * (STEPS // 2 - start_K2[:, 0]) + owned_K
        # Not 0 either where the side is horizontal: what is divided for it is not used.
        divisor_K = slope_K.abs().clamp(min=1)
        upto_K = torch.div(edge_K + divisor_K - 1, divisor_K, rounding_mode="floor") - 1
        from_K = torch.div(-edge_K, divisor_K, rounding_mode="floor") + 1
        last_K = torch.where(slope_K > 0, torch.minimum(last_K, upto_K), last_K)
        first_K = torch.where(slope_K < 0, torch.maximum(first_K, from_K), first_K)
        # Horizontal: the whole row lies on one side of it.
        last_K = last_K.masked_fill((slope_K == 0) & (edge_K <= 0), -1)
    return first_K, last_K
