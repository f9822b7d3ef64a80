"""Masks corrupted in the ways segmentations go wrong, each as far as a wanted Dice against the clean mask.

Twelve families are matched: what a family adds or removes is an order of voxels, of which so many go first that Dice is
met to the voxel; pieces that shift and edges that fray are searched. The mirrored mask and half a mask have no strength
and no target.
All on the mask's own grid, which is isotropic; lengths are in its voxels, or shares of the cube root of the volume.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.masks import dice
from isofield.outliers.scoring.shape_space import signed_distance
from isofield.runtime.seeds import numpy_generator

Mask = NDArray[np.bool_]
Key = NDArray[np.float32]
TARGETS: dict[str, float] = {"mild": 0.95, "moderate": 0.88}
TOLERANCE = 0.01  # of Dice, of what is searched and of what had no room
STEPS = 16  # of a search
NEAR = 0.002  # of the target: a search is done
NEVER = np.float32(np.inf)


@dataclass(frozen=True, eq=False)
class Corrupted:
    """A corrupted mask on the grid of the clean one, and how alike the two are.

    `matched`: Dice is within TOLERANCE of the target; never of a family without a strength.
    """

    mask_RRR: Mask
    dice: float
    matched: bool


def corrupt(clean_RRR: Mask, family: str, *, severity: str, seed: int, name: str) -> Corrupted:
    """A mask (X, Y, Z) bool corrupted; the same for equal seed, name, family and severity.

    ValueError for an unknown family or severity and for an empty mask.
    """
    if family not in FAMILIES or severity not in TARGETS:
        raise ValueError(
            f"expected one of the families {', '.join(FAMILIES)} and mild or moderate; got {family!r}, {severity!r}"
        )
    if not clean_RRR.any():
        raise ValueError(f"{name}: an empty mask cannot be corrupted")
    generator = numpy_generator(seed, name, "corruption", family, severity)
    target = TARGETS[severity]
    mask = FAMILIES[family](clean_RRR, generator, target)
    reached = dice(mask, clean_RRR)
    return Corrupted(mask, reached, family not in UNMATCHED and abs(reached - target) <= TOLERANCE)


def _added(mask: Mask, key: Key, target: float) -> Mask:
    """The voxels outside with the smallest keys added: Dice is 2 V / (2 V + k)."""
    volume = int(mask.sum())
    return mask | _first(np.where(mask, NEVER, key), round(2 * volume * (1 / target - 1)))


def _removed(mask: Mask, key: Key, target: float) -> Mask:
    """The voxels inside with the smallest keys removed: Dice is 2 (V - k) / (2 V - k)."""
    volume = int(mask.sum())
    return mask & ~_first(np.where(mask, key, NEVER), round(2 * volume * (1 - target) / (2 - target)))


def _first(key: Key, count: int) -> Mask:
    """The `count` voxels with the smallest finite keys, or all there are."""
    flat = key.ravel()
    count = min(count, int(np.isfinite(flat).sum()))
    chosen = np.zeros(flat.shape, dtype=bool)
    if count:
        # Which come first is all that counts, not their order: a partition is enough.
        chosen[np.argpartition(flat, count - 1)[:count]] = True
    return chosen.reshape(key.shape)


def _searched(mask: Mask, corrupted: Callable[[float], Mask], target: float, high: float) -> Mask:
    """Bisection of a strength in [0, high] for the wanted Dice; the nearest that was met."""
    # Dice falls with the strength, but in steps of whole voxels: the nearest that was met is kept, wherever the search
    # ends.
    low, best, error = 0.0, mask, 1 - target
    for _ in range(STEPS):
        middle = (low + high) / 2
        tried = corrupted(middle)
        reached = dice(tried, mask)
        if abs(reached - target) < error:
            best, error = tried, abs(reached - target)
        if error < NEAR:
            break
        low, high = (middle, high) if reached > target else (low, middle)
    return best


def _size(mask: Mask) -> float:
    """The edge of a cube of the same volume."""
    return float(mask.sum()) ** (1 / 3)


def _noise(shape: tuple[int, ...], sigma: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Smooth Gaussian noise of standard deviation 1."""
    # Wrapped, so that it is as strong at the border as in the middle.
    noise = scipy.ndimage.gaussian_filter(generator.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _distance(shape: tuple[int, ...], centre: NDArray[np.floating], matrix: NDArray[np.floating] | None = None) -> Key:
    """From each voxel to a point, after a linear map (3, 3)."""
    axes = [np.arange(size, dtype=np.float32) - np.float32(c) for size, c in zip(shape, centre, strict=True)]
    rows = np.eye(3) if matrix is None else matrix
    squares = np.zeros(shape, dtype=np.float32)
    for row in rows.astype(np.float32):
        squares += (
            row[0] * axes[0][:, None, None] + row[1] * axes[1][None, :, None] + row[2] * axes[2][None, None]
        ) ** 2
    return np.sqrt(squares)


def _heights(shape: tuple[int, ...], direction: NDArray[np.floating]) -> Key:
    """Height of each voxel along a direction."""
    i, j, k = (np.arange(size, dtype=np.float32) * np.float32(d) for size, d in zip(shape, direction, strict=True))
    return i[:, None, None] + j[None, :, None] + k[None, None]


def _direction(generator: np.random.Generator) -> NDArray[np.float64]:
    vector = generator.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def _a_voxel(mask: Mask, generator: np.random.Generator) -> NDArray[np.float64]:
    """One of the marked voxels."""
    places = np.argwhere(mask)
    return np.asarray(places[generator.integers(len(places))], dtype=np.float64)


def _surface(mask: Mask) -> Mask:
    """Voxels inside with a face to the outside."""
    return mask & ~scipy.ndimage.binary_erosion(mask)


def _irregular(mask: Mask, generator: np.random.Generator) -> Key:
    """Distance from a place on the surface, made uneven by noise."""
    noise = _noise(mask.shape, 0.1 * _size(mask), generator)
    return _distance(mask.shape, _a_voxel(_surface(mask), generator)) * (1 + 0.25 * np.clip(noise, -2, 2))


def _hole(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """A cavity about a deep place, two voxels below the surface or more."""
    depth = -signed_distance(mask)
    centre = _a_voxel(depth > 0.6 * depth.max(), generator)
    return _removed(mask, np.where(depth > 2, _distance(mask.shape, centre), NEVER), target)


def _bite(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """A ball about a place on the surface."""
    return _removed(mask, _distance(mask.shape, _a_voxel(_surface(mask), generator)), target)


def _missing_slices(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """Runs of one to three slices across the last axis (from feet to head), none at the ends while there are others."""
    there = np.flatnonzero(mask.any(axis=(0, 1)))
    runs = [there[start : start + 3] for start in range(0, len(there), 3)]
    order = [runs[i][: generator.integers(1, 4)] for i in generator.permutation(np.arange(1, max(2, len(runs) - 1)))]
    chosen = np.concatenate([*order, there])
    # Reversed, so that a slice that is listed twice keeps its earlier rank.
    first = {int(k): rank for rank, k in reversed(list(enumerate(chosen)))}
    rank_K = np.array([first.get(k, 0) for k in range(mask.shape[2])], dtype=np.float32)
    along = np.arange(mask.shape[0], dtype=np.float32) / mask.shape[0]  # the last slice may go in part
    return _removed(mask, np.broadcast_to(rank_K + along[:, None, None], mask.shape), target)


def _cut_off(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """All beyond a plane, most often across the last axis."""
    direction = _direction(generator) * 0.3 + np.array([0, 0, generator.choice([-1, 1])])
    return _removed(mask, _heights(mask.shape, direction), target)


def _merged_neighbour(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """An ellipsoid that leans on the surface from outside."""
    axes = np.exp(generator.uniform(-0.4, 0.4, 3))
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    place = _a_voxel(_surface(mask), generator)
    # Dice d of a mask with k voxels and k + a: d = 2 k / (2 k + a), so a = 2 k (1 / d - 1); the radius of a ball of
    # that volume.
    radius = (3 / (4 * np.pi) * 2 * mask.sum() * (1 / target - 1)) ** (1 / 3)
    outwards = _outwards(mask, place)
    # Of determinant 1 or -1: however long the axes, the volume stays that of the ball.
    matrix = np.diag(np.cbrt(axes.prod()) / axes) @ turn
    reach = radius / np.linalg.norm(matrix @ outwards)
    # A little within its reach: it leans on the mask with an area, not with a point.
    return _added(mask, _distance(mask.shape, place + outwards * 0.85 * reach, matrix), target)


def _outwards(mask: Mask, place: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit normal at a place on the surface."""
    # Faces of voxels know six directions; the slope of a blurred mask knows all.
    soft = scipy.ndimage.gaussian_filter(mask.astype(np.float32), 3.0)
    i, j, k = np.clip(place.astype(int), 1, np.array(mask.shape) - 2)
    slope = np.array(
        [
            soft[i + 1, j, k] - soft[i - 1, j, k],
            soft[i, j + 1, k] - soft[i, j - 1, k],
            soft[i, j, k + 1] - soft[i, j, k - 1],
        ],
        dtype=np.float64,
    )
    length = np.linalg.norm(slope)
    return -slope / length if length > 0 else np.array([1.0, 0.0, 0.0])


def _shifted_piece(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """What is above a plane across the last axis moves along the plane, as when a patient moves during a scan."""
    heights = _heights(mask.shape, _direction(generator) * 0.15 + np.array([0, 0, 1.0]))
    piece = mask & (heights > np.quantile(heights[mask], generator.uniform(0.3, 0.7)))
    angle = generator.uniform(0, 2 * np.pi)
    way = np.array([np.cos(angle), np.sin(angle), 0.0])

    def shift_piece(length: float) -> Mask:
        moved = scipy.ndimage.shift(piece.astype(np.float32), way * length, order=1) > 0.5
        return (mask & ~piece) | moved

    return _searched(mask, shift_piece, target, _size(mask))


def _smooth_distance(mask: Mask) -> Key:
    """Distances between voxel centres come in steps; smoothed they order the voxels of a layer too."""
    return np.asarray(scipy.ndimage.gaussian_filter(signed_distance(mask), 0.8), dtype=np.float32)


def _island(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """Balls away from the mask, one or two, a gap of a few voxels between."""
    distance = signed_distance(mask)
    needed = 2 * mask.sum() * (1 / target - 1)
    count = int(generator.integers(1, 3))
    radius = (3 / (4 * np.pi) * needed / count) ** (1 / 3)
    gap = max(2.0, 0.05 * _size(mask))
    # The whole ball has to fit into the grid, at a distance that leaves a gap to the mask.
    inner = np.zeros(mask.shape, dtype=bool)
    room = [slice(min(int(radius), n // 2 - 1), n - min(int(radius), n // 2 - 1)) for n in mask.shape]
    inner[tuple(room)] = True
    key = np.full(mask.shape, NEVER)
    for _ in range(count):
        allowed = inner & (np.abs(distance - radius - gap - 1) < 2)
        allowed = allowed if allowed.any() else distance > gap
        if allowed.any():
            key = np.minimum(key, _distance(mask.shape, _a_voxel(allowed, generator)))
    return _added(mask, np.where(distance > gap, key, NEVER), target)


def _ragged_edge(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """The surface moved in and out by noise of a voxel or two."""
    distance, noise = signed_distance(mask), _noise(mask.shape, 1.0, generator)
    return _searched(mask, lambda strength: distance + strength * noise < 0, target, 0.2 * _size(mask))


def _half(mask: Mask, generator: np.random.Generator, target: float) -> Mask:
    """All on one side of a plane through the middle, most often the upper or the lower half."""
    heights = _heights(mask.shape, _direction(generator) * 0.3 + np.array([0, 0, generator.choice([-1, 1])]))
    return mask & (heights > np.median(heights[mask]))


FLIP, HALF = "flip", "half"
UNMATCHED = (FLIP, HALF)
FAMILIES: dict[str, Callable[[Mask, np.random.Generator, float], Mask]] = {
    "blob_added": lambda mask, generator, target: _added(mask, _irregular(mask, generator), target),
    "blob_removed": lambda mask, generator, target: _removed(mask, _irregular(mask, generator), target),
    "hole": _hole,
    "bite": _bite,
    "missing_slices": _missing_slices,
    "cut_off": _cut_off,
    "merged_neighbour": _merged_neighbour,
    "shifted_piece": _shifted_piece,
    "dilation": lambda mask, generator, target: _added(mask, _smooth_distance(mask), target),
    "erosion": lambda mask, generator, target: _removed(mask, -_smooth_distance(mask), target),
    "island": _island,
    "ragged_edge": _ragged_edge,
    FLIP: lambda mask, generator, target: mask[::-1].copy(),
    HALF: _half,
}
MATCHED = tuple(family for family in FAMILIES if family not in UNMATCHED)
