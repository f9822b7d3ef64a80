"""The one convention of space, and nothing else.

Every shape lives in the cube [-0.5, 0.5]^3. Array axes (i, j, k) are (x, y, z). Voxel i of R has its centre at
(i + 0.5) / R - 0.5: cell-centred, everywhere. `to_world` is the 4x4 affine from the cube
to the frame of the input file.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Normalisation = Literal["longest_edge", "diagonal", "fixed", "none"]
FIXED_POINT = 1 << 15  # steps of a cube unit in stored points


def voxel_centres(index: torch.Tensor, resolution: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Cube coordinates of the centres of voxels `index` (any shape, 0..resolution-1) along each axis."""
    return (index.to(dtype) + 0.5) / resolution - 0.5


def voxel_index(points: torch.Tensor, resolution: int) -> torch.Tensor:
    """Index of the voxel that holds each cube point, clamped into the grid: same shape, int64."""
    return ((points + 0.5) * resolution).floor().long().clamp_(0, resolution - 1)


def to_fixed(points: NDArray[np.floating]) -> NDArray[np.int16]:
    """Cube coordinates in [-1, 1] as signed fixed point of 16 bits; what lies beyond is moved to the border."""
    return np.clip(np.floor(np.asarray(points, np.float64) * FIXED_POINT), -FIXED_POINT, FIXED_POINT - 1).astype(
        np.int16
    )


def from_fixed(fixed: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The inverse of `to_fixed`, within 1/65536 (1.53e-5): the middle of the step, exact in float32."""
    # Rounded down on the way in: the middle of the step is half a step from the truth at most.
    return (fixed.to(dtype) + 0.5) / FIXED_POINT


def transform_points(points_N3: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply a 4x4 affine to (N, 3) points in float64."""
    points = np.asarray(points_N3, dtype=np.float64)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def scaling_about(centre: NDArray[np.floating], length: float) -> NDArray[np.float64]:
    """`to_world` of a cube whose side of 1 is `length` world units, with its middle at `centre`."""
    matrix = np.eye(4)
    matrix[:3, :3] *= length
    matrix[:3, 3] = centre
    return matrix


def normalising_to_world(
    lower: NDArray[np.floating], upper: NDArray[np.floating], *, by: Normalisation, length: float
) -> NDArray[np.float64]:
    """`to_world` that puts a bounding box into the middle of the cube with its longest edge (or diagonal) at `length`.

    `lower`, `upper`: (3,) corners in the frame of the file. `length`: in cube units, in (0, 1] for the longest edge;
    up to sqrt(3) for the diagonal of a box that still fits; for "fixed" the side of the cube in units of the file, one
    scale for all shapes. Raises ValueError when the box is empty or not finite, or when the result would leave the
    cube.
    """
    lower, upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if by == "none":
        return np.eye(4)
    edges = upper - lower
    size = float(edges.max() if by == "longest_edge" else np.linalg.norm(edges))
    if not np.isfinite(size) or size <= 0:
        raise ValueError(f"bounding box {lower.tolist()} to {upper.tolist()} has no size: nothing to normalise")
    # Sizes are kept: one scale for all shapes, and what does not fit is refused rather than shrunk.
    if by == "fixed":
        if edges.max() > length * (1 + 1e-9):
            raise ValueError(
                f"bounding box {lower.tolist()} to {upper.tolist()} has an edge of {edges.max():g}, the fixed cube one "
                f"of {length:g}, as normalisation.length of the data's config says: prepare with a larger one"
            )
        return scaling_about((lower + upper) / 2, length)
    # A diagonal may be longer than the cube's edge: then the box would stick out.
    if edges.max() * length / size > 1 + 1e-9:
        raise ValueError(
            f"normalising {by} to {length} puts an edge of {edges.max() * length / size:.3f} into the unit cube: "
            "choose a smaller length"
        )
    return scaling_about((lower + upper) / 2, size / length)
