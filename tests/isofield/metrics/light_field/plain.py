"""The repair of contours once more, by numpy and scipy: what the compiled kernels are compared with."""

import functools

import numpy as np
from scipy import ndimage

from isofield.metrics.light_field.contour_kernels import walk

CROSS = ndimage.generate_binary_structure(2, 1)
AROUND = np.ones((3, 3), dtype=bool)
FIVE = np.ones((5, 5), dtype=bool)
FIVE[[0, 0, -1, -1], [0, -1, 0, -1]] = False


def drawn(contour, shape):
    """A picture of a contour."""
    picture = np.zeros(shape, dtype=bool)
    picture[contour[:, 0], contour[:, 1]] = True
    return picture


def encloses(image, contour):
    labels, _ = ndimage.label(~drawn(contour, image.shape), structure=CROSS)
    dry = image & (labels != labels[0, 0])
    return dry.sum() / image.sum() > 0.95


def grown(image, structure):
    result = image.copy()
    result[2:-2, 2:-2] |= ndimage.binary_dilation(image, structure)[2:-2, 2:-2]
    return result


def may_go(ring):
    """Of the 3 x 3 pixels around one: it is no end of a line, and its neighbours hang together."""
    return _may_go(tuple(ring.ravel().tolist()))


@functools.cache
def _may_go(bits):
    ring = np.array(bits).reshape(3, 3)
    ring[1, 1] = False
    labels, _ = ndimage.label(ring, structure=CROSS)
    touching = {labels[0, 1], labels[1, 0], labels[1, 2], labels[2, 1]} - {0}
    return ring.sum() != 1 and len(touching) <= 1


def thinned(image, kept):
    image = image.copy()
    while True:
        before = image.copy()
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            bare = image & ~kept & ~np.roll(image, shift, axis)
            gone = [(r, c) for r, c in np.argwhere(bare) if may_go(image[r - 1 : r + 2, c - 1 : c + 2])]
            for place in gone:
                image[place] = False
        if np.array_equal(image, before):
            return image


def outline(image):
    """Contour (N, 2), and how far the parts had to be grown: 0 not at all ... 3 to the whole box."""
    image = image.astype(bool)
    contour = walk(image.astype(np.uint8))
    if encloses(image, contour):
        return contour, 0
    joined, steps = grown(image, AROUND), 1
    if not encloses(joined, walk(joined.astype(np.uint8))):
        joined, steps = grown(joined, FIVE), 2
    if steps == 2 and not encloses(joined, walk(joined.astype(np.uint8))):
        (rows, columns), steps = ndimage.find_objects(image.astype(int))[0], 3
        joined = np.zeros_like(image)
        joined[rows, columns] = True
    return walk(thinned(joined, image).astype(np.uint8)), steps
