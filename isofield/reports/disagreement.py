"""Two masks as surfaces with their signed disagreement in mm: what is extra is red, what is missing is blue.

On the mask's surface the distance outside of the reference counts as positive, on the reference's surface the distance
outside of the mask as negative: a place is red where the mask reaches beyond, blue where it falls short, on either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.mask_surface import Cells, distance_outside, is_inside, smooth_surface
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.reports.canvas import EXTRA, MISSING, Colour

NEUTRAL: Colour = (205, 205, 205)
LEAST = 2.0  # mm at the ends of the scale


@dataclass(frozen=True, eq=False)
class SignedSurface:
    """A surface in RAS mm and at each vertex (V,) the signed disagreement in mm; positive is extra."""

    mesh: TriangleMesh
    distance_V: NDArray[np.float64]


def signed_surfaces(
    mask: Cells, reference: Cells, index_to_world: NDArray[np.floating]
) -> tuple[SignedSurface, SignedSurface]:
    """Those of a mask and of its reference, in cells (X, Y, Z) of equal edges; either may have none.

    A tenth of a cell is the usual error of a distance. Without the other side all is extra, or missing, by half of the
    shortest side of its box.
    """
    both = np.argwhere(mask | reference)
    if not len(both):
        nothing = SignedSurface(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), np.zeros(0))
        return nothing, nothing
    # Only the box of both counts: a grid may be mostly empty.
    lower, upper = both.min(axis=0), both.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    place = np.eye(4)
    place[:3, 3] = lower
    to_world = index_to_world @ place
    sides = [cells[box] for cells in (mask, reference)]
    meshes = [smooth_surface(cells, to_world) for cells in sides]
    edge = float(np.linalg.norm(to_world[:3, 0]))
    surfaces = []
    for mesh, other, cells, sign in zip(meshes, meshes[::-1], sides[::-1], (1.0, -1.0), strict=True):
        if not len(mesh.faces):
            distance_V = np.zeros(0)
        elif not len(other.faces):
            distance_V = np.full(len(mesh.vertices), float(np.ptp(mesh.vertices, axis=0).min()) / 2)
        else:
            inside_V = is_inside(cells, mesh.vertices, to_world)
            distance_V = distance_outside(mesh.vertices, other, inside_V, edge=edge)
        surfaces.append(SignedSurface(mesh, sign * distance_V))
    return surfaces[0], surfaces[1]


def colour_limit(*surfaces: SignedSurface) -> float:
    """Both ends of the scale: a round number of mm."""
    values = np.abs(np.concatenate([surface.distance_V for surface in surfaces]))
    largest = max(LEAST, float(np.percentile(values, 99)) if len(values) else 0.0)
    step = 10.0 ** np.floor(np.log10(largest))
    return float(np.ceil(largest / step * 2) / 2 * step)


def signed_colours(values_N: NDArray[np.floating], limit: float) -> NDArray[np.float64]:
    """(N, 3): grey at 0, red towards +limit (extra), blue towards -limit (missing)."""
    share_N1 = np.clip(np.abs(values_N) / max(limit, 1e-9), 0, 1)[:, None]
    ends_N3 = np.where(values_N[:, None] > 0, np.array(EXTRA, float), np.array(MISSING, float))
    return (1 - share_N1) * np.array(NEUTRAL, float) + share_N1 * ends_N3
