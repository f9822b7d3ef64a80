"""Surface distances of two masks: nearest elements by a tree against distance transforms of the grid.

Run: python -m tests.benchmarks.bench_surface_distance. Medians of five runs in one process; both give the same numbers.
"""

from functools import partial

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from isofield.metrics.mask_surfaces import element_areas
from isofield.metrics.masks import compare_masks
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Work, in_turn

SPACING = (0.8, 0.8, 1.5)
ROUNDS = 5


def masks(side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two lumpy bodies that differ by a few voxels, as a reconstruction does."""
    generator = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij"))
    lumps = scipy.ndimage.gaussian_filter(generator.normal(size=(side,) * 3), side / 12)
    radius = np.linalg.norm(place * [[[[1.0]]], [[[1.4]]], [[[1.2]]]], axis=0) + 0.1 * lumps / lumps.std()
    shaken = radius + 0.02 * scipy.ndimage.gaussian_filter(generator.normal(size=(side,) * 3), 3) * 30
    return (shaken < 0.6).astype(np.uint8), (radius < 0.6).astype(np.uint8)


def by_transforms(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> tuple[float, float]:
    """The published formulation: asd and hd95 from a distance transform of each surface, in the box around both."""
    box = scipy.ndimage.find_objects(predicted | true)[0]
    predicted, true = predicted[box], true[box]
    areas = element_areas(np.diag(SPACING))
    codes = []
    for mask in (predicted, true):
        filled, code = np.pad(mask, 1), np.zeros([size + 1 for size in mask.shape], np.uint8)
        for bit, (x, y, z) in enumerate(np.ndindex(2, 2, 2)):
            code |= filled[x : x + code.shape[0], y : y + code.shape[1], z : z + code.shape[2]] << bit
        codes.append(code)
    borders = [(code > 0) & (code < 255) for code in codes]
    far = [scipy.ndimage.distance_transform_edt(~border, sampling=SPACING) for border in borders]
    means, ends = [], []
    for here, there in ((0, 1), (1, 0)):
        distances, weights = far[there][borders[here]], areas[codes[here][borders[here]]]
        order = np.lexsort((weights, distances))
        share = np.cumsum(weights[order]) / weights.sum()
        means.append((distances * weights).sum() / weights.sum())
        ends.append(distances[order][np.searchsorted(share, 0.95)])
    return sum(means) / 2, max(ends)


def ours(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> tuple[float, float]:
    found = compare_masks(predicted, true, np.diag(SPACING), tolerance=1.0)
    return found["asd"], found["hd95"]


def main() -> None:
    for side, island in ((64, False), (128, False), (128, True)):
        pair = masks(side)
        if island:  # as far away as in the box of a whole scan
            pair = np.pad(pair[0], ((0, 128), (0, 64), (0, 128))), np.pad(pair[1], ((0, 128), (0, 64), (0, 128)))
            pair[0][-5:-2, -5:-2, -5:-2] = 1
        say(f"{side}^3, {int(pair[1].sum()):,} voxels{', and an island of the prediction far away' * island}")
        works: dict[str, Work] = {method.__name__: partial(method, *pair) for method in (by_transforms, ours)}
        for name, (wall, cpu, result) in in_turn(works, ROUNDS, warm=False).items():
            say(f"  {name:14} {wall:7.3f} s wall {cpu:7.3f} s CPU  asd {result[0]:.6f} hd95 {result[1]:.6f}")


if __name__ == "__main__":
    main()
