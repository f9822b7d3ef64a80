"""What several candidates made of one shape, beside its ground truth: pictures, and surfaces that turn together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation.pairs import Pair
from isofield.reports.disagreement import colour_limit
from isofield.reports.page import PICTURE_SIZE, address_of, picture_of
from isofield.reports.pairs import (
    ball_of,
    ball_of_all,
    lattice_slices,
    mask_surfaces,
    masks_of,
    meshes_of,
    pack_surface,
)
from isofield.reports.turnable import Packed, pack_mesh


@dataclass(frozen=True)
class ShownSide:
    """The ground truth or one candidate: the address of its picture, and the mesh to turn; None for what is not there.

    `slices`: of a mask against its ground truth, in place of a picture.
    """

    picture: str | None = None
    mesh: Packed | None = None
    slices: str | None = None


@dataclass(frozen=True)
class ShownShape:
    """A shape, a side for each candidate. `limit`: mm at both ends of the colours of masks; None of meshes."""

    truth: ShownSide = field(default_factory=ShownSide)
    sides: list[ShownSide] = field(default_factory=list)
    limit: float | None = None


def show_meshes(pairs: Sequence[Pair | None], *, up: rendering.Up) -> ShownShape:
    """A shape of which the first ground truth that can be read is shown, all in its view; None: nothing to show.

    A candidate with a ground truth of its own is seen as that is, since its frame may be another.
    """
    loaded = [(None, None) if pair is None else meshes_of(pair) for pair in pairs]
    first = next((truth for truth, _ in loaded if truth is not None), None)
    ball = ball_of(first, next((mesh for _, mesh in loaded if mesh is not None), None))
    sides = []
    for truth, mesh in loaded:
        own = ball if truth is None else ball_of(truth, mesh)
        sides.append(_side(mesh, view_ball=own, up=up))
    return ShownShape(_side(first, view_ball=ball, up=up), sides)


def _side(mesh: TriangleMesh | None, *, view_ball: rendering.ViewBall | None, up: rendering.Up) -> ShownSide:
    if mesh is None:
        return ShownSide()
    picture = address_of(picture_of(mesh, up=up, view_ball=view_ball))
    return ShownSide(picture, pack_mesh(mesh, view_ball=view_ball, up=up))


def show_masks(pairs: Sequence[Pair | None]) -> ShownShape:
    """Slices of each candidate, and its surface with its disagreement as its colour, on one scale for all."""
    masks = [None if pair is None else masks_of(pair) for pair in pairs]
    surfaces = [None if both is None else mask_surfaces(*both) for both in masks]
    there = [both for both in surfaces if both is not None]
    slices = [None if both is None else address_of(lattice_slices(*both, size=PICTURE_SIZE)) for both in masks]
    if not there:
        return ShownShape(sides=[ShownSide(slices=each) for each in slices])
    every = [surface for both in there for surface in both]
    limit, ball, reference = colour_limit(*every), ball_of_all(every), there[0][1]
    sides = []
    for both, address in zip(surfaces, slices, strict=True):
        mesh = None if both is None else pack_surface(both[0], view_ball=ball, limit=limit)
        sides.append(ShownSide(mesh=mesh, slices=address))
    # Of the ground truth the shape alone: what is missing of it depends on whom it is compared with.
    return ShownShape(ShownSide(mesh=pack_surface(reference, view_ball=ball, limit=None)), sides, limit)
