"""Silhouettes to descriptors: 47 numbers of 8 bits for each of the 100 views of a shape.

- 35 of the angular radial transform (MPEG-7 ART; the program's readme calls it Zernike): what lies inside;
- 10 of the Fourier transform of the contour's distance to the centre: what the outline is like;
- circularity and eccentricity.

The centre of a view is the middle of the silhouette's box of pixels. Source: Chen et al., "On Visual Similarity Based
3D Model Retrieval", Eurographics 2003, and 3DRetrieval v1.8, whose 8-bit numbers these are. The program also stores ART
in 4 bits and has a colour descriptor; neither is in the distance, and neither is here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field.radial import ART, radial_transform
from isofield.metrics.light_field.silhouettes import silhouettes
from isofield.metrics.light_field.tables import SETS, VIEWS
from isofield.runtime.threads import map_in_threads

FOURIER = 10
LENGTH = ART + FOURIER + 2
SHORTEST_CONTOUR = 8  # points; shorter ones have no Fourier descriptor
PI = 3.1415926  # the program's own decimals: what is cut off to 8 bits must not depend on the ones behind them


@dataclass(frozen=True)
class Descriptor:
    """What a shape looks like from all sides: values (10 sets, 10 views, 47) uint8.

    Of the 47: 0-34 ART, 35-44 Fourier, 45 circularity, 46 eccentricity. All are 0 for a view that shows nothing.
    """

    values: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.values.shape != (SETS, VIEWS, LENGTH) or self.values.dtype != np.uint8:
            expected = f"({SETS}, {VIEWS}, {LENGTH}) uint8"
            raise ValueError(f"a light field descriptor is {expected}, got {self.values.shape} {self.values.dtype}")


@dataclass(frozen=True)
class View:
    """One silhouette in numbers: pixels, centre (column, row), farthest pixel from it, and what describes it alone."""

    area: int
    centre_2: NDArray[np.float64]
    radius: float
    fourier_10: NDArray[np.float64]
    circularity: float
    eccentricity: float


EMPTY = View(0, np.zeros(2), 0.0, np.zeros(FOURIER), 0.0, 0.0)


def describe(mesh: TriangleMesh, *, device: torch.device | str) -> Descriptor:
    """The descriptor of a mesh in any frame; moving and scaling the mesh change nothing, turning it does.

    Raises ValueError for a mesh without faces, with NaN or infinite vertices, or without an extent.
    """
    return describe_silhouettes(silhouettes(mesh, device=device))


def describe_silhouettes(silhouettes_W: torch.Tensor) -> Descriptor:
    """The descriptor of 100 silhouettes (100, 256, 256) uint8, view after view of set after set, on any device."""
    views = list(map_in_threads(measure, silhouettes_W.cpu().numpy()))
    # One radius for the ten views of a set: a shape that is long from one side stays long beside the others.
    radius_S = np.array([view.radius for view in views]).reshape(SETS, VIEWS).max(axis=1)  # of all views of a set
    centres_W2, areas_W = np.stack([view.centre_2 for view in views]), np.array([view.area for view in views])
    art_WC = radial_transform(silhouettes_W, centres_W2, np.repeat(radius_S, VIEWS)) / np.maximum(areas_W, 1)[:, None]
    fourier_WK = np.stack([view.fourier_10 for view in views])
    rest_W2 = np.array([[view.circularity, view.eccentricity] for view in views])
    scaled_WL = np.concatenate([256 * art_WC, 512 * fourier_WK, 256 * rest_W2], axis=1)
    values = np.minimum(scaled_WL, 255).astype(np.uint8)  # cut off, not rounded
    return Descriptor(values.reshape(SETS, VIEWS, LENGTH))


def measure(image: NDArray[np.uint8]) -> View:
    """All numbers of one silhouette (H, W) that need no other view."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if len(rows) == 0:
        return EMPTY
    centre_2 = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 2
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    x = np.arange(columns[0], columns[-1] + 1) - centre_2[0]
    y = np.arange(rows[0], rows[-1] + 1) - centre_2[1]
    area = int(np.count_nonzero(part))
    radius = float(np.sqrt(((x**2)[None, :] + (y**2)[:, None]).max(where=part != 0, initial=0)))
    # 4 pi A / P^2 is 1 for a disc; with a border counted in pixels it may come out above.
    roundness = min(1.0, 4 * PI * area / _border(part) ** 2)
    return View(area, centre_2, radius, _fourier(image, centre_2), roundness, _eccentricity(part, x, y))


def _fourier(image: NDArray[np.uint8], centre_2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitudes (10,) of the contour's distance to the centre, as shares of the constant term."""
    from isofield.metrics.light_field import contour_kernels as kernels

    contour_N2 = kernels.outline(np.ascontiguousarray(image))
    if len(contour_N2) < SHORTEST_CONTOUR:
        return np.zeros(FOURIER)
    distance_N = np.hypot(contour_N2[:, 1] - centre_2[0], contour_N2[:, 0] - centre_2[1])
    # Magnitudes do not depend on where the contour begins, and divided by the constant term not on its size.
    magnitude_K = np.abs(np.fft.rfft(distance_N))[: FOURIER + 1]
    return np.pad(magnitude_K[1:] / magnitude_K[0], (0, FOURIER + 1 - len(magnitude_K)))


def _border(part: NDArray[np.uint8]) -> int:
    """Set pixels that have an empty one among their eight neighbours."""
    wide = np.pad(part != 0, 1)
    # Three rows and then three columns of them: pixels whose eight neighbours are all set are inner ones.
    lines = wide[:-2] & wide[1:-1] & wide[2:]
    inner = lines[:, :-2] & lines[:, 1:-1] & lines[:, 2:]
    return int(np.count_nonzero(part)) - int(np.count_nonzero(inner))


def _eccentricity(part: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """From second moments about the centre: 0 for a disc, 1 for a line; x and y of columns and rows."""
    pixels = part.astype(np.float64)
    m20, m02, m11 = pixels.sum(axis=0) @ x**2, pixels.sum(axis=1) @ y**2, y @ pixels @ x
    return min(1.0, ((m20 - m02) ** 2 + 4 * m11**2) / (m20 + m02) ** 2) if m20 + m02 > 0 else 0.0
