"""The outer contour of a silhouette, compiled by numba: walking along it, and joining silhouettes of several parts.

Images are (H, W) uint8, 1 inside, with an empty border. The rules are those of 3DRetrieval v1.8, whose oddities move
numbers: which neighbour is asked first, when a walk through its own start goes on, how far parts are grown.
"""

import numpy as np
from numpy.typing import NDArray

from isofield.runtime.jit import compile_exact

BORDER = 2  # pixels at the edge of the image into which nothing is grown
WHOLE = 0.95  # share of the silhouette that a contour must enclose
# Candidates of the four walking directions (down, right, up, left), in the order in which they are asked: row, column.
STEPS = np.array(
    [
        [[1, -1], [1, 0], [1, 1]],
        [[1, 1], [0, 1], [-1, 1]],
        [[-1, 1], [-1, 0], [-1, -1]],
        [[-1, -1], [0, -1], [1, -1]],
    ]
)
RING = np.array([[-1, -1], [-1, 0], [-1, 1], [0, 1], [1, 1], [1, 0], [1, -1], [0, -1]])  # around a pixel, corners first
SIDES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])


def _spare(ring: int) -> bool:
    """Whether neighbours, bit k for RING[k], hang together without the pixel, which is not the end of a line."""
    neighbours = [bool(ring >> k & 1) for k in range(8)]
    if all(neighbours):
        return True
    # Runs of set neighbours that hold one of the four nearest (odd k): more than one would be cut apart.
    gap = neighbours.index(False)
    around = "".join("01"[neighbours[k % 8]] if k % 2 else "xX"[neighbours[k % 8]] for k in range(gap, gap + 8))
    runs = [run for run in around.replace("0", "x").split("x") if "1" in run]
    return sum(neighbours) != 1 and len(runs) <= 1


SPARE = np.array([_spare(ring) for ring in range(256)])


@compile_exact
def is_set(image: NDArray[np.uint8], row: int, column: int) -> bool:
    """Whether a pixel is inside the image and set."""
    return 0 <= row < image.shape[0] and 0 <= column < image.shape[1] and image[row, column] != 0


@compile_exact
def walk(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Rows (N, 2) of row and column along the outer contour, the start again at the end; a lone pixel stays alone."""
    width = image.shape[1]
    first = 0
    # The uppermost pixel, of these the leftmost: nothing above it is set.
    while first < image.size and image[first // width, first % width] == 0:
        first += 1
    most = 4 * image.size  # every pixel in every direction: nothing new comes after that
    contour_N2 = np.empty((most, 2), dtype=np.int32)
    if first == image.size:
        return contour_N2[:0].copy()
    start_row, start_column = first // width, first % width
    below, right = is_set(image, start_row + 1, start_column), is_set(image, start_row, start_column + 1)
    # Where the contour passes its start twice, coming back once does not end it.
    forks = is_set(image, start_row + 1, start_column - 1) and not below
    forks = forks and (is_set(image, start_row + 1, start_column + 1) or right)
    row, column, direction, count = start_row, start_column, 0, 1
    contour_N2[0, 0], contour_N2[0, 1] = row, column
    while count < most:
        turns = 0
        while turns < 4:
            # Turn until one of the three pixels ahead is set.
            taken = -1
            for k in range(3):
                if taken < 0 and is_set(image, row + STEPS[direction, k, 0], column + STEPS[direction, k, 1]):
                    taken = k
            if taken >= 0:
                break
            direction = (direction + 1) % 4
            turns += 1
        if turns == 4:
            break
        row, column = row + STEPS[direction, taken, 0], column + STEPS[direction, taken, 1]
        if taken == 0:
            direction = (direction + 3) % 4
        contour_N2[count, 0], contour_N2[count, 1] = row, column
        count += 1
        if row == start_row and column == start_column and not (forks and direction == 1):
            break
    return contour_N2[:count].copy()


@compile_exact
def encloses(image: NDArray[np.uint8], contour_N2: NDArray[np.int32]) -> bool:
    """Whether a flood from the frame, stopped by the contour alone, leaves more than 95 % of the set pixels dry."""
    top, bottom, left, right = box(image)
    height, width = bottom - top + 3, right - left + 3  # one pixel of surroundings
    # The contour is wet from the start, and so a wall to the flood.
    wet = np.zeros((height, width), dtype=np.bool_)
    for n in range(len(contour_N2)):
        wet[contour_N2[n, 0] - top + 1, contour_N2[n, 1] - left + 1] = True
    stack = np.empty(height * width, dtype=np.int32)
    stack[0], depth, flooded = 0, 1, 0
    wet[0, 0] = True
    while depth > 0:
        depth -= 1
        row, column = stack[depth] // width, stack[depth] % width
        if is_set(image, row + top - 1, column + left - 1):
            flooded += 1
        for k in range(4):
            r, c = row + SIDES[k, 0], column + SIDES[k, 1]
            if 0 <= r < height and 0 <= c < width and not wet[r, c]:
                wet[r, c] = True
                stack[depth] = r * width + c
                depth += 1
    total = np.sum(image != 0)
    return total - flooded > WHOLE * total


@compile_exact
def box(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the set pixels; 0, -1, 0, -1 where there are none."""
    height, width = image.shape
    top, bottom, left, right = height, -1, width, -1
    for row in range(height):
        for column in range(width):
            if image[row, column] != 0:
                top, bottom = min(top, row), row
                left, right = min(left, column), max(right, column)
    return (top, bottom, left, right) if bottom >= 0 else (0, -1, 0, -1)


@compile_exact
def bare(image: NDArray[np.uint8], row: int, column: int) -> bool:
    """Whether one of a pixel's four sides is empty."""
    beside = is_set(image, row, column - 1) and is_set(image, row, column + 1)
    return not (beside and is_set(image, row - 1, column) and is_set(image, row + 1, column))


@compile_exact
def dilate(image: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Set pixels and their neighbours: a square of 3 for reach 1, one of 5 without its corners for reach 2."""
    height, width = image.shape
    result = image.copy()
    top, bottom, left, right = box(image)
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            if image[row, column] == 0 or not bare(image, row, column):
                continue  # what lies around a pixel in the midst of others is reached from one that is not
            for r in range(max(row - reach, BORDER), min(row + reach + 1, height - BORDER)):
                for c in range(max(column - reach, BORDER), min(column + reach + 1, width - BORDER)):
                    if abs(r - row) + abs(c - column) < 4:
                        result[r, c] = 1
    return result


@compile_exact
def thin(joined: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Peel what was joined, side after side, as long as that cuts nothing apart; pixels of `image` stay.

    One side at a time: all pixels that are bare there and spare go at once. Only pixels at the rim are looked at.
    """
    result, listed = joined.copy(), image.copy()
    width = result.shape[1]
    # Pixels of the image itself count as listed already: they never become candidates.
    rim, doomed, count = np.empty(result.size, dtype=np.int32), np.empty(result.size, dtype=np.int32), 0
    for n in range(result.size):
        row, column = n // width, n % width
        if result[row, column] != 0 and listed[row, column] == 0 and bare(result, row, column):
            listed[row, column] = 1
            rim[count] = n
            count += 1
    # Round after round until no side loses a pixel.
    changed = True
    while changed:
        changed = False
        for side in range(4):
            gone, left = 0, 0
            for n in range(count):
                row, column = rim[n] // width, rim[n] % width
                open_side = not is_set(result, row + SIDES[side, 0], column + SIDES[side, 1])
                if open_side and spare(result, row, column):
                    doomed[gone] = rim[n]
                    gone += 1
                else:
                    rim[left] = rim[n]
                    left += 1
            count = left
            for n in range(gone):
                result[doomed[n] // width, doomed[n] % width] = 0
            for n in range(gone):
                for k in range(4):
                    row, column = doomed[n] // width + SIDES[k, 0], doomed[n] % width + SIDES[k, 1]
                    if is_set(result, row, column) and listed[row, column] == 0:
                        listed[row, column] = 1
                        rim[count] = row * width + column
                        count += 1
            changed = changed or gone > 0
    return result


@compile_exact
def spare(image: NDArray[np.uint8], row: int, column: int) -> bool:
    """Whether a pixel may go as far as its eight neighbours are concerned."""
    ring = 0
    for k in range(8):
        if is_set(image, row + RING[k, 0], column + RING[k, 1]):
            ring |= 1 << k
    return SPARE[ring]


@compile_exact
def outline(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The outer contour (N, 2) of a silhouette; parts that lie apart are grown together first (module docstring)."""
    contour_N2 = walk(image)
    if encloses(image, contour_N2):
        return contour_N2
    # Parts that lie apart have no common contour: they are grown until they touch, at last the whole box is taken, and
    # then peeled back to the silhouette.
    joined = dilate(image, 1)
    if not encloses(joined, walk(joined)):
        joined = dilate(joined, 2)
        if not encloses(joined, walk(joined)):
            top, bottom, left, right = box(image)
            joined = np.zeros_like(image)
            joined[top : bottom + 1, left : right + 1] = 1
    return walk(thin(joined, image))
