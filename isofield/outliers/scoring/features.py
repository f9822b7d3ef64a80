"""What a mask looks like, in numbers: its whole shape, its surface at several scales, how its slices follow each other.

Masks are boolean grids of cubic voxels; `spacing` is their edge in mm. Numbers that have a size are logarithms of mm,
so that a ratio is a difference. None of it knows what an organ is: what is usual is learnt from clean masks.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.mask_surfaces import surface_elements
from isofield.outliers.scoring.cube_masks import box_of_cells
from isofield.outliers.scoring.shape_space import signed_distance

Mask = NDArray[np.bool_]
Features = dict[str, float]
MARGIN = 8  # voxels around a mask
SCALES = (1.0, 2.0, 4.0, 8.0)  # voxels, of the smoothed occupancy at the surface
WIDE = 3.0  # voxels: from here on at half the resolution
SHARES = (1, 5, 25, 50, 75, 95, 99)  # percentiles
AXES = "xyz"
TINY = 1e-6
DIRECTIONS = 64


def crop_mask(mask: Mask, margin: int = MARGIN) -> Mask:
    """The box of a mask with empty voxels around it. ValueError for an empty mask."""
    box = box_of_cells(mask)
    if box is None:
        raise ValueError("an empty mask has no features")
    return np.pad(mask[box], margin)


def shape_features(inside: Mask, spacing: float, distance: NDArray[np.float32] | None = None) -> Features:
    """Sixteen numbers of the whole shape. `distance`: its signed distance, where that is known already."""
    distance = signed_distance(inside) if distance is None else distance
    places = np.argwhere(inside) * spacing
    volume = len(places) * spacing**3
    area = float(surface_elements(inside, np.eye(3)).areas_N.sum()) * spacing**2  # of marching cubes' triangles
    centred = places - places.mean(axis=0)
    # Along the principal axes, which do not depend on how the patient lay; a voxel has a width of its own.
    spread, axes = np.linalg.eigh(np.cov(centred.T) + np.eye(3) * spacing**2 / 12)
    along = centred @ axes[:, ::-1] / np.sqrt(spread[::-1])  # longest first, of standard deviation 1
    extents = along.max(axis=0) - along.min(axis=0)
    # From a voxel's centre to the surface: half a voxel deep where it lies at the rim.
    depth = 0.5 - distance
    sizes = component_sizes(inside)
    box = np.log(np.ptp(places, axis=0) + spacing)
    return {
        "volume": float(np.log(volume)),
        "area": float(np.log(area)),
        "compactness": float(np.log(36 * np.pi * volume**2 / area**3)),
        **{f"spread_{n}": float(np.log(s) / 2) for n, s in enumerate(spread[::-1])},
        **{f"extent_{n}": float(np.log(e)) for n, e in enumerate(extents)},
        **{f"skewness_{n}": float(abs((along[:, n] ** 3).mean())) for n in range(2)},
        "kurtosis": float((along[:, 0] ** 4).mean()),
        "thickness": float(np.log(depth.max() * spacing)),
        "mean_depth": float(np.log(depth[inside].mean() * spacing)),
        "box_fill": float(np.log(volume) - box.sum()),
        "pieces": float(np.log(1 - sizes[0] / sizes.sum() + TINY)),
    }


def component_sizes(mask: Mask) -> NDArray[np.int64]:
    """Voxels of each connected piece, the largest first."""
    labels, count = scipy.ndimage.label(mask)
    return np.sort(np.bincount(labels.ravel(), minlength=count + 1)[1:])[::-1]


def surface_features(mask: Mask, scales: Sequence[float] = SCALES) -> Features:
    """How full a neighbourhood of each face of the surface is, at several scales: 0.5 is flat, less convex.

    The distribution over all faces, by percentiles. Blunt and sharp edges, ridges and dents, roughness show here; so do
    growth and shrinkage, which round off the ones and not the others.
    """
    inside = crop_mask(mask)
    # Even sizes, so that half the resolution is a mean of 2x2x2.
    inside = np.pad(inside, [(0, size % 2) for size in inside.shape])
    numbers: Features = {}
    soft = inside.astype(np.float32)
    half = soft.reshape(*(n for size in inside.shape for n in (size // 2, 2))).mean(axis=(1, 3, 5))
    for scale in scales:
        fullness = np.concatenate(_at_faces(inside, _smoothed(soft, half, scale)))
        for share, value in zip(SHARES, np.percentile(fullness, SHARES), strict=True):
            numbers[f"fullness_{scale:g}_{share}"] = float(value)
        numbers[f"fullness_{scale:g}_spread"] = float(np.log(fullness.std() + TINY))
    # How many faces look along each axis: slices drawn one by one leave steps along one of them.
    counts = np.array([len(faces) for faces in _at_faces(inside, soft)])
    for axis, name in enumerate(AXES):
        numbers[f"faces_{name}"] = float(np.log(counts[axis] / counts.sum()))
    return numbers


def slice_features(mask: Mask) -> Features:
    """How slices follow each other along each axis, and how flat the ends are."""
    inside = crop_mask(mask, 3)
    numbers: Features = {}
    for axis, name in enumerate(AXES):
        slices = np.moveaxis(inside, axis, 0)
        areas = slices.sum(axis=(1, 2)).astype(np.float64)
        top = areas.max()
        changed = (slices[1:] ^ slices[:-1]).sum(axis=(1, 2)) / top
        bend = np.abs(np.diff(areas, n=2)) / top
        # Second differences over one slice see single slices that are off, over three a step of a whole piece.
        wide = np.abs(areas[6:] - 2 * areas[3:-3] + areas[:-6]) / top
        there = areas > 0.1 * top
        numbers |= {
            f"change_{name}_max": float(np.log(changed.max() + TINY)),
            f"change_{name}_mean": float(np.log(changed.mean() + TINY)),
            f"change_{name}_90": float(np.log(np.percentile(changed, 90) + TINY)),
            f"bend_{name}_max": float(np.log(bend.max() + TINY)),
            f"bend_{name}_wide": float(np.log(wide.max() + TINY)),
            f"middle_{name}_bend": _centre_bend(slices, areas, there),
        }
    numbers["flat_end"] = _flat_end(inside)
    return numbers


def _centre_bend(slices: Mask, areas: NDArray[np.float64], there: Mask) -> float:
    """The largest jump of the centres of slices off a straight line through their neighbours, in root areas."""
    grid = np.arange(slices.shape[1], dtype=np.float64), np.arange(slices.shape[2], dtype=np.float64)
    weights = np.maximum(areas, 1)
    centres = np.stack([(slices.sum(axis=2) @ grid[0]) / weights, (slices.sum(axis=1) @ grid[1]) / weights], axis=1)
    run = centres[there]
    if len(run) < 9:
        return float(np.log(TINY))
    smooth = scipy.ndimage.uniform_filter1d(run, 3, axis=0)
    jump = np.linalg.norm(smooth[5:] - smooth[:-5] - (smooth[-1] - smooth[0]) * 5 / (len(run) - 1), axis=1)
    return float(np.log(jump.max() / np.sqrt(areas.max()) + TINY))


def _flat_end(inside: Mask) -> float:
    """The largest share of the surface that lies in a slab of two voxels below the highest place, over directions."""
    surface = np.argwhere(inside & ~scipy.ndimage.binary_erosion(inside)).astype(np.float32)
    heights = surface @ spread_directions(DIRECTIONS).T.astype(np.float32)
    return float(np.log((heights > heights.max(axis=0) - 2).mean(axis=0).max()))


def spread_directions(count: int) -> NDArray[np.float64]:
    """Unit vectors (count + 6, 3) spread over the sphere (Fibonacci's spiral), and the six along the axes."""
    index = np.arange(count) + 0.5
    height, angle = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    spiral = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    return np.concatenate([spiral, np.eye(3), -np.eye(3)])


def _smoothed(soft: NDArray[np.float32], half: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Of wide scales on the grid of half the resolution: an eighth of the work."""
    if scale < WIDE:
        return np.asarray(scipy.ndimage.gaussian_filter(soft, scale, mode="constant", truncate=3.0))
    smooth = scipy.ndimage.gaussian_filter(half, scale / 2, mode="constant", truncate=3.0)
    for axis in range(3):
        smooth = np.repeat(smooth, 2, axis=axis)
    return np.asarray(smooth)


def _at_faces(inside: Mask, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Values half-way between the voxels on both sides of each face of the surface, for faces across each axis."""
    numbers = []
    for axis in range(3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        # Neighbours along this axis, both ways of looking: a face lies between two voxels that differ.
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        faces = inside[tuple(low)] != inside[tuple(high)]
        numbers.append((values[tuple(low)][faces] + values[tuple(high)][faces]) / 2)
    return numbers
